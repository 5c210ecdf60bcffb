"""The two edges: a command over HTTP and a batch of events, both load -> decide -> commit.

`command` is what every POST goes through, `consume` every batch that a consumer was given; `drain` is the
second way for events in, when a gap has been filled or a parked key is tried again. They alone decide again
after a conflict, and they alone know what a refusal means.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote, unquote_to_bytes

import orjson
from pydantic import ValidationError
from sqlalchemy import select

from libs.common import errors
from libs.common.change import Answer, Change, Fence, Head, gate_of
from libs.common.clock import Clock, Moment, monotonic
from libs.common.log import envelope
from libs.common.log.envelope import Heard
from libs.common.log.seam import Partition, Record
from libs.common.permit import Actor, Permit
from libs.common.store import schema
from libs.common.store.engine import Committed, Conflict, FenceLost, Known, Reader, Want
from libs.common.store.store import Store

#: How long to decide again after conflicts, in seconds: then a command is Busy, and an event suspect.
PATIENCE = 5.0
#: How often an event that fails for an unknown reason is tried; the last time, it is parked.
TRIES = 3
#: Waiting events that are applied in one commit: each may want rows, and parameters have a limit.
MOST = 500
#: Characters of a reason that are kept.
_LONGEST = 2000
#: What stands for itself in the headers of a parked record; all else is percent-encoded.
_VISIBLE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

_log = logging.getLogger(__name__)

S = TypeVar("S")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Request(Generic[B]):
    """What a POST asks, read and checked, before anything is known of the state."""

    actor: Actor
    route: str  #: method and path template
    path: Mapping[str, str]
    body: B
    key: str  #: Idempotency-Key
    digest: bytes  #: of method, path and canonical body
    if_match: int | None
    at: Moment

    @property
    def scope(self) -> str:
        """Where the key is unique."""
        return scope(self.actor, self.route)

    def check_if_match(self, version: int | None, *, needed: bool) -> None:
        """The caller must have seen the newest version of the thing itself; other streams may have moved."""
        if self.if_match is None:
            if needed:
                raise errors.Unconditional
        elif self.if_match != version:
            raise errors.Stale(current=version)


def scope(actor: Actor, route: str) -> str:
    """An Idempotency-Key is unique per agency, person and route."""
    return f"{actor.agency} {actor.person} {route}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer before it is stored."""

    body: Any
    status: int = 201
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """What a verb knows: the situation that the permit judges, and the facts that the rule decides on."""

    situation: Any
    facts: S
    #: The version that If-Match is held against; None where nothing exists yet.
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Verb(Generic[S, B]):
    """One thing that can be done: what it locks, what it must know, who may, what follows, what is said."""

    action: str
    names: Callable[[Request[B]], Iterable[str]]
    load: Callable[[Reader, Request[B]], Awaitable[Loaded[S]]]
    permit: Callable[[Actor, str, Any], Permit]
    decide: Callable[[S, Request[B]], Change]
    render: Callable[[Change, Permit], Rendered]
    #: Whether the request must say by If-Match which version it has seen; where it may, it is checked.
    conditional: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """A stored answer, new or replayed."""

    answer: Answer
    replayed: bool


async def command(
    store: Store, verb: Verb[S, B], request: Request[B], *, patience: float = PATIENCE
) -> Outcome:
    """Do `verb` once, whoever else tries the same. Raises a Refusal, which commits nothing, or Busy.

    The stored answer is looked up where the verb comes to nothing: a key that was used refuses a second
    commit, and had a twin committed in between, its success must not be told as a refusal.
    """
    until = monotonic() + patience
    attempt = 0
    async with store.streams(verb.names(request)):
        while monotonic() < until:
            async with store.reading() as read:
                loaded = await verb.load(read, request)
            permit = verb.permit(request.actor, verb.action, loaded.situation)
            try:
                request.check_if_match(loaded.version, needed=verb.conditional)
                change = verb.decide(loaded.facts, request)
                answer = _answer(request, verb.render(change, permit))
            except errors.Refusal:
                if old := await _replayed(store, request):
                    return old
                if await read.stands():
                    raise
            else:
                if isinstance(await store.commit(change.answering(answer)), Committed):
                    _log_events(verb.action, change)
                    return Outcome(answer, replayed=False)
                if old := await _replayed(store, request):
                    return old
            attempt += 1
            await _jitter(attempt)
    raise errors.Busy


