"""What the services have written, read past them: straight from their databases, on either engine."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import asyncpg

from libs.common.settings import Name

Row = Mapping[str, Any]

_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Away(Exception):
    """The database cannot be read now."""


class Books(Protocol):
    """The databases of the three services."""

    async def rows(self, service: Name, sql: str, *values: Any) -> list[Row]:
        """Rows of one statement; values stand in it as $1, $2. Raises Away."""

    async def close(self) -> None:
        """Let them go."""


class PostgresBooks:
    """Of the distributed engine: one connection to each, made again where it was lost."""

    def __init__(self, urls: Mapping[Name, str]) -> None:
        self._urls = {name: url.replace("+asyncpg", "") for name, url in urls.items()}
        self._open: dict[Name, asyncpg.Connection[Any]] = {}
        self._turns = {name: asyncio.Lock() for name in urls}

    async def rows(self, service: Name, sql: str, *values: Any) -> list[Row]:
        async with self._turns[service]:
            try:
                async with asyncio.timeout(30):
                    connection = self._open.get(service)
                    if connection is None or connection.is_closed():
                        connection = await asyncpg.connect(self._urls[service], timeout=5)
                        self._open[service] = connection
                    return [dict(row) for row in await connection.fetch(sql, *values)]
            except _LOST as why:
                if lost := self._open.pop(service, None):
                    lost.terminate()
                raise Away(repr(why)) from why

    async def close(self) -> None:
        for connection in self._open.values():
            with contextlib.suppress(*_LOST):
                await connection.close()


class SqliteBooks:
    """Of the embedded engine, whose files may be read while they are written."""

    def __init__(self, data: Path) -> None:
        self._data = data

    async def rows(self, service: Name, sql: str, *values: Any) -> list[Row]:
        try:
            return await asyncio.to_thread(self._read, service, sql, values)
        except sqlite3.Error as why:
            raise Away(repr(why)) from why

    async def close(self) -> None:
        return

    def _read(self, service: Name, sql: str, values: tuple[Any, ...]) -> list[Row]:
        file = self._data / f"{service}.db"
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5.0)) as book:
            book.row_factory = sqlite3.Row
            named = {str(n): _stored(value) for n, value in enumerate(values, 1)}
            return [dict(row) for row in book.execute(sql, named)]


def _stored(value: Any) -> Any:
    """An instant as the embedded engine writes it: UTC, without a zone."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    return value
