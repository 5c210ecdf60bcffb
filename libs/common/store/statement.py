"""The text and parameters by which PostgreSQL commits Changes in one statement; no driver, no state.

`one` is a single Change with scalar parameters, its text depending on the Change's shape alone. `many` is
several Changes that touch nothing of each other's, each behind a gate of its own, or one of any size, with
rows as JSON. Both lock first, heads in the order (kind, id), and write only where every lock was as expected.
Under READ COMMITTED a lock that had to wait looks at the row again, so a head that moved closes the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import count
from operator import itemgetter
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Column
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.engine import Dialect
from sqlmodel import SQLModel

from libs.common.change import Change, Fence, Head, Write, in_lock_order
from libs.common.store.rows import Binder, Writes, columns_of, names_of, upsert, writes, written_columns
from libs.common.store.seam import Asked, Key, Lookup, Rows

DIALECT: Dialect = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]
BIND = Binder(DIALECT)

_OPEN = "(SELECT open FROM gate)"
_PASSED = "n IN (SELECT n FROM passed)"
#: The order in which Python sorts, whatever the database's own is.
_IN_LOCK_ORDER = 'ORDER BY kind COLLATE "C", id COLLATE "C"'


class Statement(NamedTuple):
    """What the driver is given."""

    text: str
    parameters: list[Any]


def locks(change: Change) -> list[tuple[Head, bool]]:
    """Every head that is locked, in order, and whether the Change owns it."""
    owned = {head.stream for head in change.own}
    return [(head, head.stream in owned) for head in in_lock_order((*change.own, *change.relied))]


def one(change: Change) -> Statement:
    """The statement that commits one Change; it answers `fenced` and `open`."""
    groups = writes(change)
    shape = _Shape(
        fenced=change.fence is not None,
        locks=tuple((head.is_new, owned) for head, owned in locks(change)),
        groups=tuple((table, write, len(rows)) for table, write, rows in groups),
        numbered=tuple((row.counter, row.table) for row in change.numbered),
    )
    return Statement(_text_of_one(shape), _scalars(change, groups))


def found(asked: Iterable[Asked]) -> Statement:
    """What answers questions, all as of one moment: one row, with a column of JSON for each lookup."""
    keys = _by_lookup(asked)
    parameters = [
        _json([dict(zip(lookup.columns, key, strict=True)) for key in keys[lookup]]) for lookup in keys
    ]
    return Statement(_text_of_found(tuple(keys)), parameters)


def answers(asked: Sequence[Asked], texts: Sequence[str]) -> list[Rows]:
    """The rows of each question, as the columns of that one row tell them."""
    rows: dict[Asked, list[dict[str, Any]]] = {one: [] for one in asked}
    for (lookup, keys), text in zip(_by_lookup(asked).items(), texts, strict=True):
        names, read = _read_columns(lookup.table)
        for nth, *values in orjson.loads(text):
            row = dict(zip(names, values, strict=True))
            for name, from_json in read:
                if row[name] is not None:
                    row[name] = from_json(row[name])
            rows[lookup, keys[nth - 1]].append(row)
    return [rows[one] for one in asked]


def _by_lookup(asked: Iterable[Asked]) -> dict[Lookup, list[Key]]:
    """The keys of each lookup, each once, in an order that does not depend on who asked first."""
    keys: dict[Lookup, dict[Key, None]] = {}
    for lookup, key in asked:
        keys.setdefault(lookup, {})[key] = None
    return {lookup: list(keys[lookup]) for lookup in sorted(keys)}


@lru_cache(maxsize=256)
def _text_of_found(lookups: tuple[Lookup, ...]) -> str:
    numbers = count(1)
    return "SELECT " + ",\n".join(_found_part(lookup, numbers) for lookup in lookups)


def _found_part(lookup: Lookup, numbers: Iterator[int]) -> str:
    """The rows of a lookup's keys, each as an array that begins with the number of its key, from 1."""
    table = SQLModel.metadata.tables[lookup.table]
    columns = [table.columns[name] for name in lookup.columns]
    equal = " AND ".join(f't."{column.name}" = k."{column.name}"' for column in columns)
    order = ", ".join(["k.nth", *(f't."{key.name}"' for key in table.primary_key)])
    keys = _records("k", _typed(columns), numbers, nth="nth")
    values = ", ".join(f't."{column.name}"' for column in columns_of(lookup.table))
    rows = f"json_agg(json_build_array(k.nth, {values}) ORDER BY {order})"
    # Key by key: a plan made for a small table is kept while the table grows, and must not read all of it.
    each = f"CROSS JOIN LATERAL (SELECT * FROM {lookup.table} t WHERE {equal} OFFSET 0) t"
    return f"(SELECT coalesce({rows}, '[]')::text FROM {keys} {each})"


