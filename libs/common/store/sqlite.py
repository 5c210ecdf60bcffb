"""SQLite: one file per service, WAL, synchronous=FULL, one writer thread with group commit.

Callers queue their Changes; the writer takes all that wait, runs each under a savepoint of one transaction,
and commits once. Reads run on the event loop's own connection: WAL readers never wait for the writer.
"""

from __future__ import annotations

import asyncio
import fcntl
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeGuard, cast

import sqlalchemy
from sqlalchemy import Executable
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.exc import DBAPIError

from libs.common import errors
from libs.common.change import Change, Fence, Numbered, Write, in_lock_order
from libs.common.store.lanes import settle
from libs.common.store.rows import Binder, columns_of, names_of, upsert, writes, written_columns
from libs.common.store.seam import Asked, Committed, Conflict, FenceLost, Lookup, Outcome, Rows

#: Changes that one transaction takes at most.
GROUP = 256

#: What a unique key that exists is called; other constraints are broken by faults of ours.
_TAKEN = (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)
#: The file cannot be read or written now: primary result codes.
_DOWN = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
)
_BIND = Binder(sqlite_dialect())


class Locked(Exception):
    """Another process uses this data directory."""


class DataDirectory:
    """The embedded engine's directory, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = (path / "lock").open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise Locked(
                f"数据目录 {path} 正被另一个进程使用。嵌入式引擎只允许一个进程；"
                "请先停止它，或通过 HTTP 使用正在运行的服务。"
            ) from None

    def close(self) -> None:
        self._file.close()


@dataclass(slots=True)
class _Job:
    work: Callable[[sqlalchemy.Connection], Any]
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class SqliteEngine:
    """The embedded engine's half of the store."""

    NOW = "((julianday('now') - 2440587.5) * 86400.0)"
    NUMBERS = "SELECT value FROM json_each({})"

    def __init__(self, path: Path) -> None:
        self._db = connected(path)
        self._reader = self._db.connect()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name=f"writer:{path.stem}", daemon=True)
        self._writer.start()
        self._is_open = True

    async def commit(self, change: Change) -> Outcome:
        return cast(Outcome, await self._submit(lambda connection: _commit(_raw(connection), change)))

    async def run(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        def work(connection: sqlalchemy.Connection) -> Rows:
            answer = connection.execute(statement, parameters)
            return [dict(row) for row in answer.mappings()] if answer.returns_rows else []

        return cast(Rows, await self._submit(work))

    async def find(self, asked: Sequence[Asked]) -> Sequence[Rows]:
        raw = _raw(self._reader)
        with _Translated():
            raw.execute("BEGIN")
            try:
                return found(raw, asked)
            finally:
                if raw.in_transaction:  # a disk that fails has ended it
                    raw.execute("COMMIT")

    async def scan(self, lookup: Lookup, clause: str) -> Rows:
        with _Translated():
            return scanned(_raw(self._reader), lookup, clause)

    async def fetch(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        with _Translated():
            return self._reader.execute(statement, parameters).mappings().all()

    async def announce(self) -> None:
        """There is no other process."""

    async def listen(self, heard: Callable[[], None]) -> None:
        """There is no other process."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        self._is_open = False
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        self._reader.close()
        self._db.dispose()

    async def _submit(self, work: Callable[[sqlalchemy.Connection], Any]) -> Any:
        if not (self._is_open and self._writer.is_alive()):
            raise errors.Transient("数据库已关闭")
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.create_future(), loop)
        self._jobs.put(job)
        return await job.future

    def _write(self) -> None:
        with self._db.connect() as connection:
            while (job := self._jobs.get()) is not None:
                group = [job]
                while len(group) < GROUP and not self._jobs.empty():
                    following = self._jobs.get()
                    if following is None:
                        self._jobs.put(None)
                        break
                    group.append(following)
                _run_group(connection, group)


def _run_group(connection: sqlalchemy.Connection, group: Sequence[_Job]) -> None:
    """One transaction, each job under its savepoint: what fails is its caller's, and others go on.

    Nobody hears of success before the commit.
    """
    raw = _raw(connection)
    results: list[tuple[_Job, Any]] = []
    try:
        raw.execute("BEGIN IMMEDIATE")
        for job in group:
            results.append((job, _run_job(raw, connection, job)))
        raw.execute("COMMIT")
    except sqlite3.Error as error:
        if raw.in_transaction:
            raw.execute("ROLLBACK")
        down = errors.Transient(f"数据库不可用：{error}")
        results = [(job, down) for job in group]
    for job, result in results:
        job.loop.call_soon_threadsafe(settle, job.future, result)


def _run_job(raw: sqlite3.Connection, connection: sqlalchemy.Connection, job: _Job) -> Any:
    raw.execute("SAVEPOINT change")
    try:
        result = job.work(connection)
    except Exception as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if _is_down(cause):
            raise cause from error
        result = error
    if not isinstance(result, Exception | Conflict | FenceLost):
        raw.execute("RELEASE change")
        return result
    raw.execute("ROLLBACK TO change")
    raw.execute("RELEASE change")
    return Conflict() if getattr(result, "sqlite_errorcode", None) in _TAKEN else result


def found(raw: sqlite3.Connection, asked: Iterable[Asked]) -> list[Rows]:
    """The rows of each question."""
    every = [(columns_of(lookup.table), raw.execute(_text_of_found(lookup), key)) for lookup, key in asked]
    return [[_BIND.row(columns, row) for row in rows] for columns, rows in every]


@lru_cache(maxsize=256)
def _text_of_found(lookup: Lookup) -> str:
    columns = columns_of(lookup.table)
    order = ", ".join(f'"{key.name}"' for key in columns if key.primary_key)
    equal = " AND ".join(f'"{name}" = ?' for name in lookup.columns)
    return f"SELECT {names_of(columns)} FROM {lookup.table} WHERE {equal} ORDER BY {order}"


def scanned(raw: sqlite3.Connection, lookup: Lookup, clause: str) -> Rows:
    """These columns of the rows that the clause chooses."""
    columns = columns_of(*lookup)
    rows = raw.execute(f"SELECT {names_of(columns)} FROM {lookup.table} {clause}").fetchall()
    return [_BIND.row(columns, row) for row in rows]


class _Translated:
    """Turns "the file cannot be read now" into errors.Transient."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if _is_down(cause):
            raise errors.Transient(f"数据库不可用：{cause}") from error


def _is_down(error: BaseException | None) -> TypeGuard[sqlite3.Error]:
    is_ours = isinstance(error, sqlite3.OperationalError)
    return is_ours and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DOWN


def _commit(raw: sqlite3.Connection, change: Change) -> Outcome:
    if change.fence and not _pass_fence(raw, change.fence):
        return FenceLost()
    own = {head.stream for head in change.own}
    for head in in_lock_order((*change.own, *change.relied)):
        found = raw.execute("SELECT version FROM heads WHERE kind = ? AND id = ?", (head.kind, head.id))
        version = found.fetchone()
        if (version[0] if version else 0) != head.version or (head.is_new and head.stream not in own):
            return Conflict()
    raw.executemany(
        "INSERT INTO heads (kind, id, version, seq, digest) VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, id)"
        " DO UPDATE SET version = excluded.version, seq = excluded.seq, digest = excluded.digest",
        [(head.kind, head.id, head.version, head.seq, head.digest) for head in change.heads_after()],
    )
    for table, write, rows in writes(change):
        columns, _ = written_columns(table, write)
        raw.executemany(_statement(table, write), [_BIND.values(columns, row) for row in rows])
    for row in change.numbered:
        _number(raw, row)
    return Committed()


def _pass_fence(raw: sqlite3.Connection, fence: Fence) -> bool:
    moved = raw.execute(
        'UPDATE positions SET next = ?, last_id = ? WHERE "group" = ? AND topic = ? AND partition = ?'
        " AND epoch = ? AND next = ?",
        (fence.then, fence.last_id, fence.group, fence.topic, fence.partition, fence.epoch, fence.next),
    )
    return moved.rowcount == 1


def _number(raw: sqlite3.Connection, row: Numbered) -> None:
    position = raw.execute(
        "INSERT INTO counters (name, position) VALUES (?, 1) ON CONFLICT (name)"
        " DO UPDATE SET position = counters.position + 1 RETURNING position",
        (row.counter,),
    ).fetchone()[0]
    columns, _ = written_columns(row.table, Write.INSERT)
    values = _BIND.values(columns, {**row.values, "position": position})
    raw.execute(_statement(row.table, Write.INSERT), values)


@lru_cache(maxsize=512)
def _statement(table: str, write: Write) -> str:
    """The text that writes one row."""
    columns, keys = written_columns(table, write)
    if write is Write.DELETE:
        return f"DELETE FROM {table} WHERE " + " AND ".join(f'"{key.name}" = ?' for key in keys)
    statement = f"INSERT INTO {table} ({names_of(columns)}) VALUES ({', '.join('?' * len(columns))})"
    return statement + upsert(columns, keys) if write is Write.PUT else statement


def _raw(connection: sqlalchemy.Connection) -> sqlite3.Connection:
    return cast(sqlite3.Connection, connection.connection.driver_connection)


def connected(path: Path) -> sqlalchemy.Engine:
    """An engine on one file: WAL, every commit on disk before it is acknowledged, no implicit BEGIN."""
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", isolation_level="AUTOCOMMIT")

    def pragmas(raw: sqlite3.Connection, _record: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
            raw.execute(f"PRAGMA {pragma}")

    sqlalchemy.event.listen(engine, "connect", pragmas)
    return engine
