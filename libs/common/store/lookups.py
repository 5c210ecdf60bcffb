"""Lookups that wait anyway are answered together, and equal ones once.

The counterpart of `grouping` for reads: commands that load at the same time ask for the same few tables by
key, and one statement with thirty keys costs hardly more than one with one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from libs.common import errors
from libs.common.store.engine import Key, Lookup, Rows
from libs.common.store.lanes import Lanes, settle

#: Keys in one statement of lookups put together; a caller with more has a statement of its own.
LARGEST = 64

_Waiting = dict[Key, list[asyncio.Future[Rows]]]


class Lookups:
    """The queue in front of a database's reads by key."""

    def __init__(self, ask: Callable[[Lookup, Sequence[Key]], Awaitable[Sequence[Rows]]]) -> None:
        """`ask` gives the rows of each key; what it raises may be the fault of one key alone."""
        self._ask = ask
        self._waiting: dict[Lookup, _Waiting] = {}
        self._lanes = Lanes(self._take)

    async def find(self, lookup: Lookup, keys: Sequence[Key]) -> Sequence[Rows]:
        """The rows of each key, as they are at some moment after the call."""
        if len(keys) > LARGEST:
            return await self._ask(lookup, keys)
        loop = asyncio.get_running_loop()
        waiting = self._waiting.setdefault(lookup, {})
        futures = [loop.create_future() for _ in keys]
        for key, future in zip(keys, futures, strict=True):
            waiting.setdefault(key, []).append(future)
        self._lanes.call()
        return [await future for future in futures]

    async def finish(self) -> None:
        """Returns when nothing is under way any more."""
        await self._lanes.finish()

    def _take(self) -> Coroutine[Any, Any, None] | None:
        """Those who have waited longest, and all who ask the same of it."""
        for lookup, waiting in self._waiting.items():
            taken = dict(list(waiting.items())[:LARGEST])
            for key in taken:
                del waiting[key]
            if not waiting:
                del self._waiting[lookup]
            return self._answer(lookup, taken)
        return None

    async def _answer(self, lookup: Lookup, taken: _Waiting) -> None:
        keys = list(taken)
        every = await self._tried(lookup, keys)
        if len(keys) > 1 and isinstance(every[0], Exception) and not isinstance(every[0], errors.Transient):
            # One key spoils it for all, and which one shows when each is tried.
            every = [one for key in keys for one in await self._tried(lookup, [key])]
        for futures, found in zip(taken.values(), every, strict=True):
            for future in futures:
                settle(future, found)

    async def _tried(self, lookup: Lookup, keys: Sequence[Key]) -> Sequence[Rows | BaseException]:
        (found,) = await asyncio.gather(self._ask(lookup, keys), return_exceptions=True)
        return [found] * len(keys) if isinstance(found, BaseException) else found
