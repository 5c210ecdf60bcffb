"""The three services of one county in this process, on either engine, spoken to as their users would.

No sockets: requests go through ASGI, also those of one service to another. The loops run when a test lets
them (`running`) or are stepped until nothing moves (`drain`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import SecretStr

from libs.common import clock
from libs.common.loops.journals import HttpJournals
from libs.common.loops.running import Loops
from libs.common.permit import Role
from libs.common.settings import Name, Settings
from libs.common.store import migrate
from libs.common.web import tokens
from services import embedded, parts
from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres

#: Seconds after which waiting for word to arrive is given up.
PATIENCE = 60.0

_keys = itertools.count(1)


class Switchboard(httpx.AsyncBaseTransport):
    """Carries requests between the services of this process, by port."""

    def __init__(self) -> None:
        self.apps: dict[int, FastAPI] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        app = self.apps[request.url.port or 0]
        return await httpx.ASGITransport(app).handle_async_request(request)


@dataclass
class County:
    """Three composed services and the means to speak to them."""

    settings: Settings
    parts: Mapping[Name, parts.Parts]
    apps: Mapping[Name, FastAPI]
    issuer: tokens.Issuer
    _clients: list[httpx.AsyncClient] = field(default_factory=list)

    def ask(self, service: Name, agency: str, *roles: Role, person: str = "p1") -> httpx.AsyncClient:
        """Somebody at an agency, speaking to a service; every POST has its own Idempotency-Key."""
        token = self.issuer.issue(person, agency, roles or (Role.HANDLER,), 3600)
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.apps[service]),
            base_url=self.settings.base_url(service),
            headers={"authorization": f"Bearer {token}"},
            event_hooks={"request": [_with_key]},
        )
        self._clients.append(client)
        return client

    def loops(self, service: Name) -> Loops:
        loops: Loops = self.apps[service].state.loops
        return loops

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The loops of all three run inside this block."""
        async with AsyncExitStack() as stack:
            for service in parts.NAMES:
                await stack.enter_async_context(self.loops(service).running())
            yield

    async def drain(self) -> None:
        """Step relays, consumers and fillers until all that was said is heard. The embedded engine only."""
        every = [self.loops(service) for service in parts.NAMES]
        for loops in every:
            await loops.log.prepare(loops.topics)
        async with asyncio.timeout(PATIENCE):
            while not await self._is_quiet():
                for loops in every:
                    await loops.relay.once()
                    await loops.consumer.once(within=0.0)
                    await loops.filler.once()

    async def quiet(self) -> None:
        """Wait, with the loops running, until everything said has been heard."""
        await until(self._is_quiet)

    async def _is_quiet(self) -> bool:
        for service in parts.NAMES:
            loops = self.loops(service)
            lag = loops.consumer.lag()
            expected = len(loops.consumer.topics) * self.settings.partition_count
            if (await loops.store.outbox()).depth or len(lag) < expected or any(lag.values()):
                return False
        return True

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()
        for service in parts.NAMES:
            await self.loops(service).consumer.close()


async def until(holds: Callable[[], Any], *, patience: float = PATIENCE) -> None:
    """Look again and again until it holds, at most `patience` seconds."""
    async with asyncio.timeout(patience):
        while not await holds():  # noqa: ASYNC110 - other processes tell nobody when they are done
            await asyncio.sleep(0.05)


@asynccontextmanager
async def on_embedded(directory: Path, *, moved_clock: Path | None = None) -> AsyncIterator[County]:
    """A county on SQLite and the embedded log."""
    settings = Settings(data=directory / "data", clock=moved_clock)
    async with parts.embedded(settings) as three, _composed(settings, three) as county:
        yield county


@asynccontextmanager
async def on_servers(directory: Path, postgres: Postgres, kafka: Kafka) -> AsyncIterator[County]:
    """A county on PostgreSQL and Kafka, with databases of its own.

    Topics have fixed names, so the broker must hold no other county's: use the fixture `own_kafka`.
    """
    number = next(_keys)
    urls = [postgres.database(f"{service}_{number}") for service in parts.NAMES]
    pattern = urls[0].replace(f"cases_{number}", f"{{service}}_{number}")
    async with AsyncExitStack() as stack:
        three: dict[Name, parts.Parts] = {}
        settings = Settings(
            data=directory / "data", database=SecretStr(pattern), kafka=kafka.bootstrap, partitions=2
        )
        for service in parts.NAMES:
            await migrate.upgrade(settings.database_for(service), service)
            three[service] = await stack.enter_async_context(parts.distributed(settings, service))
        yield await stack.enter_async_context(_composed(settings, three))


@asynccontextmanager
async def _composed(settings: Settings, three: Mapping[Name, parts.Parts]) -> AsyncIterator[County]:
    board = Switchboard()
    keyring = three["cases"].keyring
    apps: dict[Name, FastAPI] = {}
    async with contextlib.AsyncExitStack() as stack:
        for service in parts.NAMES:
            issuer = tokens.service_issuer(settings, service, keyring.tokens)
            journals = HttpJournals(
                {name: settings.base_url(name) for name in parts.NAMES},
                functools.partial(issuer.issue_for_service, service),
                transport=board,
            )
            stack.push_async_callback(journals.close)
            apps[service] = embedded.CREATE[service](replace(three[service], journals=journals))
            board.apps[settings.port(service)] = apps[service]
        county = County(
            settings, three, apps, tokens.Issuer(keyring.tokens, settings.issuer, settings.audience)
        )
        stack.push_async_callback(county.close)
        yield county


async def _with_key(request: httpx.Request) -> None:
    if request.method != "GET":
        request.headers.setdefault("idempotency-key", f"k{next(_keys)}-{clock.monotonic()}")
