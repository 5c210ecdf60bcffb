"""The joint picture: one pure fold, used while events come in and when all is built anew.

A fold writes rows of the event's own case and nothing else; sums are made when the picture is read. That is
what lets a rebuild go case by case, under the gate of each, while events of the others come in: see `keep`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from libs.common import errors
from libs.common.change import Change, Head
from libs.common.clock import Moment
from libs.common.contracts import cases as said
from libs.common.contracts.event import CATALOGUE, Event
from libs.common.contracts.sharing import PictureRebuilt
from libs.common.permit import Actor
from services.sharing.clocks import rules as clocks
from services.sharing.clocks.rules import Lights
from services.sharing.feeds.tables import LogEntry
from services.sharing.picture.tables import Offer, Picture, PicturedCase, Rebuild

#: The stream whose head every fold relies on and every change of generation owns.
HEAD = ("picture", "current")
#: The stream that keeps two rebuilds from being asked for at once.
DESK = ("rebuild", "current")
#: The picture before anything was folded.
FIRST = Picture(name="current", generation=1)

#: Stages at which a case is open, in their order.
OPEN = ("registered", "filed", "investigating", "decided")
#: Answers that end a transfer.
ANSWERS = ("accepted", "returned", "withdrawn")
#: Kinds of agencies that are townships; the others are departments.
TOWNSHIPS = frozenset({"township", "street"})


class RebuildRunning(errors.Conflict):
    """The picture is being rebuilt already."""

    code = "rebuild-running"
    title = "协同态势正在重建"


@dataclass(frozen=True, slots=True)
class View:
    """What a generation knows of a case, and of the transfer that the event is about."""

    generation: int
    standing: PicturedCase | None
    offer: Offer | None

    @property
    def slot(self) -> int:
        return slot_of(self.generation)

    def moved(self, at: datetime, **changes: Any) -> View:
        """The case with these values changed; a case that is not known stays so."""
        if self.standing is None:
            return self
        return replace(self, standing=self.standing.but(moved_at=at, **changes))

    def answered(self, at: datetime, state: str) -> View:
        """The transfer with its answer."""
        if self.offer is None:
            return self
        return replace(self, offer=self.offer.but(state=state, answered_at=at))


@dataclass(frozen=True, slots=True)
class Happening:
    """An event's place, apart from its data."""

    case: str
    seq: int
    recorded_at: datetime


def slot_of(generation: int) -> int:
    """The slot that a generation's rows are kept in."""
    return generation % 2


def fold(view: View, event: Event, happening: Happening) -> View:
    """What the generation knows after the event."""
    return FOLDS[event.TYPE](view, event, happening)


@dataclass(frozen=True, slots=True)
class Album:
    """The generations that an event is folded into."""

    head: Head
    picture: Picture | None
    view: Callable[[int], View]  #: by generation


def keep(s: Album, event: Event, happening: Happening) -> Change:
    """Fold an event into the generation that is read, and into the one being built if it has the case.

    A case that the rebuild has not come to is left to it, for it will read this event in the log. One that
    begins now is written to both: so when the rebuild has come to the end of the log nothing is missing.
    The generations may change only while no fold is under way, so each relies on the picture's head.
    """
    picture = s.picture or FIRST
    rows = _rows(fold(s.view(picture.generation), event, happening))
    if picture.building:
        built = s.view(picture.building)
        if built.standing or happening.seq == 1:
            rows += _rows(fold(built, event, happening))
    change = Change().putting(*rows)
    # Nobody can rely on a head that is not there: the first fold makes it.
    return change.owning(s.head).putting(picture) if s.head.is_new else change.relying_on(s.head)


def _rows(view: View) -> list[PicturedCase | Offer]:
    return [row for row in (view.standing, view.offer) if row is not None]


def transfer_of(event: Any) -> str | None:
    """The transfer that an event is about, if it is about one."""
    return getattr(event, "transfer", None)


def _on_clue(view: View, event: said.ClueRegistered, happening: Happening) -> View:
    standing = PicturedCase(
        case=happening.case,
        slot=view.slot,
        generation=view.generation,
        stage="registered",
        holder=event.holder,
        power=event.power,
        territory=event.territory,
        opened_at=happening.recorded_at,
        moved_at=happening.recorded_at,
    )
    return replace(view, standing=standing)


def _on_rejection(view: View, event: said.ClueRejected, happening: Happening) -> View:
    return view.moved(happening.recorded_at, stage="not_filed", ended_by=event.holder)


def _on_filing(view: View, event: said.CaseFiled, happening: Happening) -> View:
    return view.moved(happening.recorded_at, stage="filed", filed_by=event.holder, case_no=event.case_no)