@lru_cache(maxsize=64)
def _read_columns(table: str) -> tuple[list[str], list[tuple[str, Callable[[str], Any]]]]:
    """The columns of a table, and what makes a value of those that JSON has no word for."""
    columns = columns_of(table)
    return [column.name for column in columns], [
        (column.name, _FROM_JSON[_type(column)]) for column in columns if _type(column) in _FROM_JSON
    ]


class _Shape(NamedTuple):
    """What the text for one Change depends on."""

    fenced: bool
    locks: tuple[tuple[bool, bool], ...]  #: is new, is owned
    groups: tuple[tuple[str, Write, int], ...]
    numbered: tuple[tuple[str, str], ...]  #: counter, table


def _scalars(change: Change, groups: Sequence[Writes]) -> list[Any]:
    """The parameters, in the order in which the text numbers them."""
    values: list[Any] = []
    if change.fence:
        values += _fence_values(change.fence)
    after = {head.stream: head for head in change.heads_after()}
    for head, owned in locks(change):
        values += [head.kind, head.id]
        if not head.is_new:
            values.append(head.version)
        if owned:
            values += [after[head.stream].seq, after[head.stream].digest]
    for table, write, rows in groups:
        columns, _ = written_columns(table, write)
        for row in rows:
            values += BIND.values(columns, row)
    for taken in change.numbered:
        values += BIND.values(_without_position(taken.table), taken.values)
    return values


@lru_cache(maxsize=1024)
def _text_of_one(shape: _Shape) -> str:
    numbers = count(1)
    locking: list[str] = []
    writing: list[str] = []
    last = None
    if shape.fenced:
        lock, write = _fence_parts(numbers)
        locking.append(lock)
        writing.append(write)
        last = "fence"
    locked, ended, last = _heads_parts(shape.locks, last, numbers)
    locking += locked
    writing += ended
    gate = f"(SELECT count(*) = 1 FROM {last})" if last else "true"
    parts = [*locking, f"gate AS MATERIALIZED (SELECT {gate} AS open)", *writing]
    for n, (table, way, rows) in enumerate(shape.groups):
        parts.append(f"w{n} AS ({_write_part(table, way, rows, numbers)})")
    parts += _numbered_parts(shape.numbered, numbers)
    passed = "(SELECT count(*) = 1 FROM fence)" if shape.fenced else "true"
    return "WITH " + ",\n".join(parts) + f"\nSELECT {passed} AS fenced, open FROM gate"


def _fence_values(fence: Fence) -> list[Any]:
    """In the order in which `_fence_parts` numbers them."""
    place = [fence.group, fence.topic, fence.partition]
    return [*place, fence.epoch, fence.next, fence.then, fence.last_id]


def _fence_parts(numbers: Iterator[int]) -> tuple[str, str]:
    group, topic, partition, epoch, following, then, last_id = (f"${next(numbers)}" for _ in range(7))
    where = f'"group" = {group} AND topic = {topic} AND partition = {partition}'
    where += f" AND epoch = {epoch} AND next = {following}"
    lock = f"fence AS MATERIALIZED (SELECT 1 FROM positions WHERE {where} FOR UPDATE)"
    moved = f"UPDATE positions SET next = {then}, last_id = {last_id} WHERE {where} AND {_OPEN}"
    return lock, f"moved AS ({moved})"


def _heads_parts(
    locks: Sequence[tuple[bool, bool]], last: str | None, numbers: Iterator[int]
) -> tuple[list[str], list[str], str | None]:
    """The locks, what is written to heads, and the name of the newest lock."""
    locking: list[str] = []
    writing: list[str] = []
    made: list[str] = []
    for n, (is_new, owned) in enumerate(locks):
        if is_new:
            made.append(_new_head(numbers))
            continue
        lock, write = _head_parts(n, owned, last, numbers)
        locking.append(lock)
        writing += [write] if write else []
        last = f"l{n}"
    if made:
        # In one part, as `many` has it: the server runs parts that nobody reads in an order of its own.
        rows = f"SELECT * FROM (VALUES {', '.join(made)}) AS v WHERE {_OPEN}"
        writing.append(f"made AS (INSERT INTO heads (kind, id, version, seq, digest) {rows})")
    return locking, writing, last


