"""The relay: everything that was committed is published, in order, whoever crashes, pauses or comes late."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import pytest
from sqlalchemy import select

from libs.common import errors
from libs.common.change import Change, Head
from libs.common.clock import Clock, monotonic
from libs.common.log import envelope
from libs.common.log.envelope import Heard
from libs.common.log.seam import Log, Outgoing, Partition, Record, Subscription
from libs.common.loops.lease import Leased
from libs.common.loops.relay import SLOW_POLL, Relay
from libs.common.store import schema, statement
from libs.common.store.schema import JournalEntry, JournalRow
from libs.common.store.seam import Committed, Engine
from libs.common.store.store import Store, Unpublished
from tests.conformance.conftest import PARTITIONS, Database, Logs, plain
from tests.conformance.things import (
    ACTOR,
    Counted,
    Crash,
    Hearing,
    Listener,
    counted,
    effects,
    eventually,
    now,
    running,
)

pytestmark = pytest.mark.anyio

#: Far beyond the end of a test.
LONG = 60.0


class Between:
    """A log of which something happens on the way to, or on the way back from, the real one."""

    def __init__(
        self,
        log: Log,
        *,
        before: Callable[[], Awaitable[None]] | None = None,
        after: Callable[[list[bool]], Awaitable[list[bool]]] | None = None,
    ) -> None:
        self._log = log
        self._before = before
        self._after = after

    async def prepare(self, topics: Sequence[str]) -> None:
        await self._log.prepare(topics)

    async def publish(self, topic: str, outgoing: Sequence[Outgoing], *, within: float) -> list[bool]:
        if self._before:
            await self._before()
        acknowledged = await self._log.publish(topic, outgoing, within=within)
        return await self._after(acknowledged) if self._after else acknowledged

    async def subscribe(self, group: str, topics: Sequence[str]) -> Subscription:
        return await self._log.subscribe(group, topics)

    async def read_at(self, partition: Partition, offset: int) -> Record | None:
        return await self._log.read_at(partition, offset)

    async def ready(self) -> None:
        await self._log.ready()

    async def close(self) -> None: ...


def a_relay(store: Store, log: Log, logs: Logs, holder: str = "a", seconds: float = LONG) -> Relay:
    return Relay(store, log, logs.topic, Clock(), Leased(store, "relay", holder, seconds=seconds))


async def told(store: Store, stream: str, count: int = 1) -> None:
    """As many facts on this stream, one Change each."""
    for _ in range(count):
        async with store.reading() as read:
            head = await read.head("thing", stream)
        assert await store.commit(counted(head, head.seq + 1)) == Committed()


async def records(log: Log, topic: str) -> list[Record]:
    """All that the topic holds, partition by partition."""
    found: list[Record] = []
    for number in range(PARTITIONS):
        offset = 0
        while record := await log.read_at(Partition(topic, number), offset):
            found.append(record)
            offset += 1
    return found


async def published(log: Log, topic: str) -> dict[str, list[int]]:
    """The seqs that the topic holds, by stream, in order."""
    found: dict[str, list[int]] = {}
    for record in await records(log, topic):
        event = envelope.read(record)
        found.setdefault(event.stream, []).append(event.seq)
    return found


async def until_marked(store: Store) -> None:
    await eventually(lambda: _all_marked(store))


async def _all_marked(store: Store) -> bool:
    return not await store.unpublished(1)


async def test_facts_are_published_in_order_and_marked(store: Store, log: Log, logs: Logs) -> None:
    streams = [f"{n}" for n in range(5)]
    for _ in range(4):
        for stream in streams:
            await told(store, stream)
    relay = a_relay(store, log, logs)
    assert await relay.once() == 20
    assert await store.unpublished(10) == []
    assert await relay.once() == 0
    await told(store, "0")
    assert await relay.once() == 1
    expected = {f"thing/{stream}": [1, 2, 3, 4] for stream in streams}
    assert await published(log, logs.topic) == {**expected, "thing/0": [1, 2, 3, 4, 5]}


async def test_what_is_published_is_the_journal(store: Store, log: Log, logs: Logs) -> None:
    await told(store, "案", 2)
    assert await a_relay(store, log, logs).once() == 2
    async with store.reading() as read:
        entries = await read.all(JournalEntry, select(schema.table(JournalRow)).order_by("position"))
    for entry, record in zip(entries, await records(log, logs.topic), strict=True):
        event: Heard = envelope.read(record)
        assert (event.id, event.chain, event.type) == (f"thing/案/{entry.seq}", entry.digest, Counted.TYPE)
        assert envelope.read_structured(envelope.structured(entry)).public() == event.public()
        assert entry.published_at


async def test_only_what_was_acknowledged_is_marked(store: Store, log: Log, logs: Logs) -> None:
    await told(store, "a", 6)

    async def half(acknowledged: list[bool]) -> list[bool]:
        return acknowledged[:3] + [False] * (len(acknowledged) - 3)

    async def nothing(acknowledged: list[bool]) -> list[bool]:
        return [False] * len(acknowledged)

    assert await a_relay(store, Between(log, after=half), logs).once() == 3
    assert [entry.seq for entry in await store.unpublished(10)] == [4, 5, 6]
    with pytest.raises(errors.Transient):
        await a_relay(store, Between(log, after=nothing), logs).once()
    assert [entry.seq for entry in await store.unpublished(10)] == [4, 5, 6]
    assert await a_relay(store, log, logs).once() == 3
    assert await published(log, logs.topic) == {"thing/a": [1, 2, 3, 4, 5, 6, 4, 5, 6, 4, 5, 6]}


async def test_a_relay_that_dies_before_it_marked_publishes_again_and_listeners_drop_it(
    database: Database, log: Log, logs: Logs
) -> None:
    store = database.open()
    await told(store, "a", 3)

    async def dies(acknowledged: list[bool]) -> list[bool]:
        raise Crash

    with pytest.raises(Crash):
        await a_relay(store, Between(log, after=dies), logs).once()
    assert len(await store.unpublished(10)) == 3
    assert await a_relay(database.open(), log, logs).once() == 3
    assert await published(log, logs.topic) == {"thing/a": [1, 2, 3, 1, 2, 3]}
    report = await Hearing(store, Listener()).take(*await records(log, logs.topic))
    assert (len(report.applied), len(report.old)) == (3, 3)
    assert await effects(store) == {"thing/a": [1, 2, 3]}


async def test_a_leader_that_was_paused_marks_nothing(database: Database, log: Log, logs: Logs) -> None:
    """It may publish a second time, in the old order, behind what its successor published."""
    store, other = database.open(), database.open()
    await told(store, "a", 2)
    successor = a_relay(other, log, logs, "b")

    async def sleeps_through_its_lease() -> None:
        await eventually(successor.once)
        await told(other, "a", 2)

    paused = a_relay(store, Between(log, before=sleeps_through_its_lease), logs, seconds=0.1)
    assert await paused.once() == 0
    assert [entry.seq for entry in await store.unpublished(10)] == [3, 4]
    assert await paused.once() == 0  # it does not lead any more
    assert await successor.once() == 2
    assert (paused.leads, successor.leads) == (False, True)
    assert await published(log, logs.topic) == {"thing/a": [1, 2, 1, 2, 3, 4]}
    await Hearing(store, Listener()).take(*await records(log, logs.topic))
    assert await effects(store) == {"thing/a": [1, 2, 3, 4]}


class PassingBy(Store):
    """The planted bug: a relay that goes on behind the greatest position it has seen."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._last = 0

    async def unpublished(self, most: int) -> list[Unpublished]:
        table = schema.table(JournalRow)
        behind = select(table).where(table.c.position > self._last).order_by(table.c.position).limit(most)
        async with self.reading() as read:
            found = await read.all(JournalEntry, behind)
        self._last = max([self._last, *(entry.position for entry in found)])
        return [Unpublished(*(getattr(entry, name) for name in Unpublished._fields)) for entry in found]


