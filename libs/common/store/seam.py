"""The seam between the store and its two engines: what is asked, what is committed, what may be answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Executable

from libs.common.change import Change
from libs.common.store import schema

#: Rows of an answer, each a mapping from column to value.
Rows = Sequence[Mapping[Any, Any]]
#: Values of some columns, by which rows are looked up: text and whole numbers, which every driver takes.
Key = tuple[Any, ...]


class Lookup(NamedTuple):
    """Columns of a table: those by whose values its rows are looked up, or those that are read."""

    table: str
    columns: tuple[str, ...]


#: One question to the database: the rows of a table that have these values.
Asked = tuple[Lookup, Key]

HEAD = Lookup("heads", ("kind", "id"))


def head_of(kind: str, id: str) -> Asked:
    """The question for a stream's head."""
    return HEAD, (kind, id)


def rows_of(entry: type[schema.Entry], **equal: Any) -> Asked:
    """The question for the rows with these values."""
    return Lookup(entry.TABLE, tuple(equal)), tuple(equal.values())


@dataclass(frozen=True, slots=True)
class Committed:
    """All of the Change is stored, durably."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A head had moved on, or a key existed: nothing is stored; load and decide again."""


@dataclass(frozen=True, slots=True)
class FenceLost:
    """Another process owns this partition now: nothing is stored; leave it."""


Outcome = Committed | Conflict | FenceLost


class Engine(Protocol):
    """What PostgreSQL and SQLite each do in their own way; one conformance suite runs over both."""

    #: SQL for the database's own clock, in seconds since 1970.
    NOW: str
    #: SQL for a parameter that is a JSON list of whole numbers, as rows.
    NUMBERS: str

    async def commit(self, change: Change) -> Outcome:
        """Store all of it or nothing. Raises errors.Transient when the database is down."""

    async def run(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        """One writing statement in a transaction of its own."""

    async def find(self, asked: Sequence[Asked]) -> Sequence[Rows]:
        """The rows of each, in the order of the table's own key, all as they were at one moment."""

    async def scan(self, lookup: Lookup, clause: str) -> Rows:
        """These columns of a table, of rows chosen by SQL that both engines speak."""

    async def fetch(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        """What a reading statement answers."""

    async def announce(self) -> None:
        """Tell other processes that the journal has grown; may be lost."""

    async def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` whenever another process announces. Raises Transient when the connection is lost."""

    async def close(self) -> None: ...