def _on_investigation(view: View, event: said.InvestigationOpened, happening: Happening) -> View:
    return view.moved(happening.recorded_at, stage="investigating")


def _on_decision(view: View, event: said.DecisionMade, happening: Happening) -> View:
    return view.moved(happening.recorded_at, stage="decided")


def _on_closing(view: View, event: said.CaseClosed, happening: Happening) -> View:
    return view.moved(happening.recorded_at, stage="closed", ended_by=event.holder)


def _on_offer(view: View, event: said.TransferOffered, happening: Happening) -> View:
    if view.standing is None:
        return view
    offer = Offer(
        transfer=event.transfer,
        slot=view.slot,
        generation=view.generation,
        case=happening.case,
        from_agency=event.from_agency,
        to_agency=event.to_agency,
        state="waiting",
        offered_at=happening.recorded_at,
    )
    return replace(view, offer=offer)


def _on_acceptance(view: View, event: said.TransferAccepted, happening: Happening) -> View:
    at = happening.recorded_at
    return view.answered(at, "accepted").moved(at, holder=event.to_agency)


def _on_return(view: View, event: said.TransferReturned, happening: Happening) -> View:
    answered = view.answered(happening.recorded_at, "returned")
    if answered.standing is None:
        return answered
    return replace(answered, standing=answered.standing.but(returns=answered.standing.returns + 1))


def _on_withdrawal(view: View, event: said.TransferWithdrawn, happening: Happening) -> View:
    return view.answered(happening.recorded_at, "withdrawn")


def _on_dispute(view: View, event: said.DisputeOpened, happening: Happening) -> View:
    if view.standing is None:
        return view
    at, parties = happening.recorded_at, " ".join(event.parties)
    disputed = view.standing.but(dispute=event.dispute, disputants=parties, disputed_at=at)
    return replace(view, standing=disputed)


def _on_lead(view: View, event: said.DisputeLeadNamed, happening: Happening) -> View:
    return view.moved(happening.recorded_at, holder=event.lead)


def _on_end_of_dispute(
    view: View, event: said.DisputeSettled | said.DisputeRuled, happening: Happening
) -> View:
    ended: dict[str, Any] = {"dispute": "", "disputants": "", "disputed_at": None}
    return view.moved(happening.recorded_at, holder=event.competent_agency, **ended)


#: How each type changes the picture; other types leave it as it is.
FOLDS: Mapping[str, Callable[[View, Any, Happening], View]] = {
    said.ClueRegistered.TYPE: _on_clue,
    said.ClueRejected.TYPE: _on_rejection,
    said.CaseFiled.TYPE: _on_filing,
    said.InvestigationOpened.TYPE: _on_investigation,
    said.DecisionMade.TYPE: _on_decision,
    said.CaseClosed.TYPE: _on_closing,
    said.TransferOffered.TYPE: _on_offer,
    said.TransferAccepted.TYPE: _on_acceptance,
    said.TransferReturned.TYPE: _on_return,
    said.TransferWithdrawn.TYPE: _on_withdrawal,
    said.DisputeOpened.TYPE: _on_dispute,
    said.DisputeLeadNamed.TYPE: _on_lead,
    said.DisputeSettled.TYPE: _on_end_of_dispute,
    said.DisputeRuled.TYPE: _on_end_of_dispute,
}


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """A rebuild with the generations and the head that guards them."""

    head: Head
    picture: Picture
    rebuild: Rebuild


@dataclass(frozen=True, slots=True)
class CaseInLog:
    """A case with everything that the log has of it up to its gate."""

    gate: Head
    began: int  #: the position of its first entry
    entries: tuple[LogEntry, ...]  #: those that change the picture, in their order


def ask(desk: Head, running: Rebuild | None, *, reason: str, by: Actor, at: Moment) -> Change:
    """Ask for a rebuild. Raises RebuildRunning."""
    if running:
        raise RebuildRunning(rebuild=running.id)
    rebuild = Rebuild(
        id=at.new_id("rebuild"),
        state="asked",
        person=by.person,
        agency=by.agency,
        reason=reason,
        trace=at.trace.correlation,
        asked_at=at.now,
    )
    return Change().owning(desk).inserting(rebuild)


def begin(s: Rebuilding, *, newest: int) -> Change:
    """From this commit on, folds write the new generation too, where it has the case."""
    # Where a rebuild was left undone its rows are still there: a new number makes them nobody's.
    generation = s.picture.building + 2 if s.picture.building else s.picture.generation + 1
    begun = s.rebuild.but(state="filling", generation=generation, newest=newest)
    return Change().owning(s.head).putting(s.picture.but(building=generation), begun)


