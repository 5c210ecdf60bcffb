"""The embedded event log: append-only, kept over restarts, one position per consumer group.

It is a log and not a call: subscribers called synchronously would let a fault in one service stop another.
Records live in one SQLite file; positions live with their consumers, as they do with Kafka.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import orjson

from libs.common import errors
from libs.common.log.seam import (
    OffsetLost,
    Outgoing,
    Partition,
    Polled,
    Record,
    Subscription,
    TopicMismatch,
    partition_of,
)

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS topics (topic TEXT PRIMARY KEY, partitions INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    topic TEXT, partition INTEGER, "offset" INTEGER, key BLOB, value BLOB, headers TEXT,
    PRIMARY KEY (topic, partition, "offset")
) WITHOUT ROWID;
"""
_READ = 'SELECT "offset", key, value, headers FROM records WHERE topic = ? AND partition = ?'


class EmbeddedLog:
    """One file, one process, the same promises as Kafka's log."""

    def __init__(self, path: Path, *, partitions: int = 4) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(_SCHEMA)
        # Read over the writing connection, a record could be seen that is then rolled back.
        self._reader = sqlite3.connect(path, isolation_level=None)
        self._partitions = partitions
        self._writing = asyncio.Lock()
        self._members: dict[str, list[_Member]] = {}

    async def prepare(self, topics: Sequence[str]) -> None:
        async with self._writing:
            for topic in topics:
                self._db.execute("INSERT OR IGNORE INTO topics VALUES (?, ?)", (topic, self._partitions))
        for topic in topics:
            if self._partitions_of(topic) != self._partitions:
                raise TopicMismatch(topic, self._partitions_of(topic), self._partitions)

    async def publish(self, topic: str, outgoing: Sequence[Outgoing], *, within: float) -> list[bool]:
        partitions = self._partitions_of(topic)
        placed = [(partition_of(record.key, partitions), record) for record in outgoing]
        # A thread that writes cannot be called back: after the deadline it keeps its turn until it has ended.
        appending = asyncio.create_task(self._append_in_turn(topic, placed))
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(appending)
        except (sqlite3.Error, TimeoutError) as error:
            raise errors.Transient(f"嵌入式日志不可写：{error}") from error
        return [True] * len(outgoing)

    async def subscribe(self, group: str, topics: Sequence[str]) -> Subscription:
        member = _Member(self, group, topics)
        self._members.setdefault(group, []).append(member)
        self._rebalance(group)
        return member

    async def read_at(self, partition: Partition, offset: int) -> Record | None:
        found = self.read_from(partition, offset, 1)
        return found[0] if found and found[0].offset == offset else None

    async def ready(self) -> None:
        try:
            self._reader.execute("SELECT 1")
        except sqlite3.Error as error:
            raise errors.Transient(f"嵌入式日志不可读：{error}") from error

    async def close(self) -> None:
        async with self._writing:
            self._reader.close()
            self._db.close()

    def read_from(self, partition: Partition, offset: int, most: int) -> list[Record]:
        """Records from `offset` on, in order."""
        rows = self._reader.execute(
            f'{_READ} AND "offset" >= ? ORDER BY "offset" LIMIT ?',
            (partition.topic, partition.number, offset, most),
        )
        return [
            Record(
                partition, at, key, value, tuple((n, v.encode("latin-1")) for n, v in orjson.loads(headers))
            )
            for at, key, value, headers in rows
        ]

    def end_of(self, partition: Partition) -> int:
        """The offset after the newest record."""
        return _end(self._reader, partition)

    def leave(self, member: _Member) -> None:
        """Give a member's partitions to the others of its group."""
        members = self._members.get(member.group, [])
        if member in members:
            members.remove(member)
            self._rebalance(member.group)

    async def _append_in_turn(self, topic: str, placed: Sequence[tuple[int, Outgoing]]) -> None:
        async with self._writing:
            await asyncio.to_thread(self._append, topic, placed)
        self._wake()

    def _append(self, topic: str, placed: Sequence[tuple[int, Outgoing]]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for number, record in placed:
                # Headers are bytes of any kind; Latin-1 has a character for each.
                headers = orjson.dumps([(name, value.decode("latin-1")) for name, value in record.headers])
                at = _end(self._db, Partition(topic, number))
                row = (topic, number, at, record.key.encode(), record.value, headers.decode())
                self._db.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", row)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def _partitions_of(self, topic: str) -> int:
        found = self._reader.execute("SELECT partitions FROM topics WHERE topic = ?", (topic,)).fetchone()
        if found is None:
            raise errors.Transient(f"主题 {topic} 不存在")
        return int(found[0])

    def _rebalance(self, group: str) -> None:
        """Deal the group's partitions round to its members."""
        members = self._members[group]
        shares: dict[int, set[Partition]] = {n: set() for n in range(len(members))}
        topics = sorted({topic for member in members for topic in member.topics})
        every = [Partition(t, n) for t in topics for n in range(self._partitions_of(t))]
        for place, partition in enumerate(every):
            shares[place % len(members)].add(partition)
        for n, member in enumerate(members):
            member.assign(shares[n])

    def _wake(self) -> None:
        for members in self._members.values():
            for member in members:
                member.wake()


class _Member:
    """One member of a consumer group."""

    def __init__(self, log: EmbeddedLog, group: str, topics: Sequence[str]) -> None:
        self.group = group
        self.topics = tuple(topics)
        self._log = log
        self._awake = asyncio.Event()
        self._given: set[Partition] = set()
        self._taken: set[Partition] = set()
        self._next: dict[Partition, int | None] = {}

    async def poll(self, *, most: int, within: float) -> Polled:
        self._awake.clear()
        polled = self._collect(most)
        if not (polled.assigned or polled.revoked or polled.records):
            try:
                async with asyncio.timeout(within):
                    await self._awake.wait()
            except TimeoutError:
                return Polled()
            polled = self._collect(most)
        return polled

    def seek(self, partition: Partition, offset: int) -> None:
        # One that was taken and given back meanwhile waits until that has been reported.
        if partition in self._next and partition not in self._given:
            self._next[partition] = offset

    def end(self, partition: Partition) -> int | None:
        return self._log.end_of(partition)

    async def close(self) -> None:
        self._log.leave(self)

    def assign(self, partitions: set[Partition]) -> None:
        """Take up these partitions and no others; new ones wait for `seek`."""
        had = set(self._next)
        self._given = (self._given | (partitions - had)) & partitions
        self._taken |= had - partitions
        self._next = {partition: self._next.get(partition) for partition in sorted(partitions, key=str)}
        self.wake()

    def wake(self) -> None:
        self._awake.set()

    def _collect(self, most: int) -> Polled:
        self._refuse_lost()
        given, self._given = frozenset(self._given), set()
        taken, self._taken = frozenset(self._taken), set()
        records: dict[Partition, Sequence[Record]] = {}
        for partition, offset in list(self._next.items()):
            if offset is None or most <= 0 or partition in given:
                continue
            found = self._log.read_from(partition, offset, most)
            if found:
                records[partition] = found
                # To the end of the queue, so that a busy partition does not starve the others.
                del self._next[partition]
                self._next[partition] = found[-1].offset + 1
                most -= len(found)
        return Polled(given, taken, records)

    def _refuse_lost(self) -> None:
        """Before anything is taken out: what a poll that raises had collected would be missing for ever."""
        for partition, offset in self._next.items():
            if offset is not None and offset > self._log.end_of(partition):
                self._next[partition] = None
                raise OffsetLost(partition, offset)


def _end(db: sqlite3.Connection, partition: Partition) -> int:
    found = db.execute(
        'SELECT coalesce(max("offset") + 1, 0) FROM records WHERE topic = ? AND partition = ?',
        (partition.topic, partition.number),
    )
    return int(found.fetchone()[0])
