"""A receiver of webhooks on this machine's loopback that behaves as a test tells it, well or badly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came; names of headers in lower case."""

    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.body)
        return found


def answers(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    """Answer so, at once; `retry_after="3"` is a header."""
    named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} Said\r\n{named}content-length: {len(body)}\r\n\r\n".encode()

    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(head + body)

    return behave


async def hangs(writer: asyncio.StreamWriter) -> None:
    """Take the request, and never answer."""
    await asyncio.Event().wait()


async def trickles(writer: asyncio.StreamWriter) -> None:
    """Say 200, and then a byte now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def floods(writer: asyncio.StreamWriter) -> None:
    """Answer ten gigabytes, as far as anybody reads them."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n")
    for _ in range(10_000):
        writer.write(b"x" * 1_000_000)
        await writer.drain()


async def resets(writer: asyncio.StreamWriter) -> None:
    """Say 200, and break off in the middle of the answer."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
    await writer.drain()
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def babbles(writer: asyncio.StreamWriter) -> None:
    """Say what is no HTTP."""
    writer.write(b"220 mail.example ESMTP\r\n\r\n")


@dataclass
class Receiver:
    """What it has seen, and how it behaves from now on."""

    url: str
    port: int
    behaviour: Behaviour = field(default_factory=lambda: answers(204))
    seen: list[Seen] = field(default_factory=list)
    #: Connections, also those on which nothing was said.
    connected: int = 0

    @property
    def events(self) -> list[str]:
        """The ids of the events that came, in order."""
        return [
            one.event["id"] for one in self.seen if one.headers["webhook-id"] and one.event.get("sequence")
        ]

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connected += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.seen.append(Seen(head[0].split(" ")[1], headers, body))
            await self.behaviour(writer)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def a_receiver(host: str = "127.0.0.1") -> AsyncIterator[Receiver]:
    """One that answers 204 until it is told otherwise."""
    under_way: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            await receiver.take(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            under_way.discard(task)

    server = await asyncio.start_server(connected, host, 0)
    port = server.sockets[0].getsockname()[1]
    receiver = Receiver(f"http://127.0.0.1:{port}/hook?token=canary-url", port)
    try:
        yield receiver
    finally:
        server.close()
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await server.wait_closed()
