"""Migrations lead from nothing to the tables that the code knows, on both engines, whole or not at all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, inspect, text

from libs.common import errors
from libs.common.store import migrate
from libs.common.store.migrate import Database
from tests.engines.postgres import Postgres

pytestmark = pytest.mark.anyio

SERVICES = ("cases", "notify", "sharing")


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Database]:
    """Makes empty databases by name."""
    if request.param == "sqlite":
        return lambda name: tmp_path / f"{name}.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    return lambda name: postgres.database(f"migrated_{name}")


def known(service: str) -> MetaData:
    """The service's tables as its code knows them."""
    metadata: MetaData = import_module(f"services.{service}.migrations").METADATA
    return metadata


def execute(statement: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        with connection.begin():
            connection.execute(text(statement))

    return work


def differences(metadata: MetaData) -> Callable[[Connection], list[Any]]:
    def work(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    return work


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


@pytest.mark.parametrize("service", SERVICES)
async def test_from_nothing_they_lead_to_what_the_code_knows(
    empty: Callable[[str], Database], service: str
) -> None:
    database = empty(service)
    await migrate.upgrade(database, service)
    await migrate.check(database, service)
    assert await migrate.run(database, differences(known(service))) == []


async def test_migrating_again_changes_nothing(empty: Callable[[str], Database]) -> None:
    database = empty("again")
    await migrate.upgrade(database, "cases")
    insert = "INSERT INTO parties (\"case\", agency, relation) VALUES ('c1', 'a1', 'holder')"
    await migrate.run(database, execute(insert))
    await migrate.upgrade(database, "cases")
    rows = await migrate.run(database, lambda c: c.execute(text("SELECT agency FROM parties")).all())
    assert [tuple(row) for row in rows] == [("a1",)]


async def test_processes_that_migrate_at_once_take_turns(empty: Callable[[str], Database]) -> None:
    database = empty("turns")
    upgrade = f"asyncio.run(migrate.upgrade({database!r}, 'cases'))"
    program = f"import asyncio; from pathlib import *; from libs.common.store import migrate; {upgrade}"
    started = [await asyncio.create_subprocess_exec(sys.executable, "-c", program) for _ in range(3)]
    assert [await process.wait() for process in started] == [0, 0, 0]
    await migrate.check(database, "cases")


async def test_callers_in_one_process_take_turns(empty: Callable[[str], Database]) -> None:
    first, second = empty("first"), empty("second")
    await asyncio.gather(migrate.upgrade(first, "cases"), migrate.upgrade(second, "notify"))
    await asyncio.gather(migrate.check(first, "cases"), migrate.check(second, "notify"))


async def test_an_empty_database_is_refused(empty: Callable[[str], Database]) -> None:
    database = empty("empty")
    with pytest.raises(migrate.WrongRevision, match="liandong migrate cases"):
        await migrate.check(database, "cases")


async def test_a_database_of_another_revision_is_refused(empty: Callable[[str], Database]) -> None:
    database = empty("other")
    await migrate.upgrade(database, "cases")
    await migrate.run(database, execute("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(migrate.WrongRevision, match="9999"):
        await migrate.check(database, "cases")
    with pytest.raises(migrate.WrongRevision, match="比本程序新"):
        await migrate.upgrade(database, "cases")


async def test_a_step_that_fails_leaves_nothing_behind(empty: Callable[[str], Database]) -> None:
    database = empty("failing")
    await migrate.run(database, execute("CREATE TABLE transfers (id integer)"))
    with pytest.raises(Exception, match="already exists"):
        await migrate.upgrade(database, "cases")
    assert await migrate.run(database, tables) == {"transfers"}


async def test_a_database_that_is_down_is_not_a_wrong_revision() -> None:
    with pytest.raises(errors.Transient):
        await migrate.check("postgresql+asyncpg://liandong@127.0.0.1:1/cases", "cases")
