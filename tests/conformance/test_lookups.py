"""Questions put together: each caller gets its own rows, or its own error, as if it had been alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime
from urllib.parse import urlsplit

import asyncpg
import pytest

from libs.common import errors
from libs.common.change import Change, Head
from libs.common.store import lanes
from libs.common.store.lookups import LARGEST, Lookups
from libs.common.store.seam import Asked, Lookup, Rows, head_of, rows_of
from libs.common.store.store import Store
from tests.conformance.conftest import Database, plain
from tests.conformance.things import Thing

pytestmark = pytest.mark.anyio

THING = Lookup("t_things", ("id",))
BAD = "bad"


class Table:
    """A database whose statements wait until they are let go, one after the other."""

    def __init__(self) -> None:
        self.asked: list[list[Asked]] = []
        self.gate = asyncio.Semaphore(0)
        self.error: type[Exception] = ValueError

    async def ask(self, asked: Sequence[Asked]) -> Sequence[Rows]:
        self.asked.append(list(asked))
        await self.gate.acquire()
        names = [key[0] for _, key in asked]
        if BAD in names:
            raise self.error
        return [[{"id": name}] if name != "none" else [] for name in names]


def things(*names: str) -> list[Asked]:
    return [(THING, (name,)) for name in names]


async def kept_busy(queue: Lookups, table: Table) -> list[asyncio.Task[Sequence[Rows]]]:
    """As many statements under way as may be."""
    busy = [Lookup("t_things", (f"column {n}",)) for n in range(lanes.LANES)]
    tasks = [asyncio.create_task(queue.find([(lookup, ("busy",))])) for lookup in busy]
    while len(table.asked) < lanes.LANES:  # noqa: ASYNC110 - they tell nobody that they have asked
        await asyncio.sleep(0)
    return tasks


async def everyone(table: Table, *names: str) -> list[Rows | BaseException]:
    """All ask at once, while as many statements as may be are under way."""
    queue = Lookups(table.ask)
    busy = await kept_busy(queue, table)
    asking = [asyncio.create_task(queue.find(things(name))) for name in names]
    await asyncio.sleep(0)
    for _ in range(lanes.LANES + 2 * len(names)):
        table.gate.release()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    await asyncio.gather(*busy)
    await queue.finish()
    return [answer if isinstance(answer, BaseException) else answer[0] for answer in answers]


async def test_those_that_wait_share_a_statement_and_equal_ones_a_key() -> None:
    table = Table()
    assert await everyone(table, "a", "b", "a", "none") == [[{"id": "a"}], [{"id": "b"}], [{"id": "a"}], []]
    assert table.asked[lanes.LANES :] == [things("a", "b", "none")]


async def test_one_that_spoils_the_statement_fails_alone() -> None:
    answers = await everyone(Table(), "a", "bad", "b")
    assert (answers[0], answers[2]) == ([{"id": "a"}], [{"id": "b"}])
    assert isinstance(answers[1], ValueError)


async def test_a_database_that_is_away_is_away_for_each() -> None:
    table = Table()
    table.error = errors.Transient
    answers = await everyone(table, "a", "bad", "bad")
    assert [type(answer) for answer in answers] == [errors.Transient] * 3
    assert len(table.asked) == lanes.LANES + 1, "each key waited for the database again"


async def test_who_leaves_takes_nobody_along() -> None:
    table = Table()
    queue = Lookups(table.ask)
    busy = await kept_busy(queue, table)
    leaving, staying = (asyncio.create_task(queue.find(things("a"))) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    for _ in range(lanes.LANES + 1):
        table.gate.release()
    assert await staying == [[{"id": "a"}]]
    await asyncio.gather(*busy)
    await queue.finish()


async def test_who_asks_several_tables_waits_for_one_statement() -> None:
    table = Table()
    other = Lookup("t_places", ("id",))
    queue = Lookups(table.ask)
    busy = await kept_busy(queue, table)
    asking = [asyncio.create_task(queue.find([*things(name), (other, (name,))])) for name in "ab"]
    await asyncio.sleep(0)
    for _ in range(lanes.LANES + 1):
        table.gate.release()
    assert await asyncio.gather(*asking) == [[[{"id": name}]] * 2 for name in "ab"]
    assert len(table.asked) == lanes.LANES + 1
    await asyncio.gather(*busy)


async def test_tables_that_many_ask_keep_nobody_from_others() -> None:
    table = Table()
    queue = Lookups(table.ask)
    busy = await kept_busy(queue, table)
    many = [asyncio.create_task(queue.find(things(f"{n}"))) for n in range(3 * LARGEST)]
    await asyncio.sleep(0)
    other = (Lookup("t_places", ("id",)), ("a",))
    asking = asyncio.create_task(queue.find([other]))
    await asyncio.sleep(0)
    for _ in range(lanes.LANES + 4):
        table.gate.release()
    await asyncio.gather(asking, *many, *busy)
    assert table.asked.index([other]) <= lanes.LANES + 1, "it waited until nobody asked the other table"


async def test_who_gives_up_waiting_for_the_end_takes_nobody_along() -> None:
    table = Table()
    queue = Lookups(table.ask)
    asking = asyncio.create_task(queue.find(things("a")))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await queue.finish()
    table.gate.release()
    async with asyncio.timeout(5):
        assert await asking == [[{"id": "a"}]]


async def test_many_at_once_each_find_their_own(store: Store) -> None:
    things = [Thing(id=f"thing {n}", count=n) for n in range(200)]
    heads = [Head("thing", thing.id) for thing in things]
    await store.commit(Change().owning(*heads).inserting(*things))

    async def look(n: int) -> tuple[int | None, int]:
        async with store.reading() as read:
            found = await read.one(Thing, id=f"thing {n}")
            return (found.count if found else None), (await read.head("thing", f"thing {n}")).version

    found = await asyncio.gather(*map(look, range(-50, 200)))
    assert found == [(None, 0)] * 50 + [(n, 1) for n in range(200)]


async def test_what_is_asked_together_is_as_it_was_at_one_moment(store: Store) -> None:
    """A row and its head move in one commit: no answer has one without the other."""
    head = Head("thing", "x")
    await store.commit(Change().owning(head).inserting(Thing(id="x", count=1)))
    done = asyncio.Event()

    async def move() -> None:
        for n in range(1, 60):
            await store.commit(Change().owning(head._replace(version=n)).putting(Thing(id="x", count=n + 1)))
        done.set()

    moving = asyncio.create_task(move())
    seen = set()
    while not done.is_set():
        async with store.reading() as read:
            await read.ahead(rows_of(Thing, id="x"), head_of("thing", "x"))
            thing = await read.one(Thing, id="x")
            assert thing
            assert thing.count == (await read.head("thing", "x")).version
            seen.add(thing.count)
        await asyncio.sleep(0)  # SQLite reads at once, and would leave the writer no turn
    await moving
    assert len(seen) > 5


async def test_an_answer_gives_back_what_was_written(store: Store) -> None:
    """By key as by statement, whatever the kind of column."""
    odd = Thing(id="奇 \\x00 ☃'\"", count=-5)
    await store.commit(Change().owning(Head("thing", "odd")).inserting(odd))
    async with store.reading() as read:
        assert await read.all(Thing, id=odd.id) == [odd] == await read.all(Thing)


@pytest.mark.parametrize("times", [2, 2 * LARGEST])
async def test_who_asks_the_same_often_is_answered_once(store: Store, times: int) -> None:
    await store.commit(Change().putting(Thing(id="x")))
    async with store.reading() as read:
        await read.ahead(*[rows_of(Thing, id="x")] * times)
        assert await read.all(Thing, id="x") == [Thing(id="x")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timezone", "Asia/Shanghai"),
        ("timezone", "America/New_York"),
        ("datestyle", "German"),
        ("bytea_output", "escape"),
        ("standard_conforming_strings", "off"),
    ],
)
async def test_no_setting_of_the_server_changes_an_answer(
    on_postgres: Database, name: str, value: str
) -> None:
    first, last = datetime(1, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
    odd = [
        Thing(id="first \\'", made_at=first, made_on=date(1, 1, 2), raw=bytes(range(256))),
        Thing(id="last", made_at=last, gone_at=last, made_on=date(9999, 12, 30)),
    ]
    (database,) = urlsplit(on_postgres.url).path.split("/")[1:]
    connection = await asyncpg.connect(plain(on_postgres.url))
    await connection.execute(f"ALTER DATABASE {database} SET {name} = '{value}'")
    try:
        store = on_postgres.open()
        await store.commit(Change().putting(*odd))
        async with store.reading() as read:
            assert [await read.one(Thing, id=thing.id) for thing in odd] == odd
    finally:
        await connection.execute(f"ALTER DATABASE {database} RESET {name}")
        await connection.close()
