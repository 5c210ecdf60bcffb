"""What the board shows, as this reader may see it: of each thing the permit is asked that its API asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlmodel import col, select

from libs.common import errors
from libs.common.audience import HOLDER
from libs.common.contracts import cases as said
from libs.common.contracts import sharing
from libs.common.permit import Actor
from libs.common.store.reading import Reader
from services.sharing import access
from services.sharing.access import Situation
from services.sharing.board import rules
from services.sharing.board.rules import Door
from services.sharing.board.tables import BoardLink, BoardLinkRow
from services.sharing.clocks import loads as clocks
from services.sharing.clocks import rules as running
from services.sharing.clocks.rules import Pair
from services.sharing.clocks.tables import RunningClock
from services.sharing.feeds import loads as feeds
from services.sharing.feeds.tables import LogEntry, LogEntryRow, Member
from services.sharing.picture import loads as pictures
from services.sharing.picture import rules as picture
from services.sharing.picture.rules import Line, Snapshot
from services.sharing.picture.tables import Offer, OfferRow, Picture, PicturedCase, PicturedCaseRow

#: Entries of the log that are looked through for the last ones that this reader may see.
LOOKED_AT = 400
#: What one list holds at most.
MOST = 200


async def door(read: Reader, now: datetime) -> Door:
    """What making a link must know."""
    head = await read.head(*rules.DOOR)
    outdated = select(BoardLinkRow).where(col(BoardLinkRow.expires_at) <= now).limit(MOST)
    return Door(head, await read.all(BoardLink, outdated))


@dataclass(frozen=True, slots=True)
class View:
    """Somebody who looks, what their agency is to the county, and the instant."""

    read: Reader
    actor: Actor
    own: Situation
    names: Mapping[str, str]
    now: datetime

    def sees(self, *agencies: str) -> bool:
        """Whether they see what the picture says of one of these agencies."""
        relations = frozenset({access.OWN} if self.actor.agency in agencies else ())
        return self._may("picture.read", relations)

    def reads_cases_of(self, *agencies: str) -> bool:
        """Whether they read the cases of which one of these agencies is holder or party."""
        return self._may("entry.read", frozenset({HOLDER} if self.actor.agency in agencies else ()))

    def _may(self, action: str, relations: frozenset[str]) -> bool:
        return access.permits(self.actor, action, replace(self.own, relations=relations)) is not None


async def view(read: Reader, actor: Actor, action: str, now: datetime) -> View:
    """The reader with their permit. Raises NotFound."""
    own = await feeds.situation(read, actor)
    access.permit(actor, action, own)
    names = {member.agency: member.name for member in await read.all(Member)}
    return View(read, actor, own, names, now)


async def lines(view: View) -> tuple[Snapshot, list[Line]]:
    """The picture, and its lines that this reader sees."""
    snapshot = await pictures.snapshot(view.read, view.now)
    return snapshot, [line for line in snapshot.lines if view.sees(line.agency)]


async def pairs(view: View) -> list[Pair]:
    """Who waits for whom, the worst first."""
    found = running.pairs(await clocks.tallies(view.read, view.now))
    return [pair for pair in found if view.sees(pair.awaits, pair.agency)]


async def due(view: View, limit: int, **which: Any) -> Sequence[RunningClock]:
    """The clocks that are due next; those of their own agency alone for whom does not see the county."""
    if not view.sees("") and not which:
        which = {"concerning": view.actor.agency}
    found = await clocks.running(view.read, limit=limit, **which)
    return [clock for clock in found if view.sees(clock.agency, clock.awaits)]


async def happened(view: View, limit: int) -> list[LogEntry]:
    """The last events of cases and clocks that this reader may see, the newest first."""
    newest = select(LogEntryRow).where(col(LogEntryRow.feed).in_(("cases", "clocks")))
    newest = newest.where(col(LogEntryRow.source) != sharing.SOURCE)
    found = await view.read.all(LogEntry, newest.order_by(col(LogEntryRow.position).desc()).limit(LOOKED_AT))
    return (await visible(view, found))[:limit]


async def visible(view: View, entries: Iterable[LogEntry]) -> list[LogEntry]:
    """Those of the entries that this reader may see."""
    seen = await feeds.seen(view.read, view.actor, view.own, entries)
    return [one for one, situation in seen if access.permits(view.actor, "entry.read", situation)]


async def cases(view: View, **which: Any) -> list[PicturedCase]:
    """Open cases of the picture that is read: held by an agency, disputed, or sent to and fro."""
    current = await view.read.one(Picture, name="current")
    statement = select(PicturedCaseRow).where(
        col(PicturedCaseRow.generation) == (current or picture.FIRST).generation,
        col(PicturedCaseRow.stage).in_(picture.OPEN),
    )
    if holder := which.get("holder"):
        statement = statement.where(col(PicturedCaseRow.holder) == holder)
    if which.get("disputed"):
        statement = statement.where(col(PicturedCaseRow.dispute) != "")
    if returns := which.get("returns"):
        statement = statement.where(col(PicturedCaseRow.returns) >= returns)
    order = col(PicturedCaseRow.moved_at), col(PicturedCaseRow.case)
    found = await view.read.all(PicturedCase, statement.order_by(*order).limit(MOST))
    return [one for one in found if view.reads_cases_of(one.holder, *one.disputants.split())]


async def transfers(view: View, agency: str) -> list[Offer]:
    """The transfers that wait for this agency, or for another's answer to it, the oldest first."""
    current = await view.read.one(Picture, name="current")
    statement = select(OfferRow).where(
        col(OfferRow.generation) == (current or picture.FIRST).generation,
        col(OfferRow.state) == "waiting",
        (col(OfferRow.to_agency) == agency) | (col(OfferRow.from_agency) == agency),
    )
    found = await view.read.all(Offer, statement.order_by(col(OfferRow.offered_at)).limit(MOST))
    return [offer for offer in found if view.reads_cases_of(offer.from_agency, offer.to_agency)]


@dataclass(frozen=True, slots=True)
class File:
    """A case: what this reader may see of what happened, and where it stands if they follow it to its end."""

    entries: Sequence[LogEntry]
    standing: PicturedCase | None
    clocks: Sequence[RunningClock]


async def file(view: View, case: str) -> File:
    """A case as this reader may see it. Raises NotFound."""
    whole = select(LogEntryRow).where(
        col(LogEntryRow.stream) == f"case/{case}", col(LogEntryRow.source) == said.SOURCE
    )
    entries = await view.read.all(LogEntry, whole.order_by(col(LogEntryRow.seq).desc()).limit(MOST))
    entries.reverse()
    seen = await visible(view, entries)
    if not seen:
        raise errors.NotFound
    standing = None
    if seen[-1] is entries[-1]:  # who no longer follows the case is not told where it is now
        current = await view.read.one(Picture, name="current")
        slot = picture.slot_of((current or picture.FIRST).generation)
        standing = await view.read.one(PicturedCase, case=case, slot=slot)
    running = await due(view, MOST, about=f"case/{case}")
    return File(seen, standing, running)
