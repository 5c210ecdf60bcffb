"""Callers under load: many at once, each asking again as soon as it is answered."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from libs.common.clock import monotonic

#: Seconds that the last answers may take.
PATIENCE = 30.0


@dataclass(slots=True)
class Worked:
    """What the callers of one measurement did."""

    count: int
    seconds: float
    longest: float  #: seconds that one call took at most

    @property
    def rate(self) -> float:
        return self.count / self.seconds


async def drive(callers: int, seconds: float, call: Callable[[], Awaitable[None]]) -> Worked:
    """`callers` call again and again for so long."""
    began = monotonic()

    async def caller() -> tuple[int, float]:
        count, longest, before = 0, 0.0, monotonic()
        while before - began < seconds:
            await call()
            now = monotonic()
            count, longest, before = count + 1, max(longest, now - before), now
        return count, longest

    every = await asyncio.gather(*(caller() for _ in range(callers)))
    return Worked(sum(c for c, _ in every), monotonic() - began, max(longest for _, longest in every))


_keys = itertools.count(1)


class _Poster(asyncio.Protocol):
    """One connection that posts one body again and again, under a new Idempotency-Key each time.

    As little as can be: what it costs is taken from the server on the same cores.
    """

    def __init__(self, head: bytes, body: bytes, until: float) -> None:
        self.count = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head, self._body, self._until = head, body, until
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._post()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, ended, body = self._answer.partition(b"\r\n\r\n")
        if not ended:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 201"):
            self._fail(AssertionError(self._answer[:500]))
            return
        self.count += 1
        self._answer = b""
        if monotonic() < self._until:
            self._post()
        else:
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self._fail(error or ConnectionResetError())

    def _post(self) -> None:
        key = b"idempotency-key: k%d\r\n\r\n" % next(_keys)
        self._transport.write(self._head + key + self._body)

    def _fail(self, error: Exception) -> None:
        self.done.set_exception(error)
        self._transport.close()


async def over_sockets(port: int, path: str, token: str, body: bytes, callers: int, seconds: float) -> Worked:
    """`callers` connections post this body for so long; each answer must be a 201."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    began = monotonic()
    posters = [
        (await loop.create_connection(lambda: _Poster(head, body, began + seconds), "127.0.0.1", port))[1]
        for _ in range(callers)
    ]
    async with asyncio.timeout(seconds + PATIENCE):
        await asyncio.gather(*(poster.done for poster in posters))
    return Worked(sum(poster.count for poster in posters), monotonic() - began, 0.0)
