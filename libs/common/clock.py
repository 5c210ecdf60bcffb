"""The one clock: time is read at the edges and passed into every decision as a Moment.

`LIANDONG_CLOCK=<file>` moves it (embedded engine only): the file holds an RFC 3339 instant from which
the clock goes on running. Tokens and leases stay on real time.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

#: Days of law are days in China.
SHANGHAI = ZoneInfo("Asia/Shanghai")
#: What `monotonic` reads in this context: real time, but where time is simulated.
TICKING: ContextVar[Callable[[], float]] = ContextVar("ticking", default=time.monotonic)


class Clock:
    """Reads the time, real or moved by a file."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._seen: tuple[float, str] | None = None
        self._moved = timedelta()

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        real = datetime.now(UTC)
        if self._file is None:
            return real
        try:
            seen = (self._file.stat().st_mtime, self._file.read_text().strip())
        except FileNotFoundError:
            return real
        if seen != self._seen:
            self._moved = datetime.fromisoformat(seen[1]) - real
            self._seen = seen
        return real + self._moved


class Trace(NamedTuple):
    """What leads from a request to its event and to that event's effects (W3C traceparent)."""

    correlation: str  #: the request's id; the same on everything that follows from it
    causation: str = ""  #: the id of the event that caused this, empty for a request
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """All that a decision may know of time and chance, fixed by the edge before it decides."""

    now: datetime
    trace: Trace
    seed: bytes = field(default_factory=lambda: os.urandom(32), repr=False)

    @property
    def day(self) -> date:
        """The day in China."""
        return day_of(self.now)

    def salt(self, stream: str, seq: int) -> bytes:
        """32 bytes that nobody can guess, the same for the same place in the same decision."""
        return hashlib.sha256(b"%b|%b|%d" % (self.seed, stream.encode(), seq)).digest()

    def new_id(self, noun: str) -> str:
        """A UUIDv7 (RFC 9562) for a thing created by this decision, the same if decided again."""
        milliseconds = int(self.now.timestamp() * 1000)
        chance = int.from_bytes(hashlib.sha256(self.seed + noun.encode()).digest()[:10])
        value = (milliseconds & (1 << 48) - 1) << 80 | chance
        value = value & ~(0xF << 76) | 7 << 76
        value = value & ~(3 << 62) | 2 << 62
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def day_of(instant: datetime) -> date:
    """The day in China on which an instant falls."""
    return instant.astimezone(SHANGHAI).date()


def monotonic() -> float:
    """Seconds for measuring waits; unrelated to the day."""
    return TICKING.get()()
