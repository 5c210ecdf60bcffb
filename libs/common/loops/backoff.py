"""How long a loop waits after a failure before it tries again: twice as long each time, up to a limit."""

from __future__ import annotations

import asyncio


class Backoff:
    """The waits of one loop."""

    def __init__(self, first: float = 0.05, longest: float = 2.0) -> None:
        """In seconds."""
        self._first = self._next = first
        self._longest = longest

    async def wait(self) -> None:
        """After a failure."""
        seconds, self._next = self._next, min(self._next * 2, self._longest)
        await asyncio.sleep(seconds)

    def reset(self) -> None:
        """After a success."""
        self._next = self._first
