"""What a reader is given: pages of the log as they may see them, and word that there is more to read.

One function judges for every form. Readers who wait at one place are woken at once, and then share the
reading, the judging and the bytes: all of one agency and role are peers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import func, literal, or_, select

from libs.common import errors
from libs.common.clock import monotonic
from libs.common.permit import Actor
from libs.common.store import schema
from libs.common.store.reading import Reader
from libs.common.store.store import Store
from services.sharing import access
from services.sharing.feeds import loads as feeds
from services.sharing.feeds import rules as log
from services.sharing.feeds.tables import LogEntry, LogEntryRow
from services.sharing.readers import rules
from services.sharing.readers.rules import Told
from services.sharing.readers.tables import Follower, FollowerRow

T = TypeVar("T")

_LOG = schema.table(LogEntryRow)
_FOLLOWERS = schema.table(FollowerRow)

#: Entries that a stream reads in one go.
STEP = 100
#: Entries that a reader's lag is counted up to.
MOST = 10_000
#: Seconds for which an answer serves others who ask the same: those who were woken together.
TOGETHER = 0.1


@dataclass(frozen=True, slots=True)
class Page:
    """What stands in a feed behind a position, each entry encoded once for whoever may read it."""

    feed: str
    after: int
    entries: Sequence[LogEntry]
    _encoded: dict[tuple[int, bool], Told] = field(default_factory=dict)

    def told(self, entry: LogEntry, *, visible: bool) -> Told:
        """The entry for who may see it or may not."""
        known = self._encoded.get((entry.position, visible))
        if known is None:
            known = self._encoded[entry.position, visible] = rules.told(entry, self.feed, visible=visible)
        return known


async def page(read: Reader, feed: str, after: int, limit: int) -> Page:
    """The next entries of a feed; none of one that there is not."""
    entries = await feeds.page(read, feed, after, limit) if feed in log.FEEDS else ()
    return Page(feed, after, entries)


async def positions(read: Reader, feed: str, number: int) -> Page:
    """What stands in a feed on this page of Atom."""
    before = (number - 1) * rules.POSITIONS
    found = await page(read, feed, before, rules.POSITIONS)
    return Page(feed, before, [e for e in found.entries if e.position <= before + rules.POSITIONS])


async def judged(read: Reader, actor: Actor, page: Page) -> tuple[Told, ...] | None:
    """The page as this reader may see it now; None for whom the county does not know.

    Such a reader gets the same for a feed that exists as for one that does not; NotFound is for the others.
    Rights are read after the page: they were written with it or before.
    """
    own = await feeds.situation(read, actor)
    if not access.permits(actor, "feed.read", own):
        return None
    if page.feed not in log.FEEDS:
        raise errors.NotFound
    if not page.entries:
        await _require_place(read, page.after)
    seen = await feeds.seen(read, actor, own, page.entries)
    return tuple(
        page.told(entry, visible=access.permits(actor, "entry.read", situation) is not None)
        for entry, situation in seen
    )


async def _require_place(read: Reader, after: int) -> None:
    """A reader who is further than the log must hear of it: waiting for its end would lose what comes."""
    if after > (newest := await feeds.end(read)):
        raise log.PositionAhead(f"日志的最新位置是 {newest}，尚无位置 {after}", position=newest)


class Lagging(NamedTuple):
    """Somebody who follows a feed, and how many of its entries they have not read, up to MOST."""

    follower: Follower
    lag: int


async def lagging(read: Reader, *, feed: str | None = None, since: datetime | None = None) -> list[Lagging]:
    """Those who follow a feed, or any; those alone who were seen since then."""
    unread = select(literal(1)).where(_LOG.c.position > _FOLLOWERS.c.position)
    unread = unread.where(or_(_FOLLOWERS.c.feed == "all", _LOG.c.feed == _FOLLOWERS.c.feed))
    unread = unread.correlate(_FOLLOWERS)
    lag = select(func.count()).select_from(unread.limit(MOST).subquery()).scalar_subquery()
    statement = select(_FOLLOWERS, lag.label("lag"))
    if feed is not None:
        statement = statement.where(_FOLLOWERS.c.feed == feed)
    if since is not None:
        statement = statement.where(_FOLLOWERS.c.seen_at > since)
    by = _FOLLOWERS.c.feed, _FOLLOWERS.c.agency, _FOLLOWERS.c.form
    return [_lagging(**row) for row in await read.rows(statement.order_by(*by))]


def _lagging(lag: int, **follower: Any) -> Lagging:
    return Lagging(Follower.stored(follower), lag)


class _Asking(NamedTuple):
    """A question under way, or answered just now."""

    task: asyncio.Task[Any]
    began_at: float

    def serves(self) -> bool:
        """Whether the answer is good for somebody who asks now."""
        if not self.task.done():
            return True
        failed = self.task.cancelled() or self.task.exception()
        return not failed and monotonic() < self.began_at + TOGETHER


class Arrivals:
    """Wakes the readers of this process who wait at the end of the log, and lets them read together.

    Entries that this process appends are told to it; for those that others append it looks now and then,
    once for all who wait.
    """

    def __init__(
        self,
        store: Store,
        *,
        every: float = 1.0,
        ping: float = 15.0,
        reading: Callable[[str], AbstractContextManager[None]] = lambda feed: nullcontext(),
    ) -> None:
        """`every` and `ping` are in seconds; `reading` counts who reads which feed."""
        self.reading = reading
        self.ping = ping
        self.ended = False
        self._store = store
        self._every = every
        self._coming = asyncio.Event()
        self._seen = 0
        self._looked_at = 0.0
        self._asked: dict[Hashable, _Asking] = {}

    def tell(self) -> None:
        """The log has grown, or may have."""
        self._coming.set()
        self._coming = asyncio.Event()
        self._asked.clear()

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

    async def together(self, actor: Actor, feed: str, after: int) -> tuple[Told, ...] | None:
        """What `judged` gives of the next page, found once for all peers who ask at one time.

        An answer from before the log has grown serves nobody who asks after: `tell` forgets it.
        """
        peers = actor.agency, actor.roles
        return await self._once((feed, after, peers), lambda: self._judged(actor, feed, after))

    async def _judged(self, actor: Actor, feed: str, after: int) -> tuple[Told, ...] | None:
        read_ahead = await self._once((feed, after), lambda: self._page(feed, after))
        async with self._store.reading() as read:
            return await judged(read, actor, read_ahead)

    async def _page(self, feed: str, after: int) -> Page:
        async with self._store.reading() as read:
            return await page(read, feed, after, STEP)

    async def _once(self, key: Hashable, find: Callable[[], Coroutine[Any, Any, T]]) -> T:
        asking = self._asked.get(key)
        if asking is None or not asking.serves():
            self._asked = {known: still for known, still in self._asked.items() if still.serves()}
            asking = self._asked[key] = _Asking(asyncio.create_task(find()), monotonic())
        # Who leaves meanwhile takes the answer from nobody.
        found: T = asking.task.result() if asking.task.done() else await asyncio.shield(asking.task)
        return found

    async def _look(self) -> None:
        if monotonic() - self._looked_at < self._every:
            return
        self._looked_at = monotonic()
        async with self._store.reading() as read:
            newest = await feeds.end(read)
        if newest != self._seen:
            self._seen = newest
            self.tell()
