"""The engines of the suite: one empty database for each test, and as many stores as there are processes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common.log.embedded import EmbeddedLog
from libs.common.log.kafka import KafkaLog
from libs.common.log.seam import Log
from libs.common.store.postgres import PostgresEngine
from libs.common.store.seam import Engine
from libs.common.store.sqlite import SqliteEngine, connected
from libs.common.store.store import Store
from libs.common.telemetry import Commit
from tests.conformance import things
from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres

#: Partitions of the topics that these tests make.
PARTITIONS = 2

POSTGRES = pytest.param("postgres", marks=[pytest.mark.connected, pytest.mark.postgres])
KAFKA = pytest.param("kafka", marks=[pytest.mark.connected, pytest.mark.kafka])


@dataclass
class Database:
    """One database, empty when the test begins."""

    #: Gives what one process would have; processes that cannot be apart share it.
    engine: Callable[[], Engine]
    #: Where PostgreSQL is reached by others; empty for SQLite.
    url: str = ""
    #: How each commit ended.
    told: list[Commit] = field(default_factory=list)
    opened: list[Engine] = field(default_factory=list)

    def open(self, made: Callable[[Engine], Store] | None = None) -> Store:
        """The store of one process: its locks are its own."""
        engine = self.engine()
        if engine not in self.opened:
            self.opened.append(engine)
        return made(engine) if made else Store(engine, told=self.told.append)

    async def close(self) -> None:
        for engine in self.opened:
            await engine.close()
        self.opened.clear()


@dataclass
class Logs:
    """Opens logs over one set of topics: each is what one process would have."""

    make: Callable[[], Log]
    topic: str = field(default_factory=lambda: f"t{uuid.uuid4().hex}")
    group: str = field(default_factory=lambda: f"g{uuid.uuid4().hex}")
    opened: list[Log] = field(default_factory=list)

    async def open(self) -> Log:
        log = self.make()
        self.opened.append(log)
        await log.prepare([self.topic])
        return log

    async def close(self) -> None:
        for log in self.opened:
            await log.close()
        self.opened.clear()


@pytest.fixture(scope="session")
def tables(postgres: Postgres) -> str:
    """The URL of a PostgreSQL database with the tables of this suite."""
    url = postgres.database("conformance")

    async def make() -> None:
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(things.METADATA.create_all)
        await engine.dispose()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, make()).result()
    return url


@pytest.fixture(params=["sqlite", POSTGRES])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def database(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Database]:
    made = _sqlite(tmp_path) if database_kind == "sqlite" else await _postgres(request)
    yield made
    await made.close()


@pytest.fixture
async def store(database: Database) -> Store:
    return database.open()


@pytest.fixture
async def on_postgres(request: pytest.FixtureRequest, postgres: Postgres) -> AsyncIterator[Database]:
    """For what only PostgreSQL can do or suffer; the server runs again when the test has ended."""
    made = await _postgres(request)
    yield made
    await made.close()
    await asyncio.to_thread(postgres.start)


def _sqlite(directory: Path) -> Database:
    file = directory / "service.db"
    made = connected(file)
    things.METADATA.create_all(made)
    made.dispose()
    # One thread writes the file, so whoever opens it shares the engine.
    shared = Database(lambda: shared.opened[0] if shared.opened else SqliteEngine(file))
    return shared


async def _postgres(request: pytest.FixtureRequest) -> Database:
    url: str = request.getfixturevalue("tables")
    connection = await asyncpg.connect(plain(url))
    names = ", ".join(table.name for table in things.METADATA.sorted_tables)
    await connection.execute(f"TRUNCATE {names} RESTART IDENTITY")
    await connection.close()
    return Database(lambda: PostgresEngine(url), url=url)


def plain(url: str) -> str:
    """The URL as the driver alone takes it."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


@pytest.fixture(params=["embedded", KAFKA])
def log_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def logs(log_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Logs]:
    made = embedded_in(tmp_path) if log_kind == "embedded" else on(request.getfixturevalue("kafka"))
    yield made
    await made.close()


@pytest.fixture
async def embedded_logs(tmp_path: Path) -> AsyncIterator[Logs]:
    """For what does not depend on the log."""
    made = embedded_in(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def kafka_logs(kafka: Kafka) -> AsyncIterator[Logs]:
    """For what only Kafka can do or suffer."""
    made = on(kafka)
    yield made
    await made.close()


def embedded_in(directory: Path) -> Logs:
    shared = EmbeddedLog(directory / "log.db", partitions=PARTITIONS)
    return Logs(lambda: shared, opened=[shared])


def on(kafka: Kafka) -> Logs:
    return Logs(lambda: KafkaLog(kafka.bootstrap, partitions=PARTITIONS))


@pytest.fixture
async def log(logs: Logs) -> Log:
    return await logs.open()
