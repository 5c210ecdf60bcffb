"""The store: a Change becomes true as a whole or not at all, on both engines and in every form of commit."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import select, text

from libs.common import errors, proof
from libs.common.change import NEW, Answer, Change, Fence, Head
from libs.common.store import schema
from libs.common.store.schema import JournalEntry, JournalRow
from libs.common.store.seam import Committed, Conflict, FenceLost, Outcome, head_of, rows_of
from libs.common.store.sqlite import DataDirectory, Locked, SqliteEngine, connected
from libs.common.store.store import Store
from tests.conformance import things
from tests.conformance.conftest import Database, plain
from tests.conformance.things import (
    NOON,
    PADDING,
    Note,
    NoteRow,
    Pad,
    Place,
    Thing,
    counted,
    dump,
    eventually,
)
from tests.engines.postgres import Postgres

pytestmark = pytest.mark.anyio

A, B = Head("thing", "a"), Head("thing", "b")
#: PostgreSQL commits a Change in one statement of its own, in one shared with others, or in a transaction.
FORMS = ("alone", "grouped", "large")
#: Neighbours enough to keep every lane busy and to stand in a group.
NEIGHBOURS = 6


async def commit(store: Store, change: Change, form: str = "alone") -> Outcome:
    """Commit in one of the forms; neighbours in a group must be committed whatever becomes of `change`."""
    if form == "large":
        return await store.commit(change.putting(*PADDING))
    if form == "alone":
        return await store.commit(change)
    neighbours = [Change().putting(Pad(id=f"neighbour {n}")) for n in range(NEIGHBOURS)]
    around = [*neighbours[:3], change, *neighbours[3:]]
    results = await asyncio.gather(*map(store.commit, around), return_exceptions=True)
    outcome = results.pop(3)
    assert results == [Committed()] * NEIGHBOURS
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def content(store: Store) -> dict[str, list[Any]]:
    """Everything that is stored, but for what makes a form."""
    found = await dump(store)
    del found["t_pads"]
    return found


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def made(store: Store, *heads: Head) -> None:
    """These streams exist, each with one fact."""
    for head in heads:
        assert await store.commit(counted(head)) == Committed()


async def heads(store: Store, *streams: Head) -> list[Head]:
    async with store.reading() as read:
        return [await read.head(stream.kind, stream.id) for stream in streams]


def an_answer(key: str = "key") -> Answer:
    return Answer("scope", key, b"digest", 201, b'{"ok":true}', {"etag": '"1"'}, NOON)


def everything(own: Head) -> Change:
    """A Change that uses all there is."""
    change = counted(own, thing=Thing(id="t", name="new")).inserting(Place(id="p", number=7))
    return change.numbering("notes", Note(stream="s", seq=1)).answering(an_answer())


async def test_a_change_is_stored_as_a_whole(store: Store, form: str) -> None:
    claim = await store.claim("g", "t", 0)
    fence = Fence("g", "t", 0, claim.epoch, 0, 5, "last")
    await made(store, B)
    (relied,) = await heads(store, B)
    change = everything(A).relying_on(relied).under(fence)
    assert await commit(store, change, form) == Committed()
    found = await content(store)
    assert [len(found[name]) for name in ("t_things", "t_places", "t_notes", "answers")] == [1, 1, 1, 1]
    assert found["counters"] == [{"name": "notes", "position": 1}]
    assert [row["seq"] for row in found["journal"]] == [1, 1]
    assert found["positions"][0]["next"] == 5
    assert found["positions"][0]["last_id"] == "last"
    assert await heads(store, A, B) == [change.heads_after()[0], relied]
    answered = await store.answered("scope", "key")
    assert answered == an_answer()


async def _nothing(store: Store) -> None: ...


async def _moves_own(store: Store) -> None:
    (head,) = await heads(store, A)
    await store.commit(counted(head))


async def _moves_relied(store: Store) -> None:
    (head,) = await heads(store, B)
    await store.commit(counted(head))


async def _takes_place(store: Store) -> None:
    await store.commit(Change().putting(Place(id="other", number=7)))


async def _takes_key(store: Store) -> None:
    await store.commit(Change().putting(Place(id="p", number=8)))


async def _answers(store: Store) -> None:
    await store.commit(Change().answering(an_answer()))


async def _claims(store: Store) -> None:
    await store.claim("g", "t", 0)


async def _moves_position(store: Store) -> None:
    await store.commit(Change().under(Fence("g", "t", 0, 1, 0, 3, "")))


@pytest.mark.parametrize(
    ("meanwhile", "outcome"),
    [
        (_moves_own, Conflict()),
        (_moves_relied, Conflict()),
        (_takes_place, Conflict()),
        (_takes_key, Conflict()),
        (_answers, Conflict()),
        (_claims, FenceLost()),
        (_moves_position, FenceLost()),
        (_nothing, Committed()),
    ],
    ids=lambda value: getattr(value, "__name__", "").strip("_").replace("_", " ") or type(value).__name__,
)
async def test_nothing_of_a_change_is_stored_when_the_world_has_moved(
    store: Store, form: str, meanwhile: Callable[[Store], Awaitable[None]], outcome: Outcome
) -> None:
    await store.claim("g", "t", 0)
    await made(store, A, B)
    own, relied = await heads(store, A, B)
    change = everything(own).relying_on(relied)
    if meanwhile in (_claims, _moves_position):
        change = change.under(Fence("g", "t", 0, 1, 0, 5, ""))
    await meanwhile(store)
    before = await content(store)
    assert await commit(store, change, form) == outcome
    assert (await content(store) == before) is (outcome != Committed())


@pytest.mark.parametrize(
    "both", [A, Head("thing", "a", version=3, seq=3)], ids=["made meanwhile", "never made"]
)
async def test_a_head_that_is_not_there_conflicts_as_own_and_as_relied(
    store: Store, form: str, both: Head
) -> None:
    await made(store, B)
    (relied,) = await heads(store, B)
    before = await content(store)
    if both.is_new:
        await made(store, A)
        before = await content(store)
    else:
        assert await commit(store, counted(relied).relying_on(both), form) == Conflict()
    assert await commit(store, counted(both), form) == Conflict()
    assert await content(store) == before


async def test_one_who_relies_on_what_does_not_exist_must_own_it(store: Store, form: str) -> None:
    assert await commit(store, counted(A).relying_on(B), form) == Conflict()
    assert await commit(store, counted(A).owning(B), form) == Committed()
    assert [head.version for head in await heads(store, A, B)] == [1, 1]


async def test_a_stream_both_owned_and_relied_on_is_owned(store: Store, form: str) -> None:
    assert await commit(store, counted(A).relying_on(A), form) == Committed()
    (head,) = await heads(store, A)
    assert await commit(store, Change().relying_on(head).owning(head), form) == Committed()
    (head,) = await heads(store, A)
    assert (head.version, head.seq) == (2, 1)


async def test_a_stream_read_twice_is_held_against_its_older_version(store: Store, form: str) -> None:
    """Rows read with the older head may be older than those read with the newer one."""
    await made(store, A)
    (older,) = await heads(store, A)
    await store.commit(counted(older))
    (newer,) = await heads(store, A)
    for change in (
        counted(newer).owning(older),
        counted(newer).relying_on(older),
        Change().relying_on(newer, older),
        Change.all_of([counted(newer), Change().relying_on(older)]),
    ):
        assert await commit(store, change, form) == Conflict()


async def test_of_many_who_create_one_stream_one_wins(database: Database, form: str) -> None:
    stores = [database.open(), database.open()]
    changes = [counted(A, n, thing=Thing(id=f"{n}")) for n in range(8)]
    results = await asyncio.gather(*(commit(stores[n % 2], c, form) for n, c in enumerate(changes)))
    assert results.count(Committed()) == 1
    assert results.count(Conflict()) == 7
    found = await content(stores[0])
    assert [int(row["id"]) for row in found["t_things"]] == [results.index(Committed())]
    assert len(found["journal"]) == 1


def put(n: int) -> Callable[[Change], Change]:
    return lambda change: change.putting(Place(id="x", number=n))


def insert(n: int) -> Callable[[Change], Change]:
    return lambda change: change.inserting(Place(id="x", number=n))


def delete(change: Change) -> Change:
    return change.deleting(Place(id="x", number=0))


@pytest.mark.parametrize(
    ("writes", "from_nothing", "from_one"),
    [
        pytest.param([put(2)], 2, 2, id="put"),
        pytest.param([insert(2)], 2, Conflict(), id="insert"),
        pytest.param([delete], None, None, id="delete"),
        pytest.param([put(2), put(3)], 3, 3, id="put-put"),
        pytest.param([insert(2), put(3)], 3, Conflict(), id="insert-put"),
        pytest.param([put(2), delete], None, None, id="put-delete"),
        pytest.param([insert(2), delete], None, None, id="insert-delete"),
        pytest.param([delete, put(2)], 2, 2, id="delete-put"),
        pytest.param([delete, insert(2)], 2, 2, id="delete-insert"),
        pytest.param([delete, insert(2), put(3)], 3, 3, id="delete-insert-put"),
        pytest.param([delete, insert(2), delete], None, None, id="delete-insert-delete"),
    ],
)
async def test_rows_are_folded_to_what_their_writes_do_one_after_the_other(
    store: Store,
    form: str,
    writes: list[Callable[[Change], Change]],
    from_nothing: Any,
    from_one: Any,
) -> None:
    change = Change()
    for write in writes:
        change = write(change)
    for before, expected in ((None, from_nothing), (Place(id="x", number=1), from_one)):
        await store.commit(Change().putting(before) if before else Change())
        outcome = await commit(store, change, form)
        assert outcome == (Conflict() if expected == Conflict() else Committed())
        async with store.reading() as read:
            found = await read.one(Place, id="x")
        left = 1 if expected == Conflict() else expected
        assert (found.number if found else None) == left


@pytest.mark.parametrize("first", [put(2), insert(2)], ids=["put", "insert"])
async def test_a_change_that_inserts_what_it_has_written_is_a_fault_of_ours(
    store: Store, form: str, first: Callable[[Change], Change]
) -> None:
    """Folded away, it would overwrite; as a Conflict it would be decided again for ever."""
    (outcome,) = await asyncio.gather(commit(store, insert(3)(first(Change())), form), return_exceptions=True)
    assert isinstance(outcome, ValueError)
    assert (await content(store))["t_places"] == []


async def test_a_put_replaces_every_column_and_a_deletion_only_its_row(store: Store, form: str) -> None:
    old = Thing(id="a", name="old", count=1, tags={"a": 1}, gone_at=NOON)
    await store.commit(Change().putting(old, Thing(id="b")))
    new = Thing(id="a", name="new", made_on=date(2027, 1, 1))
    assert await commit(store, Change().putting(new), form) == Committed()
    async with store.reading() as read:
        assert await read.one(Thing, id="a") == new
    assert await commit(store, Change().deleting(new), form) == Committed()
    async with store.reading() as read:
        assert [thing.id for thing in await read.all(Thing)] == ["b"]


AWKWARD = [
    Thing(
        id="plain",
        made_at=datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        gone_at=datetime(2024, 2, 29, 8, 0, 0, 1, tzinfo=timezone(timedelta(hours=8))),
        made_on=date(2024, 2, 29),
        large=2**63 - 1,
        count=-(2**31),
        raw=bytes(range(256)),
    ),
    Thing(
        id="案/一 '\"\\%s $1 :x ? 🀄",
        name="",
        tags={"案": ["二", {"null": None, "true": True}], "n": 2**53 + 1, "": "", "half": 0.5, "e": "\n\t\\"},
        made_at=datetime(1, 1, 1, tzinfo=UTC),
        made_on=date(9999, 12, 31),
        is_good=False,
        large=-(2**63),
    ),
    Thing(id="empty", tags={}, raw=b"", made_on=date(1, 1, 1)),
]


async def test_values_come_back_as_they_went_on_every_engine(store: Store, form: str) -> None:
    assert await commit(store, Change().putting(*AWKWARD), form) == Committed()
    async with store.reading() as read:
        for thing in AWKWARD:
            found = await read.one(Thing, id=thing.id)
            assert found == thing
            assert found.made_at.tzinfo is UTC
            assert found.gone_at is None or found.gone_at.utcoffset() == timedelta()
            assert isinstance(found.raw, bytes)
            assert isinstance(found.is_good, bool)


@pytest.mark.parametrize("value", [None, "null", "", "案\\", 2**53 + 1, False, [], [None, "a"]], ids=repr)
async def test_json_may_be_any_value(store: Store, form: str, value: Any) -> None:
    thing = Thing(id="t").but(tags=value)
    assert await commit(store, Change().putting(thing), form) == Committed()
    async with store.reading() as read:
        assert (await read.one(Thing, id="t")) == thing


async def test_what_has_no_key_holds_up_nobody(store: Store) -> None:
    keyless = Change().putting(Thing.model_construct(id=["t"]))
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(
            *map(store.commit, [counted(A), keyless, counted(B)]), return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes] == [Committed, TypeError, Committed]


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(Thing.model_construct(id="s", large=2**70), id="a number too large"),
        pytest.param(Thing(id="s").but(made_at=datetime(2026, 1, 1)), id="a naive instant"),  # noqa: DTZ001
        pytest.param(Thing(id="s").but(name=None), id="nothing where something must be"),
        pytest.param(Thing(id="s").but(tags={"x": object()}), id="what is not JSON"),
        pytest.param(Thing(id="s").but(name="\ud800"), id="half a character"),
    ],
)
async def test_what_a_database_cannot_take_spoils_its_own_change_alone(
    store: Store, form: str, spoilt: Thing
) -> None:
    """It is nobody's Conflict, which would be tried for ever, and no outage, which would be waited for.

    In the large form the heads and other tables have been written when the driver refuses the last one.
    """
    whole = Thing.model_construct(**{**Thing(id="s").columns, **spoilt.columns})
    change = counted(A).putting(Place(id="p", number=1), whole)
    before = await content(store)
    (outcome,) = await asyncio.gather(commit(store, change, form), return_exceptions=True)
    assert isinstance(outcome, Exception)  # each driver has its own
    assert not isinstance(outcome, AssertionError | errors.Transient)
    assert await content(store) == before
    assert await commit(store, counted(A), form) == Committed()


@pytest.fixture
async def given_up_connections() -> AsyncIterator[None]:
    """Where the making of a connection is given up, asyncpg leaves an error behind that nobody waits for."""
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()

    def hear(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "connection_lost" not in str(context.get("exception")):
            assert handler
            handler(loop, context)

    loop.set_exception_handler(hear)
    yield
    gc.collect()
    loop.set_exception_handler(handler)


@pytest.mark.usefixtures("given_up_connections")
async def test_a_caller_who_goes_away_leaves_all_or_nothing(database: Database, form: str) -> None:
    store = database.open()
    for n in range(40):
        head = Head("thing", f"{n}")
        change = counted(head, thing=Thing(id=f"{n}")).numbering("notes", Note(stream="s", seq=n))
        try:
            async with asyncio.timeout(n * 0.0005):
                await commit(store, change.answering(an_answer(f"{n}")), form)
        except TimeoutError:
            continue
    assert await commit(store, counted(A), "large") == Committed()
    await database.close()  # what is still under way ends before this does
    found = await content(database.open())
    ids = {row["id"] for row in found["heads"]} - {"a"}
    assert ids == {row["id"] for row in found["t_things"]} == {row["key"] for row in found["answers"]}
    assert ids == {row["id"] for row in found["journal"]} - {"a"}
    assert sorted(ids, key=int) == sorted((str(row["seq"]) for row in found["t_notes"]), key=int)
    assert sorted(row["position"] for row in found["t_notes"]) == list(range(1, len(ids) + 1))


async def test_positions_are_dense_and_in_the_order_of_commits(database: Database, form: str) -> None:
    """A reader who goes on behind the newest position it saw never passes one by."""
    stores = [database.open(), database.open()]
    await made(stores[0], A)
    per_writer = 6 if form == "alone" else 2
    done = asyncio.Event()
    seen: list[int] = []

    async def read_on() -> None:
        table = schema.table(NoteRow)
        while True:
            last_round = done.is_set()
            async with stores[0].reading() as read:
                after = select(table.c.position).where(table.c.position > (seen[-1] if seen else 0))
                found = await read.rows(after.order_by(table.c.position))
            seen.extend(row["position"] for row in found)
            if last_round:
                return
            await asyncio.sleep(0)

    async def write(writer: int) -> int:
        count = 0
        for n in range(per_writer):
            notes = [Note(stream=f"{writer}", seq=n) for _ in range(1 + n % 3)]
            change = Change().numbering("notes", *notes)
            if n % 2:  # one that rolls back after it had numbers
                failing = change.inserting(Place(id=f"{writer}", number=0)).relying_on(A._replace(version=9))
                assert await stores[writer % 2].commit(failing) == Conflict()
            assert await commit(stores[writer % 2], change, form) == Committed()
            count += len(notes)
        return count

    reading = asyncio.create_task(read_on())
    written = sum(await asyncio.gather(*map(write, range(8))))
    done.set()
    await reading
    assert seen == list(range(1, written + 1))


async def test_numbers_of_a_change_that_was_rolled_back_are_given_again(store: Store, form: str) -> None:
    await store.commit(Change().putting(Place(id="p", number=1)))
    note = Change().numbering("notes", Note(stream="s", seq=1))
    for _ in range(3):
        assert await commit(store, note.inserting(Place(id="q", number=1)), form) == Conflict()
        assert await commit(store, note.numbering("others", Note(stream="o", seq=1)), form) == Conflict()
        assert await commit(store, note, form) == Committed()
    async with store.reading() as read:
        assert sorted(found.position for found in await read.all(Note)) == [1, 2, 3]


async def grown(store: Store, own: Head, relied: Sequence[Head] = (), attempts: int = 50) -> int:
    """Tell one fact on a stream, deciding again after conflicts; gives how many there were."""
    for attempt in range(attempts):
        head, *others = await heads(store, own, *relied)
        if await store.commit(counted(head).relying_on(*others)) == Committed():
            return attempt
        await asyncio.sleep(random.uniform(0, 0.002))
    raise AssertionError("it never came through")


async def test_a_journal_is_dense_and_chained_whoever_writes(database: Database) -> None:
    stores = [database.open(), database.open()]
    streams = [Head("thing", f"{n}") for n in range(3)]
    writes = [grown(stores[n % 2], streams[n % 3]) for n in range(90)]
    await asyncio.gather(*writes)
    async with stores[0].reading() as read:
        rows = select(schema.table(JournalRow)).order_by("position")
        entries = await read.all(JournalEntry, rows)
    assert len(entries) == 90
    for stream, head in zip(streams, await heads(stores[0], *streams), strict=True):
        told = [entry for entry in entries if entry.id == stream.id]
        assert [entry.seq for entry in told] == list(range(1, 31))
        digest = proof.GENESIS
        for entry in told:
            hidden = proof.private_digest(entry.salt, entry.private)
            digest = proof.chained(digest, entry.public, hidden)
            assert entry.digest == digest
        assert (head.seq, head.version, head.digest) == (30, 30, digest)


async def test_crossing_locks_never_lock_each_other_out(database: Database) -> None:
    """Eight writers own and rely on the same six streams in every order, alone and in groups."""
    stores = [database.open(), database.open()]
    streams = [Head("thing", f"{n}-{'aA'[n % 2]}") for n in range(6)]
    await made(stores[0], *streams)
    chance = random.Random(1)
    began = time.monotonic()

    async def write(store: Store, own: Sequence[Head], relied: Sequence[Head]) -> Outcome:
        owned, read = await heads(store, *own), await heads(store, *relied)
        change = Change().owning(*owned).relying_on(*read)
        return await commit(store, change, chance.choice(["alone", "alone", "alone", "large"]))

    async def attempts(writer: int) -> list[Outcome]:
        outcomes = []
        for _ in range(50):
            picked = chance.sample(streams, 4)
            own = chance.randint(1, 3)
            outcomes.append(await write(stores[writer % 2], picked[:own], picked[own:]))
        return outcomes

    outcomes = list(itertools.chain(*await asyncio.gather(*map(attempts, range(8)))))
    assert len(outcomes) == 400
    assert outcomes.count(Committed()) > 40
    assert {type(outcome) for outcome in outcomes} <= {Committed, Conflict}
    # PostgreSQL finds a deadlock after a second of waiting.
    assert time.monotonic() - began < 20
    assert await _deadlocks(database) == 0


async def test_new_streams_are_made_in_one_order_in_every_form(on_postgres: Database) -> None:
    """Two processes make the same streams, and wait at the one in the middle, which another tries."""
    streams = [Head("thing", f"{n}") for n in range(5)]
    together = [Change().owning(*streams)]
    large = [Change().owning(*streams).putting(*PADDING)]
    grouped = [Change().owning(stream) for stream in reversed(streams)]
    other = await asyncpg.connect(plain(on_postgres.url))
    before = await _deadlocks(on_postgres)
    for pair in itertools.combinations([together, large, grouped], 2):
        trying = other.transaction()
        await trying.start()
        await other.execute("INSERT INTO heads VALUES ('thing', '2', 1, 0, '')")
        stores = [on_postgres.open() for _ in pair]
        committing = [
            asyncio.create_task(store.commit(change))
            for store, changes in zip(stores, pair, strict=True)
            for change in changes
        ]
        await eventually(partial(_are_waiting, other, len(pair)))
        await trying.rollback()
        assert Committed() in await asyncio.gather(*committing)
        await other.execute("DELETE FROM heads")
    await other.close()
    assert await _deadlocks(on_postgres) == before


async def test_groups_write_their_rows_in_one_order(on_postgres: Database) -> None:
    """Two processes are sent the same requests in opposite orders, and wait at the one in the middle."""
    there, back = [[Head("thing", f"{way}{n}") for n in range(5)] for way in ("there", "back")]
    requests = [Change().owning(head).answering(an_answer(str(n))) for n, head in enumerate(there)]
    again = [Change().owning(head).answering(an_answer(str(n))) for n, head in enumerate(back)]
    other = await asyncpg.connect(plain(on_postgres.url))
    before = await _deadlocks(on_postgres)
    stores = [on_postgres.open(), on_postgres.open()]
    trying = other.transaction()
    await trying.start()
    await other.execute("INSERT INTO answers VALUES ('scope', '2', '', 201, '', '{}', now())")
    committing = [asyncio.create_task(stores[0].commit(change)) for change in requests]
    committing += [asyncio.create_task(stores[1].commit(change)) for change in reversed(again)]
    await eventually(partial(_are_waiting, other, 2))
    await trying.rollback()
    outcomes = await asyncio.gather(*committing)
    await other.close()
    assert outcomes.count(Committed()) == 5
    assert await _deadlocks(on_postgres) == before


async def _are_waiting(connection: asyncpg.Connection[Any], count: int) -> bool:
    """Whether so many statements wait for a lock."""
    waiting = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
    return int(await connection.fetchval(waiting)) >= count


async def _deadlocks(database: Database) -> int:
    await database.close()
    if not database.url:
        return 0
    connection = await asyncpg.connect(plain(database.url))
    try:
        count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int(await connection.fetchval(count))
    finally:
        await connection.close()


async def test_a_relied_stream_is_not_blocked_for_others_who_rely_on_it(on_postgres: Database) -> None:
    store = on_postgres.open()
    await made(store, A)
    (relied,) = await heads(store, A)
    other = await asyncpg.connect(plain(on_postgres.url))
    try:
        async with other.transaction(), asyncio.timeout(5):
            await other.execute("SELECT 1 FROM heads FOR SHARE")
            assert await store.commit(counted(B).relying_on(relied)) == Committed()
            owning = asyncio.create_task(store.commit(counted(relied)))
            assert not (await asyncio.wait({owning}, timeout=0.2))[0]
        assert await owning == Committed()
    finally:
        await other.close()


async def test_those_who_wait_share_a_transaction(on_postgres: Database) -> None:
    """Else the grouped form of every test here would be the lonely one."""
    store = on_postgres.open()
    changes = [counted(Head("thing", f"{n}")) for n in range(20)]
    assert await asyncio.gather(*map(store.commit, changes)) == [Committed()] * 20
    connection = await asyncpg.connect(plain(on_postgres.url))
    transactions = await connection.fetchval("SELECT count(DISTINCT xmin::text) FROM heads")
    await connection.close()
    assert transactions < 10


async def test_a_group_commits_each_of_its_changes_by_itself(store: Store) -> None:
    """Two hundred at once: some conflict, some collide, some cannot be stored, one goes away."""
    await made(store, A)
    (head,) = await heads(store, A)
    changes = [counted(Head("thing", f"{n}"), n, thing=Thing(id=f"{n}")) for n in range(200)]
    expected: list[Any] = [Committed()] * 200
    for n in range(0, 200, 9):
        changes[n], expected[n] = changes[n].relying_on(head._replace(version=7)), Conflict()
    for n in range(1, 200, 9):
        changes[n] = changes[n].inserting(Place(id=f"{n}", number=0))
    for n in range(2, 200, 18):
        changes[n], expected[n] = changes[n].putting(Thing(id="x").but(name=None)), None
    tasks = [asyncio.create_task(store.commit(change)) for change in changes]
    await asyncio.sleep(0)
    tasks[197].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    colliding = outcomes[1::9]
    assert colliding.count(Committed()) == 1
    assert colliding.count(Conflict()) == len(colliding) - 1
    for n, outcome in enumerate(outcomes):
        if n == 197:
            assert isinstance(outcome, asyncio.CancelledError)
        elif expected[n] is None:
            assert isinstance(outcome, Exception)
            assert not isinstance(outcome, errors.Transient)
        elif n % 9 != 1:
            assert outcome == expected[n]
    found = await content(store)
    stored = {row["id"] for row in found["t_things"]} - {"197"}
    assert stored == {str(n) for n in range(200) if outcomes[n] == Committed()}


async def test_streams_are_queued_for_in_this_process(store: Store) -> None:
    order: list[int] = []

    async def work(n: int, *names: str) -> None:
        async with store.streams(names):
            order.append(n)
            await asyncio.sleep(0)
            order.append(n)

    names = [("a", "b"), ("b", "a"), ("a",), ("b", "c"), ("c", "b", "a"), ("a", "a")]
    async with asyncio.timeout(5):
        await asyncio.gather(*(work(n, *names[n % 6]) for n in range(60)))
    assert sorted(order) == sorted([*range(60)] * 2)
    sharing_a = [n for n in order if "a" in names[n % 6]]
    assert sharing_a[::2] == sharing_a[1::2]


async def test_one_who_gives_up_waiting_for_a_stream_leaves_it_to_the_next(store: Store) -> None:
    held, entered = asyncio.Event(), []

    async def hold() -> None:
        async with store.streams(["a"]):
            entered.append("first")
            await held.wait()

    async def wait(name: str) -> None:
        async with store.streams(["0", "a", "z"]):
            entered.append(name)

    first = asyncio.create_task(hold())
    waiting = [asyncio.create_task(wait(f"waiter {n}")) for n in range(5)]
    for _ in range(3):
        await asyncio.sleep(0)
    for n in (0, 2, 3):
        waiting[n].cancel()
    held.set()
    async with asyncio.timeout(5):
        results = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert [isinstance(r, asyncio.CancelledError) for r in results] == [
            False,
            True,
            False,
            True,
            True,
            False,
        ]
        assert entered == ["first", "waiter 1", "waiter 4"]
        async with store.streams(["z", "a", "0"]):
            entered.append("last")


@dataclass
class Writing:
    """Makes one stream after the other, and remembers what it was told of each."""

    stores: Sequence[Store]
    acknowledged: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    is_over: bool = False
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    async def run(self) -> None:
        await asyncio.gather(*map(self._write, self.stores))

    async def more(self, count: int) -> None:
        """Until so many more are acknowledged."""
        enough = len(self.acknowledged) + count

        async def came() -> bool:
            return len(self.acknowledged) >= enough

        await eventually(came)

    async def _write(self, store: Store) -> None:
        while not self.is_over:
            n = next(self._numbers)
            try:
                assert await store.commit(counted(Head("thing", f"{n}"))) == Committed()
                self.acknowledged.add(n)
            except errors.Transient:
                self.failed.add(n)
                await asyncio.sleep(0.02)


async def test_a_database_that_is_down_is_transient_and_comes_back(
    on_postgres: Database, postgres: Postgres
) -> None:
    """Every acknowledged write is there afterwards; one whose acknowledgement was lost may be."""
    stores = [on_postgres.open(), on_postgres.open()]
    writing = Writing(stores * 6)
    tasks = [asyncio.create_task(writing.run()), asyncio.create_task(stores[0].listen())]
    for _ in range(2):
        await writing.more(100)
        await asyncio.to_thread(postgres.kill)
        with pytest.raises(errors.Transient):
            await heads(stores[0], A)
        with pytest.raises(errors.Transient):
            await stores[0].commit(everything(A).putting(*PADDING))
        with pytest.raises(errors.Transient):
            await stores[0].claim("g", "t", 0)
        await asyncio.to_thread(postgres.start)
    await writing.more(50)
    writing.is_over = True
    await tasks[0]
    with pytest.raises(errors.Transient):
        await tasks[1]
    async with stores[0].reading() as read:
        stored = {int(row["id"]) for row in await read.rows(text("SELECT id FROM heads"))}
    assert writing.failed
    assert writing.acknowledged <= stored <= writing.acknowledged | writing.failed


async def test_sqlite_writes_through_to_the_disk(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "service.db")
    for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("busy_timeout", 5000)):
        (row,) = await engine.run(text(f"PRAGMA {pragma}"))
        assert list(row.values()) == [value]
    await engine.close()


async def test_a_store_that_is_closed_says_so(database: Database) -> None:
    store = database.open()
    await made(store, A)
    await database.close()
    if not database.url:  # PostgreSQL's pool would connect again
        async with asyncio.timeout(5):
            with pytest.raises(errors.Transient):
                await store.commit(counted(B))


_SECOND = """
import pathlib, sys
from libs.common.store import sqlite
sqlite.DataDirectory(pathlib.Path(sys.argv[1]))
"""


async def test_a_second_process_on_the_data_directory_is_refused(tmp_path: Path) -> None:
    """And a process that ended, however it ended, leaves the directory to the next."""
    held = DataDirectory(tmp_path)
    with pytest.raises(Locked, match="正被另一个进程使用"):
        DataDirectory(tmp_path)
    second = [sys.executable, "-c", _SECOND, str(tmp_path)]
    refused = await asyncio.to_thread(subprocess.run, second, check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert f"数据目录 {tmp_path} 正被另一个进程使用" in refused.stderr
    held.close()
    await asyncio.to_thread(subprocess.run, second, check=True)
    DataDirectory(tmp_path).close()


async def test_a_sqlite_file_that_cannot_be_written_is_transient(tmp_path: Path) -> None:
    """A full or failing disk is an outage: waited for, and not taken for a fault of the data."""
    engine = SqliteEngine(tmp_path / "service.db")
    await engine.run(text("CREATE TABLE full (x BLOB)"))
    (pages,) = await engine.run(text("PRAGMA page_count"))
    await engine.run(text(f"PRAGMA max_page_count = {pages['page_count']}"))
    with pytest.raises(errors.Transient):
        await engine.run(text("INSERT INTO full VALUES (zeroblob(1000000))"))
    await engine.run(text("PRAGMA max_page_count = 1000000"))
    await engine.run(text("INSERT INTO full VALUES (zeroblob(1000000))"))
    await engine.close()


def _make_unreadable(file: Path) -> None:
    """Whoever has it open in this process can only write it from now on."""
    for link in Path("/proc/self/fd").iterdir():
        if link.is_symlink() and link.readlink() == file:
            unreadable = os.open(file, os.O_WRONLY)
            os.dup2(unreadable, int(link.name))
            os.close(unreadable)


async def test_a_sqlite_file_that_cannot_be_read_is_transient(tmp_path: Path) -> None:
    """A failing disk ends SQLite's transaction by itself; what is told is why."""
    file = tmp_path / "service.db"
    made = connected(file)
    things.METADATA.create_all(made)
    made.dispose()
    engine = SqliteEngine(file)
    await engine.commit(Change().putting(*(Thing(id=str(n), name="x" * 5000) for n in range(20))))
    await engine.close()
    engine = SqliteEngine(file)
    await engine.run(text("SELECT 1"))  # the writer has opened it too
    _make_unreadable(file)
    for question in (rows_of(Thing, id="7"), head_of("thing", "7")):
        with pytest.raises(errors.Transient, match="I/O"):
            await engine.find([question])
    await engine.close()


async def test_new_streams_are_version_one(store: Store, form: str) -> None:
    assert NEW == 0
    assert await commit(store, Change().owning(A), form) == Committed()
    assert await heads(store, A) == [Head("thing", "a", version=1)]
