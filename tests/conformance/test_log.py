"""The log: what the embedded one and Kafka promise alike, and what Kafka promises while its broker fails."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from libs.common import errors
from libs.common.log.embedded import EmbeddedLog
from libs.common.log.kafka import KafkaLog
from libs.common.log.seam import (
    Log,
    OffsetLost,
    Outgoing,
    Partition,
    Polled,
    Record,
    Subscription,
    TopicMismatch,
)
from tests.engines.kafka import Kafka

pytestmark = pytest.mark.anyio

PARTITIONS = 3
#: How long anything may take that has no deadline of its own, in seconds.
PATIENCE = 20.0


@dataclass
class Logs:
    """Opens logs over the same records, and closes them in the end."""

    make: Callable[[int], Log]
    topic: str = field(default_factory=lambda: f"t{uuid.uuid4().hex}")
    opened: list[Log] = field(default_factory=list)

    @property
    def every(self) -> set[Partition]:
        return {Partition(self.topic, number) for number in range(PARTITIONS)}

    def open(self, partitions: int = PARTITIONS) -> Log:
        self.opened.append(self.make(partitions))
        return self.opened[-1]

    async def close(self) -> None:
        for log in self.opened:
            await log.close()


@pytest.fixture(
    params=["embedded", pytest.param("kafka", marks=[pytest.mark.connected, pytest.mark.kafka])],
)
async def logs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Logs]:
    if request.param == "embedded":
        logs = Logs(lambda partitions: EmbeddedLog(tmp_path / "log.db", partitions=partitions))
    else:
        logs = _on(request.getfixturevalue("kafka"))
    yield logs
    await logs.close()


@pytest.fixture
async def on_kafka(kafka: Kafka) -> AsyncIterator[Logs]:
    logs = _on(kafka)
    yield logs
    await logs.close()
    kafka.start()


@pytest.fixture
async def impatient(kafka: Kafka) -> AsyncIterator[Logs]:
    """Gives a consumer up after one second of silence: five times as long as its fetches may wait."""
    logs = _on(kafka, patience=1.0)
    yield logs
    await logs.close()


def _on(kafka: Kafka, patience: float = 30.0) -> Logs:
    return Logs(lambda partitions: KafkaLog(kafka.bootstrap, partitions=partitions, patience=patience))


@pytest.fixture
async def log(logs: Logs) -> Log:
    log = logs.open()
    await log.prepare([logs.topic])
    return log


@dataclass
class Reader:
    """Does what the consumer loop does: takes up what it is given, from the start or where it was."""

    subscription: Subscription
    at: dict[Partition, int] = field(default_factory=dict)
    mine: set[Partition] = field(default_factory=set)
    read: list[Record] = field(default_factory=list)

    async def step(self, *, most: int = 100, within: float = 0.5) -> Polled:
        polled = await self.subscription.poll(most=most, within=within)
        self.mine -= polled.revoked
        for partition in polled.assigned:
            self.mine.add(partition)
            self.subscription.seek(partition, self.at.get(partition, 0))
        for partition, records in polled.records.items():
            assert partition in self.mine - polled.assigned
            self.read += records
            self.at[partition] = records[-1].offset + 1
        return polled

    async def until(self, satisfied: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not satisfied():
                await self.step()

    async def own(self, partitions: Collection[Partition]) -> None:
        await self.until(lambda: self.mine == set(partitions))

    async def have(self, count: int) -> list[Record]:
        await self.until(lambda: len(self.read) >= count)
        return self.read


async def join(log: Log, topic: str, group: str = "") -> Reader:
    return Reader(await log.subscribe(group or f"g{uuid.uuid4().hex}", [topic]))


def records_of(key: str, first: int, count: int) -> list[Outgoing]:
    return [Outgoing(key, str(n).encode(), (("n", b"%d" % n),)) for n in range(first, first + count)]


def mixed(count: int) -> list[Outgoing]:
    """`count` records of each of ten keys, the keys taking turns."""
    keys = [records_of(f"case/{key}", 0, count) for key in range(10)]
    return list(itertools.chain.from_iterable(zip(*keys, strict=True)))


async def published(log: Log, topic: str, outgoing: Sequence[Outgoing]) -> None:
    assert await log.publish(topic, outgoing, within=PATIENCE) == [True] * len(outgoing)


async def test_a_topic_is_made_once_and_keeps_its_partitions(logs: Logs, log: Log) -> None:
    await log.prepare([logs.topic])
    await published(log, logs.topic, records_of("k", 0, 1))
    with pytest.raises(TopicMismatch):
        await logs.open(PARTITIONS + 1).prepare([logs.topic])


async def test_every_acknowledged_record_arrives_in_the_order_of_its_key(logs: Logs, log: Log) -> None:
    sent = mixed(60)
    for at in range(0, len(sent), 250):
        await published(log, logs.topic, sent[at : at + 250])
    read = await (await join(log, logs.topic)).have(len(sent))
    assert len(read) == len(sent)
    for key in {record.key for record in sent}:
        assert [r.value for r in read if r.key == key.encode()] == [r.value for r in sent if r.key == key]


async def test_offsets_are_dense_from_nought_and_a_poll_brings_no_more_than_asked(
    logs: Logs, log: Log
) -> None:
    await published(log, logs.topic, mixed(20))
    reader = await join(log, logs.topic)
    while len(reader.read) < 200:
        polled = await reader.step(most=7)
        assert sum(len(records) for records in polled.records.values()) <= 7
    for partition in logs.every:
        offsets = [record.offset for record in reader.read if record.partition == partition]
        assert offsets == list(range(len(offsets)))


async def test_a_key_lies_in_the_same_partition_in_every_process_and_in_both_logs(
    logs: Logs, log: Log
) -> None:
    await published(log, logs.topic, mixed(1))
    again = logs.open()
    await published(again, logs.topic, mixed(1))
    for record in await (await join(log, logs.topic)).have(20):
        assert record.partition.number == zlib.crc32(record.key) % PARTITIONS


async def test_keys_headers_and_values_survive_byte_for_byte(logs: Logs, log: Log) -> None:
    every_byte = bytes(range(256))
    sent = [
        Outgoing("case/案一", every_byte, (("ce_id", every_byte), ("ce_id", b""), ("题", "案".encode()))),
        Outgoing("case/案一", b"", ()),
        Outgoing("case/案一", every_byte * 256, (("large", every_byte * 64),)),
    ]
    await published(log, logs.topic, sent)
    read = await (await join(log, logs.topic)).have(len(sent))
    assert [Outgoing(r.key.decode(), r.value, r.headers) for r in read] == sent


async def test_nothing_and_a_great_deal_can_be_published(logs: Logs, log: Log) -> None:
    assert await log.publish(logs.topic, [], within=1.0) == []
    # More than fits into one batch of a partition.
    large = [Outgoing("k", bytes(60_000), (("n", b"%d" % n),)) for n in range(40)]
    await published(log, logs.topic, large)
    read = await (await join(log, logs.topic)).have(len(large))
    assert [record.headers for record in read] == [record.headers for record in large]


async def test_a_topic_that_does_not_exist_can_be_neither_written_nor_read(logs: Logs) -> None:
    log = logs.open()
    with pytest.raises(errors.Transient):
        await log.publish(logs.topic, records_of("k", 0, 1), within=0.5)
    with pytest.raises(errors.Transient):
        await log.subscribe("g", [logs.topic])


async def test_a_partition_is_silent_until_it_is_sought(logs: Logs, log: Log) -> None:
    await published(log, logs.topic, mixed(3))
    subscription = await log.subscribe("g", [logs.topic])
    given: set[Partition] = set()
    async with asyncio.timeout(PATIENCE):
        while given != logs.every:
            polled = await subscription.poll(most=100, within=1.0)
            assert not polled.records
            given |= polled.assigned
    assert await subscription.poll(most=100, within=0.5) == Polled()
    sought = min(given, key=str)
    subscription.seek(sought, 1)
    subscription.seek(Partition("elsewhere", 0), 1)
    polled = await subscription.poll(most=100, within=5.0)
    assert polled.records.keys() == {sought}
    assert polled.records[sought][0].offset == 1
    await subscription.close()


async def test_seeking_back_reads_again(logs: Logs, log: Log) -> None:
    await published(log, logs.topic, records_of("k", 0, 30))
    reader = await join(log, logs.topic)
    first = list(await reader.have(30))
    for offset in (0, 17, 29, 29):
        reader.read.clear()
        reader.subscription.seek(first[0].partition, offset)
        assert await reader.have(30 - offset) == first[offset:]
    reader.read.clear()
    reader.subscription.seek(first[0].partition, 30)
    await published(log, logs.topic, records_of("k", 30, 1))
    assert [record.offset for record in await reader.have(1)] == [30]


async def test_members_share_the_partitions_and_take_over_from_one_that_leaves(logs: Logs, log: Log) -> None:
    group = "sharers"
    one = await join(log, logs.topic, group)
    await one.own(logs.every)
    two = await join(log, logs.topic, group)
    async with asyncio.timeout(PATIENCE):
        while not two.mine or one.mine | two.mine != logs.every or one.mine & two.mine:
            await asyncio.gather(one.step(), two.step())
    await published(log, logs.topic, mixed(5))
    async with asyncio.timeout(PATIENCE):
        while len(one.read) + len(two.read) < 50:
            await asyncio.gather(one.step(), two.step())
    assert {record.partition for record in one.read} <= one.mine
    assert {record.partition for record in two.read} <= two.mine
    assert len(one.read) + len(two.read) == 50
    await one.subscription.close()
    two.at |= one.at
    await two.own(logs.every)
    await published(log, logs.topic, mixed(1))
    two.read.clear()
    assert len(await two.have(10)) == 10


async def test_groups_do_not_share(logs: Logs, log: Log) -> None:
    await published(log, logs.topic, mixed(1))
    for _ in range(2):
        assert len(await (await join(log, logs.topic)).have(10)) == 10


async def test_records_and_their_offsets_outlive_the_process(logs: Logs, log: Log) -> None:
    await published(log, logs.topic, mixed(3))
    before = await (await join(log, logs.topic)).have(30)
    await log.close()
    again = logs.open()
    await again.prepare([logs.topic])
    await published(again, logs.topic, mixed(1))
    after = await (await join(again, logs.topic)).have(40)
    assert [r for r in sorted(after, key=_place) if r in before] == sorted(before, key=_place)


def _place(record: Record) -> tuple[int, int]:
    return record.partition.number, record.offset


async def test_a_single_record_can_be_read(logs: Logs, log: Log) -> None:
    await published(log, logs.topic, mixed(5))
    read = await (await join(log, logs.topic)).have(50)
    for record in read[::7]:
        assert await log.read_at(record.partition, record.offset) == record
    ends = Counter(record.partition for record in read)
    for partition in logs.every:
        assert await log.read_at(partition, ends[partition]) is None
        assert await log.read_at(partition, ends[partition] + 1000) is None
    assert await log.read_at(read[0].partition, -1) is None


async def test_the_end_is_known_once_a_partition_is_read(logs: Logs, log: Log) -> None:
    await published(log, logs.topic, mixed(2))
    reader = await join(log, logs.topic)
    assert reader.subscription.end(Partition("elsewhere", 0)) in (None, 0)
    await reader.have(20)
    assert {partition: reader.subscription.end(partition) for partition in reader.at} == reader.at


async def test_an_offset_beyond_the_end_is_lost_and_silences_only_its_partition(logs: Logs, log: Log) -> None:
    await published(log, logs.topic, mixed(5))
    reader = await join(log, logs.topic)
    await reader.have(50)
    lost, other = sorted(reader.at, key=str)[:2]
    reader.subscription.seek(lost, reader.at[lost] + 1)
    reader.subscription.seek(other, 0)
    reader.read.clear()
    with pytest.raises(OffsetLost) as raised:
        await reader.until(lambda: False)
    assert (raised.value.partition, raised.value.offset) == (lost, reader.at[lost] + 1)
    await reader.until(lambda: {record.partition for record in reader.read} == {other})
    await reader.step()
    reader.read.clear()
    reader.subscription.seek(lost, 0)
    await reader.until(lambda: {record.partition for record in reader.read} == {lost})


async def test_a_poll_waits_and_wakes_when_something_is_published(logs: Logs, log: Log) -> None:
    reader = await join(log, logs.topic)
    await reader.own(logs.every)
    # The first fetch of an empty partition may wait behind another one.
    await published(log, logs.topic, mixed(1))
    await reader.have(10)
    began = time.monotonic()
    assert await reader.step(within=0.3) == Polled()
    assert 0.25 < time.monotonic() - began < 2.0
    waiting = asyncio.create_task(reader.step(within=PATIENCE))
    began = time.monotonic()
    await published(log, logs.topic, records_of("k", 0, 1))
    assert (await waiting).records
    assert time.monotonic() - began < 2.0


async def test_it_says_that_it_is_ready(log: Log) -> None:
    await log.ready()


async def test_closing_twice_does_no_harm(logs: Logs, log: Log) -> None:
    subscription = await log.subscribe("g", [logs.topic])
    await subscription.close()
    await subscription.close()


async def test_a_broker_that_is_down_is_told_in_time(on_kafka: Logs, kafka: Kafka) -> None:
    known, unknown = on_kafka.open(), on_kafka.open()
    await known.prepare([on_kafka.topic])
    await published(known, on_kafka.topic, mixed(1))
    kafka.kill()
    for log in (known, unknown, known):
        began = time.monotonic()
        try:
            acknowledged = await log.publish(on_kafka.topic, mixed(1), within=1.0)
        except errors.Transient:
            acknowledged = []
        assert not any(acknowledged)
        assert time.monotonic() - began < 3.0
        for ask in (log.ready, lambda log=log: log.read_at(Partition(on_kafka.topic, 0), 0)):
            with pytest.raises(errors.Transient):
                await ask()
        with pytest.raises(errors.Transient):
            await log.subscribe("g", [on_kafka.topic])
        assert time.monotonic() - began < 10.0
    began = time.monotonic()
    await on_kafka.close()
    assert time.monotonic() - began < 10.0


async def test_a_broker_that_hangs_is_told_in_time(on_kafka: Logs, kafka: Kafka) -> None:
    log = on_kafka.open()
    await log.prepare([on_kafka.topic])
    await published(log, on_kafka.topic, mixed(1))
    kafka.pause()
    try:
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            while any(await log.publish(on_kafka.topic, mixed(1), within=0.5)):
                pass  # signals take a moment to arrive
        with pytest.raises(errors.Transient):
            await log.publish(on_kafka.topic, mixed(1), within=0.5)
        with pytest.raises(errors.Transient):
            await log.ready()
        assert time.monotonic() - began < 8.0
    finally:
        kafka.resume()
    await _eventually(log.ready)
    await published(log, on_kafka.topic, mixed(1))


async def test_acknowledgements_stay_honest_while_the_broker_dies(on_kafka: Logs, kafka: Kafka) -> None:
    log = on_kafka.open()
    await log.prepare([on_kafka.topic])
    reader = await join(on_kafka.open(), on_kafka.topic)
    await reader.own(on_kafka.every)
    sent = mixed(400)
    waiting = list(sent)
    refused = 0
    restart: asyncio.Task[None] | None = None
    async with asyncio.timeout(2 * PATIENCE):
        while waiting:
            batch = waiting[:200]
            try:
                acknowledged = await log.publish(on_kafka.topic, batch, within=1.0)
            except errors.Transient:
                acknowledged = [False] * len(batch)
                await asyncio.sleep(0.05)
            refused += acknowledged.count(False)
            _assert_no_ack_behind_a_missing_one(batch, acknowledged)
            waiting[:200] = [r for r, acked in zip(batch, acknowledged, strict=True) if not acked]
            if restart is None and len(waiting) < 2000:
                restart = asyncio.create_task(asyncio.to_thread(_restart, kafka))
    assert restart
    await restart
    assert refused
    # The same subscription goes on. A record may come twice, and none of those acknowledged is missing.
    expected = {(record.key.encode(), record.value) for record in sent}
    await reader.until(lambda: {(r.key, r.value) for r in reader.read} == expected)
    for key in {key for key, _ in expected}:
        seen = [int(record.value) for record in reader.read if record.key == key]
        assert list(dict.fromkeys(seen)) == list(range(400))
    for partition in on_kafka.every:
        offsets = [record.offset for record in reader.read if record.partition == partition]
        assert offsets == list(range(len(offsets)))


def _assert_no_ack_behind_a_missing_one(batch: Sequence[Outgoing], acknowledged: Sequence[bool]) -> None:
    missing = set()
    for record, acked in zip(batch, acknowledged, strict=True):
        partition = zlib.crc32(record.key.encode()) % PARTITIONS
        assert not (acked and partition in missing)
        if not acked:
            missing.add(partition)


def _restart(kafka: Kafka) -> None:
    kafka.kill()
    kafka.start()


async def test_a_topic_made_again_never_gives_its_records_for_the_old_ones(
    on_kafka: Logs, kafka: Kafka
) -> None:
    log = on_kafka.open()
    await log.prepare([on_kafka.topic])
    await published(log, on_kafka.topic, mixed(10))
    reader = await join(log, on_kafka.topic)
    await reader.have(100)
    await _delete(kafka, on_kafka.topic)
    await log.prepare([on_kafka.topic])
    other = [Outgoing(record.key, b"other", ()) for record in mixed(40)]
    # A producer that met the deletion may have to be replaced once.
    await _eventually(lambda: published_within(log, on_kafka.topic, other))
    # What was fetched while the new topic was still short is dropped: its offsets are there now, and wrong.
    for partition, offset in reader.at.items():
        reader.subscription.seek(partition, offset)
    with pytest.raises(OffsetLost):
        await reader.until(lambda: False)
    assert not [record for record in reader.read if record.value == b"other"]
    with pytest.raises(OffsetLost):
        await reader.step()
    # A process that comes later sees by the record before its position that it is not the one applied last.
    before = next(record for record in reader.read if record.offset == 3)
    found = await log.read_at(before.partition, 3)
    assert found is not None
    assert found != before
    await reader.subscription.close()


async def published_within(log: Log, topic: str, outgoing: Sequence[Outgoing]) -> None:
    if not all(await log.publish(topic, outgoing, within=2.0)):
        raise errors.Transient


async def test_a_deleted_topic_ends_its_subscription_and_keeps_nobody_busy(
    impatient: Logs, kafka: Kafka
) -> None:
    log = impatient.open()
    await log.prepare([impatient.topic])
    await published(log, impatient.topic, mixed(1))
    reader = await join(log, impatient.topic)
    await reader.have(10)
    await _delete(kafka, impatient.topic)
    with pytest.raises(errors.Transient):
        await published_within(log, impatient.topic, mixed(1))
    with pytest.raises(OffsetLost):
        await reader.until(lambda: False)
    await _eventually(_nothing_runs)


async def test_a_consumer_that_is_stuck_is_given_up(impatient: Logs) -> None:
    log = impatient.open()
    await log.prepare([impatient.topic])
    await published(log, impatient.topic, mixed(1))
    reader = await join(log, impatient.topic)
    await reader.have(10)
    for _ in range(4):
        await reader.step()  # an idle consumer is not a stuck one
    for task in _running("_fetch_requests_routine"):
        task.cancel()
    with pytest.raises(errors.Transient):
        await reader.until(lambda: False)
    await reader.subscription.close()


async def _nothing_runs() -> None:
    if _running("_sender_routine") or _running("_fetch_requests_routine"):
        raise errors.Transient


def _running(routine: str) -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if routine in repr(task.get_coro())]


async def _eventually(attempt: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await attempt()  # type: ignore[misc]
                return
            except errors.Transient:
                await asyncio.sleep(0.05)


async def _delete(kafka: Kafka, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
        # The controller answers before the broker has heard of it.
        async with asyncio.timeout(PATIENCE):
            while (await admin.describe_topics([topic]))[0]["error_code"] == 0:
                pass
    finally:
        await admin.close()
