"""Notes how far those are who follow the log, and writes it down now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from libs.common import errors
from libs.common.change import Change
from libs.common.clock import Clock
from libs.common.store.reading import Reader
from libs.common.store.store import Store
from libs.common.telemetry import Metrics
from services.sharing.feeds import rules as log
from services.sharing.readers import loads, rules
from services.sharing.readers.rules import Following, Form
from services.sharing.readers.tables import Follower

#: Seconds between two writings.
EVERY = 5.0
#: Who has not been seen for so long raises no alarm: they may have gone for good.
RECENT = timedelta(minutes=10)

_log = logging.getLogger(__name__)


class Followers:
    """Those who follow a feed in this process; the database has those of all.

    A row is written by whichever process saw the agency last. What a process that dies has not written comes
    again with the reader's next question: readers say themselves where they are.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._open: set[Following] = set()
        self._left: dict[rules.Place, int] = {}

    @contextmanager
    def following(self, feed: str, agency: str, form: Form) -> Iterator[Following]:
        """Somebody follows for as long as this lasts; they say how far they are."""
        one = Following((feed, agency, form))
        self._open.add(one)
        try:
            yield one
        finally:
            self._open.discard(one)
            if one.position is not None:
                self._left[one.place] = one.position

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            try:
                await self.write()
            except errors.Transient as why:
                _log.warning("followers wait: %s", why.detail, extra={"action": "followers_wait"})
            await asyncio.sleep(EVERY)

    async def write(self) -> None:
        """Write down who has followed since the last time; of several, the one furthest behind."""
        left, self._left = self._left, {}
        furthest: dict[rules.Place, int] = {}
        for one in self._open:
            if one.position is not None:
                furthest[one.place] = min(one.position, furthest.get(one.place, one.position))
        at, seen = self._clock.now(), {**left, **furthest}
        if not seen:
            return
        rows = [
            Follower(feed=feed, agency=agency, form=form, position=position, seen_at=at)
            for (feed, agency, form), position in sorted(seen.items())
        ]
        try:
            await self._store.commit(Change().putting(*rows))
        except errors.Transient:
            self._left = {**left, **self._left}
            raise

    async def measure(self, read: Reader, metrics: Metrics) -> None:
        """Bring the gauge up to date: the longest lag in each feed and form."""
        found = await loads.lagging(read, since=self._clock.now() - RECENT)
        for feed in log.FEEDS:
            for form in rules.FORMS:
                lags = [lag for one, lag in found if (one.feed, one.form) == (feed, form)]
                metrics.feed_lag(feed, form, max(lags, default=0))
