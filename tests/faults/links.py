"""Connections that can be cut one way: what stands between the services and what they speak to.

A link passes bytes on between a port and a server. While it is cut, what goes in that direction is
swallowed: both ends stay connected and one of them hears nothing. When it is mended, every connection that
lost something is reset, as the network does with what it no longer knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from tests.engines import server

#: Which bytes are lost: those to the server, or those back from it.
Way = Literal["there", "back"]

#: Closing with this sends a reset instead of what is still queued.
_RESET = struct.pack("ii", 1, 0)


class Link:
    """One port that leads to one server."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.target = target
        self.lost: Way | None = None
        self.ends: set[_End] = set()

    def reset(self) -> None:
        """End every connection as abruptly as can be."""
        for end in list(self.ends):
            end.abort()


class _End(asyncio.Protocol):
    """One end of a connection; it hands on to its peer what it receives."""

    def __init__(self, link: Link, way: Way, peer: _End | None = None) -> None:
        self._link = link
        self._way = way
        self._peer = peer
        self._transport: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._link.ends.add(self)
        if self._peer is None:
            self._dialling = asyncio.ensure_future(self._dial())
        else:
            self._peer.met(self)

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(
                lambda: _End(self._link, "back", self), "127.0.0.1", self._link.target
            )
        except OSError:
            self.abort()

    def met(self, peer: _End) -> None:
        """The other end is there."""
        self._peer = peer
        early, self._early = self._early, []
        for data in early:
            peer.send(data)
        if self._transport is None or self._transport.is_closing():
            peer.abort()

    def data_received(self, data: bytes) -> None:
        if self._link.lost == self._way:
            return
        if self._peer is None:
            self._early.append(data)
        else:
            self._peer.send(data)

    def send(self, data: bytes) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(data)

    def pause_writing(self) -> None:
        self._pace("pause_reading")

    def resume_writing(self) -> None:
        self._pace("resume_reading")

    def _pace(self, what: str) -> None:
        peer = self._peer._transport if self._peer else None
        if peer and not peer.is_closing():
            with contextlib.suppress(RuntimeError):
                getattr(peer, what)()

    def connection_lost(self, error: Exception | None) -> None:
        self._link.ends.discard(self)
        # A half-open connection is what the other side of a cut sees: it hears of no end either.
        if self._peer and self._link.lost is None:
            self._peer.close()

    def close(self) -> None:
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """Reset, so that the other side hears of it at its next word."""
        if self._transport is None or self._transport.is_closing():
            return
        line = self._transport.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()


class Links:
    """Every link of a test, on a thread of its own: whoever blocks the test must not block them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._links: list[Link] = []

    def link(self, target: int, *, port: int | None = None) -> Link:
        """A port that leads to `target`; a free one where none is named."""
        link = Link(port or server.free_port(), target)
        asyncio.run_coroutine_threadsafe(self._listen(link), self._loop).result()
        return link

    def cut(self, link: Link, way: Way) -> None:
        """Lose what goes this way from now on."""
        self._do(lambda: setattr(link, "lost", way))

    def mend(self, link: Link) -> None:
        """Let everything through again; who was connected is reset."""

        def mended() -> None:
            link.lost = None
            link.reset()

        self._do(mended)

    def _do(self, what: Callable[[], None]) -> None:
        """Have it done on the links' thread, and wait until it is."""

        async def doing() -> None:
            what()

        asyncio.run_coroutine_threadsafe(doing(), self._loop).result()

    async def _listen(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(lambda: _End(link, "there"), "127.0.0.1", link.port))
        self._links.append(link)

    async def _close(self) -> None:
        for listening in self._servers:
            listening.close()
        for link in self._links:
            link.reset()
        await asyncio.sleep(0)

    @contextmanager
    def running(self) -> Iterator[Links]:
        """The links pass on inside this block."""
        self._thread.start()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
