"""An event loop in simulated time: no threads, no sockets, and whose turn it is comes from a seed.

Callbacks of one process run in the order in which they were scheduled, as asyncio promises; between
processes the order is drawn. Time stands still while anything is ready, then jumps to the next timer.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVar, cast

from tests.simulation.processes import CURRENT, Process, Watched

T = TypeVar("T")


class Stuck(Exception):
    """Nothing is ready and no timer runs: whoever waits would wait for ever."""


class Turn:
    """A callback that is to be called, and the process whose turn it is then; None is the world outside."""

    __slots__ = ("_args", "_callback", "_context", "_is_cancelled", "process")

    def __init__(self, callback: Callable[..., object], args: Any, context: Context | None) -> None:
        self._callback = callback
        self._args = args
        self._context = context or copy_context()
        self._is_cancelled = False
        self.process: Process | None = self._context.get(CURRENT)

    def cancel(self) -> None:
        self._is_cancelled = True

    def cancelled(self) -> bool:
        return self._is_cancelled

    def take(self) -> None:
        if not self._is_cancelled:
            self._context.run(self._callback, *self._args)


class Loop:
    """One run's loop: what tasks, futures and timeouts of asyncio ask of one, and nothing more."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._now = 0.0
        self._ready: list[Turn] = []
        self._timers: list[tuple[float, int, Turn]] = []
        self._numbers = itertools.count()
        self._itself = cast(asyncio.AbstractEventLoop, self)
        #: Exceptions that nobody took, as asyncio describes them.
        self.accidents: list[dict[str, Any]] = []

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Turn:
        turn = Turn(callback, args, context)
        self._ready.append(turn)
        return turn

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Turn:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Turn:
        turn = Turn(callback, args, context)
        heapq.heappush(self._timers, (when, next(self._numbers), turn))
        return turn

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self._itself)

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, context: Context | None = None, **named: Any
    ) -> asyncio.Task[T]:
        """A task of the context's process, whose awaits are counted."""
        process = context.get(CURRENT) if context else CURRENT.get()
        watched = Watched(coro, process) if process else coro
        return asyncio.Task(watched, loop=self._itself, context=context, **named)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.accidents.append(context)

    def run_until_complete(self, future: Any) -> Any:
        """Run until it is done; gives its result. Raises Stuck."""
        asyncio._set_running_loop(self._itself)
        try:
            task = asyncio.ensure_future(future, loop=self._itself)
            while not task.done():
                self._take_turn()
        finally:
            asyncio._set_running_loop(None)
        return task.result()

    def resume(self, process: Process) -> None:
        """Let a process that was stopped go on with what it has missed."""
        process.is_up = True
        missed, process.missed = process.missed, []
        self._ready += missed

    def _take_turn(self) -> None:
        if not self._ready:
            self._advance()
        turn = self._drawn()
        if turn.process and not turn.process.is_up:
            turn.process.missed.append(turn)
        else:
            turn.take()

    def _drawn(self) -> Turn:
        """The first turn of a process that is drawn among those that have one."""
        ready = self._ready
        if len(ready) == 1:
            return ready.pop()
        process = ready[int(self._chance.random() * len(ready))].process
        return ready.pop(next(n for n, turn in enumerate(ready) if turn.process is process))

    def _advance(self) -> None:
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            raise Stuck
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(self._timers)[2])
