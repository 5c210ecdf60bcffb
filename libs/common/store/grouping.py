"""Group commit: Changes that wait anyway are committed together, and go alone when nobody waits.

Callers see no difference: each Change is committed or conflicts by itself. Only Changes that touch nothing of
each other's share a statement; where the database refuses a group as a whole, its members go one by one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from libs.common import errors
from libs.common.change import Change
from libs.common.store import statement
from libs.common.store.engine import Committed, Conflict, Outcome

#: Statements under way at once; Changes that come while so many are wait and are grouped.
LANES = 2
#: Changes in one statement at most.
LARGEST = 64


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
        self._waiting: deque[tuple[Change, asyncio.Future[Outcome]]] = deque()
        self._under_way = 0
        self._groups: set[asyncio.Task[None]] = set()

    async def commit(self, change: Change) -> Outcome:
        """Commit at once when a lane is free, else with others that wait."""
        if self._under_way < LANES:
            self._under_way += 1
            try:
                return await self._alone(change)
            finally:
                self._under_way -= 1
                self._go_on()
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, future))
        return await future

    async def finish(self) -> None:
        """Returns when nothing is under way any more."""
        while self._groups:
            await asyncio.gather(*self._groups, return_exceptions=True)

    def _go_on(self) -> None:
        while self._waiting and self._under_way < LANES:
            self._under_way += 1
            task = asyncio.create_task(self._commit_group(self._take()))
            self._groups.add(task)
            task.add_done_callback(self._groups.discard)

    def _take(self) -> list[tuple[Change, asyncio.Future[Outcome]]]:
        """Those at the front of the queue that touch nothing of each other's."""
        group: list[tuple[Change, asyncio.Future[Outcome]]] = []
        passed_by: list[tuple[Change, asyncio.Future[Outcome]]] = []
        owned: set[str] = set()
        touched: set[str] = set()
        written: set[Any] = set()
        while self._waiting and len(group) < LARGEST:
            change, future = self._waiting.popleft()
            own = {head.stream for head in change.own}
            streams, rows = statement.touches(change)
            if streams & owned or own & touched or rows & written:
                passed_by.append((change, future))
                continue
            owned |= own
            touched |= streams
            written |= rows
            group.append((change, future))
        self._waiting.extendleft(reversed(passed_by))
        return group

    async def _commit_group(self, group: Sequence[tuple[Change, asyncio.Future[Outcome]]]) -> None:
        try:
            wanted = [member for member in group if not member[1].done()]  # the others were cancelled
            if len(wanted) > 1 and await self._settled_together(wanted):
                return
            for change, future in wanted:
                _settle(future, await asyncio.gather(self._alone(change), return_exceptions=True))
        finally:
            self._under_way -= 1
            self._go_on()

    async def _settled_together(self, group: Sequence[tuple[Change, asyncio.Future[Outcome]]]) -> bool:
        changes = [change for change, _ in group]
        (found,) = await asyncio.gather(self._together(changes), return_exceptions=True)
        if isinstance(found, Exception) and not isinstance(found, errors.Transient):
            return False  # one of them spoils it for all, and which one shows when each is tried
        for n, (_, future) in enumerate(group):
            if isinstance(found, BaseException):
                _settle(future, [found])
            else:
                _settle(future, [Committed() if n in found else Conflict()])
        return True


def _settle(future: asyncio.Future[Outcome], results: Sequence[Outcome | BaseException]) -> None:
    (result,) = results
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
