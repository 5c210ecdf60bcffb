"""Floods, bombs and trickles against a real process: its memory stays bounded, and it goes on answering."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from libs.common.clock import monotonic
from libs.common.seal import Keyring
from libs.common.settings import Settings
from libs.common.web import tokens
from tests.hostile.ground import PEOPLE
from tests.worlds import cast
from tools.demo import engine

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

#: Bytes by which the process may grow at any moment of an attack.
GROWTH = 64 << 20
#: Seconds in which 99 of 100 questions for its health are answered meanwhile, on a machine that is busy too.
PATIENCE = 2.0
#: Connections of an attack.
PARALLEL = 64
#: Connections that each attacker makes, one after the other.
TIMES = 3
#: Seconds that one connection of an attack gets.
ENOUGH = 10.0
#: Largest body that is read.
CAP = 1 << 20

_keys = itertools.count(1)


@dataclass
class Target:
    """The services as a process of their own."""

    port: int
    process: psutil.Process
    token: str
    seconds: list[float] = field(default_factory=list)
    largest: int = 0

    def head(self, *lines: str) -> bytes:
        """The beginning of a POST by somebody with a good token."""
        own = ("POST /v1/clues HTTP/1.1", "host: cases", f"authorization: Bearer {self.token}")
        more = ("content-type: application/json", f"idempotency-key: flood-{next(_keys)}")
        return "\r\n".join([*own, *more, *lines, "", ""]).encode()

    async def watch(self) -> None:
        """Ask for its health and measure its memory, again and again."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", trust_env=False) as client:
            while True:
                began = monotonic()
                answer = await client.get("/healthz", timeout=30.0)
                self.seconds.append(monotonic() - began)
                assert answer.status_code == httpx.codes.OK
                self.largest = max(self.largest, self.process.memory_info().rss)
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """What is done within makes it neither grow too much nor wait too long."""
        before = self.process.memory_info().rss
        self.seconds, self.largest = [], 0
        watching = asyncio.create_task(self.watch())
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        p99 = sorted(self.seconds)[int(len(self.seconds) * 0.99)]
        assert self.largest - before <= GROWTH, f"grew by {(self.largest - before) >> 20} MB"
        assert p99 <= PATIENCE, f"health took {p99:.2f} s"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    data: Path = tmp_path_factory.mktemp("county")
    ports = engine.free_ports()
    others = set(psutil.Process().children())
    with engine.running(data, ports, coordinator=cast.OFFICE):
        (process,) = set(psutil.Process().children()) - others
        settings = Settings(data=data)
        issuer = tokens.Issuer(Keyring.at(settings.key_directory).tokens, settings.issuer, settings.audience)
        yield Target(ports["cases"], process, issuer.issue("p1", cast.TOWNSHIP, PEOPLE, 3600))


