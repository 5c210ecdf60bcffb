"""Runs services' applications on uvicorn until a signal asks them to end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator, Mapping

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Seconds that requests under way get to finish when the process is told to end.
GRACE = 10

#: Bytes that a request line with its headers, or the trailers of a body, may have.
LONGEST_HEAD = 64 * 1024


class _Bounded(HttpToolsProtocol):
    """uvicorn's protocol with an end to the head of a request: httptools reads as long as one comes."""

    _pending = 0  # bytes received since something came of them

    def data_received(self, data: bytes) -> None:
        self._pending += len(data)
        super().data_received(data)
        if self._pending > LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        self._pending = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._pending = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._pending = 0
        super().on_body(body)


class _Server(uvicorn.Server):
    """uvicorn's server without its own signal handling: one process may run three."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(apps: Mapping[int, FastAPI], *, host: str) -> None:
    """Serve each application at its port. Returns after SIGTERM or SIGINT, when all have ended."""
    servers = [
        _Server(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE,
                http=_Bounded,
            )
        )
        for port, app in apps.items()
    ]

    def end() -> None:
        for app in apps.values():
            app.state.end()  # who waits for something to happen need not be waited for
        for server in servers:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for asked in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(asked, end)
    try:
        running = [asyncio.create_task(server.serve()) for server in servers]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        end()  # one that could not start must not leave the others alone
        await asyncio.gather(*running)
    finally:
        for asked in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(asked)


def free(host: str, port: int) -> bool:
    """Whether nobody listens there yet."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
