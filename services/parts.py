"""What a service is composed of, and the one place that picks an engine, by settings alone."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from fastapi import FastAPI

from libs.common import edge
from libs.common.clock import Clock
from libs.common.log.embedded import EmbeddedLog
from libs.common.log.kafka import KafkaLog
from libs.common.log.seam import Log
from libs.common.loops import running
from libs.common.loops.consumer import Consumer
from libs.common.loops.filler import Filler
from libs.common.loops.journals import HttpJournals
from libs.common.loops.lease import Leased
from libs.common.loops.relay import Relay
from libs.common.loops.running import Loops
from libs.common.seal import Keyring
from libs.common.settings import Misconfigured, Name, Settings
from libs.common.store import migrate
from libs.common.store.postgres import PostgresEngine
from libs.common.store.reading import Reader
from libs.common.store.seam import Engine
from libs.common.store.sqlite import DataDirectory, Locked, SqliteEngine
from libs.common.store.store import Store
from libs.common.telemetry import Metrics
from libs.common.web import tokens
from libs.common.web.asked import Here

NAMES: tuple[Name, ...] = get_args(Name)


def topic(name: Name) -> str:
    """The topic on which a service says what it says."""
    return f"liandong.{name}.v1"


@dataclass(frozen=True, slots=True)
class Parts:
    """All that one service is made of, before it knows its own chapters."""

    name: Name
    settings: Settings
    store: Store
    log: Log
    clock: Clock
    metrics: Metrics
    keyring: Keyring
    verifier: tokens.Verifier
    journals: HttpJournals

    def here(self) -> Here:
        """What routes may use."""
        return Here(self.store, self.clock, self.settings, self.keyring)

    def loops(
        self,
        hears: edge.Hears,
        *,
        told: Callable[[edge.Report], None] | None = None,
        measure: Callable[[Reader], Awaitable[None]] | None = None,
        others: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] | None = None,
    ) -> Loops:
        """The service's loops, with `others` of its own.

        `told` hears of every batch applied, `measure` brings the service's own gauges up to date.
        """
        count = running.applied(self.metrics, hears)

        def counted(report: edge.Report) -> None:
            count(report)
            if told:
                told(report)

        return Loops(
            service=self.name,
            store=self.store,
            log=self.log,
            topics=[topic(name) for name in NAMES],
            clock=self.clock,
            metrics=self.metrics,
            relay=Relay(self.store, self.log, topic(self.name), self.clock, self.leased("relay")),
            consumer=Consumer(self.store, self.log, hears, self.clock, told=counted),
            filler=Filler(self.store, self.journals, hears, self.clock, told=counted),
            others=others or {},
            also_measure=measure,
        )

    def leased(self, name: str) -> Leased:
        """What makes a loop run in one process at a time."""
        holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        return Leased(self.store, name, holder, seconds=self.settings.lease_seconds)


#: How a service is made of its parts: each service's `app.create`.
Create = Callable[[Parts], FastAPI]


def kafka(settings: Settings) -> KafkaLog:
    """Kafka as the settings say. Raises Misconfigured on the embedded engine."""
    if settings.kafka is None:
        raise Misconfigured("嵌入式引擎没有 Kafka")
    return KafkaLog(settings.kafka, partitions=settings.partition_count, replication=settings.replication)


@asynccontextmanager
async def distributed(settings: Settings, name: Name) -> AsyncIterator[Parts]:
    """One service on PostgreSQL and Kafka. It refuses to start on a wrong revision."""
    if settings.engine != "distributed":
        raise Misconfigured(
            "单独运行一个服务需要分布式引擎：请设置 LIANDONG_DATABASE 和 LIANDONG_KAFKA；"
            "嵌入式引擎请用 python -m services 在一个进程中运行三个服务"
        )
    url = settings.database_for(name)
    await migrate.check(url, name)
    log = kafka(settings)
    try:
        async with _parts(settings, name, PostgresEngine(url), log) as parts:
            yield parts
    finally:
        await log.close()


@asynccontextmanager
async def embedded(settings: Settings) -> AsyncIterator[Mapping[Name, Parts]]:
    """The three services on SQLite and the embedded log, in this process alone."""
    try:
        directory = DataDirectory(settings.data)
    except Locked as used:
        raise Misconfigured(str(used)) from None
    try:
        log = EmbeddedLog(settings.data / "log.db", partitions=settings.partition_count)
        try:
            async with (
                _sqlite(settings, "cases", log) as cases,
                _sqlite(settings, "notify", log) as notify,
                _sqlite(settings, "sharing", log) as sharing,
            ):
                yield {"cases": cases, "notify": notify, "sharing": sharing}
        finally:
            await log.close()
    finally:
        directory.close()


@asynccontextmanager
async def stored(settings: Settings, name: Name) -> AsyncIterator[Store]:
    """What a service has stored, to be read beside it: whether it runs or not."""
    database = settings.data / f"{name}.db" if settings.engine == "embedded" else settings.database_for(name)
    if isinstance(database, Path) and not database.exists():
        raise Misconfigured(f"没有数据库文件 {database}")
    await migrate.check(database, name)
    engine = SqliteEngine(database) if isinstance(database, Path) else PostgresEngine(database)
    try:
        yield Store(engine)
    finally:
        await engine.close()


@asynccontextmanager
async def _sqlite(settings: Settings, name: Name, log: Log) -> AsyncIterator[Parts]:
    file = settings.data / f"{name}.db"
    await migrate.upgrade(file, name)
    async with _parts(settings, name, SqliteEngine(file), log) as parts:
        yield parts


@asynccontextmanager
async def _parts(settings: Settings, name: Name, engine: Engine, log: Log) -> AsyncIterator[Parts]:
    keyring = Keyring.at(settings.key_directory)
    issuer = tokens.service_issuer(settings, name, keyring.tokens)
    urls = {other: settings.base_url(other) for other in NAMES}
    journals = HttpJournals(urls, lambda: issuer.issue_for_service(name))
    metrics = Metrics(name)
    store = Store(engine, told=metrics.committed)
    try:
        yield Parts(
            name=name,
            settings=settings,
            store=store,
            log=log,
            clock=Clock(settings.clock),
            metrics=metrics,
            keyring=keyring,
            verifier=tokens.verifier(settings),
            journals=journals,
        )
    finally:
        await journals.close()
        await store.close()
