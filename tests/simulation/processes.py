"""Simulated processes: what a task belongs to, where it waits, and how it is killed or paused there."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")

#: The process that runs; None outside of all.
CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)


class Killed(BaseException):
    """What a dead process gets when it tries to reach the world: nothing that it does has an effect."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line at which a task waited."""

    file: str
    line: int

    def within(self, root: Path) -> str:
        """As a path from `root`, if it lies in it."""
        file = Path(self.file)
        return f"{file.relative_to(root) if file.is_relative_to(root) else file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Stop:
    """What happens to a process at its n-th await."""

    process: str
    nth: int
    how: Literal["kill", "pause"] = "kill"
    seconds: float = 0.5  #: until it is started again, or goes on

    def __str__(self) -> str:
        then = "started again" if self.how == "kill" else "resumed"
        return f"{self.how} {self.process} at await {self.nth}, {then} after {self.seconds:.2f} s"


class Process:
    """One life of a process. Awaits are counted on over its lives."""

    def __init__(self, name: str, life: int, awaits: int, stop: Callable[[Process, int, Any], None]) -> None:
        """`stop` is told of each await: the process, its number, and the coroutine that waits."""
        self.name = name
        self.life = life
        self.awaits = awaits
        #: Neither paused nor dead.
        self.is_up = True
        self.is_dead = False
        #: Turns that came while it was not up.
        self.missed: list[Any] = []
        self._stop = stop
        self.context = copy_context()
        self.context.run(CURRENT.set, self)

    def waits(self, coroutine: Any) -> None:
        """One of its tasks is left waiting."""
        self.awaits += 1
        self._stop(self, self.awaits, coroutine)

    def __str__(self) -> str:
        return f"{self.name}.{self.life}"


class Watched(Coroutine[Any, Any, T]):
    """A coroutine of a process, which is told whenever it is left waiting."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], process: Process) -> None:
        self._coroutine = coroutine
        self._process = process

    def send(self, value: Any) -> Any:
        awaited = self._coroutine.send(value)
        self._process.waits(self._coroutine)
        return awaited

    def throw(self, *error: Any) -> Any:
        awaited = self._coroutine.throw(*error)
        self._process.waits(self._coroutine)
        return awaited

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()


def places(coroutine: Any) -> Iterator[Place]:
    """Where it waits, from the outermost call to the innermost."""
    while coroutine is not None:
        for kind, awaited in (("cr", "cr_await"), ("ag", "ag_await"), ("gi", "gi_yieldfrom")):
            if frame := getattr(coroutine, f"{kind}_frame", None):
                yield Place(frame.f_code.co_filename, frame.f_lineno)
                coroutine = getattr(coroutine, awaited)
                break
        else:
            # An async generator's next step does not say whose it is.
            held = gc.get_referents(coroutine)
            coroutine = next((one for one in held if inspect.isasyncgen(one)), None)
