"""The seam between the store and its two engines, and what a commit may answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import Column, Executable, select
from sqlalchemy.engine import Dialect
from sqlmodel import SQLModel

from libs.common.change import NEW, Change, Fact, Head, Write
from libs.common.store import schema

P = TypeVar("P", bound=schema.Entry)

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

_HEAD = Lookup("heads", ("kind", "id"))


def head_of(kind: str, id: str) -> Asked:
    """The question for a stream's head."""
    return _HEAD, (kind, id)


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


@dataclass(frozen=True, slots=True)
class Want:
    """A row that a reaction must know: by its key, or with `key=None` every row of a small table."""

    entry: type[schema.Entry]
    key: tuple[Any, ...] | None = None


class Known:
    """What a batch of reactions knows: rows and heads as read, overlaid by what earlier ones decided."""

    def __init__(self, heads: Iterable[Head], entries: Iterable[schema.Entry]) -> None:
        self._heads = {head.stream: head for head in heads}
        self._rows: dict[str, dict[tuple[Any, ...], schema.Entry]] = {}
        for entry in entries:
            self._put(entry)

    def head(self, kind: str, id: str) -> Head:
        """The stream's head, a new one if it does not exist."""
        return self._heads.get(f"{kind}/{id}") or Head(kind, id)

    def one(self, entry: type[P], *key: Any) -> P | None:
        """The row with this key. It must have been wanted, or decided in this batch."""
        return self._rows.get(entry.TABLE, {}).get(key)  # type: ignore[return-value]

    def all(self, entry: type[P]) -> list[P]:
        """Every known row of a table, in the order of its keys."""
        rows = self._rows.get(entry.TABLE, {})
        return [rows[key] for key in sorted(rows)]  # type: ignore[misc]

    def learn(self, change: Change) -> None:
        """Overlay what `change` decided, so that the next reaction of the batch sees it."""
        for row in change.rows:
            if row.write is Write.DELETE:
                self._rows.get(row.table, {}).pop(row.key, None)
            else:
                self._put(row.entry)
        for head in change.own:
            self._heads[head.stream] = change.end_of(self._heads.get(head.stream, head))

    def _put(self, entry: schema.Entry) -> None:
        values = entry.columns
        self._rows.setdefault(entry.TABLE, {})[tuple(values[name] for name in entry.KEY)] = entry


class Reader:
    """Reads in one go; the same question is answered the same way twice.

    Ask for a stream's head together with its rows, or before them: then a row that moved shows as a
    conflict, or by `stands`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._found: dict[Asked, Rows] = {}

    async def __aenter__(self) -> Reader:
        return self

    async def __aexit__(self, *error: object) -> None:
        """What is remembered is this reading's own; there is nothing to give back."""

    async def rows(self, statement: Executable, **parameters: Any) -> Rows:
        """The answer's rows as mappings."""
        return await self._engine.fetch(statement, parameters or None)

    async def ahead(self, *asked: Asked) -> None:
        """Ask all of this at once, to be answered as it was at one moment, when it is read later."""
        new = [one for one in asked if one not in self._found]
        if new:
            self._found.update(zip(new, await self._engine.find(new), strict=True))

    async def head(self, kind: str, id: str) -> Head:
        """The stream's head, a new one if it does not exist."""
        found = await self._answer(head_of(kind, id))
        return Head(**found[0]) if found else Head(kind, id)

    async def heads(self, streams: Iterable[tuple[str, str]]) -> list[Head]:
        """The heads of those streams that exist."""
        asked = [head_of(*stream) for stream in dict.fromkeys(streams)]
        await self.ahead(*asked)
        return [Head(**row) for one in asked for row in self._found[one]]

    async def stands(self) -> bool:
        """Whether every head that was read is still as it was, and with it the rows that were read after."""
        read = {asked: rows for asked, rows in self._found.items() if asked[0] is _HEAD}
        now = await self._engine.find(list(read)) if read else []
        return all(_version(rows) == _version(again) for rows, again in zip(read.values(), now, strict=True))

    async def one(self, entry: type[P], **equal: Any) -> P | None:
        """The row with these values, or None."""
        found = await self.all(entry, **equal)
        return found[0] if found else None

    async def all(self, entry: type[P], statement: Executable | None = None, **equal: Any) -> list[P]:
        """Rows as plain entries: those with these values, or that a statement selects, or the whole table."""
        if equal:
            found = await self._answer(rows_of(entry, **equal))
        else:
            found = await self.rows(select(table_of(entry)) if statement is None else statement)
        return [entry.stored(row) for row in found]

    async def known(self, streams: Iterable[tuple[str, str]], wants: Iterable[Want]) -> Known:
        """Heads and wanted rows, as they were at one moment; of small tables every row, read after."""
        wants = list(wants)
        whole = {want.entry: None for want in wants if want.key is None}
        keyed = {
            (Lookup(want.entry.TABLE, want.entry.KEY), want.key): want.entry
            for want in wants
            if want.key is not None and want.entry not in whole
        }
        gates = [head_of(*stream) for stream in dict.fromkeys(streams)]
        await self.ahead(*gates, *keyed)
        heads = [Head(**row) for one in gates for row in self._found[one]]
        entries = [entry.stored(row) for one, entry in keyed.items() for row in self._found[one]]
        for entry in whole:
            entries += await self.all(entry)
        return Known(heads, entries)

    async def _answer(self, asked: Asked) -> Rows:
        if asked not in self._found:
            await self.ahead(asked)
        return self._found[asked]


