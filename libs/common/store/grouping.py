"""Group commit: Changes that wait anyway are committed together, and go alone when nobody waits.

Callers see no difference: each Change is committed or conflicts by itself. Only Changes that touch nothing of
each other's share a statement; where the database refuses a group as a whole, its members go one by one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from libs.common import errors
from libs.common.change import Change
from libs.common.store import statement
from libs.common.store.lanes import Lanes, settle
from libs.common.store.seam import Committed, Conflict, Outcome

#: Changes in one statement at most.
LARGEST = 64


class _Waiting(NamedTuple):
    """A Change, the streams and rows that keep it apart from others, and who asked."""

    change: Change
    own: set[str]
    streams: set[str]
    rows: set[Any]
    future: asyncio.Future[Outcome]


class GroupCommit:
    """The queue in front of a database."""

    def __init__(
        self,
        alone: Callable[[Change], Awaitable[Outcome]],
        together: Callable[[Sequence[Change]], Awaitable[set[int]]],
    ) -> None:
        """`together` gives the numbers of those committed; what it raises may be the fault of one alone."""
        self._alone = alone
        self._together = together
        self._waiting: deque[_Waiting] = deque()
        self._lanes = Lanes(self._take)

    async def commit(self, change: Change) -> Outcome:
        """Commit with those who ask at the same time, or wait for the same lane."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        own = {head.stream for head in change.own}
        self._waiting.append(_Waiting(change, own, *statement.touches(change), future))
        self._lanes.call()
        return await future

    async def finish(self) -> None:
        """Returns when nothing is under way any more."""
        await self._lanes.finish()

    def _take(self) -> Coroutine[Any, Any, None] | None:
        """Those at the front of the queue that touch nothing of each other's."""
        group: list[_Waiting] = []
        passed_by: list[_Waiting] = []
        owned: set[str] = set()
        touched: set[str] = set()
        written: set[Any] = set()
        while self._waiting and len(group) < LARGEST:
            one = self._waiting.popleft()
            if one.future.done():
                continue  # whoever asked has left
            if one.streams & owned or one.own & touched or one.rows & written:
                passed_by.append(one)
                continue
            owned |= one.own
            touched |= one.streams
            written |= one.rows
            group.append(one)
        self._waiting.extendleft(reversed(passed_by))
        return self._commit(group) if group else None

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        if len(group) > 1 and await self._settled_together(group):
            return
        for one in group:
            (outcome,) = await asyncio.gather(self._alone(one.change), return_exceptions=True)
            settle(one.future, outcome)

    async def _settled_together(self, group: Sequence[_Waiting]) -> bool:
        changes = [one.change for one in group]
        (found,) = await asyncio.gather(self._together(changes), return_exceptions=True)
        if isinstance(found, Exception) and not isinstance(found, errors.Transient):
            return False  # one of them spoils it for all, and which one shows when each is tried
        for n, one in enumerate(group):
            if isinstance(found, BaseException):
                settle(one.future, found)
            else:
                settle(one.future, Committed() if n in found else Conflict())
        return True
