"""A simulated database: the product's own SQL, on SQLite in memory, without its thread and its files."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import sqlalchemy
from sqlalchemy import Executable, MetaData
from sqlalchemy.pool import StaticPool

from libs.common.change import Change
from libs.common.store import sqlite
from libs.common.store.seam import Asked, Committed, Conflict, Lookup, Outcome, Rows


class Database:
    """One service's database; each run begins with it as it was made."""

    def __init__(self, metadata: MetaData) -> None:
        self._engine = sqlalchemy.create_engine(
            "sqlite://", poolclass=StaticPool, isolation_level="AUTOCOMMIT"
        )
        self._connection = self._engine.connect()
        self.raw = cast(sqlite3.Connection, self._connection.connection.driver_connection)
        self.raw.create_function("simulated_now", 0, lambda: self._now())
        self._now: Callable[[], float] = float
        metadata.create_all(self._connection)

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()

    def begin(self, now: Callable[[], float]) -> None:
        """Begin a run, in which `now` is the database's clock."""
        self._now = now
        self.raw.execute("BEGIN")

    def forget(self) -> None:
        """End the run and undo it."""
        self.raw.execute("ROLLBACK")

    def commit(self, change: Change) -> Outcome:
        """All of it or nothing, in one moment."""
        self.raw.execute("SAVEPOINT change")
        outcome: Outcome = Conflict()
        try:
            outcome = sqlite._commit(self.raw, change)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode not in sqlite._TAKEN:
                raise
        finally:
            if not isinstance(outcome, Committed):
                self.raw.execute("ROLLBACK TO change")
            self.raw.execute("RELEASE change")
        return outcome

    def rows(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        """What one statement answers."""
        answer = self._connection.execute(statement, parameters)
        return answer.mappings().all() if answer.returns_rows else []

    def found(self, asked: Sequence[Asked]) -> list[Rows]:
        """The rows of each question."""
        return sqlite.found(self.raw, asked)

    def scanned(self, lookup: Lookup, clause: str) -> Rows:
        """Columns of the rows that the clause chooses."""
        return sqlite.scanned(self.raw, lookup, clause)

    def values(self, query: str, *parameters: Any) -> list[Any]:
        """The first column of what a query answers."""
        return [row[0] for row in self.raw.execute(query, parameters)]
