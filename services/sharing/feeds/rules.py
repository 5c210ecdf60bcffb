"""What enters the log, who gets a right to see it, and what a reader is shown.

A right begins and ends at events of its own stream, so whether an agency may see an entry is settled when it
is written and never changes: what was withheld stays withheld at its position, however often it is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from libs.common import errors
from libs.common.change import Change, Head
from libs.common.contracts import cases as said
from libs.common.contracts.event import Event
from libs.common.contracts.notify import NoticeIssued, NoticeReceived
from services.sharing.feeds.tables import EarlyEntries, LogEntry, Member, Right

#: The counter of the log's positions.
LOG = "log"
#: The type of a stub: an entry that its reader may not see.
WITHHELD = "liandong.entry.withheld.v1"

#: Attributes of the original event that a reader gets as they were; a chain is verified from them.
_KEPT = (
    "type",
    "subject",
    "time",
    "sequence",
    "recordedtime",
    "actedon",
    "correlationid",
    "causationid",
    "partitionkey",
    "dataclassification",
    "traceparent",
    "chain",
    "privatedigest",
)

_SEQ = re.compile(r"[0-9]{1,9}")

_COUNTY = frozenset(
    {
        said.AgencyRegistered.TYPE,
        said.OfficerCertified.TYPE,
        said.PowerPublished.TYPE,
        said.GrantEffected.TYPE,
        said.GrantRecalled.TYPE,
    }
)


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
    "cases": Feed("案件及其移送、争议、协助", frozenset({"case"})),
    "notices": Feed("通知与签收", frozenset({"notice"})),
    "register": Feed("机关、人员、职权与赋权名录", frozenset({"agency", "officer", "power", "grant"})),
    "picture": Feed("协同态势", frozenset({"picture"})),
}


@dataclass(frozen=True, slots=True)
class Desk:
    """What entering an event depends on."""

    #: The right that the event may end.
    right: Right | None = None
    #: What waits for events of the entry's stream, or of the stream that it tells of.
    early: EarlyEntries | None = None
    #: How far the stream that it tells of has been heard; None where it tells of no case.
    gate: Head | None = None


def feed_of(stream: str) -> str:
    """The feed beside "all" in which entries of this stream stand, empty for none."""
    kind = stream.partition("/")[0]
    return next((name for name, feed in FEEDS.items() if feed.kinds and kind in feed.kinds), "")


def is_of_county(type_: str) -> bool:
    """Whether every agency of the county sees events of this type: those of the register."""
    return type_ in _COUNTY


def told_of(event: Event | None) -> tuple[str, int] | None:
    """The stream and seq of the case's event that a notice or a receipt tells of; None for no case."""
    if not isinstance(event, NoticeIssued | NoticeReceived) or not event.about.startswith("case/"):
        return None
    stream, _, number = event.event.rpartition("/")
    return (stream, int(number)) if stream == event.about and _SEQ.fullmatch(number) else None


def enter(s: Desk, entry: LogEntry, event: Event | None) -> Change:
    """Give the event its place in the log, with the rights that begin or end with it.

    Word of a case's event never stands before that event: where it has come first, it waits here.
    """
    meant = _RIGHTS.get(entry.type)
    rights = meant(s, entry, event) if meant else Change()
    of = told_of(event)
    if of and s.gate and s.gate.seq < of[1]:
        return Change.all_of([rights, _wait(s.early, s.gate, entry, *of)])
    due, rest = _due(s.early if not of else None, entry)
    return Change.all_of([rights, rest, Change().numbering(LOG, entry, *due)])


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


def relations(entry: LogEntry, rights: Iterable[Right]) -> frozenset[str]:
    """What an agency with these rights is to the entry: a right to its stream, or to what it tells of."""
    found = {
        right.relation
        for right in rights
        if _covers(right, entry.stream, entry.seq) or _covers(right, entry.about, entry.about_seq)
    }
    return frozenset(found | {"county"}) if entry.county else frozenset(found)


def _covers(right: Right, stream: str, seq: int) -> bool:
    ended = right.until_seq is not None and seq > right.until_seq
    return right.stream == stream and right.from_seq <= seq and not ended


def shown(entry: LogEntry, feed: str) -> dict[str, Any]:
    """The entry as an event of this feed: its id is its position, its first id and source go with it."""
    return {
        **_named(entry.position, feed),
        **{name: entry.attributes[name] for name in _KEPT if name in entry.attributes},
        "originid": entry.event_id,
        "originsource": entry.source,
        "datacontenttype": "application/json",
        "data": entry.data,
    }


