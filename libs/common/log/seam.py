"""The seam between the loops and the two logs, Kafka and the embedded one; one suite runs over both.

Transport is at-least-once and nothing more: a send that timed out may still arrive, a record may come twice,
a topic may be lost and made again. What makes effects happen once is in `edge` and `consumer`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be appended; `key` (the stream) decides its partition."""

    key: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Partition:
    """One ordered part of a topic."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was read, not yet understood."""

    partition: Partition
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought."""

    #: Partitions given to this subscription since the last poll. They stay silent until `seek`.
    assigned: frozenset[Partition] = frozenset()
    #: Partitions taken away since the last poll.
    revoked: frozenset[Partition] = frozenset()
    #: Records by partition, in the order of offsets.
    records: dict[Partition, Sequence[Record]] = field(default_factory=dict)


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: the same in every process and on both logs, for ever."""
    return zlib.crc32(key.encode()) % partitions


class OffsetLost(Exception):
    """The position asked for does not exist (any more): never skip, stop with an alarm."""

    def __init__(self, partition: Partition, offset: int) -> None:
        super().__init__(f"{partition.topic}/{partition.number} has no offset {offset}")
        self.partition = partition
        self.offset = offset


class TopicMismatch(Exception):
    """A topic exists with another number of partitions: the order per key would break."""

    def __init__(self, topic: str, found: int, wanted: int) -> None:
        super().__init__(f"主题 {topic} 已有 {found} 个分区，与设置的 {wanted} 个不符")


class Subscription(Protocol):
    """A member of a consumer group."""

    async def poll(self, *, most: int, within: float) -> Polled:
        """At most `most` records, waiting at most `within` seconds for the first.

        A partition that was taken away and given back stands in both sets: take revoked ones first. Raises
        OffsetLost, after which that partition is silent until `seek`; errors.Transient when this subscription
        is of no more use and a new one is needed.
        """

    def seek(self, partition: Partition, offset: int) -> None:
        """Read on from `offset`; what was fetched before and lies elsewhere is dropped.

        It does nothing for a partition that has not been reported as assigned.
        """

    def end(self, partition: Partition) -> int | None:
        """The offset after the newest record, as last heard; None before the first fetch."""

    async def close(self) -> None:
        """Leave the group; assigned partitions go to the other members."""


class Log(Protocol):
    """Kafka, or the embedded event log."""

    async def prepare(self, topics: Sequence[str]) -> None:
        """Make the topics that do not exist, with our number of partitions. Raises TopicMismatch."""

    async def publish(self, topic: str, outgoing: Sequence[Outgoing], *, within: float) -> list[bool]:
        """Append records; True for each that was acknowledged within `within` seconds.

        Order is kept per partition, and an acknowledgement is never given behind a missing one of the same
        partition. A record not acknowledged may still be written later. Raises errors.Transient when nothing
        could be sent.
        """

    async def subscribe(self, group: str, topics: Sequence[str]) -> Subscription:
        """Join a group; the group's members share the partitions."""

    async def read_at(self, partition: Partition, offset: int) -> Record | None:
        """The record at `offset`, None if there is none. Raises errors.Transient when nobody can say."""

    async def ready(self) -> None:
        """Returns when the log answers. Raises errors.Transient when it does not."""

    async def close(self) -> None: ...
