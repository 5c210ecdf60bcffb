"""The audience of an event: who gets a right to its stream, and what an agency is to each event of it.

The one answer for every way out: `sharing` asks it for its feeds, `notify` for its webhooks; each keeps the
rights in a table of its own. A right begins and ends at events of its own stream, so what an agency is to an
event is settled when that event is heard, and never changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from typing import Any, NamedTuple, Protocol

from libs.common.contracts import cases as said
from libs.common.contracts import notify
from libs.common.contracts.event import Event
from libs.common.contracts.notify import NoticeIssued, NoticeReceived
from libs.common.permit import Role

#: As what an agency came to a stream; it stays that when others join.
HOLDER, RECIPIENT, ADDRESSEE = "holder", "recipient", "addressee"
#: And to a case that is disputed, or for which help was asked.
DISPUTANT, REQUESTED = "disputant", "requested"
#: What an agency is to an event of a clock, a letter or an endpoint that names it.
CONCERNED = "concerned"
#: What every agency of the county is to an event of the register.
COUNTY = "county"
#: The office of the joint meeting.
COORDINATING = "coordinating"

#: Who reads a case at an agency that is party to it; the same as in `cases`.
READERS = frozenset({Role.HANDLER, Role.APPROVER, Role.AUDITOR})
OVERSEERS = frozenset({Role.COORDINATOR, Role.AUDITOR})
OFFICIALS = READERS | OVERSEERS | {Role.REGISTRAR}

#: Who reads an event, by what their agency is to it.
READS: Mapping[str, frozenset[Role]] = {
    HOLDER: READERS,
    RECIPIENT: READERS,
    DISPUTANT: READERS,
    REQUESTED: READERS,
    ADDRESSEE: OFFICIALS,
    CONCERNED: OFFICIALS,
    COUNTY: OFFICIALS,
    COORDINATING: OVERSEERS,
}

#: Attributes of an event that a reader gets as they were; a chain is verified from them.
KEPT = (
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
        notify.CalendarUpdated.TYPE,
        notify.LimitSet.TYPE,
        notify.PolicySet.TYPE,
    }
)

#: Events that are for the agencies which they name themselves: the kinds of their streams, and the fields.
_NAMING: Mapping[str, tuple[str, ...]] = {
    "clock": ("agency", "awaits"),
    "supervision": ("agency", "issuer"),
    "endpoint": ("agency",),
}


_ASSISTANCE = (
    said.AssistanceRequested,
    said.AssistanceReplied,
    said.AssistanceRefused,
    said.AssistanceExtended,
    said.AssistanceWithdrawn,
)


class Begun(NamedTuple):
    """A right to the event's stream that begins with the event."""

    agency: str
    ground: str  #: what gives it: the clue, a transfer's id, the notice
    relation: str
    once: bool = False  #: the right is to this event alone


class Ended(NamedTuple):
    """The right that ends with the event, which its holder still sees."""

    agency: str
    ground: str


class Right(Protocol):
    """An agency sees a stream from one of its events on, up to another; both are counted in."""

    @property
    def stream(self) -> str: ...
    @property
    def relation(self) -> str: ...
    @property
    def from_seq(self) -> int: ...
    @property
    def until_seq(self) -> int | None: ...


class Placed(Protocol):
    """An event at its place in its stream."""

    @property
    def stream(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def about(self) -> str:
        """The stream of the event that it tells of; who sees that event sees this too."""

    @property
    def about_seq(self) -> int: ...
    @property
    def county(self) -> bool: ...


def moves(event: Event | None) -> tuple[Begun | Ended, ...]:
    """The rights that begin and end with this event; an unknown event is None, and gives none.

    Who declined a case, or lost it or the offer of it, sees that, and nothing of what follows. An acceptance
    changes nothing: the recipient's right goes on, and so does the sender's.
    """
    match event:
        case said.ClueRegistered():
            return (Begun(event.holder, "clue", HOLDER),)
        case said.TransferOffered():
            return (Begun(event.to_agency, event.transfer, RECIPIENT),)
        case said.TransferReturned() | said.TransferWithdrawn():
            return (Ended(event.to_agency, event.transfer),)
        case _ if isinstance(event, _ASSISTANCE):
            # Who is asked for help sees what is said of that request, and nothing else of the case.
            return (Begun(event.requested_agency, event.assistance, REQUESTED, once=True),)
        case NoticeIssued():
            return (Begun(event.agency, "notice", ADDRESSEE),)
    return _of_dispute(event)


def _of_dispute(event: Event | None) -> tuple[Begun | Ended, ...]:
    match event:
        case said.DisputeOpened():
            # Who declined the case had lost sight of it. Who offered it holds it, and sees it anyway.
            return (Begun(event.parties[1], event.dispute, DISPUTANT),)
        case said.DisputeLeadNamed():
            return (Begun(event.lead, f"{event.dispute}/lead", HOLDER),)
        case said.DisputeSettled() | said.DisputeRuled():
            gets = Begun(event.competent_agency, f"{event.dispute}/end", HOLDER)
            return (Ended(event.parties[1], event.dispute), gets)
    return ()


def told_of(event: Event | None) -> tuple[str, int] | None:
    """The stream and seq of the case's event that a notice or a receipt tells of; None for no case."""
    if not isinstance(event, NoticeIssued | NoticeReceived) or not event.about.startswith("case/"):
        return None
    stream, _, number = event.event.rpartition("/")
    return (stream, int(number)) if stream == event.about and _SEQ.fullmatch(number) else None


def about(event: Event | None) -> tuple[str, int] | None:
    """The event whose readers see this one too, by stream and seq: a receipt concerns who sent the case."""
    return told_of(event) if isinstance(event, NoticeReceived) else None


def reads(roles: Set[Role], relations: Iterable[str]) -> bool:
    """Whether somebody with these roles at an agency in these relations to an event reads it."""
    return any(roles & READS.get(relation, frozenset()) for relation in relations)


def is_of_county(type_: str) -> bool:
    """Whether every agency of the county sees events of this type: those of the register."""
    return type_ in _COUNTY


def relations(event: Placed, rights: Iterable[Right]) -> frozenset[str]:
    """What an agency with these rights is to the event: a right to its stream, or to what it tells of."""
    found = {
        right.relation
        for right in rights
        if covers(right, event.stream, event.seq) or covers(right, event.about, event.about_seq)
    }
    return frozenset(found | {COUNTY}) if event.county else frozenset(found)


def concerning(stream: str, data: Any, agency: str) -> frozenset[str]:
    """What an agency is to an event that names whom it concerns: of a clock, a letter, an endpoint."""
    fields = _NAMING.get(stream.partition("/")[0], ())
    named = agency and isinstance(data, Mapping) and agency in (data.get(field) for field in fields)
    return frozenset({CONCERNED}) if named else frozenset()


def covers(right: Right, stream: str, seq: int) -> bool:
    """Whether the right is to this event of this stream."""
    ended = right.until_seq is not None and seq > right.until_seq
    return right.stream == stream and right.from_seq <= seq and not ended
