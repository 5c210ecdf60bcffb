"""Connections to Kafka: how they are begun, kept alive, replaced and ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

#: How long topics may take to be made, a consumer to start, or anything to end, in seconds.
PATIENCE = 10.0
#: How long a poll may be deaf to a rebalance, in seconds; records wake it at once.
SLICE = 0.1
#: Records of one partition travel together up to this size; brokers take 1 MiB by default.
BATCH_BYTES = 256 * 1024

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Endings:
    """What is being ended in the background: a broker that is away holds it up."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, ending: Awaitable[None]) -> asyncio.Task[None]:
        """The task ends once it is done, or has failed."""
        task = asyncio.create_task(_quietly(ending))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settle(self) -> None:
        """Wait a while for all of it."""
        await _settle(self._tasks)


class Kept(Generic[T]):
    """One connection, made on first use and replaced after it was dropped.

    Callers bound their own waiting; one that is still being made goes on being made for the next caller.
    """

    def __init__(self, make: Callable[[], Awaitable[T]], end: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._end = end
        self._making: asyncio.Task[T] | None = None
        self._endings = Endings()

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
            self._endings.begin(self._end(kept))

    async def close(self) -> None:
        if self._making:
            await _settle({self._making})
        if self._making and (kept := _came_of(self._making)) is not None:
            self.drop(kept)
        await self._endings.settle()

    async def _within_patience(self) -> T:
        async with asyncio.timeout(3 * PATIENCE):
            return await self._make()

    def _made(self, making: asyncio.Task[T]) -> None:
        if _came_of(making) is None and self._making is making:
            self._making = None


async def start_client(who: Mapping[str, Any]) -> AIOKafkaClient:
    """A connection for questions."""
    client = AIOKafkaClient(**who, request_timeout_ms=10_000)
    try:
        await client.bootstrap()
    except BaseException:
        await client.close()
        raise
    return client


async def end_client(client: AIOKafkaClient) -> None:
    """Hang up."""
    async with asyncio.timeout(PATIENCE / 2):
        await client.close()


async def start_producer(who: Mapping[str, Any]) -> AIOKafkaProducer:
    """A connection for sending."""
    # Lingering hurts whoever waits for each acknowledgement; the relay brings whole batches.
    producer = AIOKafkaProducer(
        **who,
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


async def end_producer(producer: AIOKafkaProducer) -> None:
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
