"""PostgreSQL: a Change is one statement, conditional on every lock; a large one is one short transaction.

The statement locks first (the fence, then heads by kind and id, each only if the one before held), opens a
gate if all were as expected, and only then writes, every part behind that gate. Under READ COMMITTED a lock
that had to wait looks at the row again, so a head that moved meanwhile closes the gate. Its text depends on
the Change's shape alone and is cached; the driver prepares it once per connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import count
from typing import Any, cast

import asyncpg
from sqlalchemy import Column, Executable
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common import errors
from libs.common.change import Change, Fence, Head, Write, in_lock_order
from libs.common.store.engine import (
    Binder,
    Committed,
    Conflict,
    FenceLost,
    Outcome,
    Reader,
    Rows,
    Writes,
    upsert,
    writes,
    written_columns,
)

#: A Change with more locks and rows than this is written as a transaction: its shape would not come again.
ONE_STATEMENT = 48
#: Where a process tells the others that its journal has grown.
CHANNEL = "liandong_journal"

_DIALECT: Dialect = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]
_BIND = Binder(_DIALECT)
_CONFLICTS = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.LockNotAvailableError,
)
_DOWN = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    InterfaceError,
    PoolTimeout,
)


class PostgresEngine:
    """The distributed engine's half of the store."""

    NOW = "extract(epoch from clock_timestamp())"

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
                "server_settings": {"statement_timeout": "20000", "lock_timeout": "10000"},
            },
        )
        self._listener: asyncpg.Connection[Any] | None = None
        self._announcing: asyncio.Task[None] | None = None

    async def commit(self, change: Change) -> Outcome:
        async with self._driver() as connection:
            try:
                if _size(change) <= ONE_STATEMENT:
                    return await _commit_at_once(connection, change)
                return await _commit_large(connection, change)
            except _CONFLICTS:
                return Conflict()

    async def run(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        with _Translated():
            async with self._db.connect() as connection:
                answer = await connection.execute(statement, parameters)
                return [dict(row) for row in answer.mappings()] if answer.returns_rows else []

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        with _Translated():
            async with self._db.connect() as connection:

                async def fetch(statement: Executable, parameters: Mapping[str, Any] | None) -> Rows:
                    with _Translated():
                        return (await connection.execute(statement, parameters)).mappings().all()

                yield Reader(fetch)

    async def announce(self) -> None:
        """NOTIFY after the commit, in its own time; those that come meanwhile share the next one."""
        if self._announcing is None or self._announcing.done():
            self._announcing = asyncio.create_task(self._notify())

    async def listen(self, heard: Callable[[], None]) -> None:
        with _Translated():
            self._listener = await asyncpg.connect(_plain(self._url), timeout=5)
            await self._listener.add_listener(CHANNEL, lambda *_: heard())

    async def close(self) -> None:
        if self._announcing:
            await asyncio.gather(self._announcing, return_exceptions=True)
        if self._listener and not self._listener.is_closed():
            await self._listener.close()
        await self._db.dispose()

    async def _notify(self) -> None:
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
            try:
                yield cast("asyncpg.Connection[Any]", pooled.driver_connection)
            except _DOWN:
                pooled.invalidate()
                raise
            finally:
                pooled.close()


class _Translated:
    """Turns "the database cannot be reached" of either library into errors.Transient."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, _DOWN) or _is_down(cause):
            raise errors.Transient("数据库暂不可用") from error


def _is_down(error: BaseException | None) -> bool:
    """SQLAlchemy wraps the driver's error in one of its own, with the driver's as its cause."""
    return error is not None and isinstance(error.__cause__, _DOWN)


def _plain(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


def _size(change: Change) -> int:
    return len(change.own) + len(change.relied) + len(change.rows) + len(change.facts) + len(change.numbered)


async def _commit_at_once(connection: asyncpg.Connection[Any], change: Change) -> Outcome:
    if any(head.is_new for head in change.relied):
        return Conflict()  # nothing can be locked where there is no row; the decision must own it
    groups = writes(change)
    shape = _Shape(
        fenced=change.fence is not None,
        locks=tuple((head.is_new, owned) for head, owned in _locks(change)),
        groups=tuple((table, write, len(rows)) for table, write, rows in groups),
        numbered=tuple((row.counter, row.table) for row in change.numbered),
    )
    found = await connection.fetchrow(_statement(shape), *_parameters(change, groups))
    assert found is not None
    if change.fence and not found["fenced"]:
        return FenceLost()
    return Committed() if found["open"] else Conflict()


def _locks(change: Change) -> list[tuple[Head, bool]]:
    owned = {head.stream for head in change.own}
    return [(head, head.stream in owned) for head in in_lock_order((*change.own, *change.relied))]


def _parameters(change: Change, groups: Sequence[Writes]) -> list[Any]:
    """In the order in which `_statement` numbers them."""
    values: list[Any] = []
    if fence := change.fence:
        values += [fence.group, fence.topic, fence.partition, fence.epoch, fence.next]
        values += [fence.then, fence.last_id]
    after = {head.stream: head for head in change.heads_after()}
    for head, owned in _locks(change):
        values += [head.kind, head.id]
        if not head.is_new:
            values.append(head.version)
        if owned:
            values += [after[head.stream].seq, after[head.stream].digest]
    for table, write, rows in groups:
        columns, _ = written_columns(table, write)
        for row in rows:
            values += _BIND.values(columns, row)
    for taken in change.numbered:
        values += _BIND.values(_without_position(taken.table), taken.values)
    return values


class _Shape(tuple[Any, ...]):
    """What a statement's text depends on."""

    def __new__(
        cls,
        *,
        fenced: bool,
        locks: tuple[tuple[bool, bool], ...],
        groups: tuple[tuple[str, Write, int], ...],
        numbered: tuple[tuple[str, str], ...],
    ) -> _Shape:
        return super().__new__(cls, (fenced, locks, groups, numbered))


@lru_cache(maxsize=1024)
def _statement(shape: _Shape) -> str:
    fenced, locks, groups, numbered = shape
    numbers = count(1)
    locking: list[str] = []
    writing: list[str] = []
    if fenced:
        lock, write = _fence_parts(numbers)
        locking.append(lock)
        writing.append(write)
    last = "fence" if fenced else None
    for n, (is_new, owned) in enumerate(locks):
        lock, write, last = _head_parts(n, is_new, owned, last, numbers)
        locking += [lock] if lock else []
        writing += [write] if write else []
    gate = f"(SELECT count(*) = 1 FROM {last})" if last else "true"
    parts = [*locking, f"gate AS MATERIALIZED (SELECT {gate} AS open)", *writing]
    parts += [
        f"w{n} AS ({_write_part(t, write, rows, numbers)})" for n, (t, write, rows) in enumerate(groups)
    ]
    parts += _numbered_parts(numbered, numbers)
    passed = "(SELECT count(*) = 1 FROM fence)" if fenced else "true"
    return "WITH " + ",\n".join(parts) + f"\nSELECT {passed} AS fenced, open FROM gate"


def _fence_parts(numbers: Iterator[int]) -> tuple[str, str]:
    group, topic, partition, epoch, following, then, last_id = (f"${next(numbers)}" for _ in range(7))
    where = f'"group" = {group} AND topic = {topic} AND partition = {partition}'
    where += f" AND epoch = {epoch} AND next = {following}"
    lock = f"fence AS MATERIALIZED (SELECT 1 FROM positions WHERE {where} FOR UPDATE)"
    moved = f"UPDATE positions SET next = {then}, last_id = {last_id} WHERE {where} AND {_OPEN}"
    return lock, f"moved AS ({moved})"


_OPEN = "(SELECT open FROM gate)"


def _head_parts(
    n: int, is_new: bool, owned: bool, last: str | None, numbers: Iterator[int]
) -> tuple[str, str, str | None]:
    """The lock of one head, what is written to it, and the name of the newest lock."""
    kind, id_ = f"${next(numbers)}", f"${next(numbers)}"
    if is_new:
        seq, digest = f"${next(numbers)}", f"${next(numbers)}"
        values = f"{kind}::varchar, {id_}::varchar, 1, {seq}::integer, {digest}::bytea"
        insert = f"INSERT INTO heads (kind, id, version, seq, digest) SELECT {values} WHERE {_OPEN}"
        return "", f"h{n} AS ({insert})", last
    version = f"${next(numbers)}"
    where = f"kind = {kind} AND id = {id_} AND version = {version}"
    before = f" AND (SELECT count(*) = 1 FROM {last})" if last else ""
    mode = "UPDATE" if owned else "SHARE"
    lock = f"l{n} AS MATERIALIZED (SELECT 1 FROM heads WHERE {where}{before} FOR {mode})"
    if not owned:
        return lock, "", f"l{n}"
    seq, digest = f"${next(numbers)}", f"${next(numbers)}"
    update = f"UPDATE heads SET version = version + 1, seq = {seq}, digest = {digest}"
    return lock, f"h{n} AS ({update} WHERE {where} AND {_OPEN})", f"l{n}"


def _write_part(table: str, write: Write, rows: int, numbers: Iterator[int]) -> str:
    columns, keys = written_columns(table, write)
    values = ", ".join(f"({_casts(columns, numbers)})" for _ in range(rows))
    names = ", ".join(f'"{column.name}"' for column in columns)
    if write is Write.DELETE:
        return f"DELETE FROM {table} WHERE ({names}) IN (VALUES {values}) AND {_OPEN}"
    insert = f"INSERT INTO {table} ({names}) SELECT * FROM (VALUES {values}) AS v WHERE {_OPEN}"
    return insert + upsert(columns, keys) if write is Write.PUT else insert


def _numbered_parts(numbered: Sequence[tuple[str, str]], numbers: Iterator[int]) -> Iterator[str]:
    """Positions from each counter, its row locked last, then the rows that take them."""
    offsets: dict[str, int] = {}
    for counter, _ in numbered:
        offsets[counter] = offsets.get(counter, 0) + 1
    for counter, taken in offsets.items():
        yield (
            f"c_{counter} AS (INSERT INTO counters (name, position) SELECT '{counter}', {taken}"
            f" WHERE {_OPEN} ON CONFLICT (name) DO UPDATE SET position = counters.position + {taken}"
            f" RETURNING position - {taken} AS base)"
        )
    seen: dict[str, int] = {}
    for n, (counter, table) in enumerate(numbered):
        seen[counter] = seen.get(counter, 0) + 1
        columns = _without_position(table)
        names = ", ".join(f'"{column.name}"' for column in columns)
        values = _casts(columns, numbers)
        yield (
            f"n{n} AS (INSERT INTO {table} (position, {names})"
            f" SELECT base + {seen[counter]}, {values} FROM c_{counter})"
        )


def _without_position(table: str) -> tuple[Column[Any], ...]:
    columns, _ = written_columns(table, Write.INSERT)
    return tuple(column for column in columns if column.name != "position")


def _casts(columns: Iterable[Column[Any]], numbers: Iterator[int]) -> str:
    """Placeholders with their types: a bare parameter in a SELECT list would be taken for text."""
    return ", ".join(f"${next(numbers)}::{column.type.compile(_DIALECT)}" for column in columns)


async def _commit_large(connection: asyncpg.Connection[Any], change: Change) -> Outcome:
    """The same locks in the same order and the same writes, as one transaction with array execution."""
    transaction = connection.transaction()
    await transaction.start()
    outcome: Outcome = Conflict()
    try:
        outcome = await _lock_large(connection, change)
        if isinstance(outcome, Committed):
            await _write_large(connection, change)
    finally:
        if isinstance(outcome, Committed):
            await transaction.commit()
        else:
            await transaction.rollback()
    return outcome


async def _lock_large(connection: asyncpg.Connection[Any], change: Change) -> Outcome:
    if change.fence and not await _pass_fence(connection, change.fence):
        return FenceLost()
    expected = [head for head, _ in _locks(change) if not head.is_new]
    found = await connection.fetch(
        "SELECT h.kind, h.id, h.version FROM heads h"
        " JOIN unnest($1::varchar[], $2::varchar[]) AS w (kind, id) USING (kind, id)"
        " ORDER BY h.kind, h.id FOR UPDATE OF h",
        [head.kind for head in expected],
        [head.id for head in expected],
    )
    versions = {(row["kind"], row["id"]): row["version"] for row in found}
    as_read = all(versions.get((head.kind, head.id)) == head.version for head in expected)
    return Committed() if as_read and not any(head.is_new for head in change.relied) else Conflict()


async def _pass_fence(connection: asyncpg.Connection[Any], fence: Fence) -> bool:
    moved = await connection.fetchrow(
        'UPDATE positions SET next = $6, last_id = $7 WHERE "group" = $1 AND topic = $2 AND partition = $3'
        " AND epoch = $4 AND next = $5 RETURNING 1",
        fence.group,
        fence.topic,
        fence.partition,
        fence.epoch,
        fence.next,
        fence.then,
        fence.last_id,
    )
    return moved is not None


async def _write_large(connection: asyncpg.Connection[Any], change: Change) -> None:
    after = change.heads_after()
    await connection.executemany(
        "INSERT INTO heads (kind, id, version, seq, digest) VALUES ($1, $2, $3, $4, $5)",
        [(h.kind, h.id, h.version, h.seq, h.digest) for h in after if h.version == 1],
    )
    await connection.executemany(
        "UPDATE heads SET version = $3, seq = $4, digest = $5 WHERE kind = $1 AND id = $2",
        [(h.kind, h.id, h.version, h.seq, h.digest) for h in after if h.version > 1],
    )
    groups = writes(change)
    positions = await _take_positions(connection, change)
    groups += [
        (row.table, Write.INSERT, [{**row.values, "position": position}])
        for row, position in zip(change.numbered, positions, strict=True)
    ]
    for table, write, rows in groups:
        columns, keys = written_columns(table, write)
        places = [f"${n}" for n in range(1, len(columns) + 1)]
        names = ", ".join(f'"{column.name}"' for column in columns)
        if write is Write.DELETE:
            statement = f"DELETE FROM {table} WHERE ({names}) = ({', '.join(places)})"
        else:
            statement = f"INSERT INTO {table} ({names}) VALUES ({', '.join(places)})"
            statement += upsert(columns, keys) if write is Write.PUT else ""
        await connection.executemany(statement, [_BIND.values(columns, row) for row in rows])


async def _take_positions(connection: asyncpg.Connection[Any], change: Change) -> list[int]:
    """Positions for the numbered rows, in their order, from counters locked last."""
    taken: dict[str, int] = {}
    for row in change.numbered:
        taken[row.counter] = taken.get(row.counter, 0) + 1
    bases: dict[str, int] = {}
    for counter in sorted(taken):
        bases[counter] = await connection.fetchval(
            "INSERT INTO counters (name, position) VALUES ($1, $2) ON CONFLICT (name)"
            " DO UPDATE SET position = counters.position + $2 RETURNING position - $2",
            counter,
            taken[counter],
        )
    positions: list[int] = []
    for row in change.numbered:
        bases[row.counter] += 1
        positions.append(bases[row.counter])
    return positions
