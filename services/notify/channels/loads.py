"""What verbs, questions and the courier must know of endpoints and messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import and_, exists, func, or_, select
from sqlmodel import col

from libs.common import errors
from libs.common.permit import Actor
from libs.common.store import schema
from libs.common.store.reading import Reader
from libs.common.store.seam import head_of, rows_of
from services.notify import access
from services.notify.channels import rules
from services.notify.channels.rules import Fate, File, Happened, Registration, Sending
from services.notify.channels.tables import (
    Audience,
    Delivery,
    Endpoint,
    EndpointRow,
    Line,
    LineRow,
    Message,
    MessageRow,
)
from services.notify.routing import loads as routing
from services.notify.routing.tables import Addressee

_ENDPOINTS = schema.table(EndpointRow)
_LINES = schema.table(LineRow)
_MESSAGES = schema.table(MessageRow)


async def file(read: Reader, endpoint: str) -> File:
    """An endpoint with its line. Raises NotFound."""
    await read.ahead(
        head_of("endpoint", endpoint),
        head_of("line", endpoint),
        rows_of(Endpoint, id=endpoint),
        rows_of(Line, endpoint=endpoint),
    )
    row = await read.one(Endpoint, id=endpoint)
    line = await read.one(Line, endpoint=endpoint)
    if row is None or line is None or row.state == "removed":
        raise errors.NotFound
    return File(await read.head("endpoint", endpoint), row, await read.head("line", endpoint), line)


async def seen(read: Reader, actor: Actor, endpoint: Endpoint) -> access.Situation:
    """What the actor's agency is to the endpoint."""
    relations = frozenset({access.OWNER} if actor.agency == endpoint.agency else ())
    return await routing.situation(read, actor, relations)


async def registration(read: Reader, agency: str) -> Registration:
    statement = select(func.count().label("n")).select_from(_ENDPOINTS)
    kept = statement.where(_ENDPOINTS.c.agency == agency, _ENDPOINTS.c.state != "removed")
    return Registration((await read.rows(kept))[0]["n"])


async def page(read: Reader, agency: str | None, limit: int, after: str | None) -> Sequence[Endpoint]:
    """Endpoints of an agency, or of all, by id; one more than asked for where there is more."""
    statement = select(EndpointRow).where(col(EndpointRow.state) != "removed")
    if agency is not None:
        statement = statement.where(col(EndpointRow.agency) == agency)
    if after is not None:
        statement = statement.where(col(EndpointRow.id) > after)
    return await read.all(Endpoint, statement.order_by(col(EndpointRow.id)).limit(limit + 1))


async def sent(read: Reader, message: str) -> Sending:
    """A message with its endpoint. Raises NotFound."""
    found = await read.one(Message, id=message)
    if found is None:
        raise errors.NotFound
    return Sending(await file(read, found.endpoint), found)


async def deliveries(read: Reader, message: str) -> Sequence[Delivery]:
    """The attempts at a message, the first one first."""
    found = await read.all(Delivery, message=message)
    return sorted(found, key=lambda delivery: delivery.number)


async def window(read: Reader, endpoint: str, since: datetime, until: datetime | None) -> Sequence[Message]:
    """Events that were written for the endpoint in this time and wait no longer, the oldest first."""
    statement = select(MessageRow).where(
        col(MessageRow.endpoint) == endpoint,
        col(MessageRow.state) != "waiting",
        col(MessageRow.kind) == "event",
        col(MessageRow.written_at) >= since,
    )
    if until is not None:
        statement = statement.where(col(MessageRow.written_at) < until)
    oldest = statement.order_by(col(MessageRow.position)).limit(rules.RECOVERED + 1)
    return await read.all(Message, oldest)


async def due(read: Reader, now: datetime) -> Sequence[str]:
    """Endpoints to which something may be sent now."""
    waiting = exists().where(_MESSAGES.c.endpoint == _ENDPOINTS.c.id, _MESSAGES.c.state == "waiting")
    proving = _MESSAGES.c.kind == "challenge"
    sendable = or_(
        and_(_ENDPOINTS.c.state == "enabled", waiting.where(~proving)),
        and_(_ENDPOINTS.c.state == "unverified", waiting.where(proving)),
    )
    lines = _ENDPOINTS.join(_LINES, _LINES.c.endpoint == _ENDPOINTS.c.id)
    statement = select(_ENDPOINTS.c.id).select_from(lines)
    return [row["id"] for row in await read.rows(statement.where(_LINES.c.due_at <= now, sendable))]


async def sending(read: Reader, endpoint: str, now: datetime) -> Sending | None:
    """The first message of a line, if it may be sent now; of challenges the newest."""
    try:
        s = await file(read, endpoint)
    except errors.NotFound:
        return None
    if s.endpoint.state == "disabled" or s.line.due_at > now:
        return None
    message = await first(read, s.endpoint)
    return Sending(s, message) if message else None


async def first(read: Reader, endpoint: Endpoint) -> Message | None:
    """What is sent to the endpoint next: to prove its address, the newest challenge."""
    waiting = select(MessageRow).where(
        col(MessageRow.endpoint) == endpoint.id, col(MessageRow.state) == "waiting"
    )
    kind, position = col(MessageRow.kind), col(MessageRow.position)
    if endpoint.state == "unverified":
        chosen = waiting.where(kind == "challenge").order_by(position.desc())
    else:
        chosen = waiting.where(kind != "challenge").order_by(position)
    found = await read.all(Message, chosen.limit(1))
    return found[0] if found else None


async def fates(read: Reader, event: str, type_: str, agency: str) -> Sequence[Fate]:
    """What became of an event at each endpoint of an agency."""
    stream, _, number = event.rpartition("/")
    kept = await page(read, agency, rules.MOST, None)
    if not kept:
        return []
    whose = await read.one(Audience, stream=stream) or Audience(stream=stream, rights=[])
    happened = Happened(None, event, "", type_, stream, int(number), {}, None, whose, None)
    messages = {message.endpoint: message for message in await read.all(Message, event=event)}
    own = await read.one(Addressee, agency=agency)
    return [rules.fate(endpoint, messages.get(endpoint.id), happened, own) for endpoint in kept]


async def states(read: Reader) -> Mapping[str, int]:
    """How many endpoints there are in each state; `failing` are those of the enabled that last failed."""
    failing = _LINES.c.failing_since.is_not(None)
    lines = _ENDPOINTS.join(_LINES, _LINES.c.endpoint == _ENDPOINTS.c.id)
    statement = select(_ENDPOINTS.c.state, failing.label("failing"), func.count().label("n"))
    grouped = statement.select_from(lines).group_by(_ENDPOINTS.c.state, failing)
    counts = dict.fromkeys(("unverified", "enabled", "failing", "disabled"), 0)
    for row in await read.rows(grouped):
        state = "failing" if row["failing"] and row["state"] == "enabled" else row["state"]
        counts[state] = counts.get(state, 0) + row["n"]
    return counts
