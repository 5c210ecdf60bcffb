"""What a reader's question needs: pages of the log, rights, and word that there is more to read."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from sqlmodel import col, select

from libs.common import audience
from libs.common.clock import monotonic
from libs.common.permit import Actor
from libs.common.store import schema
from libs.common.store.reading import Reader
from libs.common.store.store import Store
from services.sharing import access
from services.sharing.access import Situation
from services.sharing.feeds import rules
from services.sharing.feeds.tables import LogEntry, LogEntryRow, Member, Right, RightRow


async def situation(read: Reader, actor: Actor, relations: frozenset[str] = frozenset()) -> Situation:
    """What the actor's agency is to the county, and, as given, to the thing asked for."""
    own = await read.one(Member, agency=actor.agency)
    if own is None:
        return access.Situation()
    return access.Situation(is_member=True, coordinates=own.coordinates, relations=relations)


async def page(read: Reader, feed: str, after: int, limit: int) -> Sequence[LogEntry]:
    """The next entries of a feed behind a position, in order; read the rights to them afterwards."""
    statement = select(LogEntryRow).where(col(LogEntryRow.position) > after)
    if rules.FEEDS[feed].kinds is not None:
        statement = statement.where(col(LogEntryRow.feed) == feed)
    return await read.all(LogEntry, statement.order_by(col(LogEntryRow.position)).limit(limit))


async def seen(
    read: Reader, actor: Actor, own: Situation, entries: Iterable[LogEntry]
) -> list[tuple[LogEntry, Situation]]:
    """Each entry with what the actor's agency, whose situation is `own`, is to it."""
    entries = tuple(entries)
    streams = {stream for entry in entries for stream in (entry.stream, entry.about) if stream}
    statement = select(RightRow).where(
        col(RightRow.agency) == actor.agency, col(RightRow.stream).in_(sorted(streams))
    )
    rights: defaultdict[str, list[Right]] = defaultdict(list)
    for right in await read.all(Right, statement):
        rights[right.stream].append(right)
    return [
        (entry, replace(own, relations=audience.relations(entry, rights[entry.stream] + rights[entry.about])))
        for entry in entries
    ]


async def end(read: Reader) -> int:
    """The newest position of the log."""
    counter = await read.one(schema.Counter, name=rules.LOG)
    return counter.position if counter else 0


class Arrivals:
    """Wakes the readers of this process who wait at the end of the log.

    Entries that this process appends are told to it; for those that others append it looks now and then,
    once for all who wait.
    """

    def __init__(
        self,
        store: Store,
        *,
        every: float = 1.0,
        reading: Callable[[str], AbstractContextManager[None]] = lambda feed: nullcontext(),
    ) -> None:
        """`every` is in seconds; `reading` counts who reads which feed."""
        self.reading = reading
        self.ended = False
        self._store = store
        self._every = every
        self._coming = asyncio.Event()
        self._seen = 0
        self._looked_at = 0.0

    def tell(self) -> None:
        """The log has grown, or may have."""
        self._coming.set()
        self._coming = asyncio.Event()

    def end(self) -> None:
        """The process is ending: nobody waits any longer."""
        self.ended = True
        self.tell()

    def expect(self) -> asyncio.Event:
        """What will be set when the log grows. Take it before reading, or what comes between is missed."""
        return self._coming

    async def pause(self, coming: asyncio.Event, until: float) -> None:
        """Wait a little, at most until the time of `clock.monotonic`; no connection is held meanwhile."""
        try:
            async with asyncio.timeout(min(self._every, max(until - monotonic(), 0.0))):
                await coming.wait()
        except TimeoutError:
            await self._look()

    async def _look(self) -> None:
        if monotonic() - self._looked_at < self._every:
            return
        self._looked_at = monotonic()
        async with self._store.reading() as read:
            newest = await end(read)
        if newest != self._seen:
            self._seen = newest
            self.tell()
