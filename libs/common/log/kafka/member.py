"""A member of a consumer group: what is read, and in what order and from which topic it must be.

It hands on each record once, without a hole, and only of the topic that was subscribed to; it ends by itself
when that topic is gone, or when aiokafka is alive and hears nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from libs.common import clock, errors
from libs.common.log.kafka import questions
from libs.common.log.kafka.connections import PATIENCE, SLICE
from libs.common.log.kafka.questions import Brokers, Topic
from libs.common.log.seam import OffsetLost, Partition, Polled, Record

#: Between looks whether the topics are still there, in seconds.
LOOK = 1.0

_log = logging.getLogger(__name__)


class TopicReplaced(OffsetLost):
    """A topic was deleted, or made again: the offsets that we know are those of another log."""

    def __init__(self, partition: Partition, offset: int) -> None:
        super().__init__(partition, offset)
        self.args = (f"主题 {partition.topic} 已被删除、重建或改变了分区数，原有位置作废",)


class Member(ConsumerRebalanceListener):  # type: ignore[misc]
    """One member of a consumer group.

    A partition that is given to us is paused and put on offset 0 before aiokafka can ask the group for a
    committed offset (there is none, and with the policy "none" that is an error); `seek` lets it go.
    """

    def __init__(
        self,
        brokers: Brokers,
        consumer: AIOKafkaConsumer,
        topics: Mapping[str, Topic],
        patience: float,
        stop: Callable[[AIOKafkaConsumer], asyncio.Task[None]],
    ) -> None:
        """`stop` lets the consumer leave its group, in the background."""
        self._brokers = brokers
        self._consumer = consumer
        self._stop = stop
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
        return self._stop(self._consumer)

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
        except questions.UNREADABLE as error:
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
                records.append(questions.record_of(partition, native))
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
            topics = await self._brokers.topics({p.topic for p in partitions}, node)
            self._compare(topics, {p.topic for p in partitions})
            asked.add(node)

    async def _look(self, now: float) -> None:
        """See now and then that the topics are still there: one that is gone says nothing by itself."""
        if now - self._looked < LOOK:
            return
        self._looked = now
        with contextlib.suppress(errors.Transient):
            self._compare(await self._brokers.topics(self._topics.keys()), self._topics.keys())

    def _compare(self, found: Mapping[str, Topic], names: Collection[str]) -> None:
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
            await self._brokers.topics([])
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


def _native(partition: Partition) -> TopicPartition:
    return TopicPartition(partition.topic, partition.number)


def _partition(native: TopicPartition) -> Partition:
    return Partition(native.topic, native.partition)
