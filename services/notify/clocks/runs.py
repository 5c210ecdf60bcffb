"""What clocks do when time passes: levels are reached, and dates move with the calendar."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from libs.common import errors, telemetry
from libs.common.change import Change
from libs.common.clock import Clock, Moment
from libs.common.loops.backoff import Backoff
from libs.common.loops.lease import Leased
from libs.common.store.seam import Committed
from libs.common.store.store import Store
from services.notify.clocks import loads, rules
from services.notify.clocks.rules import Law
from services.notify.clocks.tables import Reached

#: Clocks that one round looks at.
ROUND = 100

_log = logging.getLogger(__name__)


class Runner:
    """Runs the clocks in one process at a time. Two would do no harm: a level is a row that is there once."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        lease: Leased,
        *,
        every: float = 1.0,
        told: Callable[[Reached], None] = lambda reached: None,
    ) -> None:
        """`every` is in seconds, between looks; `told` hears of every level that was reached."""
        self._store = store
        self._clock = clock
        self._lease = lease
        self._every = every
        self._told = told

    async def run(self) -> None:
        """Run the clocks until cancelled."""
        backoff = Backoff()
        while True:
            try:
                moved = await self.once() if await self._lease.held() else 0
                backoff.reset()
            except errors.Transient as error:
                _log.warning("clocks wait: %s", error.detail, extra={"action": "clocks_wait"})
                await backoff.wait()
                continue
            if not moved:
                await asyncio.sleep(self._every)

    async def once(self) -> int:
        """One round; gives how many clocks moved. What somebody else moved meanwhile waits for the next."""
        async with self._store.reading() as read:
            law = await loads.law(read)
            outdated = await loads.outdated(read, law.plan, ROUND)
            due = await loads.due(read, self._clock.now(), ROUND)
        redated = await asyncio.gather(*(self._redate(law, one) for one in outdated))
        current = [one for one in due if one not in {*outdated}]
        escalated = await asyncio.gather(*(self._escalate(law, one) for one in current))
        return sum(redated) + sum(escalated)

    async def _redate(self, law: Law, obligation: str) -> bool:
        at = self._moment()
        async with self._store.reading() as read:
            file = await loads.file(read, obligation)
        return await self._commit(rules.redate(law, file, at=at))

    async def _escalate(self, law: Law, obligation: str) -> bool:
        at = self._moment()
        async with self._store.reading() as read:
            file = await loads.file(read, obligation)
            issuing = await loads.issuing(read, file.obligation, at.now)
        return await self._commit(rules.escalate(law, file, issuing, at=at))

    async def _commit(self, change: Change) -> bool:
        if not isinstance(await self._store.commit(change), Committed):
            return False
        for row in change.rows:
            if isinstance(row.entry, Reached):
                self._told(row.entry)
                _log.info("level reached", extra={"action": "escalated", "obligation": row.entry.obligation})
        return True

    def _moment(self) -> Moment:
        return Moment(self._clock.now(), telemetry.new_trace())
