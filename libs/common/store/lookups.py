"""Questions that wait anyway are asked together, and equal ones once.

The counterpart of `grouping` for reads: commands that load at the same time ask the same few tables by key,
and one statement with thirty keys costs hardly more than one with one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from libs.common import errors
from libs.common.store.lanes import Lanes, settle
from libs.common.store.seam import Asked, Lookup, Rows

#: Questions in one statement for several callers; one who has more to ask has a statement of their own.
LARGEST = 64


class _Waiting(NamedTuple):
    """One who asks."""

    asked: Sequence[Asked]
    future: asyncio.Future[Sequence[Rows]]


class Lookups:
    """The queue in front of a database's reads by key."""

    def __init__(self, ask: Callable[[Sequence[Asked]], Awaitable[Sequence[Rows]]]) -> None:
        """`ask` gives the rows of each; what it raises may be the fault of one question alone."""
        self._ask = ask
        self._waiting: dict[frozenset[Lookup], deque[_Waiting]] = {}
        self._lanes = Lanes(self._take)

    async def find(self, asked: Sequence[Asked]) -> Sequence[Rows]:
        """The rows of each, all as they are at one moment after the call."""
        if len(asked) > LARGEST:
            return await self._ask(asked)
        one = _Waiting(asked, asyncio.get_running_loop().create_future())
        # Those who ask the same tables share a statement, so that there are few statements to prepare.
        self._waiting.setdefault(frozenset(lookup for lookup, _ in asked), deque()).append(one)
        self._lanes.call()
        return await one.future

    async def finish(self) -> None:
        """Returns when nothing is under way any more."""
        await self._lanes.finish()

    def _take(self) -> Coroutine[Any, Any, None] | None:
        """One who waits, and others who ask the same tables; those who ask others come next."""
        for tables, waiting in self._waiting.items():
            group = [waiting.popleft()]
            room = LARGEST - len(group[0].asked)
            while waiting and len(waiting[0].asked) <= room:
                group.append(waiting.popleft())
                room -= len(group[-1].asked)
            del self._waiting[tables]
            if waiting:
                self._waiting[tables] = waiting
            return self._answer(group)
        return None

    async def _answer(self, group: Sequence[_Waiting]) -> None:
        questions = list(dict.fromkeys(asked for one in group for asked in one.asked))
        (found,) = await asyncio.gather(self._ask(questions), return_exceptions=True)
        if len(group) > 1 and isinstance(found, Exception) and not isinstance(found, errors.Transient):
            for one in group:  # one question spoils it for all, and which one shows when each is tried
                await self._answer([one])
            return
        if isinstance(found, BaseException):
            for one in group:
                settle(one.future, found)
            return
        answers = dict(zip(questions, found, strict=True))
        for one in group:
            settle(one.future, [answers[asked] for asked in one.asked])
