"""Reads a service's whole journal anew and names every entry that is not what was written.

The chain shows what was altered in place, the head what was cut off. Who rewrites chain and head alike, or
puts the whole database back to an earlier moment, is shown by what other services have heard: their gates are
its witnesses, and so is every head that was kept elsewhere. `docs/trace.md` has the format and the limits.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Table, exists, select, tuple_, type_coerce
from sqlalchemy.types import NullType

from libs.common import proof
from libs.common.change import HEARD
from libs.common.store import schema
from libs.common.store.reading import Reader
from libs.common.store.store import Store

#: Entries that one read brings.
PAGE = 1000

_JOURNAL = schema.table(schema.JournalRow)
_HEADS = schema.table(schema.HeadRow)


@dataclass(frozen=True, slots=True)
class Witness:
    """The end of a stream as somebody else heard it."""

    by: str
    stream: str
    seq: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Flaw:
    """An entry that is not what was written, or that is not there."""

    stream: str
    seq: int
    what: str


@dataclass(slots=True)
class Audit:
    """What was read, and all that does not fit; one flaw for each entry, the first that shows."""

    streams: int = 0
    entries: int = 0
    witnessed: int = 0  #: heads of witnesses that were met
    _flaws: dict[tuple[str, int], Flaw] = field(default_factory=dict)

    @property
    def flaws(self) -> list[Flaw]:
        return list(self._flaws.values())

    def find(self, stream: str, seq: int, what: str) -> None:
        self._flaws.setdefault((stream, seq), Flaw(stream, seq, what))


async def audit(store: Store, service: str, witnesses: Iterable[Witness] = ()) -> Audit:
    """Check the journal of `service` against itself, its heads and `witnesses`, who were asked before.

    It may be in use meanwhile: each stream is compared with the head of the same moment.
    """
    found = Audit()
    seen: defaultdict[str, list[Witness]] = defaultdict(list)
    for witness in witnesses:
        seen[witness.stream].append(witness)
    chain: _Chain | None = None
    async with store.reading() as read:
        async for row in _entries(read):
            name = f"{row['kind']}/{row['id']}"
            if chain is None or chain.stream != name:
                if chain:
                    chain.end()
                chain = _Chain(found, name, service, seen.pop(name, ()))
            chain.follow(row)
        if chain:
            chain.end()
        for head in await read.rows(_BARE_HEADS):
            found.find(f"{head['kind']}/{head['id']}", 1, f"缺失：链首为 seq {head['seq']}，日志中没有这个流")
    for stream, theirs in seen.items():
        last = max(theirs, key=lambda witness: witness.seq)
        found.find(stream, 1, f"缺失：{last.by} 见证到 seq {last.seq}，日志中没有这个流")
    return found


class _Chain:
    """One stream, followed from its first entry to its head."""

    def __init__(self, found: Audit, stream: str, service: str, witnesses: Sequence[Witness]) -> None:
        self.stream = stream
        self._found = found
        self._source = f"/services/{service}"
        self._witnesses = witnesses
        self._last = self._position = 0
        #: What the next entry may be chained upon. After a misfit both what is stored and what it should be:
        #: the next entry shows which of the two was altered, and is not blamed itself. Unknown behind a gap.
        self._ends: tuple[Any, ...] = (proof.GENESIS,)
        self._head: tuple[Any, Any] = (None, None)
        found.streams += 1

    def follow(self, row: Mapping[Any, Any]) -> None:
        self._found.entries += 1
        self._head = row["head_seq"], row["head_digest"]
        if type(row["seq"]) is not int:
            self._found.find(self.stream, self._last + 1, "序号不是整数")
            return
        if row["seq"] <= self._last:
            self._found.find(self.stream, row["seq"], "多出：同一序号有另一条记录")
            return
        if row["seq"] > self._last + 1:
            self._found.find(self.stream, self._last + 1, f"缺失：下一条为 seq {row['seq']}")
            self._ends = ()
        if flaw := self._flaw(row):
            self._found.find(self.stream, row["seq"], flaw)
        self._last, self._position = row["seq"], row["position"]
        for witness in self._witnesses:
            if witness.seq == self._last:
                self._meet(witness)

    def end(self) -> None:
        """The last entry was read: it must be the head, and no witness may have seen more."""
        seq, digest = self._head
        if type(seq) is not int:
            self._found.find(self.stream, self._last, "这个流没有链首")
        elif seq > self._last:
            self._found.find(self.stream, self._last + 1, f"缺失：链首为 seq {seq}")
        elif seq < self._last:
            self._found.find(self.stream, seq + 1, f"多出：链首为 seq {seq}")
        elif digest not in self._ends:
            self._found.find(self.stream, seq, "与链首的摘要不符")
        for witness in self._witnesses:
            if witness.seq > self._last:
                self._found.find(self.stream, self._last + 1, f"缺失：{witness.by} 见证到 seq {witness.seq}")

    def _flaw(self, row: Mapping[Any, Any]) -> str:
        """What is wrong with the entry itself, empty for nothing; moves the end."""
        public, private, salt = row["public"], row["private"], row["salt"]
        if not all(isinstance(part, bytes) for part in (public, private, salt, row["digest"])):
            self._ends = (row["digest"],)
            return "内容不是字节"
        hidden = proof.private_digest(salt, private)
        computed = [proof.chained(end, public, hidden) for end in self._ends]
        self._ends = (row["digest"],) if row["digest"] in computed else (row["digest"], *computed)
        if computed and row["digest"] not in computed:
            return "摘要不符：公开内容、内部记录、盐或摘要被改"
        told = _read(public)
        if told is None or _read(private) is None:
            return "内容不是规范 JSON"
        differing = [name for name, fits in self._columns(row, told) if not fits]
        return f"列与公开内容不符：{'、'.join(differing)}" if differing else ""

    def _columns(self, row: Mapping[Any, Any], told: Mapping[str, Any]) -> list[tuple[str, bool]]:
        """Each column that repeats what the chain covers, and whether it still does."""
        return [
            ("kind/id", told.get("subject") == self.stream),
            ("seq", told.get("sequence") == row["seq"]),
            ("id", told.get("id") == f"{self.stream}/{row['seq']}"),
            ("source", told.get("source") == self._source),
            ("type", told.get("type") == row["type"]),
            ("recorded_at", _instant(told.get("recordedtime")) == _instant(row["recorded_at"]) is not None),
            ("acted_on", _day(told.get("actedon")) == _day(row["acted_on"]) is not None),
            ("correlation", told.get("correlationid") == row["correlation"]),
            ("causation", told.get("causationid") == row["causation"]),
            ("position", row["position"] > self._position),
        ]

    def _meet(self, witness: Witness) -> None:
        self._found.witnessed += 1
        if witness.digest not in self._ends:
            self._found.find(
                self.stream,
                witness.seq,
                f"与 {witness.by} 见证的链首不符：链被重新计算，或见证人听到的是另一条",
            )


def _read(raw: bytes) -> dict[str, Any] | None:
    """The canonical JSON object that these bytes are, or None."""
    try:
        told = json.loads(raw)
        return told if isinstance(told, dict) and proof.canonical(told) == raw else None
    except (ValueError, TypeError, RecursionError):
        return None


def _instant(value: Any) -> datetime | None:
    """An instant as it was told, or as either database keeps it: SQLite as text in UTC."""
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else value
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (AttributeError, OverflowError, ValueError):
        return None


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None


async def _entries(read: Reader) -> AsyncIterator[Mapping[Any, Any]]:
    """Every entry by stream and seq, each with its stream's head of the same moment."""
    page = await read.rows(_ENTRIES.limit(PAGE))
    while page:
        for row in page:
            yield row
        last = tuple(page[-1][column.name] for column in _ORDER)
        page = await read.rows(_ENTRIES.where(tuple_(*_ORDER) > tuple_(*last)).limit(PAGE))


def _raw(table: Table) -> list[Any]:
    """The columns as the driver gives them: what somebody has put there need not be what a type can read."""
    return [type_coerce(column, NullType()).label(column.name) for column in table.columns]


_ORDER = (_JOURNAL.c.kind, _JOURNAL.c.id, _JOURNAL.c.seq, _JOURNAL.c.position)
_SAME = (_HEADS.c.kind == _JOURNAL.c.kind) & (_HEADS.c.id == _JOURNAL.c.id)
_ENTRIES = (
    select(*_raw(_JOURNAL), _HEADS.c.seq.label("head_seq"), _HEADS.c.digest.label("head_digest"))
    .select_from(_JOURNAL.outerjoin(_HEADS, _SAME))
    .order_by(*_ORDER)
)
#: Heads that say there are facts where there are none; gates speak of the facts of others.
_BARE_HEADS = select(_HEADS.c.kind, _HEADS.c.id, _HEADS.c.seq).where(
    _HEADS.c.seq > 0, _HEADS.c.kind != HEARD, ~exists().where(_SAME)
)
