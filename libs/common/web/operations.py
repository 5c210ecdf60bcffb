"""What every service offers to the other services and to its operators: journal, witnesses, parked keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field
from sqlalchemy import select
from sqlmodel import col
from sqlmodel import select as select_rows

from libs.common import edge, errors
from libs.common.change import Change, Head, gate_of
from libs.common.log import envelope
from libs.common.permit import Actor, Permit
from libs.common.store import schema
from libs.common.store.reading import Reader
from libs.common.store.schema import (
    HeldEventRow,
    JournalEntry,
    JournalRow,
    ParkedKey,
    ParkedKeyRow,
    ParkedRecord,
    ParkedRecordRow,
)
from libs.common.web import paging
from libs.common.web import routes as strict
from libs.common.web.asked import Asked, Doing, Events, asks, does
from libs.common.web.fields import In, Text

#: Entries that one answer gives at most: of the journal, of the witnessed heads.
PAGE = 500

#: The service's own gate: gives a permit for what belongs to the installation and to no case, or raises.
Gate = Callable[[Reader, Actor, str], Awaitable[Permit]]


class FilterIn(In):
    """Which parked keys; what is left out matches all."""

    source: Annotated[str, Text(1, 40)] | None = None
    stream: Annotated[str, Text(1, 200)] | None = None
    type: Annotated[str, Text(1, 200)] | None = None


class RedriveIn(In):
    """重新处理：which keys, at most how many, and whether only to say what would happen."""

    filter: FilterIn = Field(default_factory=FilterIn)
    dry_run: bool
    limit: Annotated[int, Field(ge=1, le=200)] = 50


def routes(gate: Gate, hears: edge.Hears) -> APIRouter:
    """The routes of one service; `gate` is its permit."""
    router = strict.router(prefix="", tag="运行")

    @router.get("/v1/journal", response_class=Events)
    async def journal(
        asked: Annotated[Asked, asks("journal.read")],
        stream: Annotated[str, Query(min_length=3, max_length=200, pattern=r"^[a-z_]+/.+$")],
        after: Annotated[int, Query(ge=0, lt=1 << 31)] = 0,
    ) -> Response:
        """事件日志：某一流中序号大于 after 的事件（供其他服务补缺）。"""
        kind, _, id_ = stream.partition("/")
        statement = (
            select_rows(JournalRow)
            .where(col(JournalRow.kind) == kind, col(JournalRow.id) == id_, col(JournalRow.seq) > after)
            .order_by(col(JournalRow.seq))
            .limit(PAGE)
        )
        async with asked.reading() as read:
            await gate(read, asked.actor, asked.action)
            entries = await read.all(JournalEntry, statement)
        events = [envelope.structured(entry) for entry in entries]
        return asked.show(events, media=Events.media_type)

    @router.get("/v1/witnesses")
    async def witnesses(
        asked: Annotated[Asked, asks("witness.read")],
        source: Annotated[str, Query(min_length=1, max_length=40)],
        stream: Annotated[str | None, Query(min_length=3, max_length=200)] = None,
        cursor: paging.Cursor = None,
    ) -> Response:
        """见证：本服务最后收到的链首，一个流的，或来源服务全部流的；与来源服务的证明和日志互相印证。"""
        async with asked.reading() as read:
            await gate(read, asked.actor, asked.action)
            if stream is None:
                return asked.show(await _witnessed(read, source, cursor))
            head = await read.head(*gate_of(source, stream))
        if head.seq == 0:  # a stream whose first event is parked has a gate, and nothing heard
            raise errors.NotFound
        return asked.show(_shown_head(source, head))

    @router.get("/v1/parked")
    async def parked(asked: Annotated[Asked, asks("parked.read")]) -> Response:
        """搁置的事件：按流列出原因和排队数，以及无法读取的原始记录。"""
        async with asked.reading() as read:
            await gate(read, asked.actor, asked.action)
            keys = await _parked_keys(read, FilterIn(), PAGE)
            waiting = await _waiting(read)
            records = await read.all(ParkedRecord, select_rows(ParkedRecordRow).limit(PAGE))
        return asked.show(
            {
                "data": [_shown_key(key, waiting) for key in keys],
                "records": [_shown_record(record) for record in records],
            }
        )

    @router.post("/v1/redrives", status_code=201)
    async def redrive(doing: Annotated[Doing, does("parked.redrive")], body: RedriveIn) -> Response:
        """重新处理搁置的事件：先试算，再执行；留有操作记录。"""
        async with doing.reading() as read:
            permit = await gate(read, doing.actor, doing.action)
        if old := await doing.replay():
            return old
        begun = _begun(doing, body)
        await doing.here.store.commit(Change().putting(begun))  # the trail stands before the first effect
        results = await _redrive(doing, hears, body)
        return await doing.do(_trail(permit, begun.but(results=results)), body)

    return router


async def _redrive(doing: Doing, hears: edge.Hears, body: RedriveIn) -> list[dict[str, Any]]:
    """Each key by itself, in the order of its events; one that fails again is parked again."""
    here = doing.here
    async with doing.reading() as read:
        keys = await _parked_keys(read, body.filter, body.limit)
        # Bytes that were not readable are of no stream, so any filter leaves them out.
        filtered = body.filter.model_dump(exclude_none=True)
        records = [] if filtered else await read.all(ParkedRecord)
    results = []
    for key in keys:
        report = await edge.drain(
            here.store, hears, (key.source, key.stream), here.clock, retry=True, dry_run=body.dry_run
        )
        results.append(_told(key.source, key.stream, report))
    for record in records[: body.limit - len(keys)]:
        results.append(await _redrive_record(doing, hears, record, body.dry_run))
    return results


async def _redrive_record(
    doing: Doing, hears: edge.Hears, record: ParkedRecord, dry_run: bool
) -> dict[str, Any]:
    """Bytes that a newer release may be able to read; until then they stay as they are."""
    place = f"{record.topic}/{record.partition}/{record.offset}"
    try:
        heard = edge.reread(record)
    except envelope.Unreadable as why:
        return {"record": place, "applied": 0, "parked": [{"reason": str(why)}]}
    here = doing.here
    gate = (edge.source_of(heard), heard.stream)
    report = await edge.drain(here.store, hears, gate, here.clock, fetched=[heard], dry_run=dry_run)
    if not dry_run:
        await here.store.commit(Change().deleting(record))
    return {"record": place, **_told(*gate, report)}


def _told(source: str, stream: str, report: edge.Report) -> dict[str, Any]:
    return {
        "source": source,
        "stream": stream,
        "applied": len(report.applied),
        "parked": [{"seq": heard.seq, "reason": reason} for heard, reason in report.parked],
        "waiting": len(report.held),
    }


def _begun(doing: Doing, body: RedriveIn) -> schema.Redrive:
    """Who has it done and why; the same row for the same Idempotency-Key."""
    at = doing.at
    return schema.Redrive(
        id=doing.id_of("redrive"),
        person=doing.actor.person,
        agency=doing.actor.agency,
        at=at.now,
        dry_run=body.dry_run,
        reason=doing.reason,
        chosen=body.filter.model_dump(exclude_none=True),
        results=[],
    )


def _trail(granted: Permit, done: schema.Redrive) -> edge.Verb[schema.Redrive, RedriveIn]:
    """The verb that completes the trail with what came of it, and keeps the answer."""

    async def load(read: Reader, request: edge.Request[RedriveIn]) -> edge.Loaded[schema.Redrive]:
        return edge.Loaded(None, done)

    def render(change: Change, permit: Permit) -> edge.Rendered:
        row = change.written(schema.Redrive)
        return edge.Rendered({"id": row.id, "dry_run": row.dry_run, "data": row.results})

    return edge.Verb(
        action="parked.redrive",
        names=lambda request: (),
        load=load,
        permit=lambda actor, action, situation: granted,
        decide=lambda facts, request: Change().putting(facts),
        render=render,
    )


async def _witnessed(read: Reader, source: str, cursor: str | None) -> dict[str, Any]:
    """A page of the heads heard of a source, in the order of their gates."""
    table = schema.table(schema.HeadRow)
    kind, first = gate_of(source, "")
    after = paging.key_of(cursor)[0] if cursor else first
    gates = select(table).where(table.c.kind == kind, table.c.id.startswith(first, autoescape=True))
    rows = await read.rows(gates.where(table.c.id > after).order_by(table.c.id).limit(PAGE))
    heads = [_shown_head(source, Head(**row)) for row in rows if row["seq"]]
    return {"data": heads, "next": paging.after(rows[-1]["id"]) if len(rows) == PAGE else None}


def _shown_head(source: str, head: Head) -> dict[str, Any]:
    stream = head.id.partition(":")[2]
    return {"source": source, "stream": stream, "seq": head.seq, "digest": head.digest.hex()}


async def _parked_keys(read: Reader, chosen: FilterIn, limit: int) -> list[ParkedKey]:
    statement = select_rows(ParkedKeyRow).order_by(col(ParkedKeyRow.since)).limit(limit)
    for name, value in chosen.model_dump(exclude_none=True).items():
        statement = statement.where(getattr(ParkedKeyRow, name) == value)
    return await read.all(ParkedKey, statement)


async def _waiting(read: Reader) -> dict[tuple[str, str], int]:
    table = schema.table(HeldEventRow)
    rows = await read.rows(select(table.c.source, table.c.stream))
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        name = (row["source"], row["stream"])
        counts[name] = counts.get(name, 0) + 1
    return counts


def _shown_key(key: ParkedKey, waiting: dict[tuple[str, str], int]) -> dict[str, Any]:
    return {
        "source": key.source,
        "stream": key.stream,
        "seq": key.seq,
        "type": key.type,
        "reason": key.reason,
        "trace_id": key.trace,
        "since": key.since.isoformat(),
        "waiting": waiting.get((key.source, key.stream), 0),
    }


def _shown_record(record: ParkedRecord) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "bytes": len(record.value),
        "reason": record.reason,
        "since": record.since.isoformat(),
    }
