"""The runbook's one procedure that changes databases by hand is rehearsed as it is written."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from libs.common.permit import Role
from services import parts
from tests.worlds import cast, deployment
from tests.worlds.deployment import County

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.anyio


def statements() -> list[str]:
    """The SQL of the runbook, in order."""
    text = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    return [found.strip() for found in re.findall(r"```sql\n(.*?)```", text, re.DOTALL)]


async def told(county: County) -> list[str]:
    """What the township's inbox says, oldest first."""
    inbox = county.ask("notify", cast.TOWNSHIP)
    titles, cursor = [], None
    while True:
        page = (await inbox.get("/v1/inbox", params={"cursor": cursor} if cursor else {})).json()
        titles += [notice["title"] for notice in page["data"]]
        if not (cursor := page["next"]):
            return titles[::-1]


async def positions(county: County) -> list[tuple[str, str]]:
    """The log as the coordinators see it: which event stands where."""
    reader = county.ask("sharing", cast.OFFICE, Role.COORDINATOR)
    entries = (await reader.get("/v1/feeds/cases", params={"limit": 200})).json()
    return [(entry["id"], entry["originid"]) for entry in entries]


async def test_a_replaced_log_is_filled_again_and_nothing_is_lost_or_told_twice(tmp_path: Path) -> None:
    async with deployment.on_embedded(tmp_path) as county:
        await cast.register(county)
        handler = county.ask("cases", cast.TOWNSHIP)
        await cast.post(handler, "/v1/clues", cast.a_clue())
        async with county.running():
            await county.quiet()
        before, seen = await told(county), await positions(county)
        assert before
        assert seen
        # This one is published, and nobody has read it when the log is lost.
        await cast.post(handler, "/v1/clues", cast.a_clue())
        async with county.loops("cases").running():
            await deployment.until(lambda: published(county))

    for file in (tmp_path / "data").glob("log.db*"):
        file.unlink()

    async with deployment.on_embedded(tmp_path) as county, county.running():
        await deployment.until(lambda: stopped(county))
        assert (await told(county), await positions(county)) == (before, seen)

    for name in parts.NAMES:
        with sqlite3.connect(tmp_path / "data" / f"{name}.db") as database:
            for statement in statements():
                database.execute(statement)
        database.close()

    async with deployment.on_embedded(tmp_path) as county:
        async with county.running():
            await county.quiet()
        assert (await told(county))[: len(before)] == before
        assert len(await told(county)) == len(before) + 1
        assert (await positions(county))[: len(seen)] == seen
        assert len(await positions(county)) == len(seen) + 1


async def published(county: County) -> bool:
    return (await county.loops("cases").store.outbox()).depth == 0


async def stopped(county: County) -> bool:
    """Whether every consumer has seen that this is another log, and stands still."""
    return all(county.loops(name).consumer.stopped for name in parts.NAMES)


def test_the_runbook_changes_databases_by_these_statements_alone() -> None:
    assert [statement.split(" SET ")[0] for statement in statements()] == [
        "UPDATE positions",
        "UPDATE journal",
    ]
