"""P1 and P2: registering a clue (load, decide, commit) beside pgbench that only writes the same rows.

The peer sends, for each command, the five INSERTs that the command becomes, in one transaction; it reads
nothing and decides nothing. P2 adds HTTP: one worker with its loops at rest, tokens checked, bodies parsed.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import func, select

from benchmarks import callers
from benchmarks.machine import HANDLER, Machine, a_request, register
from benchmarks.table import Goal, Row, Table, pairs
from libs.common import edge
from libs.common.change import Change
from libs.common.seal import Keyring
from libs.common.settings import Settings
from libs.common.store import migrate
from libs.common.store.postgres import PostgresEngine
from libs.common.store.reading import table_of
from libs.common.store.rows import writes
from libs.common.store.schema import JournalEntry
from libs.common.store.seam import Outcome
from libs.common.store.store import Store
from libs.common.web import tokens
from services.cases.intake.api import REGISTER, ClueIn
from services.cases.intake.tables import Case
from tests.engines import server
from tests.engines.postgres import Postgres
from tests.worlds import cast

CLIENTS = 32
#: Seconds of one measurement.
SECONDS = 4.0
#: Seconds that no caller may have waited for one answer.
STARVED = 0.25

_PEER = "pgbench: the same five INSERTs, no reads"
_keys = itertools.count(1)


async def core(machine: Machine, table: Table, count: int) -> None:
    """P1: the command edge on the store, without HTTP."""
    clue = ClueIn(**cast.a_clue())
    done: list[callers.Worked] = []
    async with _cases(machine, "p1") as cases:

        async def call() -> None:
            await edge.command(cases.store, REGISTER, a_request(clue, f"k{next(_keys)}"))

        async def ours() -> float:
            done.append(await callers.drive(CLIENTS, SECONDS, call))
            return done[-1].rate

        figures = await pairs(count, ours, cases.peer)
        what = f"register a clue, {CLIENTS} callers, no HTTP"
        table.rows.append(Row("P1", what, _PEER, "/s", *figures, Goal(1.0)))
        await check(table, "P1", cases.store, 1 + sum(worked.count for worked in done))
    longest = max(worked.longest for worked in done[1:])
    table.gate("P1", f"no caller waited {STARVED * 1000:.0f} ms ({longest * 1000:.0f})", longest < STARVED)


async def over_http(machine: Machine, table: Table, count: int) -> None:
    """P2: the same through the API of one worker."""
    done: list[callers.Worked] = []
    directory, body = machine.directory(), orjson.dumps(cast.a_clue())
    settings = Settings(data=directory)
    issuer = tokens.Issuer(Keyring.at(settings.key_directory).tokens, settings.issuer, settings.audience)
    token = issuer.issue(HANDLER.person, HANDLER.agency, HANDLER.roles, 3600)
    async with _cases(machine, "p2") as cases:
        with _worker(directory, cases.url) as port:

            async def ours() -> float:
                done.append(await callers.over_sockets(port, "/v1/clues", token, body, CLIENTS, SECONDS))
                return done[-1].rate

            figures = await pairs(count, ours, cases.peer)
        what = f"the same over HTTP, {CLIENTS} connections, one worker"
        table.rows.append(Row("P2", what, _PEER, "/s", *figures, Goal(0.5)))
        await check(table, "P2", cases.store, 1 + sum(worked.count for worked in done))


class _Keeping(Store):
    """A store that remembers the last Change it was given."""

    last = Change()

    async def commit(self, change: Change) -> Outcome:
        self.last = change
        return await super().commit(change)


@dataclass
class _Cases:
    """The store of a `cases` with its register filled, and a twin of its database for the peer."""

    store: Store
    url: str
    twin: str
    script: Path
    postgres: Postgres

    async def peer(self) -> float:
        """Transactions a second of pgbench."""
        program = str(self.postgres.programs / "pgbench")
        how = ["-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-T", str(int(SECONDS))]
        where = ["-h", "127.0.0.1", "-p", str(self.postgres.port), "-U", "liandong"]
        done = await asyncio.to_thread(
            subprocess.run,
            [program, *how, "-f", str(self.script), *where, self.twin],
            check=True,
            capture_output=True,
            text=True,
        )
        found = re.search(r"tps = ([\d.]+)", done.stdout)
        assert found, done.stdout
        return float(found[1])


@asynccontextmanager
async def _cases(machine: Machine, name: str) -> AsyncIterator[_Cases]:
    url, twin = (machine.postgres.database(f"{name}_{role}") for role in ("cases", "twin"))
    for each in (url, twin):
        await migrate.upgrade(each, "cases")
    script = machine.directory() / "same_rows.sql"
    store = _Keeping(PostgresEngine(url))
    try:
        await register(store)
        await edge.command(store, REGISTER, a_request(ClueIn(**cast.a_clue()), "sample"))
        script.write_text(_same_rows(store.last), encoding="utf-8")
        yield _Cases(store, url, f"{name}_twin", script, machine.postgres)
    finally:
        await store.close()


def _same_rows(change: Change) -> str:
    """The transaction that writes, under a new id each time, the rows that a command of ours writes."""
    (head,) = change.heads_after()
    ends = {"kind": head.kind, "id": head.id, "version": 1, "seq": head.seq, "digest": head.digest}
    rows = [("heads", ends), *((table, row) for table, _, rows in writes(change) for row in rows)]
    assert len(rows) == 5
    inserts = [
        f"INSERT INTO {table} ({', '.join(map(_quoted, row))})"
        f" VALUES ({', '.join(_literal(name, value, head.id) for name, value in row.items())});"
        for table, row in rows
    ]
    return "\n".join(
        ["\\set a random(1, 2000000000)", "\\set b random(1, 2000000000)", "BEGIN;", *inserts, "COMMIT;"]
    )


def _quoted(name: str) -> str:
    return f'"{name}"'


def _literal(name: str, value: Any, id_: str) -> str:
    """A value as SQL; what must differ from row to row is two random numbers, as long as the id."""
    if value == id_ or name == "key":
        return "lpad(:a::varchar || '-' || :b::varchar, 36, '0')"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    if isinstance(value, dict):
        return "'{}'"
    if isinstance(value, date | datetime):
        return f"'{value.isoformat()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else str(value)


@contextmanager
def _worker(directory: Path, url: str) -> Iterator[int]:
    """A worker process of `cases` on this database, until the block ends; gives its port."""
    port = server.free_port()
    program = [sys.executable, "-m", "benchmarks.worker", str(directory), url, str(port)]
    worker = server.Server(program, log=directory / "worker.log")
    worker.start(lambda: server.answers(port))
    try:
        yield port
    finally:
        worker.stop()


async def check(table: Table, path: str, store: Store, acknowledged: int) -> None:
    """All that was acknowledged is there, once."""
    cases, journal = table_of(Case), table_of(JournalEntry)
    facts = select(func.count(), func.count(journal.c.id.distinct()), func.max(journal.c.seq))
    async with store.reading() as read:
        (stored,) = await read.rows(select(func.count().label("n")).select_from(cases))
        ((written, streams, last),) = [tuple(row.values()) for row in await read.rows(facts)]
    promise = f"{acknowledged} acknowledged: so many cases, each with its one fact"
    table.gate(path, promise, stored["n"] == written == streams == acknowledged and last == 1)
