"""The second way for events in: what waits at a gate, when a gap has been filled or a key is tried again.

Here an event whose failure is certain is parked, so that the others flow on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import select

from libs.common.change import Change, gate_of
from libs.common.clock import Clock, monotonic
from libs.common.edge import conflicts, hearing, parking
from libs.common.edge.hearing import Broken, Hears, Report
from libs.common.log import envelope
from libs.common.log.envelope import Heard
from libs.common.store import schema
from libs.common.store.reading import Reader
from libs.common.store.seam import Committed
from libs.common.store.store import Store

#: How often an event that fails for an unknown reason is tried; the last time, it is parked.
TRIES = 3
#: Waiting events that are applied in one commit: each may want rows, and parameters have a limit.
MOST = 500


async def isolating(attempt: Callable[[Mapping[str, str]], Awaitable[Report]]) -> Report:
    """Attempts until the failure of one event is certain, then one in which that event is parked.

    Each is given the condemned events with their reasons. Raises Broken where not even parking succeeds.
    """
    condemned: Mapping[str, str] = {}
    for n in range(TRIES - 1):
        try:
            return await attempt(condemned)
        except Broken as why:
            await asyncio.sleep(0.05 * 2**n)
            if n == TRIES - 2:
                condemned = {why.heard.id: f"处理失败：{why}"}
    return await attempt(condemned)


async def drain(
    store: Store,
    hears: Hears,
    gate: tuple[str, str],
    clock: Clock,
    *,
    fetched: Sequence[Heard] = (),
    retry: bool = False,
    dry_run: bool = False,
) -> Report:
    """Apply what waits at a gate, in order, with `fetched` events, in one commit unless many wait.

    `gate` is (source, stream). With `retry` a parked key is tried again: it is parked anew where it fails,
    as is any event that fails through a fault of ours. A dry run decides everything and stores nothing.
    """
    drained = _Drain(store, hears, gate, clock, fetched, retry, dry_run)
    whole = Report()
    while True:
        try:
            report = await isolating(drained.of)
        except Broken:
            if dry_run or drained.most == 1:
                raise
            # The database does not say which event it refuses: one at a time, up to the culprit.
            drained = replace(drained, most=1)
            continue
        whole.add(report)
        # What was fetched is old in the next round, so only what was applied says whether there is more.
        if dry_run or report.parked or len(report.applied) < drained.most:
            return whole


@dataclass(frozen=True, slots=True)
class _Drain:
    """What `drain` was asked for."""

    store: Store
    hears: Hears
    gate: tuple[str, str]
    clock: Clock
    fetched: Sequence[Heard]
    retry: bool
    dry_run: bool
    most: int = MOST

    async def of(self, condemned: Mapping[str, str]) -> Report:
        """One commit, decided again after conflicts."""
        source, stream = self.gate
        until = monotonic() + conflicts.PATIENCE
        attempt = 0
        async with self.store.streams(["/".join(gate_of(source, stream))]):
            while True:
                change, report, events = await self._decided(condemned)
                if self.dry_run or change == Change():
                    return report
                with hearing.blaming(events):
                    outcome = await self.store.commit(change)
                if isinstance(outcome, Committed):
                    return report
                attempt += 1
                await hearing.decide_again(attempt, until, events)

    async def _decided(self, condemned: Mapping[str, str]) -> tuple[Change, Report, Sequence[Heard]]:
        source, stream = self.gate
        async with self.store.reading() as read:
            waiting = await _waiting(read, source, stream)
            head = await read.head(*gate_of(source, stream))
        # What was held has come through the log; a journal does not overrule it.
        fetched = [event for event in self.fetched if event.gate == (head.kind, head.id)]
        every = sorted({e.seq: e for e in (*fetched, *waiting)}.values(), key=lambda e: e.seq)
        old = [event for event in every if event.seq <= head.seq]
        events = [*old, *every[len(old) :][: self.most]]
        known = await hearing.known_for(self.store, self.hears, events, condemned)
        unpark = Change()
        parked = known.one(schema.ParkedKey, source, stream)
        if parked and self.retry:
            unpark = unpark.deleting(parked)
            known.learn(unpark)
        change, report = hearing.fold(known, self.hears, events, self.clock, condemned)
        kept = {event.seq for event in waiting}
        if not (report.applied or report.old or report.parked or any(e.seq not in kept for e in report.held)):
            return Change(), report, events
        done = [parking.held_event(event, self.clock) for event in (*report.applied, *report.old)]
        return Change.all_of([unpark, change, Change().deleting(*done)]), report, events


async def _waiting(read: Reader, source: str, stream: str) -> list[Heard]:
    table = schema.table(schema.HeldEventRow)
    statement = select(table).where(table.c.source == source, table.c.stream == stream)
    statement = statement.order_by(table.c.seq).limit(MOST)
    return [
        envelope.restored(held.headers, held.value) for held in await read.all(schema.HeldEvent, statement)
    ]
