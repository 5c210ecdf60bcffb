"""Whatever is done to a stored journal by who has its database is found, and the entry is named.

The journals are a real county's, on both engines. What is altered in place shows by itself; what is cut off
with its head, put back, or computed anew shows by what `notify` and `sharing` have heard.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import bindparam, delete, insert, select, text, update
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.dml import UpdateBase

from libs.common.permit import Role
from libs.common.settings import Name
from libs.common.store import audit, migrate, schema
from libs.common.store.audit import Audit, Witness
from libs.common.store.postgres import PostgresEngine
from libs.common.store.schema import HeadRow, JournalRow
from libs.common.store.sqlite import SqliteEngine
from libs.common.store.store import Store
from tests.engines.postgres import Postgres
from tests.worlds import cast, deployment, second_reading, trail
from tests.worlds.trail import Trail
from tools import verify

pytestmark = pytest.mark.anyio

#: Single bits that are changed in the files of the embedded engine, and in PostgreSQL.
EDITS = {"sqlite": 20_000, "postgres": 2_000}

JOURNAL, HEADS = schema.table(JournalRow), schema.table(HeadRow)
#: Columns that are altered where they stand, and those by which an entry is found.
ALTERED = (
    "public",
    "private",
    "salt",
    "digest",
    "type",
    "recorded_at",
    "acted_on",
    "correlation",
    "causation",
)
MOVED = ("kind", "id", "seq")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: An entry: its stream and its number.
Where = tuple[str, int]
Row = dict[str, Any]
Write = Callable[[UpdateBase, Sequence[Mapping[str, Any]]], Awaitable[None]]


@dataclass
class Stored:
    """One service's journal, and somebody who has the password of its database."""

    service: Name
    store: Store
    rows: list[Row]
    heads: list[Row]
    _write: Write

    async def audited(self, witnesses: Sequence[Witness] = ()) -> Audit:
        return await audit.audit(self.store, self.service, witnesses)

    async def named(self, witnesses: Sequence[Witness] = ()) -> set[Where]:
        """The entries that the product finds fault with."""
        return {(flaw.stream, flaw.seq) for flaw in (await self.audited(witnesses)).flaws}

    async def write(self, statement: UpdateBase, *rows: Mapping[str, Any]) -> None:
        await self._write(statement, rows)

    async def alter(self, column: str, *values: tuple[int, Any]) -> None:
        """Give entries, by position, other values in this column."""
        statement = (
            update(JOURNAL).where(JOURNAL.c.position == bindparam("at")).values({column: bindparam("to")})
        )
        await self.write(statement, *({"at": position, "to": value} for position, value in values))

    async def replace(self, rows: Sequence[Row], heads: Sequence[Row]) -> None:
        """Put other contents in the place of what is there."""
        for table, contents in ((JOURNAL, rows), (HEADS, heads)):
            await self.write(delete(table), {})
            if contents:
                await self.write(insert(table), *contents)

    async def restore(self) -> None:
        await self.replace(self.rows, self.heads)

    def streams(self) -> dict[str, list[Row]]:
        """The entries of each stream, in order."""
        found: defaultdict[str, list[Row]] = defaultdict(list)
        for row in sorted(self.rows, key=lambda row: row["seq"]):
            found[stream(row)].append(row)
        return found

    def longest(self) -> list[Row]:
        return max(self.streams().values(), key=len)


def stream(row: Row) -> str:
    return f"{row['kind']}/{row['id']}"


def where(row: Row) -> Where:
    return stream(row), row["seq"]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Trail:
    return trail.lived(tmp_path_factory.mktemp("county"))


POSTGRES = pytest.param("postgres", marks=[pytest.mark.connected, pytest.mark.postgres])


@pytest.fixture(params=["sqlite", POSTGRES])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Opening = Callable[[Name], Awaitable[Stored]]


@pytest.fixture
async def opening(
    engine: str, lived: Trail, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Opening]:
    """Opens journals of the county on this engine, each a copy of its own."""
    here = lived.copied(tmp_path)
    postgres: Postgres | None = request.getfixturevalue("postgres") if engine == "postgres" else None
    async with AsyncExitStack() as stack:

        async def open_(service: Name) -> Stored:
            file = here.directory / "data" / f"{service}.db"
            opened = _on_server(postgres, file, service) if postgres else _in_file(file, service)
            return await stack.enter_async_context(opened)

        yield open_


@pytest.fixture
async def cases(opening: Opening) -> Stored:
    return await opening("cases")


