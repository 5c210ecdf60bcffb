"""One process's way to a database, over a network that may fail.

A request is on its way, takes effect in one moment, and its answer is on its way back: a process may be
stopped in between, and either may be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Executable

from libs.common.change import Change
from libs.common.store.seam import Asked, Lookup, Outcome, Rows
from libs.common.store.sqlite import SqliteEngine
from tests.simulation.database import Database
from tests.simulation.network import Network
from tests.simulation.processes import Process

T = TypeVar("T")


class Engine:
    """What the product's engines are, for one process."""

    NOW = "simulated_now()"
    NUMBERS = SqliteEngine.NUMBERS

    def __init__(self, process: Process, network: Network, database: Database) -> None:
        self._process = process
        self._network = network
        self._promises = network.promises
        self._database = database

    async def commit(self, change: Change) -> Outcome:
        def effect() -> Outcome:
            outcome = self._database.commit(change)
            self._promises.committed(outcome)
            return outcome

        return await self._network.call(self._process, "commit", effect)

    async def run(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        def effect() -> Rows:
            rows = self._database.rows(statement, parameters)
            self._promises.wrote(self._process, statement, rows)
            return rows

        return await self._network.call(self._process, "run", effect)

    async def find(self, asked: Sequence[Asked]) -> Sequence[Rows]:
        return await self._asked(lambda: self._database.found(asked))

    async def scan(self, lookup: Lookup, clause: str) -> Rows:
        return await self._asked(lambda: self._database.scanned(lookup, clause))

    async def fetch(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Rows:
        return await self._asked(lambda: self._database.rows(statement, parameters))

    async def _asked(self, question: Callable[[], T]) -> T:
        if self._network.chance.random() < 0.05:
            await self._network.travel(self._process)  # every connection is in use
        return await self._network.ask(self._process, question)

    async def announce(self) -> None:
        self._network.announce()

    async def listen(self, heard: Callable[[], None]) -> None:
        self._network.listen(self._process, heard)
        await asyncio.Event().wait()

    async def close(self) -> None: ...
