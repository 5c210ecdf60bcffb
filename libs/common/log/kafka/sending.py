"""Sending: how one publication reaches its partitions, in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer

from libs.common import clock
from libs.common.log.seam import Outgoing, partition_of

_log = logging.getLogger(__name__)


class Sending:
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