def contents(file: Path) -> tuple[list[Row], list[Row]]:
    """Journal and heads of a file."""
    with _file(file).begin() as connection:
        return tuple(
            [dict(row) for row in connection.execute(select(t)).mappings()] for t in (JOURNAL, HEADS)
        )  # type: ignore[return-value]


def _file(file: Path) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(f"sqlite:///{file}", poolclass=NullPool)


@asynccontextmanager
async def _in_file(file: Path, service: Name) -> AsyncIterator[Stored]:
    database = _file(file)

    async def write(statement: UpdateBase, rows: Sequence[Mapping[str, Any]]) -> None:
        with database.begin() as connection:
            connection.execute(statement, rows)

    store = Store(SqliteEngine(file))
    yield Stored(service, store, *contents(file), write)
    await store.close()


@asynccontextmanager
async def _on_server(postgres: Postgres, file: Path, service: Name) -> AsyncIterator[Stored]:
    url = postgres.database(f"tampered_{service}")
    await migrate.upgrade(url, service)
    database = create_async_engine(url)

    async def write(statement: UpdateBase, rows: Sequence[Mapping[str, Any]]) -> None:
        async with database.begin() as connection:
            await connection.execute(statement, rows)

    store = Store(PostgresEngine(url))
    stored = Stored(service, store, *contents(file), write)
    await stored.restore()
    yield stored
    await store.close()
    await database.dispose()


async def test_what_was_not_touched_is_as_it_was_written(opening: Opening, lived: Trail) -> None:
    services: tuple[Name, ...] = ("cases", "notify", "sharing")
    for service in services:
        stored = await opening(service)
        witnesses = lived.witnesses(service)
        found = await stored.audited(witnesses)
        assert found.flaws == []
        assert (found.entries, found.witnessed) == (len(stored.rows), len(witnesses))


def flipped(value: Any, chance: random.Random) -> Any:
    """The value with one bit of it changed, such that its column still takes it."""
    match value:
        case bytes():
            place = chance.randrange(len(value))
            return value[:place] + bytes([value[place] ^ 1 << chance.randrange(8)]) + value[place + 1 :]
        case datetime():
            since = (value.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
            return EPOCH + timedelta(microseconds=since ^ 1 << chance.randrange(50))
        case date():
            return date.fromordinal(value.toordinal() ^ 1 << chance.randrange(20))
        case int():
            return value ^ 1 << chance.randrange(8, 30)
    return _flipped_text(value, chance)


def _flipped_text(value: str, chance: random.Random) -> str:
    while True:
        try:
            changed = flipped(value.encode(), chance).decode()
        except UnicodeDecodeError:
            continue
        if "\0" not in changed:  # no database takes one
            return str(changed)


async def test_every_bit_that_is_changed_in_place_is_found_and_nothing_else_is_blamed(
    opening: Opening, engine: str
) -> None:
    """In each round a part of all entries is altered, in one bit of one column each."""
    chance = random.Random(EDITS[engine])
    journals = [await opening("cases"), await opening("notify")]
    edits, of_column = 0, dict.fromkeys(ALTERED, 0)
    while edits < EDITS[engine]:
        for stored in journals:
            altered: defaultdict[str, list[tuple[Row, Any]]] = defaultdict(list)
            for row in chance.sample(stored.rows, len(stored.rows) * 3 // 4):
                column = chance.choice([name for name in ALTERED if row[name] != ""])
                altered[column].append((row, flipped(row[column], chance)))
            for column, changes in altered.items():
                await stored.alter(column, *((row["position"], value) for row, value in changes))
                of_column[column] += len(changes)
            assert await stored.named() == {where(row) for changes in altered.values() for row, _ in changes}
            for column, changes in altered.items():
                await stored.alter(column, *((row["position"], row[column]) for row, _ in changes))
            edits += sum(map(len, altered.values()))
    assert all(count > EDITS[engine] / 20 for count in of_column.values()), of_column


@pytest.mark.parametrize("column", MOVED)
async def test_an_entry_that_is_put_elsewhere_is_missed_where_it_was(column: str, cases: Stored) -> None:
    chance = random.Random(column)
    for row in chance.sample(cases.rows, 20):
        await cases.alter(column, (row["position"], flipped(row[column], chance)))
        assert where(row) in await cases.named()
        await cases.alter(column, (row["position"], row[column]))


@pytest.mark.parametrize("column", ["seq", "digest"])
async def test_a_head_that_was_changed_is_not_the_end_of_its_stream(column: str, cases: Stored) -> None:
    chance = random.Random(column)
    for head in cases.heads:
        if head["seq"] and head["kind"] != "heard":
            statement = update(HEADS).where(HEADS.c.kind == head["kind"], HEADS.c.id == head["id"])
            await cases.write(
                statement.values({column: bindparam("to")}), {"to": flipped(head[column], chance)}
            )
            ((found, _),) = await cases.named()
            assert found == f"{head['kind']}/{head['id']}"
            await cases.write(statement.values({column: bindparam("to")}), {"to": head[column]})


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("seq", "'one'"),
        ("public", "'{}'"),
        ("private", "x'7b'"),
        ("digest", "7"),
        ("recorded_at", "'yesterday'"),
        ("acted_on", "20260101"),
        ("acted_on", "x'00'"),
        ("correlation", "x'ff'"),
    ],
)
async def test_what_no_type_can_read_is_named_like_anything_else(
    column: str, value: str, lived: Trail, tmp_path: Path
) -> None:
    """SQLite lets anything stand in any column."""
    here = lived.copied(tmp_path)
    file = here.directory / "data" / "cases.db"
    journal, _ = contents(file)
    row = max(journal, key=lambda row: int(row["seq"]))
    with _file(file).begin() as connection:
        connection.execute(text(f"UPDATE journal SET {column} = {value} WHERE position = {row['position']}"))
    assert {(flaw.stream, flaw.seq) for flaw in (await here.audited("cases")).flaws} == {where(row)}


