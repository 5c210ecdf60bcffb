"""A Change as rows: what is written to which columns, and values as a driver takes and gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import Column
from sqlalchemy.engine import Dialect
from sqlmodel import SQLModel

from libs.common.change import Change, Fact, Write

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
