"""The filler: fetches what a gap is missing from the source's own journal, over its HTTP API.

A new consumer of an old log starts the same way. What was fetched and what was held are applied in one
Change, in order, through the same gate as everything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import func, select

from libs.common import edge, errors
from libs.common.clock import Clock
from libs.common.log.envelope import Heard
from libs.common.store import schema
from libs.common.store.store import Store

#: Seconds between looks for gaps.
EVERY = 0.5

_HELD = schema.table(schema.HeldEventRow)
_PARKED = schema.table(schema.ParkedKeyRow)
_log = logging.getLogger(__name__)


class Journals(Protocol):
    """The journals of the other services."""

    async def after(self, source: str, stream: str, seq: int) -> Sequence[Heard]:
        """Events of `stream` behind `seq`, in order. Raises errors.Transient when it cannot be asked."""


class Filler:
    """One service's filler; two at once do no harm, the gate lets each event pass once."""

    def __init__(self, store: Store, journals: Journals, hears: edge.Hears, clock: Clock) -> None:
        self._store = store
        self._journals = journals
        self._hears = hears
        self._clock = clock
        #: Gaps that the source's journal could not close, as (source, stream): an alarm.
        self.open_gaps: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Look for gaps until cancelled."""
        while True:
            try:
                await self.once()
            except errors.Transient as error:
                _log.warning("filler waits: %s", error.detail, extra={"action": "filler_wait"})
            await asyncio.sleep(EVERY)

    async def once(self) -> int:
        """Try every gap there is; gives the number of events applied."""
        applied = 0
        still_open: set[tuple[str, str]] = set()
        for source, stream, first in await self._gaps():
            fetched: Sequence[Heard] = ()
            async with self._store.reading() as read:
                gate = await read.head("heard", f"{source}:{stream}")
            if first > gate.seq + 1:
                fetched = await self._journals.after(source, stream, gate.seq)
            report = await edge.drain(
                self._store, self._hears, (source, stream), self._clock, fetched=fetched
            )
            applied += len(report.applied)
            if not (report.applied or report.old or report.parked):
                still_open.add((source, stream))
                _log.error("gap in %s of %s", stream, source, extra={"action": "gap_open"})
        self.open_gaps = still_open
        return applied

    async def _gaps(self) -> list[tuple[str, str, int]]:
        """Streams with held events and no parked key, with their first held seq."""
        parked = select(_PARKED.c.stream).where(
            _PARKED.c.source == _HELD.c.source, _PARKED.c.stream == _HELD.c.stream
        )
        statement = (
            select(_HELD.c.source, _HELD.c.stream, func.min(_HELD.c.seq).label("first"))
            .where(~parked.exists())
            .group_by(_HELD.c.source, _HELD.c.stream)
        )
        async with self._store.reading() as read:
            return [(r["source"], r["stream"], r["first"]) for r in await read.rows(statement)]
