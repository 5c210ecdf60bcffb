"""What decisions are made on: rows and heads as they were read, for one verb or for a batch of reactions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Executable, select
from sqlmodel import SQLModel

from libs.common.change import NEW, Change, Head, Write
from libs.common.store import schema
from libs.common.store.seam import HEAD, Asked, Engine, Lookup, Rows, head_of, rows_of

P = TypeVar("P", bound=schema.Entry)


@dataclass(frozen=True, slots=True)
class Want:
    """Rows that a reaction must know: by their key or `by` other columns, or all of a small table."""

    entry: type[schema.Entry]
    key: tuple[Any, ...] | None = None  #: None for every row
    by: tuple[str, ...] = ()  #: the columns of `key` where it is not that of the table


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
        read = {asked: rows for asked, rows in self._found.items() if asked[0] is HEAD}
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
            (Lookup(want.entry.TABLE, want.by or want.entry.KEY), want.key): want.entry
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


def table_of(entry: type[schema.Entry]) -> Any:
    """The SQLAlchemy table of a plain entry."""
    return SQLModel.metadata.tables[entry.TABLE]
