"""A client for addresses that others chose: it connects to what was judged, once, and reads little.

httpx speaks; beneath it every connection goes to an address that `targets` has just allowed, under the
original host name in Host and SNI. No redirect is followed, no proxy or cookie used, nothing decompressed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from libs.common.outgoing import targets
from libs.common.outgoing.targets import Address, Policy, Target

#: Bytes of an answer that are read; the rest is cut off.
CAP = 64 * 1024

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


class Unreachable(Exception):
    """No whole answer came: the Chinese message says why, and nothing of what was sent or answered."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, without its body."""

    status: int
    retry_after: str = ""


class Outgoing:
    """Sends to the addresses that a policy allows."""

    def __init__(
        self, policy: Policy, *, resolve: Resolve | None = None, trust: ssl.SSLContext | None = None
    ):
        """`resolve` answers with every address of a name; `trust` says whose certificates are believed."""
        self.policy = policy
        self._resolve = resolve or resolved
        self._trust = trust or ssl.create_default_context()

    async def check(self, url: str) -> tuple[Target, tuple[Address, ...]]:
        """The target and where it may be reached now. Raises ForbiddenTarget, Unreachable."""
        target = targets.read(url, self.policy)
        if literal := target.literal:
            return target, targets.judge(target, [literal], self.policy)
        try:
            found = await self._resolve(target.host, target.port)
        except OSError:
            raise Unreachable("域名无法解析") from None
        return target, targets.judge(target, found, self.policy)

    async def post(self, url: str, content: bytes, headers: Mapping[str, str], *, within: float) -> Reply:
        """Send it; resolving, connecting and the whole answer take at most `within` seconds.

        Raises ForbiddenTarget, Unreachable.
        """
        try:
            async with asyncio.timeout(within):
                target, addresses = await self.check(url)
                async with _client(target, addresses, self._trust) as client:
                    return await _sent(client, target, content, headers)
        except TimeoutError:
            raise Unreachable(f"{within:g} 秒内没有完整答复") from None
        except httpcore.ConnectError:
            raise Unreachable("无法连接，或证书不可信") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
            raise Unreachable("连接中断，或答复不是 HTTP") from None


async def resolved(host: str, port: int) -> Sequence[Address]:
    """Every address of a name, by the system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [ipaddress.ip_address(address[0]) for *_, address in found]


async def _sent(
    client: httpx.AsyncClient, target: Target, content: bytes, headers: Mapping[str, str]
) -> Reply:
    authority = f"[{target.host}]" if ":" in target.host else target.host
    url = f"{target.scheme}://{authority}:{target.port}{target.target}"
    async with client.stream("POST", url, content=content, headers=dict(headers)) as answer:
        taken = 0
        async for chunk in answer.aiter_raw():
            taken += len(chunk)
            if taken >= CAP:
                break
        return Reply(answer.status_code, answer.headers.get("retry-after", "")[:100])


@asynccontextmanager
async def _client(
    target: Target, addresses: Iterable[Address], trust: ssl.SSLContext
) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=_Pinned(tuple(addresses), trust), timeout=None, follow_redirects=False, trust_env=False
    ) as client:
        yield client


class _Pinned(httpx.AsyncBaseTransport):
    """One connection, to these addresses, whatever the URL's host resolves to by now."""

    def __init__(self, addresses: tuple[Address, ...], trust: ssl.SSLContext) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trust,
            max_connections=1,
            max_keepalive_connections=0,
            network_backend=_Dialling(addresses),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
        )
        answer = await self._pool.handle_async_request(asked)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Stream(answer))

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_stream():
            yield part

    async def aclose(self) -> None:
        await self._answer.aclose()


class _Dialling(httpcore.AsyncNetworkBackend):
    """Connects to the addresses given, in turn, and asks no resolver."""

    def __init__(self, addresses: tuple[Address, ...]) -> None:
        self._addresses = addresses
        self._plain = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """The first of the addresses that answers."""
        last = httpcore.ConnectError()
        for address in self._addresses:
            try:
                return await self._plain.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except httpcore.ConnectError as why:
                last = why
        raise last

    async def sleep(self, seconds: float) -> None:
        await self._plain.sleep(seconds)
