"""One service's store: commit, reads, the outbox side of the journal, positions and leases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import orjson
from sqlalchemy import bindparam, func, select, text

from libs.common.change import Answer, Change
from libs.common.store import schema
from libs.common.store.reading import Reader
from libs.common.store.seam import Committed, Conflict, Engine, FenceLost, Lookup, Outcome
from libs.common.telemetry import Commit

_JOURNAL = schema.table(schema.JournalRow)
_ANSWERS = schema.table(schema.AnswerRow)
_ANSWER = Lookup("answers", ("scope", "key"))


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition as this process has just claimed it."""

    epoch: int
    next: int
    last_id: str


@dataclass(frozen=True, slots=True)
class Lease:
    """Leave to run a loop that must run once; lost as soon as another epoch stands in the row."""

    name: str
    holder: str
    epoch: int


class Unpublished(NamedTuple):
    """Of a journal row, what publishing it needs."""

    position: int
    seq: int
    public: bytes
    private: bytes
    salt: bytes
    digest: bytes
    traceparent: str


@dataclass(frozen=True, slots=True)
class Outbox:
    """How much is stored and not yet published."""

    depth: int
    oldest: datetime | None


class Store:
    """All that a service stores. Only `commit` changes what the service owns."""

    def __init__(self, engine: Engine, *, told: Callable[[Commit], None] = lambda result: None) -> None:
        """`told` hears how each commit ended."""
        self._engine = engine
        self._told = told
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._grown: list[Callable[[], None]] = []

    async def commit(self, change: Change) -> Outcome:
        """Store all of `change` or nothing, conditional on every head being as it was read."""
        outcome = await self._engine.commit(change)
        self._told(_RESULTS[type(outcome)])
        if change.facts and isinstance(outcome, Committed):
            await self.grown()
        return outcome

    def reading(self) -> Reader:
        """To be entered with `async with`."""
        return Reader(self._engine)

    @asynccontextmanager
    async def streams(self, names: Iterable[str]) -> AsyncIterator[None]:
        """Hold this process's lock of each stream, in one order: neighbours queue instead of conflicting."""
        held: list[tuple[str, asyncio.Lock]] = []
        try:
            for name in sorted(set(names)):
                lock, users = self._locks.get(name) or (asyncio.Lock(), 0)
                self._locks[name] = (lock, users + 1)
                try:
                    await lock.acquire()
                except BaseException:
                    self._leave(name)
                    raise
                held.append((name, lock))
            yield
        finally:
            for name, lock in reversed(held):
                lock.release()
                self._leave(name)

    async def answered(self, scope: str, key: str) -> Answer | None:
        """The committed answer under this Idempotency-Key, if there is one."""
        (found,) = await self._engine.find([(_ANSWER, (scope, key))])
        return Answer(**found[0]) if found else None

    def on_growth(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever facts were committed, here or (if the engine can tell) elsewhere."""
        self._grown.append(wake)

    async def grown(self) -> None:
        """Facts were committed in this process: wake the relay, wherever it runs."""
        self._wake()
        await self._engine.announce()

    async def listen(self) -> None:
        """Hear of growth in other processes until cancelled. Raises Transient when the connection is lost."""
        await self._engine.listen(self._wake)

    async def unpublished(self, most: int) -> list[Unpublished]:
        """Journal rows not yet published, in order: per stream that is the order of seq."""
        clause = f"WHERE published_at IS NULL ORDER BY position LIMIT {most:d}"
        return [Unpublished(**row) for row in await self._engine.scan(_UNPUBLISHED, clause)]

    async def outbox(self) -> Outbox:
        statement = select(func.count().label("depth"), func.min(_JOURNAL.c.recorded_at).label("oldest"))
        async with self.reading() as read:
            rows = await read.rows(statement.where(_JOURNAL.c.published_at.is_(None)))
        return Outbox(**rows[0])

    async def mark_published(self, positions: Sequence[int], *, at: datetime, lease: Lease) -> bool:
        """Mark rows as published while `lease` is held; False when it is lost and nothing was marked."""
        statement = text(_MARK.replace("$positions", self._engine.NUMBERS.format(":positions")))
        parameters = {
            "positions": orjson.dumps(positions).decode(),
            "at": at,
            "name": lease.name,
            "holder": lease.holder,
            "epoch": lease.epoch,
        }
        typed = statement.bindparams(bindparam("at", type_=schema.UtcDateTime()))
        return bool(await self._engine.run(typed, parameters))

    async def claim(self, group: str, topic: str, partition: int) -> Claim:
        """Raise the partition's epoch and read where it stands: whoever claimed before loses the fence."""
        rows = await self._engine.run(_CLAIM, {"group": group, "topic": topic, "partition": partition})
        return Claim(**rows[0])

    async def lease(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take or renew a lease on database time; None while another holds it."""
        statement = text(_LEASE.replace("$now", self._engine.NOW))
        rows = await self._engine.run(statement, {"name": name, "holder": holder, "seconds": seconds})
        return Lease(name, holder, rows[0]["epoch"]) if rows else None

    async def release(self, lease: Lease) -> None:
        """Let the next one in at once instead of after the lease has run out."""
        await self._engine.run(_RELEASE, {"name": lease.name, "holder": lease.holder, "epoch": lease.epoch})

    async def forget_answers(self, before: datetime) -> int:
        """Drop answers older than `before`; gives their number."""
        gone = _ANSWERS.delete().where(_ANSWERS.c.at < before).returning(_ANSWERS.c.key)
        return len(await self._engine.run(gone))

    async def close(self) -> None:
        await self._engine.close()

    def _wake(self) -> None:
        for wake in self._grown:
            wake()

    def _leave(self, name: str) -> None:
        lock, users = self._locks[name]
        if users == 1:
            del self._locks[name]
        else:
            self._locks[name] = (lock, users - 1)


_UNPUBLISHED = Lookup("journal", Unpublished._fields)
_RESULTS: Mapping[type, Commit] = {
    Committed: "committed",
    Conflict: "conflict",
    FenceLost: "fence_lost",
}
_CLAIM = text(
    'INSERT INTO positions ("group", topic, partition, epoch, next, last_id)'
    " VALUES (:group, :topic, :partition, 1, 0, '')"
    ' ON CONFLICT ("group", topic, partition) DO UPDATE SET epoch = positions.epoch + 1'
    " RETURNING epoch, next, last_id"
)
_MARK = (
    "UPDATE journal SET published_at = :at WHERE position IN ($positions) AND EXISTS"
    " (SELECT 1 FROM leases WHERE name = :name AND holder = :holder AND epoch = :epoch) RETURNING position"
)
_LEASE = (
    "INSERT INTO leases (name, holder, epoch, until) VALUES (:name, :holder, 1, $now + :seconds)"
    " ON CONFLICT (name) DO UPDATE SET holder = :holder, until = $now + :seconds,"
    " epoch = leases.epoch + CASE WHEN leases.holder = :holder THEN 0 ELSE 1 END"
    " WHERE leases.holder = :holder OR leases.until < $now RETURNING epoch"
)
_RELEASE = text("UPDATE leases SET until = 0 WHERE name = :name AND holder = :holder AND epoch = :epoch")
