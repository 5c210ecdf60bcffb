"""What enters the log, who gets a right to see it, and what a reader is shown.

Whether an agency may see an entry is settled when it is written (libs/common/audience.py): what was withheld
stays withheld at its position, however often it is read. What was withheld before a right began is disclosed
by entries of their own, behind the event that gave it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from libs.common import audience, errors
from libs.common.change import Change, Head
from libs.common.contracts import cases as said
from libs.common.contracts import sharing
from libs.common.contracts.event import Event
from services.sharing.feeds.tables import EarlyEntries, LogEntry, Member, Right

#: The counter of the log's positions.
LOG = "log"
#: The type of a stub: an entry that its reader may not see.
WITHHELD = "liandong.entry.withheld.v1"
#: The type of an entry that shows an agency an older one, which it was given as a stub.
DISCLOSED = "liandong.entry.disclosed.v1"
#: The type of an entry that tells an agency to forget what was disclosed to it.
WITHDRAWN = "liandong.entry.withdrawn.v1"
#: The kind of the streams of such entries: one for each right, named by what gave it.
DISCLOSURE = "disclosure"

#: Attributes that an entry of a disclosure has of the event by which it came.
_OF_CAUSE = ("time", "recordedtime", "correlationid", "traceparent", "dataclassification")


class PositionAhead(errors.Conflict):
    """The reader has seen a position that this log has not: it follows another log, or one made anew."""

    code = "position-ahead"
    title = "起始位置超出日志末尾，该订阅源可能已更换"


@dataclass(frozen=True, slots=True)
class Feed:
    """A filter over the one log: streams of these kinds, all of them for None."""

    zh: str
    kinds: frozenset[str] | None


#: Every feed there is, by name.
FEEDS: Mapping[str, Feed] = {
    "all": Feed("全部记录", None),
    "cases": Feed("案件及其移送、争议、协助", frozenset({"case", DISCLOSURE})),
    "notices": Feed("通知与签收", frozenset({"notice"})),
    "clocks": Feed("时限与督办", frozenset({"clock", "supervision"})),
    "register": Feed(
        "机关、人员、职权与赋权名录，节假日安排与时限规则",
        frozenset({"agency", "officer", "power", "grant", "calendar", "limit", "policy"}),
    ),
    "picture": Feed("协同态势", frozenset({"picture"})),
}


@dataclass(frozen=True, slots=True)
class Desk:
    """What entering an event depends on."""

    #: All rights to the stream that the agencies had whose rights begin or end.
    rights: tuple[Right, ...] = ()
    #: What waits for events of the entry's stream, or of the stream that it tells of.
    early: EarlyEntries | None = None
    #: How far the stream that it tells of has been heard; None where it tells of no case.
    gate: Head | None = None


def feed_of(stream: str) -> str:
    """The feed beside "all" in which entries of this stream stand, empty for none."""
    kind = stream.partition("/")[0]
    return next((name for name, feed in FEEDS.items() if feed.kinds and kind in feed.kinds), "")


def enter(s: Desk, entry: LogEntry, event: Event | None) -> Change:
    """Give the event its place in the log, with the rights that begin or end with it.

    Word of a case's event never stands before that event: where it has come first, it waits here.
    """
    rights = _rights(s, entry, event)
    of = audience.told_of(event)
    if of and s.gate and s.gate.seq < of[1]:
        return Change.all_of([rights, _wait(s.early, s.gate, entry, *of)])
    due, rest = _due(s.early if not of else None, entry)
    past, theirs = _disclosing(s, entry, rights)
    return Change.all_of([rights, theirs, rest, Change().numbering(LOG, entry, *past, *due)])


def _disclosing(s: Desk, entry: LogEntry, rights: Change) -> tuple[list[LogEntry], Change]:
    """The entries that follow upon a right which begins or ends here, and the right to see them."""
    past: list[LogEntry] = []
    theirs = Change()
    moved = [row.entry for row in rights.rows if isinstance(row.entry, Right)]
    staying = {right.agency for right in moved if right.until_seq is None}
    for right in moved:
        before = hidden_before(right, [one for one in s.rights if one.agency == right.agency])
        if right.until_seq == right.from_seq:
            continue  # to one event alone: what lies before it is none of its holder's business
        if before and right.until_seq is None:
            past += [_about_past(right, entry, DISCLOSED, n, [seq]) for n, seq in enumerate(before, 1)]
            theirs = theirs.putting(right.but(stream=_disclosure(right), from_seq=1))
        elif before and right.agency not in staying:
            past.append(_about_past(right, entry, WITHDRAWN, len(before) + 1, before))
    return past, theirs


def hidden_before(right: Right, all_: Iterable[Right]) -> list[int]:
    """The seqs of the stream that its agency was given as stubs when this right began.

    None where another right of the agency went on at that time: what lies before was disclosed with that one.
    """
    earlier = [other for other in all_ if other.from_seq < right.from_seq]
    if any(audience.covers(other, right.stream, right.from_seq) for other in earlier):
        return []
    return [
        n for n in range(1, right.from_seq) if not any(audience.covers(o, right.stream, n) for o in earlier)
    ]


def _disclosure(right: Right) -> str:
    return f"{DISCLOSURE}/{right.ground}"


def _about_past(right: Right, cause: LogEntry, type_: str, seq: int, seqs: list[int]) -> LogEntry:
    """An entry that names older ones of the right's stream; their positions are looked up when it is read."""
    stream = _disclosure(right)
    kept = {name: cause.attributes[name] for name in _OF_CAUSE if name in cause.attributes}
    own = {"type": type_, "subject": stream, "sequence": str(seq), "causationid": cause.event_id}
    return LogEntry(
        event_id=f"{stream}/{seq}",
        source=sharing.SOURCE,
        type=type_,
        stream=stream,
        seq=seq,
        feed=cause.feed,
        county=False,
        recorded_at=cause.recorded_at,
        attributes={**kept, **own},
        data={"stream": right.stream, "seqs": seqs},
    )