async def test_an_entry_that_was_dropped_is_named(cases: Stored) -> None:
    for row in cases.rows:
        await cases.write(
            delete(JOURNAL).where(JOURNAL.c.position == bindparam("at")), {"at": row["position"]}
        )
        assert await cases.named() == {where(row)}
        await cases.write(insert(JOURNAL), row)


async def test_a_stream_that_was_dropped_is_named(cases: Stored) -> None:
    for name, (first, *_) in cases.streams().items():
        mine = (JOURNAL.c.kind == first["kind"], JOURNAL.c.id == first["id"])
        await cases.write(delete(JOURNAL).where(*mine), {})
        assert await cases.named() == {(name, 1)}
        await cases.restore()


async def test_an_entry_that_was_added_at_the_end_is_named(cases: Stored) -> None:
    """Even one that is chained as it should be: the head knows nothing of it."""
    for entries in cases.streams().values():
        await cases.write(insert(JOURNAL), _next(entries[-1]))
        assert await cases.named() == {(stream(entries[0]), len(entries) + 1)}
        await cases.restore()


async def test_an_entry_that_was_put_between_is_named(cases: Stored) -> None:
    """Those behind it make room for it, and stand in places that are not theirs."""
    entries = cases.longest()
    before, *behind = entries[1:]
    for row in reversed(behind):
        await cases.alter("seq", (row["position"], row["seq"] + 1))
    await cases.write(insert(JOURNAL), _next(before))
    assert await cases.named() == {
        (stream(before), seq) for seq in range(before["seq"] + 2, len(entries) + 2)
    }


def _next(row: Row) -> Row:
    """An entry that may follow this one: what it says, and how it is chained."""
    seq = row["seq"] + 1
    public = row["public"].replace(b'"sequence":%d' % row["seq"], b'"sequence":%d' % seq)
    public = public.replace(
        f'"id":"{stream(row)}/{row["seq"]}"'.encode(), f'"id":"{stream(row)}/{seq}"'.encode()
    )
    hidden = second_reading.hidden(row["salt"], row["private"])
    return {
        **row,
        "position": 1_000_000,
        "seq": seq,
        "public": public,
        "digest": second_reading.linked(row["digest"], public, hidden),
    }


async def test_entries_that_changed_places_are_named(cases: Stored) -> None:
    for entries in cases.streams().values():
        for one, other in itertools.pairwise(entries):
            await cases.alter("seq", (one["position"], 1000))
            await cases.alter("seq", (other["position"], one["seq"]), (one["position"], other["seq"]))
            assert {where(one), where(other)} <= await cases.named() <= {where(row) for row in entries}
            await cases.restore()


async def test_an_end_that_was_cut_off_is_named(cases: Stored) -> None:
    for entries in cases.streams().values():
        for length in range(1, len(entries)):
            behind = [{"at": row["position"]} for row in entries[length:]]
            await cases.write(delete(JOURNAL).where(JOURNAL.c.position == bindparam("at")), *behind)
            assert await cases.named() == {where(entries[length])}
            await cases.restore()


WITNESSES: tuple[Name, ...] = ("notify", "sharing")


