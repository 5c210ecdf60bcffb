"""The questions put to brokers besides those that aiokafka asks by itself.

What a topic is, with the id that tells it from a later one of the same name; one record at an offset; that
topics be made. None waits longer than it may.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.admin import CreateTopicsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)
from aiokafka.record.memory_records import MemoryRecords

from libs.common import errors
from libs.common.log.kafka import connections
from libs.common.log.kafka.connections import PATIENCE, Kept
from libs.common.log.seam import Partition, Record

#: How long a question to the brokers may take, in seconds.
ANSWER = 2.0

#: Written when a topic is made. A log that forgets could not be read again from its start, and one that
#: elects a replica behind the others would forget what it acknowledged.
_TOPIC = {"cleanup.policy": "delete", "retention.bytes": "-1", "retention.ms": "-1"}
_SAFETY = {"unclean.leader.election.enable": "false"}

_OFFSET_OUT_OF_RANGE, _TOPIC_EXISTS = 1, 36

#: How aiokafka fails to read; the last is a header whose name is not UTF-8, which no producer of ours writes.
UNREADABLE = (KafkaError, UnicodeDecodeError)

T = TypeVar("T")


class Brokers:
    """Those whom questions are put to: whoever of them answers."""

    def __init__(self, who: Mapping[str, Any]) -> None:
        self._clients = Kept(functools.partial(connections.start_client, who), connections.end_client)

    async def topics(self, names: Collection[str], node: int | None = None) -> dict[str, Topic]:
        """What a broker knows of these topics, see `describe`."""
        return await self.ask(lambda client: describe(client, names, node))

    async def ask(self, question: Callable[[AIOKafkaClient], Awaitable[T]], *, within: float = ANSWER) -> T:
        """Put a question to the brokers. Raises errors.Transient when there is no answer in time."""
        client: AIOKafkaClient | None = None
        try:
            async with asyncio.timeout(within):
                client = await self._clients.get()
                return await question(client)
        except (*UNREADABLE, OSError, TimeoutError) as error:
            # A connection that is half open would never answer again.
            if client is not None:
                self._clients.drop(client)
            raise errors.Transient(f"Kafka 没有应答：{error!r}") from error

    async def close(self) -> None:
        await self._clients.close()


@dataclass(frozen=True, slots=True)
class Topic:
    """What a broker says of a topic."""

    #: The same as long as the topic lives; one of the same name made later has another.
    id: bytes
    #: The broker that serves each partition, -1 while there is none.
    leaders: Mapping[int, int] = field(compare=False)

    @property
    def count(self) -> int:
        return len(self.leaders)

    def same(self, other: Topic) -> bool:
        """Whether offsets in one are offsets in the other, and keys lie in the same partitions."""
        return (self.id, self.count) == (other.id, other.count)


async def describe(client: AIOKafkaClient, names: Collection[str], node: int | None) -> dict[str, Topic]:
    """What a broker (any, or `node`) knows of these topics; unknown ones are left out."""
    answer = await client.send(client.get_random_node() if node is None else node, _Metadata(names))
    return {
        name: Topic(id, {number: leader for _, number, leader, *_ in partitions})
        for code, name, id, _, partitions, *_ in answer.topics
        if code == 0
    }


async def fetch_one(client: AIOKafkaClient, topic: Topic, partition: Partition, offset: int) -> Record | None:
    """One fetch, of which the brokers give at least a whole batch, however small the limit."""
    wanted = [(partition.topic, [(partition.number, offset, 1)])]
    request = FetchRequest(max_wait_time=0, min_bytes=1, max_bytes=1, isolation_level=0, topics=wanted)
    answer = await client.send(topic.leaders[partition.number], request)
    (_, ((_, code, _, *_, data),)), *_ = answer.topics
    if code == _OFFSET_OUT_OF_RANGE:
        return None
    if code:
        raise for_code(code)()
    batches = MemoryRecords(data)
    while batches.has_next():
        for native in batches.next_batch():
            if native.offset == offset:
                return record_of(partition, native)
    return None


async def create(
    client: AIOKafkaClient, topics: Sequence[str], partitions: int, replication: int
) -> dict[str, str]:
    """Make topics, and give what was refused with the reason; that one exists is no refusal."""
    in_sync = {"min.insync.replicas": str(max(replication - 1, 1))}
    settings = list((_TOPIC | _SAFETY | in_sync).items())
    request = CreateTopicsRequest(
        create_topic_requests=[(t, partitions, replication, [], settings) for t in topics],
        timeout=int(PATIENCE * 1000),
        validate_only=False,
    )
    answer = await client.send(client.get_random_node(), request)
    return {
        topic: message or for_code(code).__name__
        for topic, code, message in answer.topic_errors
        if code not in (0, _TOPIC_EXISTS)
    }


def record_of(partition: Partition, native: Any) -> Record:
    """Kafka knows of keys, values and headers that are null; no record of ours has any, so they are empty."""
    headers = tuple((name, value or b"") for name, value in native.headers)
    return Record(partition, native.offset, native.key or b"", native.value or b"", headers)


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        return bytes(data.read(16))


_PARTITIONS = CompactArray(
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("isr", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
    ("tags", TaggedFields),
)


class _MetadataResponseV12(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                ("partitions", _PARTITIONS),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequestV12(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 12
    RESPONSE_TYPE = _MetadataResponseV12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("topic", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Metadata(Request[_MetadataRequestV12]):  # type: ignore[misc]
    """The question for topics that aiokafka does not have: with their ids, and never making one."""

    API_KEY = 3

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_MetadataRequestV12]) -> _MetadataRequestV12:
        none: dict[int, bytes] = {}
        topics = [(bytes(16), name, none) for name in self._names]
        return request_struct_class(topics, False, False, none)