async def flood(target: Target, pieces: Callable[[Target], Iterator[bytes]], *, pause: float = 0.0) -> bytes:
    """One connection that sends these until it is answered, closed, or has had enough; gives the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    answer = asyncio.create_task(reader.read(1 << 16))
    try:
        async with asyncio.timeout(ENOUGH):
            with contextlib.suppress(ConnectionError):
                for piece in pieces(target):
                    if answer.done():
                        break
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause)
            return await answer
    except (TimeoutError, ConnectionError):
        return b""
    finally:
        answer.cancel()
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def announced(body: bytes) -> Callable[[Target], Iterator[bytes]]:
    """The body with its length, in pieces of 64 kB."""

    def pieces(target: Target) -> Iterator[bytes]:
        yield target.head(f"content-length: {len(body)}")
        for begin in range(0, len(body), 1 << 16):
            yield body[begin : begin + (1 << 16)]

    return pieces


def in_chunks(body: bytes) -> Callable[[Target], Iterator[bytes]]:
    """The same body without a length."""

    def pieces(target: Target) -> Iterator[bytes]:
        yield target.head("transfer-encoding: chunked")
        for begin in range(0, len(body), 1 << 16):
            yield chunk(body[begin : begin + (1 << 16)])
        yield b"0\r\n\r\n"

    return pieces


def endless_chunks(target: Target) -> Iterator[bytes]:
    yield target.head("transfer-encoding: chunked")
    for _ in range(512):
        yield chunk(b" " * (1 << 16))


def lying(target: Target) -> Iterator[bytes]:
    """Ten gigabytes, it says."""
    yield target.head(f"content-length: {10 << 30}")
    for _ in range(512):
        yield b" " * (1 << 16)


def endless_header(target: Target) -> Iterator[bytes]:
    yield target.head().removesuffix(b"\r\n") + b"x-long: "
    for _ in range(512):
        yield b"a" * (1 << 16)


def endless_headers(target: Target) -> Iterator[bytes]:
    yield target.head().removesuffix(b"\r\n")
    for n in range(4_096):
        yield b"x-%d: %b\r\n" % (n, b"a" * 8_000)


def endless_target(target: Target) -> Iterator[bytes]:
    yield b"GET /v1/cases?q="
    for _ in range(512):
        yield b"a" * (1 << 16)


WIDE = b"{" + b",".join(b'"%d":0' % n for n in range(1_000_000)) + b"}"
WIDE_WITHIN = b"{" + b",".join(b'"%d":0' % n for n in range(105_000)) + b"}"
ESCAPED = b'["' + rb"\u0061" * ((CAP - 4) // 6) + b'"]'

ATTACKS = {
    "10 GB announced": lying,
    "32 MB in chunks": endless_chunks,
    "1 M keys announced": announced(WIDE),
    "1 M keys in chunks": in_chunks(WIDE),
    "105,000 keys within the cap": announced(WIDE_WITHIN),
    "a bomb of arrays": announced(b"[" * (CAP - 1)),
    "a bomb of objects, in chunks": in_chunks(b'{"a":' * (CAP // 5 - 1)),
    "numbers": announced(b"[" + b"1," * (CAP // 2 - 2) + b"1]"),
    "a number": announced(b"9" * CAP),
    "a fraction": announced(b"0." + b"3" * (CAP - 2)),
    "escapes": announced(ESCAPED),
    "strings": announced(b"[" + b'"",' * (CAP // 3 - 2) + b'""]'),
    "an endless header": endless_header,
    "endless headers": endless_headers,
    "an endless address": endless_target,
}


async def attack(target: Target, pieces: Callable[[Target], Iterator[bytes]]) -> None:
    """One attacker, who comes again; what is answered is a refusal, and no bug."""
    for _ in range(TIMES):
        answer = await flood(target, pieces)
        assert answer[9:12] in (b"", b"400", b"413", b"422", b"503"), answer


@pytest.mark.parametrize("name", ATTACKS)
async def test_a_flood_is_refused_within_bounds(target: Target, name: str) -> None:
    await flood(target, ATTACKS[name])  # what is imported or cached once is no growth
    async with target.watched():
        await asyncio.gather(*(attack(target, ATTACKS[name]) for _ in range(PARALLEL)))


async def test_who_trickles_holds_up_nobody(target: Target) -> None:
    """Heads that come byte by byte, and large bodies that never end: others are served meanwhile."""

    def a_slow_head(target: Target) -> Iterator[bytes]:
        for byte in target.head():
            yield bytes([byte])

    def a_slow_body(target: Target) -> Iterator[bytes]:
        yield target.head(f"content-length: {CAP}") + b" " * (CAP - 1_000)
        for _ in range(1_000):
            yield b" "

    async with target.watched():
        slow = [
            asyncio.create_task(flood(target, pieces, pause=0.1))
            for pieces in (a_slow_head, a_slow_body)
            for _ in range(PARALLEL)
        ]
        try:
            for _ in range(10):
                answer = await flood(target, announced(b"{}"))
                assert answer[9:12] == b"422", answer
                await asyncio.sleep(0.2)
        finally:
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
