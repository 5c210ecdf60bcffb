"""What cannot be applied now, as rows: events that are held, keys that are parked, unreadable records."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote, unquote_to_bytes

from libs.common import errors
from libs.common.change import Change, Head
from libs.common.clock import Clock, Moment
from libs.common.log import envelope
from libs.common.log.envelope import Heard
from libs.common.log.seam import Partition, Record
from libs.common.store import schema

#: Characters of a reason that are kept.
_LONGEST = 2000
#: What stands for itself in the headers of a parked record; all else is percent-encoded.
_VISIBLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def park(event: Heard, gate: Head, why: errors.Refusal | errors.Poison, at: Moment) -> Change:
    """Set the event's stream aside, with the reason and the event."""
    key = schema.ParkedKey(
        source=source_of(event),
        stream=event.stream,
        seq=event.seq,
        type=event.type,
        reason=_storable(str(why)),
        trace=event.trace.correlation,
        since=at.now,
    )
    # The gate stays where it is, but must be there: elsewhere the event may just have been applied.
    return Change().putting(key, _held(event, at)).ending(gate, seq=gate.seq, digest=gate.digest)


def held_event(event: Heard, clock: Clock) -> schema.HeldEvent:
    """The row that keeps an event until its turn comes."""
    return _held(event, Moment(clock.now(), event.trace))


def _held(event: Heard, at: Moment) -> schema.HeldEvent:
    return schema.HeldEvent(
        source=source_of(event),
        stream=event.stream,
        seq=event.seq,
        headers=dict(event.attributes),
        value=event.value,
        since=at.now,
    )


def _storable(reason: str) -> str:
    """A reason may quote anything; no text of PostgreSQL holds a NUL, and none holds half a character."""
    return reason.replace("\0", "�").encode(errors="replace").decode()[:_LONGEST]


def source_of(event: Heard) -> str:
    """The short name of the service that said it."""
    return event.source.rpartition("/")[2]


def reread(record: schema.ParkedRecord) -> Heard:
    """A record that was parked because it could not be read, through the same checks as when it came.

    Raises Unreadable: nothing that was refused then passes now, unless this release reads more.
    """
    headers = ((unquote(name), unquote_to_bytes(value)) for name, value in record.headers.items())
    partition = Partition(record.topic, record.partition)
    return envelope.read(Record(partition, record.offset, record.key, record.value, tuple(headers)))


def decoded(records: Sequence[Record], clock: Clock) -> tuple[list[Heard], list[schema.ParkedRecord]]:
    """The events in these records, and the rows that keep what cannot be read."""
    events: list[Heard] = []
    unread: list[schema.ParkedRecord] = []
    for record in records:
        try:
            events.append(envelope.read(record))
        except envelope.Unreadable as why:
            unread.append(
                schema.ParkedRecord(
                    topic=record.partition.topic,
                    partition=record.partition.number,
                    offset=record.offset,
                    key=record.key,
                    value=record.value,
                    headers={quote(name, _VISIBLE): quote(value, _VISIBLE) for name, value in record.headers},
                    reason=_storable(str(why)),
                    since=clock.now(),
                )
            )
    return events, unread
