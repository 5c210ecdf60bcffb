"""The consumer: reads partitions, applies batches through `edge.consume`, keeps its positions itself.

Kafka's group protocol says who should read a partition; the epoch in our own position row decides who may
write. On every claim, and whenever the log had been silent, the record before the position is read again and
its id compared: a topic that was deleted and made again would otherwise give wrong records silently.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from libs.common import edge, errors
from libs.common.change import Fence
from libs.common.clock import Clock
from libs.common.log import envelope
from libs.common.log.seam import Log, OffsetLost, Partition, Record, Subscription
from libs.common.loops.backoff import Backoff
from libs.common.store.store import Store

#: Records that one poll brings at most.
BATCH = 500
#: Partitions that are applied at the same time: each may hold a connection while it waits for a lock.
SIDE_BY_SIDE = 4

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Place:
    """Where this process stands in a partition it has claimed."""

    epoch: int
    next: int
    last_id: str
    #: The record before `next` was compared since the log was last silent.
    checked: bool = True


class Replaced(Exception):
    """The log is not the one that was read before; nothing more may be applied from it."""


class Consumer:
    """One service's consumer in one process."""

    def __init__(
        self,
        store: Store,
        log: Log,
        hears: edge.Hears,
        clock: Clock,
        *,
        told: Callable[[edge.Report], None] = lambda report: None,
    ) -> None:
        self._store = store
        self._log = log
        self._hears = hears
        self._clock = clock
        self._told = told
        self._subscription: Subscription | None = None
        self._turns = asyncio.Semaphore(SIDE_BY_SIDE)
        self._places: dict[Partition, _Place] = {}
        #: Why this consumer has stopped for good, or None: an alarm, and not ready.
        self.stopped: str | None = None
        self.progressed = 0

    async def run(self) -> None:
        """Consume until cancelled. A replaced log stops it for good, with an alarm."""
        backoff = Backoff()
        try:
            while self.stopped is None:
                try:
                    await self.once(within=1.0)
                    backoff.reset()
                except (Replaced, OffsetLost) as alarm:
                    self.stopped = str(alarm)
                    _log.critical("consumer stopped: %s", alarm, extra={"action": "consumer_stopped"})
                except (errors.Transient, edge.Leave) as why:
                    _log.warning("consumer waits: %s", why, extra={"action": "consumer_wait"})
                    await self._leave()
                    await backoff.wait()
        finally:
            await self._leave()

    async def once(self, *, within: float) -> int:
        """One poll and all that it brought; gives the number of records."""
        if self._subscription is None:
            self._subscription = await self._log.subscribe(self._hears.group, self._hears.topics)
        polled = await self._subscription.poll(most=BATCH, within=within)
        for partition in polled.revoked:
            self._places.pop(partition, None)
        for partition in sorted(polled.assigned, key=str):
            await self._claim(partition)
        if not polled.records:
            for place in self._places.values():
                place.checked = False
        applying = (self._in_turn(partition, records) for partition, records in polled.records.items())
        for error in await asyncio.gather(*applying, return_exceptions=True):
            if error:
                raise error
        return sum(len(records) for records in polled.records.values())

    @property
    def topics(self) -> tuple[str, ...]:
        return self._hears.topics

    def lag(self) -> dict[Partition, int]:
        """Records not yet applied, per claimed partition, as far as the log has told."""
        ends = {p: self._subscription.end(p) for p in self._places} if self._subscription else {}
        return {p: max(end - self._places[p].next, 0) for p, end in ends.items() if end is not None}

    async def close(self) -> None:
        await self._leave()

    async def _claim(self, partition: Partition) -> None:
        claim = await self._store.claim(self._hears.group, partition.topic, partition.number)
        place = _Place(claim.epoch, claim.next, claim.last_id)
        await self._compare(partition, place)
        self._places[partition] = place
        assert self._subscription
        self._subscription.seek(partition, place.next)

    async def _compare(self, partition: Partition, place: _Place) -> None:
        """The record before our position must be the one we applied last."""
        if place.next == 0:
            return
        before = await self._log.read_at(partition, place.next - 1)
        found = _id_of(before) if before else "nothing"
        if found != place.last_id:
            raise Replaced(
                f"{partition.topic}/{partition.number}：位置 {place.next - 1} 处应为"
                f" {place.last_id}，实为 {found}；该日志已不是原来的日志"
            )
        place.checked = True

    async def _in_turn(self, partition: Partition, records: Sequence[Record]) -> None:
        """Partitions are independent: while the database works for one, we work for the next."""
        async with self._turns:
            await self._apply(partition, records)

    async def _apply(self, partition: Partition, records: Sequence[Record]) -> None:
        place = self._places.get(partition)
        if place is None:
            return
        records = [record for record in records if record.offset >= place.next]
        if not records:
            return
        if not place.checked:
            await self._compare(partition, place)
        try:
            await self._consume(partition, place, records, {})
        except edge.Broken as first:
            _log.exception("a reaction failed", exc_info=first, extra={"action": "reaction_failed"})
            await self._one_by_one(partition, place, records)

    async def _one_by_one(self, partition: Partition, place: _Place, records: Sequence[Record]) -> None:
        """Isolate what fails: everything else is applied, the culprit is parked with its reason."""
        for record in records:
            await edge.isolating(functools.partial(self._consume, partition, place, [record]))

    async def _consume(
        self, partition: Partition, place: _Place, records: Sequence[Record], condemned: Mapping[str, str]
    ) -> edge.Report:
        then, last_id = records[-1].offset + 1, _id_of(records[-1])
        fence = Fence(
            group=self._hears.group,
            topic=partition.topic,
            partition=partition.number,
            epoch=place.epoch,
            next=place.next,
            then=then,
            last_id=last_id,
        )
        report = await edge.consume(
            self._store, self._hears, records, fence, self._clock, condemned=condemned
        )
        place.next, place.last_id = then, last_id
        self.progressed += len(records)
        self._told(report)
        return report

    async def _leave(self) -> None:
        subscription, self._subscription = self._subscription, None
        self._places.clear()
        if subscription:
            await subscription.close()


def _id_of(record: Record) -> str:
    """What a record is recognised by: its event's id and chain, or a digest of bytes nobody can read."""
    try:
        heard = envelope.read(record)
    except envelope.Unreadable:
        return envelope.fingerprint(record)
    return f"{heard.id} {heard.chain.hex()[:16]}"
