"""The services as processes that somebody keeps running, whatever kills them: on either engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from libs.common.clock import monotonic
from libs.common.settings import Name, Settings
from tests.engines import server
from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres
from tests.faults.books import Books, PostgresBooks, SqliteBooks
from tests.faults.links import Link, Links
from tests.stories import deployments
from tests.worlds import cast
from tools.demo import engine

#: Seconds between the death of a process and its next start.
PAUSE = 0.3
#: Seconds that a process gets to come up, or to go.
PATIENCE = 60.0
#: What the product may be told to be quicker at, so that a run meets more faults.
BRISK = {"LIANDONG_LEASE_SECONDS": "3", "LIANDONG_LOG_LEVEL": "WARNING"}


class Process:
    """One process of the product, started again whenever it ends, until it is stopped."""

    def __init__(self, module: str, settings: Mapping[str, str], log: Path) -> None:
        self._module = module
        self._environment = {**os.environ, **settings}
        self.log = log
        self._now: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs now, 0 where none does."""
        return self._now.pid if self._now and self._now.returncode is None else 0

    def start(self) -> None:
        """Keep it running from now on."""
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End it in order, as an operator does, and keep it down."""
        if self._keeper is None:
            return
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        self._keeper = None
        self.resume()
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._gone()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._gone()

    def signal(self, how: signal.Signals) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, how)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    async def _keep(self) -> None:
        while True:
            with self.log.open("ab") as out:
                self._now = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    self._module,
                    cwd=engine.ROOT,
                    env=self._environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=out.fileno(),
                    stderr=asyncio.subprocess.STDOUT,
                )
            await self._gone()
            await asyncio.sleep(PAUSE)

    async def _gone(self) -> None:
        if self._now:
            await self._now.wait()


@dataclass(slots=True)
class Fleet:
    """A whole deployment under test."""

    place: Path
    settings: Settings
    #: By service; the embedded engine has one process, which is every service.
    processes: Mapping[Name, Sequence[Process]]
    #: Where callers reach each service.
    addresses: Mapping[Name, Sequence[str]]
    #: Where the processes themselves listen: what is asked there passes no link.
    direct: Sequence[str]
    books: Books
    client: httpx.AsyncClient
    postgres: Postgres | None = None
    kafka: Kafka | None = None
    links: Links | None = None
    #: What may be cut, by name.
    lines: Mapping[str, Link] = field(default_factory=dict)

    @property
    def every(self) -> list[Process]:
        return list({id(p): p for twins in self.processes.values() for p in twins}.values())

    async def stop(self) -> None:
        """End every process in order."""
        await asyncio.gather(*(process.stop() for process in self.every))

    def start(self) -> None:
        for process in self.every:
            process.start()

    async def until_ready(self, patience: float = PATIENCE) -> None:
        """Wait until every process says that it can work."""
        until = monotonic() + patience
        while waiting := await self.unready():
            assert monotonic() < until, f"not ready after {patience} s: {waiting}; logs are in {self.place}"
            await asyncio.sleep(0.1)

    async def unready(self) -> list[str]:
        """What the processes say that cannot work now."""
        said = await asyncio.gather(*(_unready(self.client, url) for url in self.direct))
        return [text for text in said if text]


async def _unready(client: httpx.AsyncClient, url: str) -> str:
    try:
        answer = await client.get(f"{url}/readyz")
    except httpx.TransportError as why:
        return f"{url}: {why!r}"
    return "" if answer.status_code == httpx.codes.OK else f"{url}: {answer.text}"


@asynccontextmanager
async def distributed(place: Path, postgres: Postgres, kafka: Kafka, links: Links) -> AsyncIterator[Fleet]:
    """Every service twice on PostgreSQL and Kafka, behind links that can be cut.

    The first process of each service is spoken to directly, the second over a link.
    """
    urls = {name: postgres.database(f"faults_{name}") for name in engine.NAMES}
    lines = {f"postgres of {name}": links.link(postgres.port) for name in engine.NAMES}
    lines["kafka"] = links.link(kafka.back, port=kafka.front)
    ports = {name: [server.free_port() for _ in range(deployments.TWINS)] for name in engine.NAMES}
    lines |= {f"callers of {name}": links.link(ports[name][1]) for name in engine.NAMES}
    common = {
        **BRISK,
        "LIANDONG_KAFKA": f"127.0.0.1:{kafka.front}",
        "LIANDONG_PARTITIONS": "3",
        "LIANDONG_DATA": str(place / "data"),
        "LIANDONG_DEFAULT_AGENCY": cast.OFFICE,
        **{
            f"LIANDONG_{name.upper()}_URL": f"http://127.0.0.1:{lines[f'callers of {name}'].port}"
            for name in engine.NAMES
        },
    }
    own = {
        name: common
        | {"LIANDONG_DATABASE": _through(urls[name], postgres.port, lines[f"postgres of {name}"].port)}
        for name in engine.NAMES
    }
    pattern = {"LIANDONG_DATABASE": postgres.url("faults_{service}")}
    await asyncio.to_thread(deployments.prepare, place / "data", common | pattern)
    processes = {
        name: [
            Process(
                f"services.{name}",
                own[name] | {f"LIANDONG_{name.upper()}_PORT": str(port)},
                place / f"{name}-{port}.log",
            )
            for port in ports[name]
        ]
        for name in engine.NAMES
    }
    fleet = Fleet(
        place=place,
        settings=Settings(data=place / "data"),
        processes=processes,
        addresses={
            name: [_local(ports[name][0]), _local(lines[f"callers of {name}"].port)] for name in engine.NAMES
        },
        direct=[_local(port) for name in engine.NAMES for port in ports[name]],
        books=PostgresBooks(urls),
        client=_client(),
        postgres=postgres,
        kafka=kafka,
        links=links,
        lines=lines,
    )
    async with _running(fleet):
        yield fleet


@asynccontextmanager
async def embedded(place: Path) -> AsyncIterator[Fleet]:
    """The three services in one process on SQLite and the embedded log."""
    data = place / "data"
    data.mkdir(parents=True)
    ports = engine.free_ports()
    settings = BRISK | {
        "LIANDONG_DATA": str(data),
        "LIANDONG_DEFAULT_AGENCY": cast.OFFICE,
        **{f"LIANDONG_{name.upper()}_PORT": str(ports[name]) for name in engine.NAMES},
    }
    process = Process("services", settings, place / "services.log")
    addresses = engine.addresses(ports)
    fleet = Fleet(
        place=place,
        settings=Settings(data=data),
        processes={name: [process] for name in engine.NAMES},
        addresses=addresses,
        direct=[url for urls in addresses.values() for url in urls],
        books=SqliteBooks(data),
        client=_client(),
    )
    async with _running(fleet):
        yield fleet


@asynccontextmanager
async def _running(fleet: Fleet) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        stack.push_async_callback(fleet.client.aclose)
        stack.push_async_callback(fleet.books.close)
        stack.push_async_callback(fleet.stop)
        fleet.start()
        await fleet.until_ready()
        yield


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=3.0, trust_env=False)


def _local(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _through(url: str, port: int, link: int) -> str:
    return url.replace(f":{port}/", f":{link}/")
