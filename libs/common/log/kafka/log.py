"""The log of one process, as the loops know it: publish, subscribe, read one record, make the topics."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from libs.common import clock, errors
from libs.common.log.kafka import connections, questions
from libs.common.log.kafka.connections import PATIENCE, SLICE
from libs.common.log.kafka.member import Member
from libs.common.log.kafka.questions import Brokers
from libs.common.log.kafka.sending import Sending
from libs.common.log.seam import Outgoing, Partition, Record, Subscription, TopicMismatch

#: Fetched at once from one partition, and in all.
FETCH_BYTES = (1 << 20, 8 << 20)


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
        start_producer = functools.partial(connections.start_producer, self._who)
        self._producers = connections.Kept(start_producer, connections.end_producer)
        self._brokers = Brokers(self._who)
        self._members: dict[AIOKafkaConsumer, Member] = {}
        self._leaving = connections.Endings()

    async def prepare(self, topics: Sequence[str]) -> None:
        refused = await self._brokers.ask(
            lambda client: questions.create(client, topics, self._partitions, self._replication),
            within=PATIENCE,
        )
        until = clock.monotonic() + PATIENCE
        while True:
            found = await self._brokers.topics(topics)
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
            sending = Sending(producer, topic, outgoing, self._partitions)
            intact = await sending.run(until)
            return sending.acknowledged
        finally:
            # What was not acknowledged may still be queued in it, and may have left a hole in its sequence.
            if not intact:
                self._producers.drop(producer)

    async def subscribe(self, group: str, topics: Sequence[str]) -> Subscription:
        known = await self._brokers.topics(topics)
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
            rebalance_timeout_ms=10_000,
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
            self._stop(consumer)
            raise errors.Transient(f"无法连接 Kafka：{error!r}") from error
        except asyncio.CancelledError:
            self._stop(consumer)
            raise
        member = Member(self._brokers, consumer, known, self._patience, self._stop)
        self._members[consumer] = member
        return member

    async def read_at(self, partition: Partition, offset: int) -> Record | None:
        topic = (await self._brokers.topics([partition.topic])).get(partition.topic)
        if topic is None:
            raise errors.Transient(f"主题不存在：{partition.topic}")
        if offset < 0 or partition.number not in topic.leaders:
            return None
        return await self._brokers.ask(lambda client: questions.fetch_one(client, topic, partition, offset))

    async def ready(self) -> None:
        await self._brokers.topics([])

    async def close(self) -> None:
        for member in list(self._members.values()):
            member.leave()
        await asyncio.gather(self._producers.close(), self._brokers.close(), self._leaving.settle())

    def _stop(self, consumer: AIOKafkaConsumer) -> asyncio.Task[None]:
        """Let a consumer leave its group, in the background: a broker that is away holds it up."""
        self._members.pop(consumer, None)
        return self._leaving.begin(consumer.stop())

    async def _expect_partitions(self, producer: AIOKafkaProducer, topic: str, until: float) -> None:
        """Look, in what the producer knows already, whether the topic can be written in order."""
        try:
            async with asyncio.timeout(until - clock.monotonic()):
                numbers = await producer.partitions_for(topic)
        except (KafkaError, TimeoutError) as error:
            raise errors.Transient(f"主题 {topic} 不可写：{error!r}") from error
        if numbers != set(range(self._partitions)):
            raise errors.Transient(f"主题 {topic} 有 {len(numbers)} 个分区，应为 {self._partitions} 个")
