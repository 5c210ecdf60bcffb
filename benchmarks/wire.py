"""P5 and P7: journal to Kafka beside a plain producer, Kafka to reactions beside plain readers.

All sides carry the same bytes to, and from, the same broker: thin events of 0.9 kB with their headers.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from faststream import FastStream
from faststream.kafka import KafkaBroker
from sqlalchemy import text

from benchmarks.machine import Machine
from benchmarks.table import Goal, Row, Table, pairs
from libs.common import edge
from libs.common.change import Change, Head
from libs.common.clock import Clock, Moment, Trace, monotonic
from libs.common.contracts import cases as said
from libs.common.log import envelope
from libs.common.log.envelope import Heard
from libs.common.log.kafka import KafkaLog
from libs.common.log.seam import Outgoing
from libs.common.loops.consumer import Consumer
from libs.common.loops.lease import Leased
from libs.common.loops.relay import Relay
from libs.common.permit import Actor
from libs.common.store import migrate
from libs.common.store.postgres import PostgresEngine
from libs.common.store.reading import Known
from libs.common.store.seam import Committed
from libs.common.store.store import Store
from tests.worlds import cast

PARTITIONS = 12
#: Streams, and facts in each: in all as many as one measurement carries.
STREAMS, LENGTH = 1000, 20
EVENTS = STREAMS * LENGTH

_turns = itertools.count(1)


async def relay(machine: Machine, table: Table, count: int) -> None:
    """P5: what is unpublished is selected, published, acknowledged and marked."""
    async with _stored(machine, "p5") as store, _log(machine, "p5.ours", "p5.peer") as log:
        records = await _outgoing(store)
        holder = Relay(store, log, "p5.ours", Clock(), Leased(store, "relay", "benchmark"))
        runs = 0

        async def ours() -> float:
            nonlocal runs
            await store._engine.run(text("UPDATE journal SET published_at = NULL"))
            # A fact is marked once in its life; the dead rows of earlier turns are no part of it.
            await store._engine.run(text("VACUUM (ANALYZE) journal"))
            runs, began = runs + 1, monotonic()
            while await holder.once():
                pass
            return EVENTS / (monotonic() - began)

        async with AIOKafkaProducer(
            bootstrap_servers=machine.kafka.bootstrap, acks="all", enable_idempotence=True
        ) as producer:

            async def peer() -> float:
                began = monotonic()
                sent = [
                    await producer.send("p5.peer", r.value, key=r.key.encode(), headers=list(r.headers))
                    for r in records
                ]
                await asyncio.gather(*sent)
                return EVENTS / (monotonic() - began)

            figures = await pairs(count, ours, peer)
        table.rows.append(
            Row(
                "P5",
                f"relay: {EVENTS} facts to Kafka",
                "aiokafka send(), acks=all",
                "/s",
                *figures,
                Goal(0.8),
            )
        )
        left = (await store.outbox()).depth
        table.gate("P5", "every fact is marked as published", left == 0)
        seen = await _sequences(machine, "p5.ours", runs * EVENTS)
        expected = list(range(1, LENGTH + 1)) * runs
        table.gate(
            "P5",
            f"{runs} times every fact is in the topic, in the order of its stream",
            len(seen) == STREAMS and all(found == expected for found in seen.values()),
        )


async def reactions(machine: Machine, table: Table, count: int) -> None:
    """P7: from Kafka through the gates to typed reactions, with the position in one commit a batch."""
    async with _stored(machine, "p7") as store, _log(machine, "p7") as log:
        await _published(machine, "p7", await _outgoing(store))
        found: list[Counter[str]] = []

        async def ours() -> float:
            heard: Counter[str] = Counter()
            found.append(heard)
            hears = _counting(heard, f"ours{next(_turns)}")
            await store._engine.run(text("DELETE FROM heads WHERE kind = 'heard'"))
            consumer = Consumer(store, log, hears, Clock())
            began = monotonic()
            while heard.total() < EVENTS:
                await consumer.once(within=1.0)
            took = monotonic() - began
            await consumer.close()
            return EVENTS / took

        async def plain() -> float:
            async with _reader(machine, "p7") as reader:
                began, read = monotonic(), 0
                while read < EVENTS:
                    for records in (await reader.getmany(timeout_ms=1000, max_records=500)).values():
                        for record in records:
                            json.loads(record.value)
                        read += len(records)
                return EVENTS / (monotonic() - began)

        what = f"consumer: {EVENTS} events through gates to typed reactions"
        figures = await pairs(count, ours, plain)
        table.rows.append(Row("P7", what, "aiokafka getmany(500) + json.loads", "/s", *figures, Goal(1.0)))
        figures = await pairs(count, ours, lambda: _faststream(machine, "p7"))
        table.rows.append(Row("P7", what, "FastStream, batch, typed", "/s", *figures, Goal(2.0)))
        each = {f"case/{n}": LENGTH for n in range(STREAMS)}
        table.gate("P7", "every reaction ran once for every event", all(dict(one) == each for one in found))


@asynccontextmanager
async def _stored(machine: Machine, name: str) -> AsyncIterator[Store]:
    """A journal of EVENTS facts, as `cases` tells them, interleaved."""
    url = machine.postgres.database(name)
    await migrate.upgrade(url, "cases")
    store = Store(PostgresEngine(url))
    by, at = Actor("p1", cast.TOWNSHIP), Moment(Clock().now(), Trace("benchmark"))
    heads = [Head("case", str(n)) for n in range(STREAMS)]
    try:
        for _ in range(LENGTH):
            change = Change.all_of(Change().telling(_event(h), on=h, by=by, at=at) for h in heads)
            assert isinstance(await store.commit(change), Committed)
            heads = list(change.heads_after())
        yield store
    finally:
        await store.close()


def _event(head: Head) -> said.ClueRegistered:
    return said.ClueRegistered(
        case=head.id,
        holder=cast.TOWNSHIP,
        power=cast.POWER,
        territory=cast.PLACE,
        clue_source="inspection",
        urgency="normal",
    )


@asynccontextmanager
async def _log(machine: Machine, *topics: str) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(machine.kafka.bootstrap, partitions=PARTITIONS)
    try:
        await log.prepare(topics)
        yield log
    finally:
        await log.close()


async def _outgoing(store: Store) -> list[Outgoing]:
    return [envelope.outgoing(entry) for entry in await store.unpublished(EVENTS)]


async def _published(machine: Machine, topic: str, records: Sequence[Outgoing]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=machine.kafka.bootstrap, acks="all") as producer:
        for r in records:
            await producer.send(topic, r.value, key=r.key.encode(), headers=list(r.headers))


@asynccontextmanager
async def _reader(machine: Machine, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    reader = AIOKafkaConsumer(
        topic,
        bootstrap_servers=machine.kafka.bootstrap,
        group_id=f"reader{next(_turns)}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with reader:
        yield reader


async def _sequences(machine: Machine, topic: str, count: int) -> dict[str, list[int]]:
    """The seqs of each stream in the order of the log."""
    found: dict[str, list[int]] = {}
    async with _reader(machine, topic) as reader:
        read = 0
        while read < count:
            batch = await reader.getmany(timeout_ms=2000)
            if not batch:
                break
            for records in batch.values():
                for record in records:
                    seq = int(dict(record.headers)["ce_sequence"])
                    found.setdefault(record.key.decode(), []).append(seq)
                    read += 1
    return found


def _counting(heard: Counter[str], group: str) -> edge.Hears:
    """A service whose reaction is given the typed event, and counts."""

    def react(known: Known, event: said.ClueRegistered, event_heard: Heard, at: Moment) -> Change:
        heard[f"case/{event.case}"] += 1
        return Change()

    return edge.Hears(
        group=group,
        topics=("p7",),
        reactions={said.ClueRegistered.TYPE: edge.Reaction(react)},
        catalogue={said.ClueRegistered.TYPE: said.ClueRegistered},
    )


async def _faststream(machine: Machine, topic: str) -> float:
    """The same events, typed, in batches."""
    broker = KafkaBroker(machine.kafka.bootstrap, logger=None)
    app = FastStream(broker, logger=None)
    read = 0

    @broker.subscriber(
        topic,
        batch=True,
        group_id=f"stream{next(_turns)}",
        auto_offset_reset="earliest",
        max_records=500,
        batch_timeout_ms=1000,
    )
    async def count(events: list[said.ClueRegistered]) -> None:
        nonlocal read
        read += len(events)
        if read >= EVENTS:
            app.exit()

    began = monotonic()
    await app.run()
    return EVENTS / (monotonic() - began)
