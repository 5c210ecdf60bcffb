"""The filler: fetches what a gap is missing from the source's own journal, over its HTTP API.

A new consumer of an old log starts the same way. What was fetched and what was held are applied in one
Change, in order, through the same gate as everything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from sqlalchemy import func, select

from libs.common import edge, errors
from libs.common.change import gate_of
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

    def __init__(
        self,
        store: Store,
        journals: Journals,
        hears: edge.Hears,
        clock: Clock,
        *,
        told: Callable[[edge.Report], None] = lambda report: None,
    ) -> None:
        self._told = told
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
        """Try every gap there is; gives the number of events applied.

        A source that cannot be asked, and an event that not even can be parked, keep nobody else waiting.
        """
        applied = 0
        still_open: set[tuple[str, str]] = set()
        silent: set[str] = set()
        for source, stream, first in await self._gaps():
            async with self._store.reading() as read:
                gate = await read.head(*gate_of(source, stream))
            fetched: Sequence[Heard] | None = ()
            if first > gate.seq + 1:
                fetched = await self._asked(source, stream, gate.seq, silent)
            if fetched is None:
                continue
            progress = await self._drained(source, stream, fetched)
            if progress is None:
                still_open.add((source, stream))
                _log.error("gap in %s of %s", stream, source, extra={"action": "gap_open"})
            applied += progress or 0
        self.open_gaps = still_open
        return applied

    async def _asked(self, source: str, stream: str, after: int, silent: set[str]) -> Sequence[Heard] | None:
        """What the source's journal says; None where it cannot be asked, and then not again in this round."""
        if source in silent:
            return None
        try:
            return await self._journals.after(source, stream, after)
        except errors.Transient as error:
            silent.add(source)
            _log.warning("filler waits: %s", error.detail, extra={"action": "filler_wait"})
            return None

    async def _drained(self, source: str, stream: str, fetched: Sequence[Heard]) -> int | None:
        """How many events were applied; None where nothing came of it."""
        gate = (source, stream)
        try:
            report = await edge.drain(self._store, self._hears, gate, self._clock, fetched=fetched)
        except edge.Broken as why:
            _log.exception("an event cannot be parked", exc_info=why, extra={"action": "reaction_failed"})
            return None
        self._told(report)
        return len(report.applied) if report.applied or report.old or report.parked else None

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