@pytest.mark.parametrize("witness", WITNESSES)
async def test_an_end_that_was_cut_off_with_its_head_is_named_by_who_heard_more(
    witness: Name, cases: Stored, lived: Trail
) -> None:
    heard = lived.witnesses("cases", witness)
    for entries in cases.streams().values():
        for length in range(1, len(entries)):
            short = [row for row in cases.rows if row not in entries[length:]]
            await cases.replace(short, _heads_of(short))
            assert await cases.named() == set()
            assert await cases.named(heard) == {where(entries[length])}
    await cases.restore()


@pytest.mark.parametrize("witness", WITNESSES)
async def test_a_database_that_was_put_back_is_found_by_who_heard_more(
    witness: Name, cases: Stored, lived: Trail
) -> None:
    """An older copy is as good as any by itself: each stream is named that went on since, where it does."""
    await cases.replace(*contents(lived.early))
    assert await cases.named() == set()
    then = {where(row) for row in contents(lived.early)[0]}
    since = [where(row) for row in cases.rows if where(row) not in then]
    assert {seq > 1 for _, seq in since} == {True, False}, "streams that went on, and streams that began"
    first = {name: min(seq for of, seq in since if of == name) for name, _ in since}
    assert await cases.named(lived.witnesses("cases", witness)) == set(first.items())


@pytest.mark.parametrize("service", ["cases", "notify", "sharing"])
async def test_a_chain_computed_anew_is_found_by_every_witness_alone(
    service: Name, opening: Opening, lived: Trail
) -> None:
    """Of every stream the first entry says something else, and everything that follows from it fits."""
    stored = await opening(service)
    forged = [row for entries in stored.streams().values() for row in _computed_anew(entries)]
    await stored.replace(forged, _heads_of(forged))
    assert await stored.named() == set()
    ends = {(name, len(entries)) for name, entries in stored.streams().items()}
    hearers = {witness.by for witness in lived.witnesses(service)}
    assert (
        hearers
        == {"cases": {"notify", "sharing"}, "notify": {"cases", "sharing"}, "sharing": {"notify"}}[service]
    )
    for witness in hearers:
        heard = [head for head in lived.witnesses(service) if head.by == witness]
        assert await stored.named(heard) == ends


async def test_a_proof_of_a_forged_journal_holds_until_a_witness_is_asked(
    lived: Trail, tmp_path: Path
) -> None:
    """The service that works on the forged database signs what it finds: its key is its own."""
    here = lived.copied(tmp_path)
    async with _in_file(here.directory / "data" / "cases.db", "cases") as stored:
        forged = [row for entries in stored.streams().values() for row in _computed_anew(entries)]
        await stored.replace(forged, _heads_of(forged))
        case = stored.longest()[0]["id"]
    async with deployment.on_embedded(here.directory) as county:
        handler, operator = (
            county.ask("cases", cast.TOWNSHIP),
            county.ask("notify", cast.OFFICE, Role.OPERATOR),
        )
        proof = json.loads((await handler.get(f"/v1/cases/{case}/proof")).content)
        query = {"source": "cases", "stream": f"case/{case}"}
        witness = (await operator.get("/v1/witnesses", params=query)).json()
    keys = verify.trusted_keys(lived.jwks)
    without_receipts = json.dumps({**proof, "receipts": []}).encode()
    assert verify.check(without_receipts, keys).holds
    (misfit,) = [f.misfit for f in verify.check(without_receipts, keys, [witness]).findings if f.misfit]
    assert (misfit.code, misfit.entry) == ("witness", witness["seq"])
    assert not verify.check(json.dumps(proof).encode(), keys).holds, "receipts are witnesses too"


def _computed_anew(entries: Sequence[Row]) -> list[Row]:
    """The stream with another past."""
    past = b'"correlationid":"%b"'
    correlation = entries[0]["correlation"]
    first = entries[0] | {
        "public": entries[0]["public"].replace(past % correlation.encode(), past % b"another"),
        "correlation": "another",
    }
    told = [first, *entries[1:]]
    parts = [(row["public"], second_reading.hidden(row["salt"], row["private"])) for row in told]
    return [row | {"digest": link} for row, link in zip(told, second_reading.links(parts), strict=True)]


def _heads_of(rows: Sequence[Row]) -> list[Row]:
    """The heads that make these rows the whole journal."""
    ends = {(row["kind"], row["id"]): row for row in sorted(rows, key=lambda row: int(row["seq"]))}
    return [
        {"kind": kind, "id": id_, "version": row["seq"], "seq": row["seq"], "digest": row["digest"]}
        for (kind, id_), row in ends.items()
    ]
