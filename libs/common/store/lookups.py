"""Lookups that wait anyway are answered together, and equal ones once; alone when nobody waits.

The counterpart of `grouping` for reads: commands that load at the same time ask for the same few tables by
key, and one statement with thirty keys costs hardly more than one with one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from libs.common.store.engine import Key, Lookup, Rows

#: Statements under way at once; lookups that come while so many are wait, and are put together.
LANES = 2
#: Keys in one statement of lookups put together; a caller with more has a statement of its own.
LARGEST = 64

_Waiting = dict[Key, list[asyncio.Future[Rows]]]


class Lookups:
    """The queue in front of a database's reads by key."""

    def __init__(self, ask: Callable[[Lookup, Sequence[Key]], Awaitable[Sequence[Rows]]]) -> None:
        """`ask` gives the rows of each key; what it raises may be the fault of one key alone."""
        self._ask = ask
        self._waiting: dict[Lookup, _Waiting] = {}
        self._under_way = 0
        self._groups: set[asyncio.Task[None]] = set()

    async def find(self, lookup: Lookup, keys: Sequence[Key]) -> Sequence[Rows]:
        """The rows of each key, as they are at some moment after the call."""
        if self._under_way < LANES or len(keys) > LARGEST:
            self._under_way += 1
            try:
                return await self._ask(lookup, keys)
            finally:
                self._under_way -= 1
                self._go_on()
        loop = asyncio.get_running_loop()
        waiting = self._waiting.setdefault(lookup, {})
        futures = [loop.create_future() for _ in keys]
        for key, future in zip(keys, futures, strict=True):
            waiting.setdefault(key, []).append(future)
        return [await future for future in futures]

    async def finish(self) -> None:
        """Returns when nothing is under way any more."""
        while self._groups:
            await asyncio.gather(*self._groups, return_exceptions=True)

    def _go_on(self) -> None:
        while self._waiting and self._under_way < LANES:
            self._under_way += 1
            lookup = next(iter(self._waiting))
            task = asyncio.create_task(self._answer(lookup, self._take(lookup)))
            self._groups.add(task)
            task.add_done_callback(self._groups.discard)

    def _take(self, lookup: Lookup) -> _Waiting:
        """Those who have waited longest for this."""
        waiting = self._waiting.pop(lookup)
        if len(waiting) <= LARGEST:
            return waiting
        taken = dict(list(waiting.items())[:LARGEST])
        self._waiting[lookup] = {key: futures for key, futures in waiting.items() if key not in taken}
        return taken

    async def _answer(self, lookup: Lookup, taken: _Waiting) -> None:
        try:
            keys = list(taken)
            every = await self._tried(lookup, keys)
            if len(keys) > 1 and any(isinstance(one, Exception) for one in every):
                # One key spoils it for all, and which one shows when each is tried.
                every = [one for key in keys for one in await self._tried(lookup, [key])]
            for futures, found in zip(taken.values(), every, strict=True):
                for future in futures:
                    _settle(future, found)
        finally:
            self._under_way -= 1
            self._go_on()

    async def _tried(self, lookup: Lookup, keys: Sequence[Key]) -> Sequence[Rows | BaseException]:
        (found,) = await asyncio.gather(self._ask(lookup, keys), return_exceptions=True)
        return [found] * len(keys) if isinstance(found, BaseException) else found


def _settle(future: asyncio.Future[Rows], found: Rows | BaseException) -> None:
    if future.done():
        return  # whoever asked has left
    if isinstance(found, BaseException):
        future.set_exception(found)
    else:
        future.set_result(found)
