"""Keeps a service's loops running, and tells operators how they stand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select

from libs.common import edge, errors, telemetry
from libs.common.clock import Clock
from libs.common.log.envelope import Heard
from libs.common.log.seam import Log
from libs.common.loops.backoff import Backoff
from libs.common.loops.consumer import Consumer
from libs.common.loops.filler import Filler
from libs.common.loops.relay import Relay
from libs.common.store import schema
from libs.common.store.reading import Reader
from libs.common.store.store import Store
from libs.common.telemetry import Metrics

#: Seconds between two looks at the gauges.
GAUGES_EVERY = 1.0
#: How long committed answers are kept for their Idempotency-Keys.
ANSWERS_KEPT = timedelta(days=90)
#: Seconds between two sweeps of old answers.
SWEEP_EVERY = 3600.0

_HELD = schema.table(schema.HeldEventRow)
_PARKED = schema.table(schema.ParkedKeyRow)
_RECORDS = schema.table(schema.ParkedRecordRow)
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Loops:
    """Everything that runs beside the requests of one service in one process."""

    service: str
    store: Store
    log: Log
    topics: Sequence[str]
    clock: Clock
    metrics: Metrics
    relay: Relay
    consumer: Consumer
    filler: Filler
    #: Loops that this service alone has, by name.
    others: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=dict)
    also_measure: Callable[[Reader], Awaitable[None]] | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _published: int = 0
    _failures: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The loops run inside this block and are ended, cleanly, when it is left."""
        with telemetry.speaking(self.service):
            await self._start()
            try:
                yield
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ready(self) -> None:
        """Raises Transient while this process cannot do its part."""
        if self.consumer.stopped:
            raise errors.Transient(f"消费已停止：{self.consumer.stopped}")
        await self.store.outbox()
        await self.log.ready()

    async def alive(self) -> None:
        """Raises Transient where a loop has ended by itself."""
        ended = [task.get_name() for task in self._tasks if task.done()]
        if ended and not self.consumer.stopped:
            raise errors.Transient(f"后台循环已结束：{'、'.join(ended)}")

    async def _start(self) -> None:
        for name, loop in (
            ("listen", self.store.listen),
            ("relay", self.relay.run),
            ("consumer", self.consumer.run),
            ("filler", self.filler.run),
            ("gauges", self._gauges),
            ("sweep", self._sweep),
            *self.others.items(),
        ):
            self._tasks.append(asyncio.create_task(self._kept(name, loop), name=name))

    async def _kept(self, name: str, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Prepare the log, then run; what should not happen is logged and started again, more slowly."""
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                if name in ("relay", "consumer"):
                    await self.log.prepare(self.topics)
                await loop()
                return
            except errors.Transient as why:
                _log.warning("%s waits: %s", name, why.detail, extra={"action": "loop_wait"})
            except Exception:  # noqa: BLE001 - a loop must outlive our bugs; this one is logged and counted
                _log.exception("%s failed", name, extra={"action": "loop_failed"})
            await backoff.wait()

    async def _gauges(self) -> None:
        while True:
            await self.measure()
            await asyncio.sleep(GAUGES_EVERY)

    async def measure(self) -> None:
        """Bring the gauges up to date."""
        outbox = await self.store.outbox()
        age = (self.clock.now() - outbox.oldest).total_seconds() if outbox.oldest else 0.0
        self.metrics.outbox(max(age, 0.0), outbox.depth)
        self.metrics.lease("relay", self.relay.leads)
        self._count()
        lag = self.consumer.lag()
        self.metrics.lag({(partition.topic, partition.number): n for partition, n in lag.items()})
        async with self.store.reading() as read:
            held = await read.rows(select(func.count().label("n")).select_from(_HELD))
            parked = await read.rows(select(func.count().label("n")).select_from(_PARKED))
            records = await read.rows(select(func.count().label("n")).select_from(_RECORDS))
        self.metrics.held(held[0]["n"])
        self.metrics.parked(parked[0]["n"])
        self.metrics.alarms("unreadable_record", records[0]["n"])
        self.metrics.alarms("consumer_stopped", 1 if self.consumer.stopped else 0)
        self.metrics.alarms("open_gap", len(self.filler.open_gaps))
        # Last, and by itself: if it fails, what wakes people has been said.
        if self.also_measure:
            async with self.store.reading() as read:
                await self.also_measure(read)

    def _count(self) -> None:
        self.metrics.published(self.relay.published - self._published)
        self._published = self.relay.published
        self.metrics.publish_failed(self.relay.failures - self._failures)
        self._failures = self.relay.failures

    async def _sweep(self) -> None:
        while True:
            await self.store.forget_answers(self.clock.now() - ANSWERS_KEPT)
            await asyncio.sleep(SWEEP_EVERY)


def applied(metrics: Metrics, hears: edge.Hears) -> Callable[[edge.Report], None]:
    """Counts and logs what a consumer applied, under the trace of each event: its request's.

    Types that nobody knows share one label.
    """

    def told(report: edge.Report) -> None:
        with telemetry.speaking(metrics.service):
            for heard in report.applied:
                metrics.applied(heard.type if heard.type in hears.catalogue else "other")
                _say(logging.INFO, "applied", heard)
            for heard, reason in report.parked:
                _say(logging.ERROR, "parked", heard, reason=reason)
            for heard in report.held:
                _say(logging.WARNING, "held", heard)

    return told


def _say(level: int, action: str, heard: Heard, **also: str) -> None:
    with telemetry.traced(heard.trace):
        _log.log(level, "%s %s", action, heard.id, extra={"action": action, "event": heard.id, **also})