def _new_head(numbers: Iterator[int]) -> str:
    kind, id_, seq, digest = (f"${next(numbers)}" for _ in range(4))
    return f"({kind}::varchar, {id_}::varchar, 1, {seq}::integer, {digest}::bytea)"


def _head_parts(n: int, owned: bool, last: str | None, numbers: Iterator[int]) -> tuple[str, str]:
    """The lock of one head, and what is written to it."""
    kind, id_, version = (f"${next(numbers)}" for _ in range(3))
    where = f"kind = {kind} AND id = {id_} AND version = {version}"
    before = f" AND (SELECT count(*) = 1 FROM {last})" if last else ""
    mode = "UPDATE" if owned else "SHARE"
    lock = f"l{n} AS MATERIALIZED (SELECT 1 FROM heads WHERE {where}{before} FOR {mode})"
    if not owned:
        return lock, ""
    seq, digest = f"${next(numbers)}", f"${next(numbers)}"
    update = f"UPDATE heads SET version = version + 1, seq = {seq}, digest = {digest}"
    return lock, f"h{n} AS ({update} WHERE {where} AND {_OPEN})"


def _write_part(table: str, write: Write, rows: int, numbers: Iterator[int]) -> str:
    columns, keys = written_columns(table, write)
    values = ", ".join(f"({_casts(columns, numbers)})" for _ in range(rows))
    if write is Write.DELETE:
        return f"DELETE FROM {table} WHERE ({names_of(columns)}) IN (VALUES {values}) AND {_OPEN}"
    insert = f"INSERT INTO {table} ({names_of(columns)}) SELECT * FROM (VALUES {values}) AS v WHERE {_OPEN}"
    return insert + upsert(columns, keys) if write is Write.PUT else insert


def _numbered_parts(numbered: Sequence[tuple[str, str]], numbers: Iterator[int]) -> Iterator[str]:
    """Positions from each counter, its row locked last, then the rows that take them."""
    counts: dict[str, int] = {}
    for counter, _ in numbered:
        counts[counter] = counts.get(counter, 0) + 1
    for counter, taken in counts.items():
        yield _counter_part(counter, str(taken))
    seen: dict[str, int] = {}
    for n, (counter, table) in enumerate(numbered):
        seen[counter] = seen.get(counter, 0) + 1
        columns = _without_position(table)
        yield (
            f"n{n} AS (INSERT INTO {table} (position, {names_of(columns)})"
            f" SELECT base + {seen[counter]}, {_casts(columns, numbers)} FROM {_counter_name(counter)})"
        )


def _counter_name(counter: str) -> str:
    return f"c_{counter}"


def _counter_part(counter: str, taken: str) -> str:
    """So many positions of a counter after `base`, if the gate is open."""
    return (
        f"{_counter_name(counter)} AS (INSERT INTO counters (name, position) SELECT '{counter}', {taken}"
        f" WHERE {_OPEN} ON CONFLICT (name) DO UPDATE SET position = counters.position + {taken}"
        f" RETURNING position - {taken} AS base)"
    )


def _without_position(table: str) -> tuple[Column[Any], ...]:
    columns, _ = written_columns(table, Write.INSERT)
    return tuple(column for column in columns if column.name != "position")


def _casts(columns: Iterable[Column[Any]], numbers: Iterator[int]) -> str:
    """Placeholders with their types: a bare parameter in a SELECT list would be taken for text."""
    return ", ".join(f"${next(numbers)}::{_type(column)}" for column in columns)


@lru_cache(maxsize=1024)
def _type(column: Column[Any]) -> str:
    return column.type.compile(DIALECT)


def may_share(change: Change) -> bool:
    """Whether the Change may stand in a group at all: consumers and numbered rows go alone."""
    return change.fence is None and not change.numbered and not any(h.is_new for h in change.relied)


def touches(change: Change) -> tuple[set[str], set[Any]]:
    """The streams that the Change owns or relies on, and the rows it writes, as keys of a group."""
    rows: set[Any] = {(row.table, row.key) for row in change.rows}
    if change.answer:
        rows.add(("answers", (change.answer.scope, change.answer.key)))
    return {head.stream for head in (*change.own, *change.relied)}, rows


