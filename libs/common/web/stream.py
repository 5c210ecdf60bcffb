"""An answer that goes on: server-sent events (HTML, 9.2), for as long as somebody takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

#: Sends a piece, and returns when there is room for the next: a slow caller holds up nobody else.
Say = Callable[[bytes], Awaitable[None]]

#: Seconds that a caller may leave a piece untaken.
STALLED = 30.0


class Stream(Response):
    """Lets `tell` speak until it has ended, the caller has gone, or takes nothing any more.

    `tell` runs within this call and nowhere else. What it claims it claims and gives back by itself, then:
    a caller who is gone before the first byte leaves nothing behind.
    """

    media_type = "text/event-stream"

    def __init__(self, tell: Callable[[Say], Awaitable[None]]) -> None:
        self.status_code, self.background = 200, None
        # A proxy that waits for the end of such an answer waits for ever.
        self.init_headers({"x-accel-buffering": "no"})
        self._speak = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        telling = asyncio.create_task(self._tell(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = telling.done()
            for task in (telling, leaving):
                task.cancel()
            await asyncio.gather(telling, leaving, return_exceptions=True)
        if ended:
            telling.result()

    async def _tell(self, send: Send) -> None:
        async def say(piece: bytes) -> None:
            async with asyncio.timeout(STALLED):
                await send({"type": "http.response.body", "body": piece, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            await self._speak(say)
        except OSError:  # a TimeoutError is one
            return  # nobody takes it any more: the server closes the connection
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
