"""Lookups that are put together: each caller gets its own rows, or its own error, as if it had been alone."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest

from libs.common import errors
from libs.common.change import Change, Head
from libs.common.store import lanes
from libs.common.store.engine import Key, Lookup, Rows
from libs.common.store.lookups import Lookups
from libs.common.store.store import Store
from tests.conformance.things import Thing

pytestmark = pytest.mark.anyio

THING = Lookup("t_things", ("id",))
BAD = ("bad",)


class Table:
    """A database whose statements wait until they are let go, one after the other."""

    def __init__(self) -> None:
        self.asked: list[list[Key]] = []
        self.gate = asyncio.Semaphore(0)
        self.error: type[Exception] = ValueError

    async def ask(self, lookup: Lookup, keys: Sequence[Key]) -> Sequence[Rows]:
        self.asked.append(list(keys))
        await self.gate.acquire()
        if BAD in keys:
            raise self.error
        return [[{"id": key[0]}] if key[0] != "none" else [] for key in keys]


async def kept_busy(queue: Lookups, table: Table) -> list[asyncio.Task[Sequence[Rows]]]:
    """As many statements under way as may be."""
    busy = [Lookup("t_things", (f"column {n}",)) for n in range(lanes.LANES)]
    tasks = [asyncio.create_task(queue.find(lookup, [("busy",)])) for lookup in busy]
    while len(table.asked) < lanes.LANES:  # noqa: ASYNC110 - they tell nobody that they have asked
        await asyncio.sleep(0)
    return tasks


async def everyone(table: Table, *names: str) -> list[Rows | BaseException]:
    """All ask at once, while as many statements as may be are under way."""
    queue = Lookups(table.ask)
    busy = await kept_busy(queue, table)
    asking = [asyncio.create_task(queue.find(THING, [(name,)])) for name in names]
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
    assert table.asked[lanes.LANES :] == [[("a",), ("b",), ("none",)]]


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
    leaving, staying = (asyncio.create_task(queue.find(THING, [("a",)])) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    for _ in range(lanes.LANES + 1):
        table.gate.release()
    assert await staying == [[{"id": "a"}]]
    await asyncio.gather(*busy)
    await queue.finish()


async def test_an_outage_is_told_once_to_who_asked_for_several() -> None:
    """Whoever is told by one key does not ask the others: the loop must not complain of them."""
    table, complaints = Table(), list[object]()
    table.error = errors.Transient
    table.gate.release()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    asking = asyncio.create_task(Lookups(table.ask).find(THING, [("a",), BAD, ("b",)]))
    await asyncio.wait([asking])
    assert isinstance(asking.exception(), errors.Transient)
    del asking
    gc.collect()
    assert complaints == []


async def test_who_gives_up_waiting_for_the_end_takes_nobody_along() -> None:
    table = Table()
    queue = Lookups(table.ask)
    asking = asyncio.create_task(queue.find(THING, [("a",)]))
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
