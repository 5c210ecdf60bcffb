"""PostgreSQL keeps the plans of our statements: to plan one takes longer than to run it."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from libs.common.change import Change, Head
from libs.common.store.postgres import PostgresEngine
from libs.common.store.seam import head_of, rows_of
from libs.common.store.store import Store
from tests.conformance.conftest import POSTGRES, Database
from tests.conformance.things import Thing

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("database_kind", [POSTGRES], indirect=True)]

#: A server plans so many times with the values given before it compares.
TRIED = 5
TIMES = 3 * TRIED

_PLANNED = text(
    "SELECT statement, custom_plans FROM pg_prepared_statements"
    " WHERE (generic_plans + custom_plans) >= :times AND statement !~ 'pg_prepared'"
)


async def test_statements_that_come_again_are_not_planned_again(database: Database) -> None:
    engine = PostgresEngine(database.url, connections=1)
    database.opened.append(engine)
    store = Store(engine)
    for n in range(TIMES):
        # Each alone, then together: with heads that are new, that are moved, and that are relied on.
        first, second, third = (Head("thing", f"{n}.{m}") for m in range(3))
        moved = first._replace(version=1)
        await store.commit(Change().owning(first).inserting(Thing(id=first.id)))
        await store.commit(Change().owning(moved).putting(Thing(id=first.id, count=1)))
        moved = first._replace(version=2)
        await asyncio.gather(
            store.commit(Change().owning(second).inserting(Thing(id=second.id))),
            store.commit(Change().owning(third).inserting(Thing(id=third.id)).relying_on(moved)),
        )
        async with store.reading() as read:
            await read.ahead(head_of("thing", first.id), rows_of(Thing, id=third.id))
            assert await read.one(Thing, id=third.id)
    planned = {row["statement"]: row["custom_plans"] for row in await engine.run(_PLANNED, {"times": TIMES})}
    assert len(planned) == 4, "one statement for each way to commit, and one that reads"
    assert all(often <= TRIED for often in planned.values()), planned