def withheld(position: int, feed: str) -> dict[str, Any]:
    """What a reader gets in place of an entry that they may not see: its position, and nothing else."""
    return {**_named(position, feed), "type": WITHHELD}


def source_of(feed: str) -> str:
    """The feed as the source of its events."""
    return f"/services/sharing/feeds/{feed}"


def _named(position: int, feed: str) -> dict[str, Any]:
    return {"specversion": "1.0", "id": str(position), "source": source_of(feed)}


def _on_agency(s: Desk, entry: LogEntry, event: said.AgencyRegistered) -> Change:
    member = Member(
        agency=event.agency,
        name=event.name,
        kind=event.kind,
        division=event.division,
        coordinates=event.coordinates,
    )
    return Change().putting(member)


def _on_clue(s: Desk, entry: LogEntry, event: said.ClueRegistered) -> Change:
    return _begin(entry, event.holder, ground="clue", relation="holder")


def _on_offer(s: Desk, entry: LogEntry, event: said.TransferOffered) -> Change:
    # An acceptance changes nothing here: the recipient's right goes on, and so does the sender's.
    return _begin(entry, event.to_agency, ground=event.transfer, relation="recipient")


def _on_end_of_offer(s: Desk, entry: LogEntry, event: Any) -> Change:
    """Who declined a case, or lost it or the offer of it, sees that, and nothing of what follows."""
    return Change().putting(s.right.but(until_seq=entry.seq)) if s.right else Change()


def _on_dispute(s: Desk, entry: LogEntry, event: said.DisputeOpened) -> Change:
    # Who declined the case had lost sight of it. Who offered it holds it, and sees it anyway.
    return _begin(entry, event.parties[1], ground=event.dispute, relation="disputant")


def _on_lead(s: Desk, entry: LogEntry, event: said.DisputeLeadNamed) -> Change:
    return _begin(entry, event.lead, ground=f"{event.dispute}/lead", relation="holder")


def _on_end_of_dispute(s: Desk, entry: LogEntry, event: Any) -> Change:
    """Who gets the case sees it from here on; who differed and does not sees that, and nothing after."""
    begun = _begin(entry, event.competent_agency, ground=f"{event.dispute}/end", relation="holder")
    return Change.all_of([_on_end_of_offer(s, entry, event), begun])


def _on_assistance(s: Desk, entry: LogEntry, event: Any) -> Change:
    """Who is asked for help sees what is said of that request, and nothing else of the case."""
    right = Right(
        stream=entry.stream,
        agency=event.requested_agency,
        ground=f"{event.assistance}/{entry.seq}",
        relation="requested",
        from_seq=entry.seq,
        until_seq=entry.seq,
    )
    return Change().putting(right)


def _on_notice(s: Desk, entry: LogEntry, event: NoticeIssued) -> Change:
    return _begin(entry, event.agency, ground="notice", relation="addressee")


def _begin(entry: LogEntry, agency: str, *, ground: str, relation: str) -> Change:
    right = Right(stream=entry.stream, agency=agency, ground=ground, relation=relation, from_seq=entry.seq)
    return Change().putting(right)


#: What events mean for who may see what; those that are not here give and take nothing.
_RIGHTS: Mapping[str, Callable[[Desk, LogEntry, Any], Change]] = {
    said.AgencyRegistered.TYPE: _on_agency,
    said.ClueRegistered.TYPE: _on_clue,
    said.TransferOffered.TYPE: _on_offer,
    said.TransferReturned.TYPE: _on_end_of_offer,
    said.TransferWithdrawn.TYPE: _on_end_of_offer,
    said.DisputeOpened.TYPE: _on_dispute,
    said.DisputeLeadNamed.TYPE: _on_lead,
    said.DisputeSettled.TYPE: _on_end_of_dispute,
    said.DisputeRuled.TYPE: _on_end_of_dispute,
    said.AssistanceRequested.TYPE: _on_assistance,
    said.AssistanceReplied.TYPE: _on_assistance,
    said.AssistanceRefused.TYPE: _on_assistance,
    said.AssistanceExtended.TYPE: _on_assistance,
    said.AssistanceWithdrawn.TYPE: _on_assistance,
    NoticeIssued.TYPE: _on_notice,
}