def _version(rows: Rows) -> int:
    return rows[0]["version"] if rows else NEW


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


def table_of(entry: type[schema.Entry]) -> Any:
    """The SQLAlchemy table of a plain entry."""
    return SQLModel.metadata.tables[entry.TABLE]


_place_of = attrgetter("table", "key")
#: Values of rows to be written to one table in one way.
Writes = tuple[str, Write, list[Mapping[str, Any]]]


def writes(change: Change) -> list[Writes]:
    """All rows that `change` writes, by table and write; equal shapes give equal statements.

    In the order of their keys, facts in their own: who writes the same rows waits, and locks nobody out.
    """
    groups: dict[tuple[str, Write], list[Mapping[str, Any]]] = {}
    for row in sorted(change.folded_rows(), key=_place_of):
        groups.setdefault((row.table, row.write), []).append(row.values)
    if change.facts:
        groups["journal", Write.INSERT] = [_journal_row(fact) for fact in change.facts]
    if change.answer:
        groups["answers", Write.INSERT] = [change.answer._asdict()]
    return [(table, write, rows) for (table, write), rows in sorted(groups.items(), key=itemgetter(0))]


@lru_cache(maxsize=256)
def columns_of(table: str, names: tuple[str, ...] = ()) -> tuple[Column[Any], ...]:
    """Columns of a table: these, or all of them in its order."""
    columns = SQLModel.metadata.tables[table].columns
    return tuple(columns[name] for name in names) if names else tuple(columns)


def names_of(columns: Iterable[Column[Any]]) -> str:
    """The columns as they are named in a statement."""
    return ", ".join(f'"{column.name}"' for column in columns)


@lru_cache(maxsize=512)
def written_columns(table: str, write: Write) -> tuple[tuple[Column[Any], ...], tuple[Column[Any], ...]]:
    """The columns that a write gives values for, and the key among them.

    The journal's position is given by the database and `published_at` by the relay alone.
    """
    columns = SQLModel.metadata.tables[table].columns
    keys = tuple(column for column in columns if column.primary_key)
    if write is Write.DELETE:
        return keys, keys
    given = (c for c in columns if table != "journal" or c.name not in ("position", "published_at"))
    return tuple(given), keys


def upsert(columns: Sequence[Column[Any]], keys: Sequence[Column[Any]]) -> str:
    """The clause that turns an INSERT into a PUT; both engines speak it."""
    changed = ", ".join(f'"{c.name}" = excluded."{c.name}"' for c in columns if c not in keys)
    target = ", ".join(f'"{key.name}"' for key in keys)
    return f" ON CONFLICT ({target}) DO " + (f"UPDATE SET {changed}" if changed else "NOTHING")


class Binder:
    """Turns values into what one driver takes, and back, with the processors of SQLAlchemy's types."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._binding: dict[tuple[Column[Any], ...], list[tuple[str, Any]]] = {}
        self._reading: dict[tuple[Column[Any], ...], tuple[list[str], list[tuple[str, Any]]]] = {}

    def values(self, columns: tuple[Column[Any], ...], row: Mapping[str, Any]) -> list[Any]:
        """The values of `row` in the order of `columns`."""
        processors = self._binding.get(columns)
        if processors is None:
            processors = [
                (column.name, self._type(column).bind_processor(self._dialect)) for column in columns
            ]
            self._binding[columns] = processors
        return [process(row[name]) if process else row[name] for name, process in processors]

    def row(self, columns: tuple[Column[Any], ...], values: Iterable[Any]) -> dict[str, Any]:
        """The row that the driver gave as values in the order of `columns`."""
        processors = self._reading.get(columns)
        if processors is None:
            every = [
                (column.name, self._type(column).result_processor(self._dialect, None)) for column in columns
            ]
            processors = [column.name for column in columns], [one for one in every if one[1]]
            self._reading[columns] = processors
        names, processed = processors
        row = dict(zip(names, values, strict=True))
        for name, process in processed:
            row[name] = process(row[name])
        return row

    def _type(self, column: Column[Any]) -> Any:
        return column.type.dialect_impl(self._dialect)


def _journal_row(fact: Fact) -> dict[str, Any]:
    row = fact._asdict()
    trace = row.pop("trace")
    row["correlation"] = trace.correlation
    row["causation"] = trace.causation
    row["traceparent"] = trace.traceparent
    return row
