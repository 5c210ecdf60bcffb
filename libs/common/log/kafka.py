"""Kafka as the event log of the distributed engine. Nothing else in the product speaks Kafka.

aiokafka is trusted with the protocol and with nothing more. Its calls may hang while a broker is away or a
topic is gone, a send that timed out is not withdrawn, and of a topic that was deleted and made again it gives
the new records under the old offsets. So every wait here has an end, a producer that failed is thrown away,
and records are handed on only after the topic has been seen to be the one that was subscribed to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.admin import CreateTopicsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)
from aiokafka.record.memory_records import MemoryRecords

from libs.common import clock, errors
from libs.common.log.seam import (
    OffsetLost,
    Outgoing,
    Partition,
    Polled,
    Record,
    Subscription,
    TopicMismatch,
    partition_of,
)

#: How long a question to the brokers may take, in seconds.
ANSWER = 2.0
#: How long topics may take to be made, a consumer to start, or anything to end, in seconds.
PATIENCE = 10.0
#: Between looks whether the topics are still there, in seconds.
LOOK = 1.0
#: How long a poll may be deaf to a rebalance, in seconds; records wake it at once.
SLICE = 0.1
#: Records of one partition travel together up to this size; brokers take 1 MiB by default.
BATCH_BYTES = 256 * 1024
#: Fetched at once from one partition, and in all.
FETCH_BYTES = (1 << 20, 8 << 20)

#: Written when a topic is made. A log that forgets could not be read again from its start, and one that
#: elects a replica behind the others would forget what it acknowledged.
_TOPIC = {"cleanup.policy": "delete", "retention.bytes": "-1", "retention.ms": "-1"}
_SAFETY = {"unclean.leader.election.enable": "false"}

_OFFSET_OUT_OF_RANGE, _TOPIC_EXISTS = 1, 36

#: How aiokafka fails to read; the last is a header whose name is not UTF-8, which no producer of ours writes.
_UNREADABLE = (KafkaError, UnicodeDecodeError)

_log = logging.getLogger(__name__)
T = TypeVar("T")


class TopicReplaced(OffsetLost):
    """A topic was deleted, or made again: the offsets that we know are those of another log."""

    def __init__(self, partition: Partition, offset: int) -> None:
        super().__init__(partition, offset)
        self.args = (f"主题 {partition.topic} 已被删除、重建或改变了分区数，原有位置作废",)


class KafkaLog:
    """The log of one process. Objects of aiokafka are made on first use, inside the running loop."""

    def __init__(
        self,
        bootstrap: str,
        *,
        partitions: int = 12,
        replication: int = 1,
        patience: float = 30.0,
    ) -> None:
        """`patience`: seconds of silence that make a consumer be thought stuck, or a topic deleted.

        A topic that was just made, or asked for at a broker that has just started, is unknown for a moment.
        """
        self._who = {"bootstrap_servers": bootstrap.split(","), "client_id": "liandong"}
        self._partitions = partitions
        self._replication = replication
        self._patience = patience
        self._clients = _Kept(self._start_client, _end_client)
        self._producers = _Kept(self._start_producer, _end_producer)
        self._members: set[_Member] = set()
        self._leaving: set[asyncio.Task[None]] = set()

    async def prepare(self, topics: Sequence[str]) -> None:
        refused = await self.ask(lambda client: self._create(client, topics), within=PATIENCE)
        until = clock.monotonic() + PATIENCE
        while True:
            found = await self.topics(topics)
            for name, topic in found.items():
                if topic.count != self._partitions:
                    raise TopicMismatch(name, topic.count, self._partitions)
            missing = [name for name in topics if name not in found]
            if not missing:
                return
            if refused.keys() & set(missing) or clock.monotonic() > until:
                raise errors.Transient(f"无法创建主题：{refused or missing}")
            await asyncio.sleep(SLICE)

    async def publish(self, topic: str, outgoing: Sequence[Outgoing], *, within: float) -> list[bool]:
        until = clock.monotonic() + within
        try:
            async with asyncio.timeout(within):
                producer = await self._producers.get()
        except (KafkaError, OSError, TimeoutError) as error:
            raise errors.Transient(f"无法连接 Kafka：{error!r}") from error
        intact = False
        try:
            await self._expect_partitions(producer, topic, until)
            sending = _Sending(producer, topic, outgoing, self._partitions)
            intact = await sending.run(until)
            return sending.acknowledged
        finally:
            # What was not acknowledged may still be queued in it, and may have left a hole in its sequence.
            if not intact:
                self._producers.drop(producer)

    async def subscribe(self, group: str, topics: Sequence[str]) -> Subscription:
        known = await self.topics(topics)
        if missing := set(topics) - known.keys():
            raise errors.Transient(f"主题不存在：{'、'.join(sorted(missing))}")
        # Members of a group are removed by the brokers after six seconds of silence: they allow no less.
        # A consumer without a position must never be given one by them, hence "none". Joining may block as
        # long as the slowest member takes, so requests have more time than that.
        consumer = AIOKafkaConsumer(
            **self._who,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            session_timeout_ms=6_000,
            heartbeat_interval_ms=1_000,
            request_timeout_ms=20_000,
            fetch_max_wait_ms=200,
            max_partition_fetch_bytes=FETCH_BYTES[0],
            fetch_max_bytes=FETCH_BYTES[1],
        )
        try:
            async with asyncio.timeout(PATIENCE):
                await consumer.start()
        except (KafkaError, OSError, TimeoutError) as error:
            self.stop(consumer)
            raise errors.Transient(f"无法连接 Kafka：{error!r}") from error
        except asyncio.CancelledError:
            self.stop(consumer)
            raise
        member = _Member(self, consumer, known, self._patience)
        self._members.add(member)
        return member

    async def read_at(self, partition: Partition, offset: int) -> Record | None:
        topic = (await self.topics([partition.topic])).get(partition.topic)
        if topic is None:
            raise errors.Transient(f"主题不存在：{partition.topic}")
        if offset < 0 or partition.number not in topic.leaders:
            return None
        return await self.ask(lambda client: _fetch_one(client, topic, partition, offset))

    async def ready(self) -> None:
        await self.topics([])

    async def close(self) -> None:
        for member in self._members.copy():
            member.leave()
        await asyncio.gather(self._producers.close(), self._clients.close(), _settle(self._leaving))

    async def topics(self, names: Collection[str], node: int | None = None) -> dict[str, _Topic]:
        """What a broker (any, or `node`) knows of these topics; unknown ones are left out."""
        return await self.ask(lambda client: _describe(client, names, node))

    async def ask(self, question: Callable[[AIOKafkaClient], Awaitable[T]], *, within: float = ANSWER) -> T:
        """Put a question to the brokers. Raises errors.Transient when there is no answer in time."""
        client: AIOKafkaClient | None = None
        try:
            async with asyncio.timeout(within):
                client = await self._clients.get()
                return await question(client)
        except (*_UNREADABLE, OSError, TimeoutError) as error:
            # A connection that is half open would never answer again.
            if client is not None:
                self._clients.drop(client)
            raise errors.Transient(f"Kafka 没有应答：{error!r}") from error

    def forget(self, member: _Member) -> None:
        """It has left its group."""
        self._members.discard(member)

    def stop(self, consumer: AIOKafkaConsumer) -> asyncio.Task[None]:
        """Let a consumer leave its group, in the background: a broker that is away holds it up."""
        task = asyncio.create_task(_quietly(consumer.stop()))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    async def _start_client(self) -> AIOKafkaClient:
        client = AIOKafkaClient(**self._who, request_timeout_ms=10_000)
        try:
            await client.bootstrap()
        except BaseException:
            await client.close()
            raise
        return client

    async def _start_producer(self) -> AIOKafkaProducer:
        # Lingering hurts whoever waits for each acknowledgement; the relay brings whole batches.
        producer = AIOKafkaProducer(
            **self._who,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=10_000,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def _create(self, client: AIOKafkaClient, topics: Sequence[str]) -> dict[str, str]:
        """Make topics, and give what was refused with the reason; that one exists is no refusal."""
        in_sync = {"min.insync.replicas": str(max(self._replication - 1, 1))}
        settings = list((_TOPIC | _SAFETY | in_sync).items())
        request = CreateTopicsRequest(
            create_topic_requests=[(t, self._partitions, self._replication, [], settings) for t in topics],
            timeout=int(PATIENCE * 1000),
            validate_only=False,
        )
        answer = await client.send(client.get_random_node(), request)
        return {
            topic: message or for_code(code).__name__
            for topic, code, message in answer.topic_errors
            if code not in (0, _TOPIC_EXISTS)
        }

    async def _expect_partitions(self, producer: AIOKafkaProducer, topic: str, until: float) -> None:
        """Look, in what the producer knows already, whether the topic can be written in order."""
        try:
            async with asyncio.timeout(until - clock.monotonic()):
                numbers = await producer.partitions_for(topic)
        except (KafkaError, TimeoutError) as error:
            raise errors.Transient(f"主题 {topic} 不可写：{error!r}") from error
        if numbers != set(range(self._partitions)):
            raise errors.Transient(f"主题 {topic} 有 {len(numbers)} 个分区，应为 {self._partitions} 个")


class _Sending:
    """One publication: partitions side by side, batches of one partition one behind the other's ack."""

    def __init__(
        self, producer: AIOKafkaProducer, topic: str, outgoing: Sequence[Outgoing], partitions: int
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._outgoing = outgoing
        self.acknowledged = [False] * len(outgoing)
        self._places: dict[int, list[int]] = {}
        for place, record in enumerate(outgoing):
            self._places.setdefault(partition_of(record.key, partitions), []).append(place)

    async def run(self, until: float) -> bool:
        """Send all of it; gives whether everything was acknowledged in time."""
        sends = [asyncio.create_task(self._send(n, places)) for n, places in self._places.items()]
        try:
            if sends:
                await asyncio.wait(sends, timeout=max(until - clock.monotonic(), 0))
        finally:
            for send in sends:
                send.cancel()
        for send in sends:
            if send.done() and not send.cancelled() and (error := send.exception()):
                _log.warning("a batch was refused: %r", error, extra={"action": "publish_refused"})
        return all(self.acknowledged)

    async def _send(self, number: int, places: Sequence[int]) -> None:
        """Stops at the first batch that fails: what lies behind it must not be called acknowledged."""
        for batch, held in self._batches(places):
            written = await self._producer.send_batch(batch, self._topic, partition=number)
            await written
            for place in held:
                self.acknowledged[place] = True

    def _batches(self, places: Sequence[int]) -> Iterator[tuple[Any, list[int]]]:
        batch = self._producer.create_batch()
        held: list[int] = []
        for place in places:
            if not self._append(batch, place):
                yield batch, held
                batch, held = self._producer.create_batch(), []
                self._append(batch, place)
            held.append(place)
        yield batch, held

    def _append(self, batch: Any, place: int) -> bool:
        """Whether the record found room; an empty batch takes any."""
        record = self._outgoing[place]
        added = batch.append(
            timestamp=None, key=record.key.encode(), value=record.value, headers=list(record.headers)
        )
        return added is not None


class _Member(ConsumerRebalanceListener):  # type: ignore[misc]
    """One member of a consumer group.

    A partition that is given to us is paused and put on offset 0 before aiokafka can ask the group for a
    committed offset (there is none, and with the policy "none" that is an error); `seek` lets it go.
    """

    def __init__(
        self, log: KafkaLog, consumer: AIOKafkaConsumer, topics: Mapping[str, _Topic], patience: float
    ) -> None:
        self._log = log
        self._consumer = consumer
        self._topics = dict(topics)
        self._patience = patience
        self._rebalanced = asyncio.Event()
        self._joined = False
        self._given: set[Partition] = set()
        self._taken: set[Partition] = set()
        #: Reported as ours, and not taken away since.
        self._ours: set[Partition] = set()
        #: The offset of the record to be handed on next, for partitions that were sought.
        self._next: dict[Partition, int] = {}
        #: Where a partition was once seen to go on behind a hole.
        self._holes: dict[Partition, int] = {}
        self._ended: Exception | None = None
        self._looked = clock.monotonic()
        self._unknown_since: dict[str, float] = {}
        self._silence = _Silence()
        consumer.subscribe(list(topics), listener=self)

    async def poll(self, *, most: int, within: float) -> Polled:
        until = clock.monotonic() + within
        while True:
            if self._ended:
                raise self._ended
            began = clock.monotonic()
            await self._look(began)
            records = await self._fetch(most, max(min(until - began, SLICE), 0))
            if records or self._given or self._taken:
                return self._report(records)
            await self._watch(clock.monotonic() - began)
            if clock.monotonic() >= until:
                return Polled()

    def seek(self, partition: Partition, offset: int) -> None:
        # One that was taken away meanwhile, even if it was given back, waits until that has been reported.
        if partition in self._ours:
            self._holes.pop(partition, None)
            self._next[partition] = offset
            self._consumer.seek(_native(partition), offset)
            self._consumer.resume(_native(partition))

    def end(self, partition: Partition) -> int | None:
        if _native(partition) not in self._consumer.assignment():
            return None
        highwater: int | None = self._consumer.highwater(_native(partition))
        return highwater

    async def close(self) -> None:
        await asyncio.wait({self.leave()}, timeout=PATIENCE / 2)

    def leave(self) -> asyncio.Task[None]:
        """End this subscription; the task ends once the brokers know, or cannot be told."""
        self._ended = self._ended or errors.Transient("订阅已关闭")
        self._ours.clear()
        self._log.forget(self)
        return self._log.stop(self._consumer)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Called by aiokafka when a rebalance begins, with all that we had."""
        taken = {_partition(native) for native in revoked}
        self._joined = False
        self._taken |= taken & self._ours
        self._given -= taken
        self._ours -= taken
        for partition in taken:
            self._next.pop(partition, None)
        self._rebalanced.set()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Called by aiokafka when a rebalance has ended, with all that we have; it must not wait."""
        for native in assigned:
            self._consumer.pause(native)
            self._consumer.seek(native, 0)
        self._given |= {_partition(native) for native in assigned}
        self._joined = True
        self._rebalanced.set()

    def _report(self, records: dict[Partition, Sequence[Record]]) -> Polled:
        given, self._given = frozenset(self._given), set()
        taken, self._taken = frozenset(self._taken), set()
        self._ours |= given
        self._silence = _Silence()
        return Polled(given, taken, records)

    async def _fetch(self, most: int, within: float) -> dict[Partition, Sequence[Record]]:
        """The records that may be handed on, each once and without a hole."""
        fetched = await self._getmany(most, within)
        expected = {partition: self._expected(partition, found) for partition, found in fetched.items()}
        expected = {partition: records for partition, records in expected.items() if records}
        if not expected:
            return {}
        try:
            await self._same_topics(expected.keys())
        except errors.Transient:
            # Whether these are records of our topic cannot be told now: they will be fetched again.
            for partition in expected.keys() & self._next.keys():
                self._consumer.seek(_native(partition), self._next[partition])
            await asyncio.sleep(within)
            return {}
        # A rebalance may have begun while the brokers were asked.
        kept: dict[Partition, Sequence[Record]] = {p: r for p, r in expected.items() if p in self._next}
        for partition, records in kept.items():
            self._next[partition] = records[-1].offset + 1
        return kept

    async def _getmany(self, most: int, within: float) -> dict[Partition, list[Any]]:
        if not self._joined:
            # While a rebalance is under way aiokafka's own call would wait for its end, whatever it takes.
            self._rebalanced.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._rebalanced.wait()
            return {}
        try:
            async with asyncio.timeout(within + SLICE):
                fetched = await self._consumer.getmany(timeout_ms=int(within * 1000), max_records=most)
        except TimeoutError:
            return {}
        except OffsetOutOfRangeError as error:
            self._out_of_range(error)
            return {}
        except _UNREADABLE as error:
            self._ended = errors.Transient(f"消费中断：{error!r}")
            raise self._ended from error
        return {_partition(native): records for native, records in fetched.items()}

    def _expected(self, partition: Partition, fetched: Sequence[Any]) -> list[Record]:
        """Of what was fetched, the records from the expected offset on, up to the first hole."""
        after = self._next.get(partition)
        if after is None:
            return []
        records: list[Record] = []
        for native in fetched:
            if native.offset > after:
                self._hole(partition, after, alone=not records)
                break
            if native.offset == after:
                records.append(_record(partition, native))
                after += 1
        return records

    def _hole(self, partition: Partition, missing: int, *, alone: bool) -> None:
        """Offsets of our topics are dense: look again, and if it is still not there, it is lost."""
        if alone and self._holes.get(partition) == missing:
            self._stop_reading(partition)
            raise OffsetLost(partition, missing)
        self._holes[partition] = missing
        self._consumer.seek(_native(partition), missing)

    def _out_of_range(self, error: OffsetOutOfRangeError) -> None:
        for native, offset in error.args[0].items():
            partition = _partition(native)
            if self._next.get(partition) == offset:
                self._stop_reading(partition)
                raise OffsetLost(partition, offset)

    def _stop_reading(self, partition: Partition) -> None:
        """Until the next `seek`."""
        del self._next[partition]
        self._consumer.pause(_native(partition))

    async def _same_topics(self, partitions: Collection[Partition]) -> None:
        """Ask those who served these partitions whether the topics are still the ones subscribed to.

        A broker knows of a new topic before it serves it, but not when another one does. One short question
        for each poll that brought something: that is what it costs never to apply a record of another log.
        """
        asked: set[int] = set()
        topics = self._topics
        while ahead := {topics[p.topic].leaders.get(p.number, -1) for p in partitions} - asked:
            node = ahead.pop()
            topics = await self._log.topics({p.topic for p in partitions}, node)
            self._compare(topics, {p.topic for p in partitions})
            asked.add(node)

    async def _look(self, now: float) -> None:
        """See now and then that the topics are still there: one that is gone says nothing by itself."""
        if now - self._looked < LOOK:
            return
        self._looked = now
        with contextlib.suppress(errors.Transient):
            self._compare(await self._log.topics(self._topics.keys()), self._topics.keys())

    def _compare(self, found: Mapping[str, _Topic], names: Collection[str]) -> None:
        now = clock.monotonic()
        for name in names:
            if name in found and not found[name].same(self._topics[name]):
                self._replaced(name)
            if name in found:
                self._topics[name] = found[name]
                self._unknown_since.pop(name, None)
            elif now - self._unknown_since.setdefault(name, now) > self._patience:
                self._replaced(name)
        if unknown := set(names) - found.keys():
            raise errors.Transient(f"主题不存在：{'、'.join(sorted(unknown))}")

    def _replaced(self, topic: str) -> None:
        """The end of this subscription: aiokafka would keep a core busy asking for a topic that is gone."""
        place = min(((p.number, at) for p, at in self._next.items() if p.topic == topic), default=(0, 0))
        self._ended = TopicReplaced(Partition(topic, place[0]), place[1])
        self.leave()
        raise self._ended

    async def _watch(self, elapsed: float) -> None:
        """A consumer can stay alive and never consume again: give up one that hears nothing at all.

        Only time spent in empty polls counts, and only while the brokers answer. Those that have nothing new
        still say so several times a second.
        """
        heard = [self._consumer.last_poll_timestamp(_native(p)) or 0 for p in self._next]
        if self._joined and not heard:
            self._silence = _Silence()
            return
        self._silence.go_on(min(heard, default=0), elapsed)
        if self._silence.seconds < self._patience:
            return
        self._silence = _Silence()
        with contextlib.suppress(errors.Transient):
            await self._log.ready()
            self._ended = errors.Transient("消费者没有进展，需要重新加入")
            _log.error("a consumer is stuck", extra={"action": "consumer_stuck"})
        if self._ended:
            raise self._ended


@dataclass(slots=True)
class _Silence:
    """How long the longest unheard partition has not been heard of."""

    seconds: float = 0.0
    heard: int = -1

    def go_on(self, heard: int, elapsed: float) -> None:
        """`heard` says when the brokers last spoke of it, by a clock of which only the changes matter."""
        self.seconds = self.seconds + elapsed if heard == self.heard else 0.0
        self.heard = heard


class _Kept(Generic[T]):
    """One connection, made on first use and replaced after it was dropped.

    Callers bound their own waiting; one that is still being made goes on being made for the next caller.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], end: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._end = end
        self._making: asyncio.Task[T] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def get(self) -> T:
        if self._making is None:
            self._making = asyncio.create_task(self._within_patience())
            self._making.add_done_callback(self._made)
        return await asyncio.shield(self._making)

    def drop(self, kept: T) -> None:
        """End it in the background, unless somebody has done so."""
        making = self._making
        if making and _came_of(making) is kept:
            self._making = None
            task = asyncio.create_task(_quietly(self._end(kept)))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        if self._making:
            await _settle({self._making})
        if self._making and (kept := _came_of(self._making)) is not None:
            self.drop(kept)
        await _settle(self._ending)

    async def _within_patience(self) -> T:
        async with asyncio.timeout(3 * PATIENCE):
            return await self._make()

    def _made(self, making: asyncio.Task[T]) -> None:
        if _came_of(making) is None and self._making is making:
            self._making = None


def _came_of(task: asyncio.Task[T]) -> T | None:
    """What a task gave, None as long as it gave nothing; its failure counts as seen."""
    if not task.done() or task.cancelled() or task.exception():
        return None
    return task.result()


async def _settle(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Wait for tasks to end by themselves for a while, and then no longer."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=PATIENCE / 2)
        for task in late:
            task.cancel()


async def _quietly(ending: Awaitable[None]) -> None:
    try:
        await ending
    except (KafkaError, OSError, TimeoutError) as error:
        _log.warning("a connection did not end well: %r", error, extra={"action": "kafka_ending"})


async def _end_client(client: AIOKafkaClient) -> None:
    async with asyncio.timeout(PATIENCE / 2):
        await client.close()


async def _end_producer(producer: AIOKafkaProducer) -> None:
    """Throw a producer away.

    Its own `stop` first sends all that is queued: after an outage that would be a second copy of what its
    successor publishes, and for a topic that is gone it never ends. Without a sender it only hangs up. A
    sender waits for what is under way, unless it is cancelled a second time, as the timeout does.
    """
    sender, producer._sender = producer._sender, None
    with contextlib.suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(SLICE):
            await sender.close()
    async with asyncio.timeout(PATIENCE / 2):
        await producer.stop()


def _native(partition: Partition) -> TopicPartition:
    return TopicPartition(partition.topic, partition.number)


def _partition(native: TopicPartition) -> Partition:
    return Partition(native.topic, native.partition)


def _record(partition: Partition, native: Any) -> Record:
    """Kafka knows of keys, values and headers that are null; no record of ours has any, so they are empty."""
    headers = tuple((name, value or b"") for name, value in native.headers)
    return Record(partition, native.offset, native.key or b"", native.value or b"", headers)


async def _fetch_one(
    client: AIOKafkaClient, topic: _Topic, partition: Partition, offset: int
) -> Record | None:
    """One fetch, of which the brokers give at least a whole batch, however small the limit."""
    wanted = [(partition.topic, [(partition.number, offset, 1)])]
    request = FetchRequest(max_wait_time=0, min_bytes=1, max_bytes=1, isolation_level=0, topics=wanted)
    answer = await client.send(topic.leaders[partition.number], request)
    (_, ((_, code, _, *_, data),)), *_ = answer.topics
    if code == _OFFSET_OUT_OF_RANGE:
        return None
    if code:
        raise for_code(code)()
    batches = MemoryRecords(data)
    while batches.has_next():
        for native in batches.next_batch():
            if native.offset == offset:
                return _record(partition, native)
    return None


@dataclass(frozen=True, slots=True)
class _Topic:
    """What a broker says of a topic."""

    #: The same as long as the topic lives; one of the same name made later has another.
    id: bytes
    #: The broker that serves each partition, -1 while there is none.
    leaders: Mapping[int, int] = field(compare=False)

    @property
    def count(self) -> int:
        return len(self.leaders)

    def same(self, other: _Topic) -> bool:
        """Whether offsets in one are offsets in the other, and keys lie in the same partitions."""
        return (self.id, self.count) == (other.id, other.count)


async def _describe(client: AIOKafkaClient, names: Collection[str], node: int | None) -> dict[str, _Topic]:
    answer = await client.send(client.get_random_node() if node is None else node, _Metadata(names))
    return {
        name: _Topic(id, {number: leader for _, number, leader, *_ in partitions})
        for code, name, id, _, partitions, *_ in answer.topics
        if code == 0
    }


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        return bytes(data.read(16))


_PARTITIONS = CompactArray(
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("isr", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
    ("tags", TaggedFields),
)


class _MetadataResponseV12(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                ("partitions", _PARTITIONS),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequestV12(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = _MetadataResponseV12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("topic", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Metadata(Request[_MetadataRequestV12]):  # type: ignore[misc]
    """The question for topics that aiokafka does not have: with their ids, and never making one."""

    API_KEY = 3

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_MetadataRequestV12]) -> _MetadataRequestV12:
        none: dict[int, bytes] = {}
        topics = [(bytes(16), name, none) for name in self._names]
        return request_struct_class(topics, False, False, none)
