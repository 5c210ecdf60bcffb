"""Work that waits for one of a few lanes, so that what is asked at the same time is done together.

A lane takes its next work only after everybody who can run has run: those who were answered together ask
together again, and one statement serves them all. Whoever asks alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: Statements under way at once: while the database works on one, the process prepares the other.
LANES = 2


class Lanes:
    """Runs what `take` gives, a few at once."""

    def __init__(self, take: Callable[[], Coroutine[Any, Any, None] | None]) -> None:
        """`take` gives the work of one lane, or None when nothing waits."""
        self._take = take
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_called = False

    def call(self) -> None:
        """Something waits."""
        if not self._is_called:
            self._is_called = True
            asyncio.get_running_loop().call_soon(self._go_on)

    async def finish(self) -> None:
        """Returns when nothing waits and nothing is under way any more; giving up stops nothing."""
        while self._under_way or self._is_called:
            await asyncio.sleep(0)
            if self._under_way:
                await asyncio.wait(self._under_way)

    def _go_on(self) -> None:
        self._is_called = False
        while len(self._under_way) < LANES and (work := self._take()) is not None:
            task = asyncio.get_running_loop().create_task(work)
            self._under_way.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self.call()


def settle(future: asyncio.Future[T], result: T | BaseException) -> None:
    """Answer one who waited, unless he has left."""
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
        future.exception()  # one who waits for several hears of the first alone, and the others are no news
    else:
        future.set_result(result)
