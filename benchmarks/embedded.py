"""P9: registering a clue on the embedded engine, beside sqlite3 doing the same for one caller.

The peer reads the same rows, decides with the same rules and writes the same rows, each command in a
transaction of its own, `synchronous=FULL`, with nothing in between: no edge, no queue, no second thread.
"""

from __future__ import annotations

import functools
import itertools
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import callers
from benchmarks.commands import check
from benchmarks.machine import HANDLER, Machine, a_request, register
from benchmarks.table import Goal, Row, Table, pairs
from libs.common import edge
from libs.common.change import Head
from libs.common.clock import monotonic
from libs.common.store import migrate
from libs.common.store.rows import writes
from libs.common.store.sqlite import SqliteEngine
from libs.common.store.store import Store
from services.cases.intake.api import REGISTER, ClueIn
from services.cases.intake.rules import Receiving
from services.cases.register.rules import Competence
from services.cases.register.tables import Agency, Grant, Power
from tests.worlds import cast

SECONDS = 3.0
#: Callers, and the ratio that they should reach together.
GOALS = {8: 1.6, 32: 2.8}

_keys = itertools.count(1)


async def commands(machine: Machine, table: Table, count: int) -> None:
    """P9, for each number of callers."""
    for many, goal in GOALS.items():
        await _beside(machine, table, count, many, Goal(goal))


async def _beside(machine: Machine, table: Table, count: int, many: int, goal: Goal) -> None:
    place, clue = machine.directory(), ClueIn(**cast.a_clue())
    plain_store, store = await _filled(place / "peer"), await _filled(place / "ours")
    await plain_store.close()
    done: list[int] = []

    async def call() -> None:
        await edge.command(store, REGISTER, a_request(clue, f"k{next(_keys)}"))

    async def ours() -> float:
        worked = await callers.drive(many, SECONDS, call)
        done.append(worked.count)
        return worked.rate

    with closing(_Plain(place / "peer")) as plain:

        async def peer() -> float:
            return plain.rate(clue)

        figures = await pairs(count, ours, peer)
    what = f"embedded: register a clue, {many} callers, FULL"
    table.rows.append(Row("P9", what, "sqlite3, the same by one caller", "/s", *figures, goal))
    await check(table, f"P9, {many} callers", store, sum(done))
    await store.close()


async def _filled(path: Path) -> Store:
    await migrate.upgrade(path, "cases")
    store = Store(SqliteEngine(path))
    await register(store)
    return store


class _Plain:
    """One caller and one connection."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._db.execute(f"PRAGMA {pragma}")

    def rate(self, clue: ClueIn) -> float:
        began, count = monotonic(), 0
        while monotonic() - began < SECONDS:
            self._register(a_request(clue, f"k{next(_keys)}"))
            count += 1
        return count / (monotonic() - began)

    def close(self) -> None:
        self._db.close()

    def _register(self, request: edge.Request[ClueIn]) -> None:
        power = request.body.power
        facts = Receiving(
            receiver=Agency.stored(self._rows("agencies", "id", HANDLER.agency)[0]),
            competence=Competence(
                head=Head(**self._rows("heads", "id", power)[0]),
                power=Power.stored(self._rows("powers", "code", power)[0]),
                grants=tuple(Grant.stored(row) for row in self._rows("grants", "power", power)),
            ),
        )
        change = REGISTER.decide(facts, request)
        (head,) = change.heads_after()
        public = change.facts[0].public
        self._db.execute("BEGIN IMMEDIATE")
        self._insert(
            "heads", {"kind": head.kind, "id": head.id, "version": 1, "seq": 1, "digest": head.digest}
        )
        for table, _, rows in writes(change):
            for row in rows:
                self._insert(table, row)
        answer = {"scope": request.scope, "key": request.key, "request": request.digest, "status": 201}
        kept = {**answer, "body": public, "headers": "{}", "at": request.at.now}
        self._insert("answers", kept)
        self._db.execute("COMMIT")

    def _rows(self, table: str, column: str, value: str) -> list[dict[str, Any]]:
        found = self._db.execute(f"SELECT * FROM {table} WHERE {column} = ?", (value,))
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        values = [str(value) if isinstance(value, date) else value for value in row.values()]
        self._db.execute(_insert(table, tuple(row)), values)


@functools.lru_cache
def _insert(table: str, names: tuple[str, ...]) -> str:
    columns = ", ".join(f'"{name}"' for name in names)
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(names))})"