def named(entry: LogEntry) -> tuple[str, list[int]] | None:
    """The stream and seqs of the older events that an entry of a disclosure names; None for any other."""
    if entry.source != sharing.SOURCE or entry.type not in (DISCLOSED, WITHDRAWN):
        return None
    return entry.data["stream"], entry.data["seqs"]


def looked_up(entry: LogEntry, older: Iterable[LogEntry], feed: str) -> LogEntry:
    """An entry of a disclosure as it is read: what it discloses stands in it, with the old positions."""
    if entry.type == WITHDRAWN:
        positions = [old.position for old in older]
        return entry.but(data={"subject": entry.data["stream"], "positions": positions})
    (old,) = older
    return entry.but(data={"position": old.position, "event": shown(old, feed)})


def _wait(early: EarlyEntries | None, gate: Head, entry: LogEntry, about: str, seq: int) -> Change:
    waiting = [*(early.waiting if early else ()), {"behind": seq, "entry": entry.model_dump(mode="json")}]
    # The gate is owned, so that the event which is waited for cannot pass by at the same time.
    return Change().owning(gate).putting(EarlyEntries(about=about, waiting=waiting))


def _due(early: EarlyEntries | None, entry: LogEntry) -> tuple[list[LogEntry], Change]:
    """What has waited for this entry, and the Change that lets it go."""
    if early is None:
        return [], Change()
    due = [LogEntry.model_validate(w["entry"]) for w in early.waiting if w["behind"] <= entry.seq]
    rest = [w for w in early.waiting if w["behind"] > entry.seq]
    kept = Change().putting(early.but(waiting=rest)) if rest else Change().deleting(early)
    return due, kept


def shown(entry: LogEntry, feed: str) -> dict[str, Any]:
    """The entry as an event of this feed: its id is its position, its first id and source go with it."""
    return {
        **_placed(entry.position, feed),
        **{name: entry.attributes[name] for name in audience.KEPT if name in entry.attributes},
        "originid": entry.event_id,
        "originsource": entry.source,
        "datacontenttype": "application/json",
        "data": entry.data,
    }


def withheld(position: int, feed: str) -> dict[str, Any]:
    """What a reader gets in place of an entry that they may not see: its position, and nothing else."""
    return {**_placed(position, feed), "type": WITHHELD}


def source_of(feed: str) -> str:
    """The feed as the source of its events."""
    return f"/services/sharing/feeds/{feed}"


def _placed(position: int, feed: str) -> dict[str, Any]:
    return {"specversion": "1.0", "id": str(position), "source": source_of(feed)}


def _rights(s: Desk, entry: LogEntry, event: Event | None) -> Change:
    """What the event means for who may see what."""
    if isinstance(event, said.AgencyRegistered):
        return _on_agency(event)
    change = Change()
    for moved in audience.moves(event):
        if isinstance(moved, audience.Begun):
            change = change.putting(_begun(entry, moved))
        else:
            change = change.putting(*(_ended(right, entry) for right in s.rights if _is(right, moved)))
    return change


def _begun(entry: LogEntry, begun: audience.Begun) -> Right:
    # A right to one event is one of several that have the same ground.
    ground = f"{begun.ground}/{entry.seq}" if begun.once else begun.ground
    return Right(
        stream=entry.stream,
        agency=begun.agency,
        ground=ground,
        relation=begun.relation,
        from_seq=entry.seq,
        until_seq=entry.seq if begun.once else None,
    )


def _ended(right: Right, entry: LogEntry) -> Right:
    return right.but(until_seq=entry.seq)


def _is(right: Right, ended: audience.Ended) -> bool:
    return (right.agency, right.ground) == ended


def _on_agency(event: said.AgencyRegistered) -> Change:
    member = Member(
        agency=event.agency,
        name=event.name,
        kind=event.kind,
        division=event.division,
        coordinates=event.coordinates,
    )
    return Change().putting(member)
