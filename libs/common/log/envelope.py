"""The envelope: a fact as a CloudEvents 1.0 event, binary on Kafka, structured over HTTP.

Data is thin: ids, codes and dates. `chain` is the digest of the stream's chain at this fact and
`privatedigest` the commitment to what was not published: whoever hears an event can check that it follows the
one before, and is a witness. A codec of our own on orjson; the CloudEvents SDK is the test's oracle.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, NamedTuple, Protocol

import orjson

from libs.common import change, proof
from libs.common.clock import Trace
from libs.common.log.seam import Outgoing, Record

SPECVERSION = "1.0"
#: Longest subject: streams are keys of our tables, and index entries have a limit.
LONGEST_SUBJECT = 400
#: What others may do with the data of an event: it holds ids, codes and dates only.
CLASSIFICATION = "internal"

#: Attributes that an event of ours always has; `time` repeats `recordedtime` for generic readers.
REQUIRED = (
    "id",
    "source",
    "type",
    "subject",
    "sequence",
    "recordedtime",
    "actedon",
    "correlationid",
    "chain",
    "privatedigest",
)

#: What no attribute may hold (CloudEvents 1.0, type String); no database of ours stores a NUL in text.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SEQUENCE = re.compile(r"[0-9]{1,10}")
_SOURCE = re.compile(r"/services/[a-z]{1,40}")


class Written(Protocol):
    """What is said of a journal entry: of its private record only the commitment."""

    @property
    def public(self) -> bytes: ...
    @property
    def private(self) -> bytes: ...
    @property
    def salt(self) -> bytes: ...
    @property
    def digest(self) -> bytes: ...
    @property
    def traceparent(self) -> str: ...


class Unreadable(Exception):
    """These bytes are not an event of ours; they are parked alone, as they came."""


class Heard(NamedTuple):
    """An event as it arrived, read but not yet understood: its data is still raw."""

    id: str
    source: str
    type: str
    stream: str  #: the subject, e.g. case/<id>
    seq: int
    recorded_at: datetime
    acted_on: date
    chain: bytes
    private_digest: bytes
    trace: Trace
    attributes: Mapping[str, str]
    value: bytes

    @property
    def gate(self) -> tuple[str, str]:
        """The head under which a consumer keeps how far it has applied this stream."""
        return change.gate_of(self.source, self.stream)

    def public(self) -> bytes:
        """The public part as the chain covers it: canonical JSON, with the data byte for byte as it came."""
        named = self.attributes
        before = {name: named.get(name, "") for name in ("actedon", "causationid", "correlationid")}
        after: dict[str, Any] = {
            name: named[name] for name in ("id", "recordedtime", "source", "subject", "type")
        }
        after["sequence"] = self.seq
        return b'%b,"data":%b,%b' % (proof.canonical(before)[:-1], self.value, proof.canonical(after)[1:])

    def follows(self, previous: bytes) -> bool:
        """Whether the stream's chain, which ended at `previous`, goes on with exactly this event."""
        return proof.chained(previous, self.public(), self.private_digest) == self.chain


def attributes_of(entry: Written) -> tuple[dict[str, str], Any]:
    """A journal entry's CloudEvents attributes (strings) and its data."""
    public = orjson.loads(entry.public)
    data = public.pop("data")
    public["sequence"] = str(public["sequence"])
    attributes = {name: value for name, value in public.items() if value}
    attributes |= {
        "specversion": SPECVERSION,
        "time": attributes["recordedtime"],
        "partitionkey": attributes["subject"],
        "dataclassification": CLASSIFICATION,
        "chain": entry.digest.hex(),
        "privatedigest": proof.private_digest(entry.salt, entry.private).hex(),
    }
    if entry.traceparent:
        attributes["traceparent"] = entry.traceparent
    return attributes, data


def outgoing(entry: Written) -> Outgoing:
    """A journal entry as the record that the relay publishes (Kafka binding, binary mode)."""
    attributes, data = attributes_of(entry)
    headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
    headers.append(("content-type", b"application/json"))
    return Outgoing(attributes["subject"], proof.canonical(data), tuple(headers))