@pytest.mark.parametrize(("kind", "loses"), [(Store, False), (PassingBy, True)])
async def test_a_late_commit_with_a_low_position_is_not_passed_by(
    on_postgres: Database, log: Log, logs: Logs, kind: Callable[[Engine], Store], loses: bool
) -> None:
    """Positions are given before commits. The second parameter is the mutant, which must be seen to lose.

    SQLite gives positions to one writer at a time, so nothing can be late there.
    """
    store = on_postgres.open(kind)
    relay = a_relay(store, log, logs)
    late = await asyncpg.connect(plain(on_postgres.url))
    transaction = late.transaction()
    await transaction.start()
    prepared = statement.one(counted(Head("thing", "late")))
    await late.execute(prepared.text, *prepared.parameters)
    await told(store, "early")
    assert await relay.once() == 1
    await transaction.commit()
    await late.close()
    await relay.once()
    await told(store, "early")
    await relay.once()
    found = await published(log, logs.topic)
    assert found.pop("thing/early") == [1, 2]
    assert (found == {}) is loses
    assert loses or found == {"thing/late": [1]}


async def test_a_relay_wakes_when_facts_are_committed(database: Database, log: Log, logs: Logs) -> None:
    """In its own process by a call, in another by a notification; each commit of a burst counts."""
    leading, other = database.open(), database.open()
    relay = a_relay(leading, log, logs)
    rounds, writer = 8, other if database.url else leading
    async with running(relay.run, leading.listen):
        await told(leading, "warm")
        await leading.grown()
        await until_marked(leading)
        began = monotonic()
        for _ in range(rounds):
            for _ in range(3):
                await told(writer, "a")
                await writer.grown()
            await until_marked(leading)
        assert monotonic() - began < rounds * SLOW_POLL / 3
    assert (await published(log, logs.topic))["thing/a"] == list(range(1, 3 * rounds + 1))


async def test_a_relay_finds_what_nobody_woke_it_for(store: Store, log: Log, logs: Logs) -> None:
    relay = a_relay(store, log, logs)
    async with running(relay.run):
        await told(store, "a")
        await until_marked(store)
    assert await published(log, logs.topic) == {"thing/a": [1]}


async def test_a_relay_that_ends_gives_its_lease_back(database: Database, log: Log, logs: Logs) -> None:
    store = database.open()
    first, second = a_relay(store, log, logs, "a"), a_relay(database.open(), log, logs, "b")
    async with running(first.run):
        await told(store, "a")
        await until_marked(store)
    assert not first.leads
    await told(store, "a")
    assert await second.once() == 1


async def test_a_relay_outlives_a_log_that_is_away(store: Store, log: Log, logs: Logs) -> None:
    failures = 3

    async def away() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise errors.Transient("away")

    relay = a_relay(store, Between(log, before=away), logs)
    await told(store, "a", 2)
    async with running(relay.run):
        await until_marked(store)
    assert relay.failures == 3
    assert await published(log, logs.topic) == {"thing/a": [1, 2]}


async def test_more_facts_than_one_round_takes_are_published_in_order(
    store: Store, log: Log, logs: Logs
) -> None:
    change, head = Change(), Head("thing", "a")
    for n in range(1050):
        change = change.telling(Counted(n=n), on=head, by=ACTOR, at=now())
    assert await store.commit(change) == Committed()
    relay = a_relay(store, log, logs)
    assert [await relay.once(), await relay.once(), await relay.once()] == [1000, 50, 0]
    assert await published(log, logs.topic) == {"thing/a": list(range(1, 1051))}
