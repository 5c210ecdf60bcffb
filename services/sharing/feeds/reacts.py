"""What the log does when it hears an event, whatever its type: it enters."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import orjson

from libs.common import audience
from libs.common.change import Change, gate_of
from libs.common.clock import Moment
from libs.common.contracts import cases as said
from libs.common.contracts.event import Event
from libs.common.edge import Report
from libs.common.log.envelope import Heard
from libs.common.store.reading import Known, Want
from services.sharing.feeds import rules
from services.sharing.feeds.rules import Desk
from services.sharing.feeds.tables import EarlyEntries, LogEntry, Right


def on_event(known: Known, event: Event | None, heard: Heard, at: Moment) -> Change:
    """Give it its place in the log; the event is None where its type is not in our catalogue."""
    of = audience.told_of(event)
    whose = {moved.agency for moved in audience.moves(event)}
    rights = known.all(Right) if whose else ()
    desk = Desk(
        rights=tuple(r for r in rights if r.stream == heard.stream and r.agency in whose),
        early=known.one(EarlyEntries, of[0] if of else heard.stream),
        gate=known.head(*gate_of(said.SOURCE, of[0])) if of else None,
    )
    return rules.enter(desk, entry(event, heard), event)


def entry(event: Event | None, heard: Heard) -> LogEntry:
    """The event as the log keeps it."""
    of = audience.about(event)
    return LogEntry(
        event_id=heard.id,
        source=heard.source,
        type=heard.type,
        stream=heard.stream,
        seq=heard.seq,
        feed=rules.feed_of(heard.stream),
        county=audience.is_of_county(heard.type),
        about=of[0] if of else "",
        about_seq=of[1] if of else 0,
        recorded_at=heard.recorded_at,
        attributes=dict(heard.attributes),
        data=orjson.loads(heard.value),
    )


def wants(event: Event | None, heard: Heard) -> Iterable[Want]:
    """The rows that entering it depends on."""
    of = audience.told_of(event)
    yield Want(EarlyEntries, (of[0] if of else heard.stream,))
    for moved in audience.moves(event):
        yield Want(Right, (heard.stream, moved.agency), by=("stream", "agency"))


def streams(event: Event | None, heard: Heard) -> Iterable[tuple[str, str]]:
    """The heads that entering it depends on: how far the case has been heard that it tells of."""
    of = audience.told_of(event)
    return [gate_of(said.SOURCE, of[0])] if of else []


def seen_after(report: Report, now: datetime) -> list[float]:
    """For each case filed that has entered the log just now, the seconds until it could be seen there."""
    filed = [heard for heard in report.applied if heard.type == said.CaseFiled.TYPE]
    return [max((now - heard.recorded_at).total_seconds(), 0.0) for heard in filed]