def fill(s: Rebuilding, cases: Sequence[CaseInLog]) -> Change:
    """Build some cases from the log. Each gate is owned: an event that came meanwhile makes it a Conflict."""
    rows = [row for case in cases for row in replay(s.rebuild.generation, case.entries)]
    filled = s.rebuild.but(filled_to=max(case.began for case in cases))
    change = Change().owning(*(case.gate for case in cases)).relying_on(s.head)
    return change.putting(*rows, filled)


def finish(s: Rebuilding, *, newest: int, at: Moment) -> Change:
    """Every case is built: from this commit on the new generation is the one that is read."""
    event = PictureRebuilt(generation=s.rebuild.generation, position=newest)
    picture = s.picture.but(generation=s.rebuild.generation, building=0)
    private = {"rebuild": s.rebuild.id, "reason": s.rebuild.reason}
    change = Change().putting(picture, s.rebuild.but(state="clearing", filled_to=newest))
    return change.telling(
        event, on=s.head, by=Actor(s.rebuild.person, s.rebuild.agency), at=at, private=private
    )


def clear(s: Rebuilding, outdated: Sequence[PicturedCase | Offer], *, at: Moment) -> Change:
    """Delete some rows of the generation that is no longer read; when there are none, the rebuild is done."""
    if outdated:
        return Change().relying_on(s.head).deleting(*outdated)
    return Change().relying_on(s.head).putting(s.rebuild.but(state="done", finished_at=at.now))


def replay(generation: int, entries: Iterable[LogEntry]) -> list[PicturedCase | Offer]:
    """The rows of one case, from everything that the log has of it."""
    view = View(generation, None, None)
    offers: dict[str, Offer] = {}
    for entry in entries:
        event = CATALOGUE[entry.type].model_validate(entry.data)
        case = entry.stream.partition("/")[2]
        before = replace(view, offer=offers.get(transfer_of(event) or ""))
        view = fold(before, event, Happening(case, entry.seq, entry.recorded_at))
        if view.offer:
            offers[view.offer.transfer] = view.offer
    return [*_rows(replace(view, offer=None)), *offers.values()]


@dataclass(frozen=True, slots=True)
class Line:
    """An agency, as a line of the picture."""

    agency: str
    name: str
    kind: str
    division: str

    @property
    def is_township(self) -> bool:
        return self.kind in TOWNSHIPS


@dataclass(frozen=True, slots=True)
class Count:
    """How many, and since when the oldest of them."""

    n: int = 0
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The picture as it stands at one position of the log."""

    position: int
    as_of: datetime | None  #: when the entry at that position was recorded
    lines: tuple[Line, ...]  #: townships by division, then departments by code
    counts: Mapping[tuple[str, str, str], Count]  #: by part, agency and label
    lights: Mapping[str, Lights] = field(default_factory=dict)  #: of the clocks that each agency must meet

    def place(self) -> dict[str, Any]:
        """Where it stands."""
        return {"position": self.position, "as_of": instant(self.as_of)}

    def shown(self, line: Line) -> dict[str, Any]:
        """A line of the picture."""
        return {
            "agency": line.agency,
            "name": line.name,
            "kind": line.kind,
            "division": line.division,
            "held": {stage: self.count("held", line, stage).n for stage in OPEN},
            "filed": self.count("filed", line, "").n,
            "closed": self.count("ended", line, "closed").n,
            "not_filed": self.count("ended", line, "not_filed").n,
            "offered_to": self._transfers("offered_to", line),
            "offered_by": self._transfers("offered_by", line),
            "lights": self.lights_of(line).shown(),
        }

    def lights_of(self, line: Line) -> Lights:
        """The lights of the clocks that the line's agency must meet."""
        return self.lights.get(line.agency, clocks.DARK)

    def _transfers(self, part: str, line: Line) -> dict[str, Any]:
        waiting = self.count(part, line, "waiting")
        answers = {answer: self.count(part, line, answer).n for answer in ANSWERS}
        return {"waiting": waiting.n, "waiting_since": instant(waiting.since), **answers}

    def count(self, part: str, line: Line, label: str) -> Count:
        """How many of a part (held, filed, ended, offered_to, offered_by) the line has under a label."""
        return self.counts.get((part, line.agency, label), Count())


#: The picture as it is shown to whom it shows nothing.
NOWHERE = Snapshot(0, None, (), {})


def in_order(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Lines as they are shown."""
    return tuple(sorted(lines, key=_place))


def _place(line: Line) -> tuple[bool, str, str]:
    return not line.is_township, line.division if line.is_township else "", line.agency


def instant(at: datetime | None) -> str | None:
    """An instant as it is shown."""
    return at.isoformat(timespec="microseconds") if at else None
