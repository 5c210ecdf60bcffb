"""Those who follow a feed as a stream: at the ASGI edge, where a test decides how fast they take it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any, Self
from urllib.parse import urlencode

import httpx
import orjson
from fastapi import FastAPI
from starlette.types import Message

from libs.common.permit import Role
from services import serving
from tests.worlds.reading_room import Room, until


class Listener:
    """A reader with an open stream. What it does not take stays with the service."""

    def __init__(
        self,
        room: Room,
        agency: str,
        *roles: Role,
        feed: str = "all",
        seconds: int = 600,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> None:
        """`seconds` are the life of its token."""
        token = room.issuer.issue("zhang", agency, roles or (Role.HANDLER,), seconds)
        given = {"authorization": f"Bearer {token}", "accept": "text/event-stream", **(headers or {})}
        self.status = 0
        self.heard = bytearray()
        self.sent = 0  #: pieces that were offered to it
        self.takes = asyncio.Event()
        self.takes.set()
        self._gone = asyncio.Event()
        self._app = room.app
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": f"/v1/feeds/{feed}",
            "raw_path": f"/v1/feeds/{feed}".encode(),
            "root_path": "",
            "query_string": urlencode(query).encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "server": ("sharing", 80),
            "client": ("reader", 1),
        }

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self._app(self._scope, self._receive, self._send))
        await until(lambda: self.status != 0 or self.task.done())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._gone.set()
        await asyncio.wait_for(self.task, 5)

    async def ends(self, *, patience: float = 5.0) -> bool:
        """Whether the service comes to an end with it."""
        with contextlib.suppress(TimeoutError):
            await until(self.task.done, patience=patience)
        return self.task.done()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that it has got, each of which names its position twice."""
        found = []
        for block in bytes(self.heard).decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            if "data" in fields:
                event = orjson.loads(fields["data"])
                assert fields["id"] == event["id"]
                found.append(event)
        return found

    @property
    def ids(self) -> list[int]:
        return [int(event["id"]) for event in self.events]

    async def hears(self, count: int) -> list[dict[str, Any]]:
        """The events, as soon as there are so many, or no more come."""
        with contextlib.suppress(TimeoutError):
            await until(lambda: len(self.events) >= count)
        return self.events

    async def _receive(self) -> Message:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            return
        self.sent += 1
        await self.takes.wait()
        self.heard += message.get("body", b"")


@contextlib.asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The application on a port of this machine, as a process of ours serves it; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = asyncio.create_task(serving.serve({port: app}, host="127.0.0.1"))
    address = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as caller, asyncio.timeout(10):
            while True:
                try:
                    await caller.get(f"{address}/healthz")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.02)
        yield address
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 15)
