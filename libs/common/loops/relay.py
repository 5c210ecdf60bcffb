"""The relay: publishes the journal's unpublished facts, in order, and marks what was acknowledged.

It selects what is unpublished, never "position greater than last": positions are given before commits, so a
late commit would be passed by. One leader per service; a leader that was paused may publish a second time,
which the consumers' gates drop, but it can no longer mark.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from libs.common import errors
from libs.common.clock import Clock
from libs.common.log import envelope
from libs.common.log.seam import Log
from libs.common.loops.backoff import Backoff
from libs.common.loops.lease import Leased
from libs.common.store.store import Store

#: Facts that one round reads.
ROUND = 1000
#: Seconds between looks when nobody wakes the relay: a safety net, not the way.
SLOW_POLL = 1.0

_log = logging.getLogger(__name__)


class Relay:
    """One service's relay in one process; it works while it holds the lease."""

    def __init__(self, store: Store, log: Log, topic: str, clock: Clock, lease: Leased) -> None:
        self._store = store
        self._log = log
        self._topic = topic
        self._clock = clock
        self._lease = lease
        self._awake = asyncio.Event()
        self.published = 0
        self.failures = 0
        self.leads = False
        store.on_growth(self._awake.set)

    async def run(self) -> None:
        """Publish until cancelled; gives the lease back on the way out."""
        backoff = Backoff()
        try:
            while True:
                self._awake.clear()
                try:
                    more = await self.once()
                    backoff.reset()
                except errors.Transient as error:
                    self.failures += 1
                    _log.warning("relay waits: %s", error.detail, extra={"action": "relay_wait"})
                    await backoff.wait()
                    continue
                if not more:
                    await self._rest()
        finally:
            self.leads = False
            await _quietly(self._lease.release())

    async def once(self) -> int:
        """One round; gives how many facts were published, 0 when there are none or another one leads."""
        lease = await self._lease.held()
        self.leads = lease is not None
        if lease is None:
            return 0
        entries = await self._store.unpublished(ROUND)
        if not entries:
            return 0
        acknowledged = await self._log.publish(
            self._topic, [envelope.outgoing(entry) for entry in entries], within=self._lease.deadline
        )
        done = [e.position for e, acked in zip(entries, acknowledged, strict=True) if acked]
        if not done:
            raise errors.Transient("日志没有确认任何一条记录")
        if not await self._store.mark_published(done, at=self._clock.now(), lease=lease):
            self._lease.lost()
            return 0
        self.published += len(done)
        return len(done)

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(SLOW_POLL):
                await self._awake.wait()
        except TimeoutError:
            return


async def _quietly(release: Awaitable[None]) -> None:
    try:
        await release
    except errors.Transient:
        return  # the lease runs out by itself
