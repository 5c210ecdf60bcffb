"""PostgreSQL: a Change is one statement, conditional on every lock, and those that wait share one.

`statement` writes the text; this file alone speaks to the driver.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
from sqlalchemy import Executable, event
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common import errors
from libs.common.change import Change
from libs.common.store import statement
from libs.common.store.grouping import GroupCommit
from libs.common.store.lookups import Lookups
from libs.common.store.rows import columns_of, names_of
from libs.common.store.seam import Asked, Committed, Conflict, FenceLost, Lookup, Outcome, Rows

#: A Change with more locks and rows than this is sent as JSON: its shape would not come again.
ONE_STATEMENT = 48
#: Where a process tells the others that its journal has grown.
CHANNEL = "liandong_journal"

_CONFLICTS = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
#: The server is away, shutting down, out of disk, memory or connections, or no longer the primary.
_DOWN = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver makes of a connection that broke in the middle
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,  # whoever holds a lock for so long is not one of ours
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    InterfaceError,
    PoolTimeout,
)


class PostgresEngine:
    """The distributed engine's half of the store."""

    NOW = "extract(epoch from clock_timestamp())"
    NUMBERS = "SELECT value::bigint FROM json_array_elements_text(CAST({} AS json))"

    def __init__(self, url: str, *, connections: int = 10) -> None:
        self._url = url
        self._db = create_async_engine(
            url,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=5,
            pool_reset_on_return=None,  # connections hold no session state, and a reset is a round trip
            pool_use_lifo=True,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "timeout": 5,
                "command_timeout": 30,
                "server_settings": {
                    "statement_timeout": "20000",
                    "lock_timeout": "10000",
                    # As the reads by key expect bytes and instants: by other clocks a year may be 10000.
                    "bytea_output": "hex",
                    "timezone": "UTC",
                },
            },
        )
        event.listen(self._db.sync_engine, "checkout", _refuse_closed)
        self._announcing: asyncio.Task[None] | None = None
        self._has_grown = False
        self._group = GroupCommit(self._commit_alone, self._commit_together)
        self._lookups = Lookups(self._find)

    async def commit(self, change: Change) -> Outcome:
        if statement.may_share(change) and _size(change) <= ONE_STATEMENT:
            return await self._group.commit(change)
        return await self._commit_alone(change)

    async def run(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        with _Translated():
            async with self._db.connect() as connection:
                answer = await connection.execute(statement, parameters)
                return [dict(row) for row in answer.mappings()] if answer.returns_rows else []

    async def find(self, asked: Sequence[Asked]) -> Sequence[Rows]:
        return await self._lookups.find(asked)

    async def scan(self, lookup: Lookup, clause: str) -> Rows:
        columns = columns_of(*lookup)
        async with self._driver() as connection:
            records = await connection.fetch(f"SELECT {names_of(columns)} FROM {lookup.table} {clause}")
        return [statement.BIND.row(columns, record) for record in records]

    async def fetch(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        with _Translated():
            async with self._db.connect() as connection:
                return (await connection.execute(statement, parameters)).mappings().all()

    async def announce(self) -> None:
        """NOTIFY after the commit, in its own time; those that come meanwhile share the next one."""
        self._has_grown = True
        if self._announcing is None or self._announcing.done():
            self._announcing = asyncio.create_task(self._notify())

    async def listen(self, heard: Callable[[], None]) -> None:
        lost = asyncio.Event()
        with _Translated():
            listener = await asyncpg.connect(_plain(self._url), timeout=5)
        listener.add_termination_listener(lambda _: lost.set())
        try:
            with _Translated():
                await listener.add_listener(CHANNEL, lambda *_: heard())
            await lost.wait()
        finally:
            listener.terminate()
        raise errors.Transient("数据库连接中断")

    async def close(self) -> None:
        await self._group.finish()
        await self._lookups.finish()
        if self._announcing:
            await asyncio.gather(self._announcing, return_exceptions=True)
        await self._db.dispose()

    async def _find(self, asked: Sequence[Asked]) -> Sequence[Rows]:
        prepared = statement.found(asked)
        async with self._driver() as connection:
            record = await connection.fetchrow(prepared.text, *prepared.parameters)
        assert record is not None
        return statement.answers(asked, tuple(record))

    async def _commit_alone(self, change: Change) -> Outcome:
        async with self._driver() as connection:
            try:
                return await _commit_one(connection, change)
            except _CONFLICTS:
                return Conflict()

    async def _commit_together(self, changes: Sequence[Change]) -> set[int]:
        """The numbers of those committed."""
        prepared = statement.many(changes)
        async with self._driver() as connection:
            found = await connection.fetch(prepared.text, *prepared.parameters)
        return {row["n"] for row in found if row["n"] is not None}

    async def _notify(self) -> None:
        while self._has_grown:
            self._has_grown = False
            try:
                async with self._driver() as connection:
                    await connection.execute(f"NOTIFY {CHANNEL}")
            except errors.Transient:
                return  # the relay's slow poll is there for this

    @asynccontextmanager
    async def _driver(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """A connection of the pool that the ORM reads through, spoken to directly."""
        with _Translated():
            pooled = await self._db.raw_connection()
            connection = cast("asyncpg.Connection[Any]", pooled.driver_connection)
            is_up = True
            try:
                yield connection
            except _DOWN:
                is_up = False
                raise
            finally:
                # Given back inside a transaction, it would swallow the commits of others.
                if not is_up or connection.is_in_transaction():
                    pooled.invalidate()
                pooled.close()


class _Translated:
    """Turns "the database cannot be reached" of either library into errors.Transient."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, _DOWN) or _is_down(cause):
            raise errors.Transient("数据库暂不可用") from error


def _refuse_closed(pooled: Any, *_: object) -> None:
    """After a restart of the server every connection of the pool is dead: one knows for all."""
    if pooled.driver_connection.is_closed():
        raise InvalidatePoolError


def _is_down(error: BaseException | None) -> bool:
    """SQLAlchemy wraps the driver's error in one of its own, with the driver's as its cause."""
    return error is not None and isinstance(error.__cause__, _DOWN)


def _plain(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


def _size(change: Change) -> int:
    return len(change.own) + len(change.relied) + len(change.rows) + len(change.facts) + len(change.numbered)


async def _commit_one(connection: asyncpg.Connection[Any], change: Change) -> Outcome:
    if any(head.is_new for head in change.relied):
        return Conflict()  # nothing can be locked where there is no row; the decision must own it
    prepared = statement.one(change) if _size(change) <= ONE_STATEMENT else statement.many([change])
    found = await connection.fetchrow(prepared.text, *prepared.parameters)
    assert found is not None
    if change.fence and not found["fenced"]:
        return FenceLost()
    return Committed() if found["open"] else Conflict()
