"""A real browser for the tests, spoken to by its own protocol (Chrome DevTools)."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect

from tests.engines import server

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


class Chromium:
    """One browser without a window, with a profile of its own."""

    def __init__(self) -> None:
        program = shutil.which("chromium")
        if program is None:
            raise server.Unavailable("no program `chromium`")
        self._place = server.workplace("chromium")
        #: Where it writes the port that it chose.
        told = self._place / "DevToolsActivePort"
        profile = f"--user-data-dir={self._place}"
        argv = [program, *_FLAGS, profile, "--remote-debugging-port=0", "about:blank"]
        self._server = server.Server(argv, log=self._place / "chromium.log")
        self._server.start(lambda: told.exists() and server.answers(_port(told.read_text())))
        self._port = _port(told.read_text())

    @asynccontextmanager
    async def page(self, address: str, **headers: str) -> AsyncIterator[Page]:
        """A page at this address; every request of it carries these headers."""
        async with httpx.AsyncClient() as caller:
            made = await caller.put(f"http://127.0.0.1:{self._port}/json/new?about:blank")
        async with connect(made.json()["webSocketDebuggerUrl"], max_size=None) as connection:
            page = Page(connection)
            await page.ask("Page.enable")
            await page.ask("Network.enable")
            await page.ask("Network.setExtraHTTPHeaders", headers=headers)
            await page.ask("Page.navigate", url=address)
            await page.hears("Page.loadEventFired")
            yield page

    def close(self) -> None:
        """End it, with its profile."""
        self._server.kill()
        shutil.rmtree(self._place, ignore_errors=True)


class Page:
    """A page in the browser."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)
        self.heard: list[str] = []  #: every message of the browser that was waited for or passed over

    async def run(self, script: str) -> Any:
        """What the promise gives that the script makes."""
        answer = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The browser's answer to a command."""
        number = next(self._ids)
        await self._connection.send(
            orjson.dumps({"id": number, "method": method, "params": parameters}).decode()
        )
        return await self._next(lambda said: said.get("id") == number, "result")

    async def hears(self, event: str) -> dict[str, Any]:
        """The next event of this name."""
        return await self._next(lambda said: said.get("method") == event, "params")

    async def _next(self, is_it: Callable[[dict[str, Any]], bool], part: str) -> dict[str, Any]:
        async for message in self._connection:
            said = orjson.loads(message)
            self.heard.append(orjson.dumps(said).decode())
            if is_it(said):
                assert "error" not in said, said
                found: dict[str, Any] = said[part]
                return found
        raise EOFError("the browser has gone")


def _port(told: str) -> int:
    lines = told.splitlines()
    return int(lines[0]) if lines else 0