def structured(entry: Written) -> dict[str, Any]:
    """A journal entry as a structured CloudEvent, for JSON answers."""
    attributes, data = attributes_of(entry)
    return {**attributes, "datacontenttype": "application/json", "data": data}


def read(record: Record) -> Heard:
    """A record as an event. Raises Unreadable."""
    if len(record.value) > change.LARGEST:
        raise Unreadable("记录过大")
    try:
        attributes = {
            name[3:]: value.decode("utf-8") for name, value in record.headers if name.startswith("ce_")
        }
        key = record.key.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"头或键不是 UTF-8：{error}") from error
    heard = _heard(attributes, record.value)
    if key != heard.stream:
        raise Unreadable(f"键 {key!r} 与主体 {heard.stream!r} 不符")
    return heard


def read_structured(event: Mapping[str, Any]) -> Heard:
    """A structured CloudEvent, as a journal gives it, as an event. Raises Unreadable."""
    attributes = {name: value for name, value in event.items() if name != "data" and isinstance(value, str)}
    try:
        value = proof.canonical(event.get("data"))
    except (TypeError, RecursionError) as error:
        raise Unreadable(f"数据没有规范形式：{error}") from error
    return _heard(attributes, value)


def restored(attributes: Mapping[str, str], value: bytes) -> Heard:
    """An event that was held or parked here before."""
    return _heard(attributes, value)


def _heard(attributes: Mapping[str, str], value: bytes) -> Heard:
    missing = [name for name in REQUIRED if not attributes.get(name)]
    if missing or attributes.get("specversion") != SPECVERSION:
        raise Unreadable(f"不是本系统的 CloudEvents {SPECVERSION} 事件，缺少：{'、'.join(missing)}")
    _refuse_strange(attributes)
    try:
        heard = Heard(
            id=attributes["id"],
            source=attributes["source"],
            type=attributes["type"],
            stream=attributes["subject"],
            seq=int(attributes["sequence"]),
            recorded_at=datetime.fromisoformat(attributes["recordedtime"]),
            acted_on=date.fromisoformat(attributes["actedon"]),
            chain=bytes.fromhex(attributes["chain"]),
            private_digest=bytes.fromhex(attributes["privatedigest"]),
            trace=Trace(attributes["correlationid"], attributes["id"], attributes.get("traceparent", "")),
            attributes=dict(attributes),
            value=value,
        )
        orjson.loads(value)
    except ValueError as error:
        raise Unreadable(f"属性或数据无法解析：{error}") from error
    if heard.id != f"{heard.stream}/{heard.seq}":
        raise Unreadable("id 不是由 subject 和 sequence 组成的")
    if not 1 <= heard.seq < 1 << 31 or heard.recorded_at.tzinfo is None:
        raise Unreadable("sequence 或 recordedtime 不在允许范围内")
    if not len(heard.chain) == len(heard.private_digest) == proof.SIZE:
        raise Unreadable("chain 或 privatedigest 不是 SHA-256 摘要")
    return heard


def _refuse_strange(attributes: Mapping[str, str]) -> None:
    """What becomes a key or a text of our tables must be such that every database takes it."""
    if _CONTROL.search("".join((*attributes, *attributes.values()))):
        raise Unreadable("属性中含有控制字符")
    if not _SEQUENCE.fullmatch(attributes["sequence"]):
        raise Unreadable("sequence 不是有效的序号")
    if not _SOURCE.fullmatch(attributes["source"]) or len(attributes["subject"]) > LONGEST_SUBJECT:
        raise Unreadable("source 不是本系统的服务，或 subject 过长")


def fingerprint(record: Record) -> str:
    """A name for bytes that are no event."""
    headers = b"".join(name.encode() + value for name, value in record.headers)
    return hashlib.sha256(record.key + headers + record.value).hexdigest()