def many(changes: Sequence[Change]) -> Statement:
    """The statement that commits those of `changes` whose heads are as read, or one too large for `one`.

    It answers `fenced` and `open`, and in `n` the numbers of those committed. No head owned by one may be
    touched by another, and no two may write one row: see `may_share`, `touches`. Rows travel as JSON: a
    driver spends four times as long on as many arrays.
    """
    fence = next((change.fence for change in changes if change.fence), None)
    groups = _rows_of(changes)
    order = tuple(sorted(groups, key=lambda group: (group.counter, group.table, group.write)))
    after = [(n, head) for n, change in enumerate(changes) for head in change.heads_after()]
    parameters: list[Any] = [
        _json([{"n": n} for n in range(len(changes))]),
        _json(_read_heads(changes)),
        _json([_head(n, head) for n, head in after if head.version > 1]),
        _json([_head(n, head) for n, head in after if head.version == 1]),
    ]
    for counter in _counters(order):
        parameters.append(sum(len(rows) for group, rows in groups.items() if group.counter == counter))
    parameters += [_json(groups[group]) for group in order]
    if fence:
        parameters += _fence_values(fence)
    return Statement(_text_of_many(order, fenced=fence is not None), parameters)


class _Group(NamedTuple):
    """Rows that are written to one table in one way."""

    table: str
    write: Write
    counter: str = ""  #: of which each row takes a position


def _rows_of(changes: Sequence[Change]) -> dict[_Group, list[dict[str, Any]]]:
    """Rows with the number of their Change, those of a counter with their place in it, from 1."""
    groups: dict[_Group, list[dict[str, Any]]] = {}
    for n, change in enumerate(changes):
        for table, write, rows in writes(change):
            if write is Write.DELETE:
                names = _names_of(written_columns(table, write)[0])
                rows = [{name: row[name] for name in names} for row in rows]
            into = groups.setdefault(_Group(table, write), [])
            into += [{**row, "n": n} for row in rows]
        places: dict[str, int] = {}
        for row in change.numbered:
            place = places[row.counter] = places.get(row.counter, 0) + 1
            into = groups.setdefault(_Group(row.table, Write.INSERT, row.counter), [])
            into.append({**row.values, "n": n, "place": place})
    for group, together in groups.items():
        if len(changes) > 1 and group.table != "journal":
            keys = _names_of(written_columns(group.table, Write.DELETE)[0])
            together.sort(key=itemgetter(*keys))
    return groups


def _counters(groups: Iterable[_Group]) -> list[str]:
    return sorted({group.counter for group in groups if group.counter})


def _read_heads(changes: Sequence[Change]) -> list[dict[str, Any]]:
    return [
        {"n": n, "kind": head.kind, "id": head.id, "version": head.version}
        for n, change in enumerate(changes)
        for head in (*change.own, *change.relied)
        if not head.is_new
    ]


def _head(n: int, head: Head) -> dict[str, Any]:
    return {"n": n, "kind": head.kind, "id": head.id, "seq": head.seq, "digest": head.digest}


@lru_cache(maxsize=256)
def _text_of_many(groups: tuple[_Group, ...], *, fenced: bool) -> str:
    numbers = count(1)
    # Numbered by JSON too: of a series the server would guess the length, and plan anew each time.
    every = _records("g", (("n", "integer"),), numbers)
    stream = (("n", "integer"), ("kind", "varchar"), ("id", "varchar"))
    ends = (*stream, ("seq", "integer"), ("digest", "bytea"))
    first = "(SELECT count(*) = 1 FROM fence)" if fenced else "true"
    parts = [
        f"want AS MATERIALIZED (SELECT * FROM {_records('w', (*stream, ('version', 'integer')), numbers)})",
        "locked AS MATERIALIZED (SELECT kind, id, version FROM heads"
        f" WHERE {first} AND (kind, id) IN (SELECT kind, id FROM want)"
        f" {_IN_LOCK_ORDER} FOR UPDATE)",
        f"passed AS MATERIALIZED (SELECT n FROM {every} WHERE {first}"
        " AND NOT EXISTS (SELECT 1 FROM want w WHERE w.n = g.n AND NOT EXISTS"
        " (SELECT 1 FROM locked l WHERE l.kind = w.kind AND l.id = w.id AND l.version = w.version)))",
        "gate AS MATERIALIZED (SELECT EXISTS (SELECT 1 FROM passed) AS open)",
        "headed AS (UPDATE heads h SET version = h.version + 1, seq = u.seq, digest = u.digest"
        f" FROM {_records('u', ends, numbers)} WHERE h.kind = u.kind AND h.id = u.id AND u.{_PASSED})",
        "made AS (INSERT INTO heads (kind, id, version, seq, digest) SELECT kind, id, 1, seq, digest"
        f" FROM {_records('u', ends, numbers)} WHERE {_PASSED} {_IN_LOCK_ORDER})",
    ]
    parts += [_counter_part(counter, f"${next(numbers)}::bigint") for counter in _counters(groups)]
    parts += [f"w{place} AS ({_many_part(group, numbers)})" for place, group in enumerate(groups)]
    if fenced:
        lock, moved = _fence_parts(numbers)
        parts = [lock, *parts, moved]
    return (
        "WITH "
        + ",\n".join(parts)
        + f"\nSELECT {first} AS fenced, open, n FROM gate LEFT JOIN passed ON true"
    )


