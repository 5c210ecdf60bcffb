"""What lies between simulated processes and the world: latency, lost requests, lost answers."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import TypeVar

from libs.common import errors
from tests.simulation.loop import Loop
from tests.simulation.processes import Killed, Process
from tests.simulation.promises import Promises

T = TypeVar("T")

#: Lines of the trace that are kept: how it came to what went wrong.
LINES = 200


class Network:
    """One run's network. It is rough, by a drawn degree, until `calm_at`, and keeps what it promises then."""

    def __init__(self, loop: Loop, chance: random.Random, promises: Promises) -> None:
        self.loop = loop
        self.chance = chance
        self.promises = promises
        self.trace: deque[tuple[float, str, str]] = deque(maxlen=LINES)
        self.calm_at = 0.8
        #: The run has ended: what is left of any process reaches nothing.
        self.is_over = False
        self._pending = 0
        self._roughness = chance.choice((0.0, 0.0, 0.02, 0.08))
        self._outside = copy_context()
        self._latency = chance.choice((0.006, 0.006, 0.02, 0.08))
        self._listeners: list[tuple[Process, Callable[[], None]]] = []

    @property
    def is_busy(self) -> bool:
        """Whether things may still go wrong, or the world has still to act."""
        return self.loop.time() < self.calm_at or self._pending > 0

    def note(self, who: object, what: str) -> None:
        """A line of the trace."""
        self.trace.append((self.loop.time(), str(who), what))

    def fails(self, weight: float = 1.0) -> bool:
        """Whether something goes wrong now."""
        rough = self.loop.time() < self.calm_at
        return rough and self.chance.random() < self._roughness * weight

    async def travel(self, process: Process) -> None:
        """On the way; nothing of a process that is gone arrives."""
        if self.is_over:
            raise Killed
        is_calm = self.loop.time() >= self.calm_at
        await asyncio.sleep(self.chance.random() * (0.006 if is_calm else self._latency))
        if self.is_over:
            raise Killed

    async def ask(self, process: Process, effect: Callable[[], T]) -> T:
        """A question, which changes nothing. Raises Transient when it is lost."""
        await self.travel(process)
        if self.fails():
            self.note(process, "was not answered")
            raise errors.Transient("no answer")
        return effect()

    async def call(self, process: Process, what: str, effect: Callable[[], T]) -> T:
        """A request that takes effect. Raises Transient when it is lost, or when its answer is."""
        await self.travel(process)
        if self.fails():
            self.note(process, f"{what} was lost")
            raise errors.Transient("request lost")
        answer = effect()
        self.note(process, f"{what}: {answer}")
        await self.travel(process)
        if self.fails():
            self.note(process, f"the answer to {what} was lost")
            raise errors.Transient("answer lost")
        return answer

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """The world acts in a while; the run does not end before."""
        self._pending += 1

        def due() -> None:
            self._pending -= 1
            act()

        self.loop.call_later(seconds, due, context=self._outside)

    def tell(self, process: Process, within: float, hear: Callable[[], object]) -> None:
        """The process hears of something soon, or as soon as it can; a dead one never does."""
        self.loop.call_later(self.chance.random() * within, hear, context=process.context)

    def listen(self, process: Process, heard: Callable[[], None]) -> None:
        """Let the process hear of growth."""
        self._listeners.append((process, heard))

    def announce(self) -> None:
        """Tell whoever listens; some do not hear it."""
        for process, heard in self._listeners:
            if not process.is_dead and self.chance.random() < 0.8:
                self.tell(process, 0.01, heard)