async def _replayed(store: Store, request: Request[Any]) -> Outcome | None:
    """The answer that was committed under this key, if there is one. Raises KeyReused."""
    old = await store.answered(request.scope, request.key)
    if old is None:
        return None
    if old.request != request.digest:
        raise errors.KeyReused
    return Outcome(old, replayed=True)


def _log_events(action: str, change: Change) -> None:
    """Which events a request became: its trace is that of the log line."""
    if change.facts:
        events = [f"{fact.kind}/{fact.id}/{fact.seq}" for fact in change.facts]
        _log.info("committed %s", action, extra={"action": "committed", "for": action, "events": events})


def _answer(request: Request[Any], rendered: Rendered) -> Answer:
    return Answer(
        scope=request.scope,
        key=request.key,
        request=request.digest,
        status=rendered.status,
        body=orjson.dumps(rendered.body),
        headers=rendered.headers,
        at=request.at.now,
    )


async def _jitter(attempt: int) -> None:
    await asyncio.sleep(random.uniform(0, min(0.002 * 2**attempt, 0.1)))


React = Callable[[Known, Any, Heard, Moment], Change]
Wants = Callable[[Any, Heard], Iterable[Want]]
Streams = Callable[[Any, Heard], Iterable[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a service does when it hears an event, and what it must know for that."""

    react: React
    wants: Wants = lambda event, heard: ()
    streams: Streams = lambda event, heard: ()


@dataclass(frozen=True, slots=True)
class Hears:
    """What one service hears: its consumer group, the topics, and a reaction per event type."""

    group: str
    topics: tuple[str, ...]
    reactions: Mapping[str, Reaction]
    #: For a type that is not in our catalogue: somebody newer said it. The event is None.
    otherwise: Reaction | None = None
    #: The published language: an event model by type.
    catalogue: Mapping[str, Any] = field(default_factory=dict)

    def reaction(self, heard: Heard) -> tuple[Reaction | None, Any]:
        """The reaction to an event, with its data. Raises Poison where the data cannot be understood."""
        model = self.catalogue.get(heard.type)
        if model is None:
            name = heard.type.rpartition(".v")[0]
            if any(known.rpartition(".v")[0] == name for known in self.catalogue):
                raise errors.Poison(f"未知的事件主版本：{heard.type}", code="unknown-version")
            return self.otherwise, None
        if heard.source != model.SOURCE:
            raise errors.Poison(f"{heard.source} 无权发布 {heard.type}", code="not-its-event")
        try:
            return self.reactions.get(heard.type), model.model_validate(orjson.loads(heard.value))
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in error.errors())
            raise errors.Poison(f"事件数据不符合约定：{faults}", code="incompatible") from error


@dataclass(slots=True)
class Report:
    """What became of the events of a batch; for metrics, redrives and tests."""

    applied: list[Heard] = field(default_factory=list)
    old: list[Heard] = field(default_factory=list)
    held: list[Heard] = field(default_factory=list)
    parked: list[tuple[Heard, str]] = field(default_factory=list)
    unreadable: int = 0

    def add(self, later: Report) -> None:
        """Also what was done afterwards."""
        self.applied += later.applied
        self.old += later.old
        self.held += later.held
        self.parked += later.parked
        self.unreadable += later.unreadable


class Leave(Exception):
    """Another process owns the partition: stop reading it, leave the group and join again."""


class Broken(Exception):
    """An event failed in a way that is our fault: `heard`, or one before it in the same Change."""

    def __init__(self, heard: Heard, error: Exception) -> None:
        super().__init__(f"{heard.id}: {type(error).__name__}: {error}")
        self.heard = heard


async def consume(
    store: Store,
    hears: Hears,
    records: Sequence[Record],
    fence: Fence,
    clock: Clock,
    condemned: Mapping[str, str] | None = None,
    *,
    patience: float = PATIENCE,
) -> Report:
    """Apply a batch of one partition: effects, gates and the position in one commit.

    `condemned` events, by id, are parked with the reason given instead of being reacted to.
    Raises Leave when the fence is lost, Broken when a reaction fails, Transient when the store is down.
    """
    events, unread = _decoded(records, clock)
    until = monotonic() + patience
    attempt = 0
    async with store.streams("/".join(event.gate) for event in events):
        while True:
            known = await _known(store, hears, events, condemned or {})
            change, report = fold(known, hears, events, clock, condemned or {})
            report.unreadable = len(unread)
            with _blaming(events):
                outcome = await store.commit(change.putting(*unread).under(fence))
            match outcome:
                case Committed():
                    return report
                case FenceLost():
                    raise Leave
                case Conflict():
                    attempt += 1
                    await _decide_again(attempt, until, events)


async def isolating(attempt: Callable[[Mapping[str, str]], Awaitable[Report]]) -> Report:
    """Attempts until the failure of one event is certain, then one in which that event is parked.

    Each is given the condemned events with their reasons. Raises Broken where not even parking succeeds.
    """
    condemned: Mapping[str, str] = {}
    for n in range(TRIES - 1):
        try:
            return await attempt(condemned)
        except Broken as why:
            await asyncio.sleep(0.05 * 2**n)
            if n == TRIES - 2:
                condemned = {why.heard.id: f"处理失败：{why}"}
    return await attempt(condemned)


async def drain(
    store: Store,
    hears: Hears,
    gate: tuple[str, str],
    clock: Clock,
    *,
    fetched: Sequence[Heard] = (),
    retry: bool = False,
    dry_run: bool = False,
) -> Report:
    """Apply what waits at a gate, in order, with `fetched` events, in one commit unless many wait.

    `gate` is (source, stream). With `retry` a parked key is tried again: it is parked anew where it fails,
    as is any event that fails through a fault of ours. A dry run decides everything and stores nothing.
    """
    drained = _Drain(store, hears, gate, clock, fetched, retry, dry_run)
    whole = Report()
    while True:
        try:
            report = await isolating(drained.of)
        except Broken:
            if dry_run or drained.most == 1:
                raise
            # The database does not say which event it refuses: one at a time, up to the culprit.
            drained = replace(drained, most=1)
            continue
        whole.add(report)
        # What was fetched is old in the next round, so only what was applied says whether there is more.
        if dry_run or report.parked or len(report.applied) < drained.most:
            return whole


@dataclass(frozen=True, slots=True)
class _Drain:
    """What `drain` was asked for."""

    store: Store
    hears: Hears
    gate: tuple[str, str]
    clock: Clock
    fetched: Sequence[Heard]
    retry: bool
    dry_run: bool
    most: int = MOST

    async def of(self, condemned: Mapping[str, str]) -> Report:
        """One commit, decided again after conflicts."""
        source, stream = self.gate
        until = monotonic() + PATIENCE
        attempt = 0
        async with self.store.streams(["/".join(gate_of(source, stream))]):
            while True:
                change, report, events = await self._decided(condemned)
                if self.dry_run or change == Change():
                    return report
                with _blaming(events):
                    outcome = await self.store.commit(change)
                if isinstance(outcome, Committed):
                    return report
                attempt += 1
                await _decide_again(attempt, until, events)

    async def _decided(self, condemned: Mapping[str, str]) -> tuple[Change, Report, Sequence[Heard]]:
        source, stream = self.gate
        async with self.store.reading() as read:
            waiting = await _waiting(read, source, stream)
            head = await read.head(*gate_of(source, stream))
        # What was held has come through the log; a journal does not overrule it.
        fetched = [event for event in self.fetched if event.gate == (head.kind, head.id)]
        every = sorted({e.seq: e for e in (*fetched, *waiting)}.values(), key=lambda e: e.seq)
        old = [event for event in every if event.seq <= head.seq]
        events = [*old, *every[len(old) :][: self.most]]
        known = await _known(self.store, self.hears, events, condemned)
        unpark = Change()
        parked = known.one(schema.ParkedKey, source, stream)
        if parked and self.retry:
            unpark = unpark.deleting(parked)
            known.learn(unpark)
        change, report = fold(known, self.hears, events, self.clock, condemned)
        kept = {event.seq for event in waiting}
        if not (report.applied or report.old or report.parked or any(e.seq not in kept for e in report.held)):
            return Change(), report, events
        done = [held_event(event, self.clock) for event in (*report.applied, *report.old)]
        return Change.all_of([unpark, change, Change().deleting(*done)]), report, events


async def _decide_again(attempt: int, until: float, events: Sequence[Heard]) -> None:
    """After a conflict, for a while; one that never ends may be an event's own doing."""
    if events and monotonic() > until:
        raise Broken(events[-1], errors.Busy())
    await _jitter(attempt)


@contextmanager
def _blaming(events: Sequence[Heard]) -> Iterator[None]:
    """What is refused inside is the fault of one of these events."""
    try:
        yield
    except (errors.Transient, Broken):
        raise
    except Exception as error:
        if not events:
            raise
        raise Broken(events[-1], error) from error


def fold(
    known: Known, hears: Hears, events: Iterable[Heard], clock: Clock, condemned: Mapping[str, str]
) -> tuple[Change, Report]:
    """React to each event whose turn it is; hold those that came early, park those that cannot be."""
    steps: list[Change] = []
    report = Report()
    for event in events:
        step = _step(known, hears, event, clock, condemned, report)
        known.learn(step)
        steps.append(step)
    return Change.all_of(steps), report


def _step(
    known: Known,
    hears: Hears,
    event: Heard,
    clock: Clock,
    condemned: Mapping[str, str],
    report: Report,
) -> Change:
    gate = known.head(*event.gate)
    at = Moment(clock.now(), event.trace)
    if event.seq == gate.seq and event.chain != gate.digest:
        rewritten = errors.Poison("同一序号出现另一条记录：来源的历史被改写或回退", code="rewritten")
        report.parked.append((event, str(rewritten)))
        return _park(event, gate, rewritten, at)
    if event.seq <= gate.seq:
        report.old.append(event)
        return Change()
    blocked = known.one(schema.ParkedKey, source_of(event), event.stream)
    if blocked or event.seq > gate.seq + 1:
        report.held.append(event)
        return Change().putting(held_event(event, clock))
    try:
        if event.id in condemned:
            raise errors.Poison(condemned[event.id], code="failed")
        if not event.follows(gate.digest):
            raise errors.Poison(
                "此条不接续已收到的上一条：来源的历史被改写，或记录是伪造的", code="not-following"
            )
        reaction, data = hears.reaction(event)
        step = reaction.react(known, data, event, at) if reaction else Change()
    except (errors.Refusal, errors.Poison) as why:
        report.parked.append((event, str(why)))
        return _park(event, gate, why, at)
    except Exception as error:
        raise Broken(event, error) from error
    report.applied.append(event)
    return step.ending(gate, seq=event.seq, digest=event.chain)


def _park(event: Heard, gate: Head, why: errors.Refusal | errors.Poison, at: Moment) -> Change:
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


async def _waiting(read: Reader, source: str, stream: str) -> list[Heard]:
    table = schema.table(schema.HeldEventRow)
    statement = select(table).where(table.c.source == source, table.c.stream == stream)
    statement = statement.order_by(table.c.seq).limit(MOST)
    return [
        envelope.restored(held.headers, held.value) for held in await read.all(schema.HeldEvent, statement)
    ]


async def _known(store: Store, hears: Hears, events: Sequence[Heard], condemned: Mapping[str, str]) -> Known:
    """Heads and rows that these events' gates and reactions need, in one query per table."""
    streams: list[tuple[str, str]] = [event.gate for event in events]
    wants = [Want(schema.ParkedKey, (source_of(event), event.stream)) for event in events]
    for event in events:
        if event.id in condemned:
            continue
        try:
            reaction, data = hears.reaction(event)
        except errors.Poison:
            continue  # it is parked when its turn comes
        if reaction:
            with _blaming([event]):
                streams += reaction.streams(data, event)
                wants += reaction.wants(data, event)
    with _blaming(events):
        async with store.reading() as read:
            return await read.known(streams, wants)


def reread(record: schema.ParkedRecord) -> Heard:
    """A record that was parked because it could not be read, through the same checks as when it came.

    Raises Unreadable: nothing that was refused then passes now, unless this release reads more.
    """
    headers = ((unquote(name), unquote_to_bytes(value)) for name, value in record.headers.items())
    partition = Partition(record.topic, record.partition)
    return envelope.read(Record(partition, record.offset, record.key, record.value, tuple(headers)))


def _decoded(records: Sequence[Record], clock: Clock) -> tuple[list[Heard], list[schema.ParkedRecord]]:
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