def _many_part(group: _Group, numbers: Iterator[int]) -> str:
    if group.counter:
        columns = _without_position(group.table)
        source = _records("u", (*_typed(columns), ("n", "integer"), ("place", "bigint")), numbers)
        insert = f"INSERT INTO {group.table} (position, {names_of(columns)})"
        insert += f" SELECT base + place, {_given(columns)}"
        return f"{insert} FROM {source}, {_counter_name(group.counter)} WHERE {_PASSED}"
    columns, keys = written_columns(group.table, group.write)
    source = _records("u", (*_typed(columns), ("n", "integer")), numbers, nth="place")
    if group.write is Write.DELETE:
        chosen = f"SELECT {names_of(columns)} FROM {source} WHERE {_PASSED}"
        return f"DELETE FROM {group.table} WHERE ({names_of(columns)}) IN ({chosen})"
    insert = f"INSERT INTO {group.table} ({names_of(columns)})"
    insert += f" SELECT {_given(columns)} FROM {source} WHERE {_PASSED}"
    insert += " ORDER BY place"  # the journal's positions follow the order of facts
    return insert + upsert(columns, keys) if group.write is Write.PUT else insert


def _given(columns: Iterable[Column[Any]]) -> str:
    """The columns of a record as they are written: the server reads JSON's null as none at all."""
    return ", ".join(
        f"coalesce(\"{column.name}\", 'null')" if _type(column) == "JSONB" else f'"{column.name}"'
        for column in columns
    )


def _records(
    alias: str, columns: Iterable[tuple[str, str]], numbers: Iterator[int], nth: str | None = None
) -> str:
    """A parameter of JSON as a table, with the number of each row, from 1, where `nth` names it."""
    columns = tuple(columns)
    typed = ", ".join(f'"{name}" {type_}' for name, type_ in columns)
    names = ", ".join(f'"{name}"' for name, _ in columns)
    rows = f"ROWS FROM (json_to_recordset(${next(numbers)}::json) AS ({typed}))"
    return f"{rows} WITH ORDINALITY AS {alias} ({names}, {nth})" if nth else f"{rows} AS {alias} ({names})"


def _typed(columns: Iterable[Column[Any]]) -> tuple[tuple[str, str], ...]:
    return tuple((column.name, _type(column)) for column in columns)


@lru_cache(maxsize=512)
def _names_of(columns: tuple[Column[Any], ...]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows, default=_written, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()


#: The driver writes the first and the last moment as those that are beyond all others.
_ENDLESS = {
    "-infinity": datetime.min.replace(tzinfo=UTC),
    "infinity": datetime.max.replace(tzinfo=UTC),
}


def _instant(text: str) -> datetime:
    if text in _ENDLESS:
        return _ENDLESS[text]
    return datetime.fromisoformat(text).astimezone(UTC)


def _day(text: str) -> date:
    return _ENDLESS[text].date() if text in _ENDLESS else date.fromisoformat(text)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("\\x"))


_FROM_JSON: Mapping[str, Callable[[str], Any]] = {
    "BYTEA": _bytes,
    "DATE": _day,
    "TIMESTAMP WITH TIME ZONE": _instant,
}


def _written(value: Any) -> str:
    """How PostgreSQL writes what JSON has no word for."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, datetime) and value.tzinfo is None:
        raise ValueError("a naive datetime is not an instant")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no value of a column")
