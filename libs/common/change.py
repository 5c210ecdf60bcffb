"""A Change: everything that one decision writes, as a value. Pure; `store.commit` is where it becomes true.

A verb reads a situation and returns a Change; a reaction to an event returns a Change too. Whoever holds
one can look at it, merge it with others, throw it away or decide again: nothing has happened yet. All of it
is named tuples: a decision makes dozens of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from libs.common import proof
from libs.common.clock import Moment, Trace
from libs.common.permit import Actor

T = TypeVar("T")

#: The version of a head that does not exist yet.
NEW = 0
#: The kind of heads that are gates: how far a service has heard a stream of another one.
HEARD = "heard"
#: Largest published part of a fact, in bytes. A larger one could be stored and never travel.
LARGEST = 64 * 1024


class Head(NamedTuple):
    """A stream's newest version and the end of its chain. `seq` counts facts, `version` counts Changes."""

    kind: str
    id: str
    version: int = NEW
    seq: int = 0
    digest: bytes = proof.GENESIS

    @property
    def stream(self) -> str:
        """The stream's name, as it stands in an event's subject and key."""
        return f"{self.kind}/{self.id}"

    @property
    def is_new(self) -> bool:
        return self.version == NEW


class Write(StrEnum):
    """What a Row does to its table."""

    INSERT = "insert"  #: must not exist yet: a second one is a Conflict
    PUT = "put"  #: insert, or replace the row with this key
    DELETE = "delete"


class Entry(Protocol):
    """A plain typed row: a table's name, its key columns and its values."""

    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]

    @property
    def columns(self) -> dict[str, Any]: ...


class Row(NamedTuple):
    """One row to be written."""

    table: str
    key: tuple[Any, ...]
    values: Mapping[str, Any]
    write: Write = Write.PUT
    entry: Any = None


class Numbered(NamedTuple):
    """A row that takes the next dense position of `counter` inside the commit (`sharing`'s one log)."""

    counter: str
    table: str
    values: Mapping[str, Any]


class Told(Protocol):
    """An event model of `contracts`: its type and its thin, public data."""

    TYPE: ClassVar[str]
    SOURCE: ClassVar[str]

    def model_dump(self, *, mode: str, exclude_none: bool) -> dict[str, Any]: ...


class Fact(NamedTuple):
    """A journal entry, final: the published part, the private record, and the chain's digest over both."""

    kind: str
    id: str
    seq: int
    type: str
    public: bytes
    private: bytes
    salt: bytes
    digest: bytes
    recorded_at: datetime
    acted_on: date
    trace: Trace


class Answer(NamedTuple):
    """A committed answer, kept so that the same Idempotency-Key gets it again, as rendered and masked."""

    scope: str
    key: str
    request: bytes
    status: int
    body: bytes
    headers: Mapping[str, str]
    at: datetime


class Fence(NamedTuple):
    """A consumer's position: this commit moves it from `next` to `then`, if `epoch` is still ours."""

    group: str
    topic: str
    partition: int
    epoch: int
    next: int
    then: int
    last_id: str


class Change(NamedTuple):
    """What one decision writes. Each method gives a new Change; none touches the world."""

    own: tuple[Head, ...] = ()  #: streams this changes, as they were read
    relied: tuple[Head, ...] = ()  #: streams that must still be as they were read
    rows: tuple[Row, ...] = ()
    facts: tuple[Fact, ...] = ()
    numbered: tuple[Numbered, ...] = ()
    answer: Answer | None = None
    fence: Fence | None = None
    #: Ends that facts do not explain: a consumer's gate moves its seq and digest without a fact of its own.
    ends: Mapping[str, Head] = MappingProxyType({})

    def owning(self, *heads: Head) -> Change:
        """Also change these streams."""
        return self._locking((*self.own, *heads), self.relied)

    def relying_on(self, *heads: Head) -> Change:
        """Also require these streams to be as they were read, without changing them."""
        return self._locking(self.own, (*self.relied, *heads))

    def putting(self, *entries: Entry) -> Change:
        """Insert these rows, or replace those with the same keys."""
        return self._writing(Write.PUT, entries)

    def inserting(self, *entries: Entry) -> Change:
        """Insert these rows; one that exists already makes the whole commit a Conflict."""
        return self._writing(Write.INSERT, entries)

    def deleting(self, *entries: Entry) -> Change:
        """Delete the rows with these keys."""
        return self._writing(Write.DELETE, entries)

    def numbering(self, counter: str, *entries: Entry) -> Change:
        """Append rows that take the next positions of `counter`, dense and in commit order."""
        more = tuple(Numbered(counter, entry.TABLE, entry.columns) for entry in entries)
        return self._replace(numbered=self.numbered + more)

    def answering(self, answer: Answer) -> Change:
        return self._replace(answer=answer)

    def under(self, fence: Fence) -> Change:
        return self._replace(fence=fence)

    def ending(self, head: Head, *, seq: int, digest: bytes) -> Change:
        """Move the end of an own stream that holds no facts here (a gate over another service's stream)."""
        moved = head._replace(seq=seq, digest=digest)
        return self.owning(head)._replace(ends={**self.ends, head.stream: moved})

    def telling(
        self,
        event: Told,
        *,
        on: Head,
        by: Actor,
        at: Moment,
        acted_on: date | None = None,
        private: Mapping[str, Any] | None = None,
    ) -> Change:
        """Add a fact to the own stream `on`: `event` is published, `private` is kept in the journal only.

        The private record always holds who did it; the chain covers both parts.
        """
        end = self.end_of(on)
        seq, day = end.seq + 1, acted_on or at.day
        public = proof.canonical(
            {
                "id": f"{on.stream}/{seq}",
                "source": event.SOURCE,
                "subject": on.stream,
                "type": event.TYPE,
                "sequence": seq,
                "recordedtime": at.now.isoformat(timespec="microseconds"),
                "actedon": day.isoformat(),
                "correlationid": at.trace.correlation,
                "causationid": at.trace.causation,
                "data": event.model_dump(mode="json", exclude_none=True),
            }
        )
        if len(public) > LARGEST:
            raise ValueError(f"{event.TYPE} on {on.stream} is too large to travel: {len(public)} bytes")
        record = {"person": by.person, "agency": by.agency, **(private or {})}
        if by.reason:
            record["audit_reason"] = by.reason
        hidden, salt = proof.canonical(record), at.salt(on.stream, seq)
        digest = proof.chained(end.digest, public, proof.private_digest(salt, hidden))
        fact = Fact(
            kind=on.kind,
            id=on.id,
            seq=seq,
            type=event.TYPE,
            public=public,
            private=hidden,
            salt=salt,
            digest=digest,
            recorded_at=at.now,
            acted_on=day,
            trace=at.trace,
        )
        return self.owning(on)._replace(facts=(*self.facts, fact))

    def end_of(self, head: Head) -> Head:
        """Where the stream will end after this Change: the last fact told on it, or `head` itself."""
        for fact in reversed(self.facts):
            if (fact.kind, fact.id) == (head.kind, head.id):
                return head._replace(seq=fact.seq, digest=fact.digest)
        return self.ends.get(head.stream, head)

    def written(self, entry: type[T]) -> T:
        """The last row of this kind that the Change writes; LookupError if it writes none."""
        for row in reversed(self.rows):
            if isinstance(row.entry, entry):
                return row.entry
        raise LookupError(f"this Change writes no {entry.__name__}")

    def version_of(self, kind: str) -> int:
        """The version that the own stream of this kind will have."""
        return next(head.version + 1 for head in self.own if head.kind == kind)

    def heads_after(self) -> tuple[Head, ...]:
        """The own heads as the commit will leave them, in the order of locks."""
        ends = dict(self.ends)
        for fact in self.facts:
            ends[f"{fact.kind}/{fact.id}"] = Head(fact.kind, fact.id, seq=fact.seq, digest=fact.digest)
        return tuple(
            end._replace(version=head.version + 1)
            for head in in_lock_order(self.own)
            for end in [ends.get(head.stream, head)]
        )

    def folded_rows(self) -> tuple[Row, ...]:
        """The rows to write, one for each key: what its writes do one after the other."""
        last: dict[tuple[str, tuple[Any, ...]], Row] = {}
        for row in self.rows:
            before = last.get((row.table, row.key))
            last[row.table, row.key] = _one_after(before, row) if before else row
        return tuple(last.values())

    @staticmethod
    def all_of(changes: Iterable[Change]) -> Change:
        """One Change that does all of these, in order."""
        changes = tuple(changes)
        ends: dict[str, Head] = {}
        for change in changes:
            ends.update(change.ends)
        together = Change(
            rows=tuple(row for change in changes for row in change.rows),
            facts=tuple(fact for change in changes for fact in change.facts),
            numbered=tuple(row for change in changes for row in change.numbered),
            answer=next((change.answer for change in changes if change.answer), None),
            fence=next((change.fence for change in changes if change.fence), None),
            ends=ends,
        )
        own = tuple(head for change in changes for head in change.own)
        return together._locking(own, tuple(head for change in changes for head in change.relied))

    def _locking(self, own: tuple[Head, ...], relied: tuple[Head, ...]) -> Change:
        """One head for each stream, the oldest that was read: what was read with it may be as old.

        A stream both owned and relied on is owned.
        """
        if len(own) == 1 and not relied:
            return self._replace(own=own, relied=())
        oldest: dict[str, Head] = {}
        for head in (*own, *relied):
            if head.version < oldest.setdefault(head.stream, head).version:
                oldest[head.stream] = head
        owned = dict.fromkeys(head.stream for head in own)
        return self._replace(
            own=tuple(oldest[stream] for stream in owned),
            relied=tuple(head for stream, head in oldest.items() if stream not in owned),
        )

    def _writing(self, write: Write, entries: Iterable[Entry]) -> Change:
        more = tuple(
            Row(entry.TABLE, tuple(values[name] for name in entry.KEY), values, write, entry)
            for entry in entries
            for values in [entry.columns]
        )
        return self._replace(rows=self.rows + more)


@lru_cache(maxsize=8192)
def gate_of(source: str, stream: str) -> tuple[str, str]:
    """The head under which a consumer keeps how far it has heard a stream; the source may be a path."""
    return HEARD, f"{source.rpartition('/')[2]}:{stream}"


def in_lock_order(heads: Iterable[Head]) -> list[Head]:
    """The one total order in which heads are locked everywhere: (kind, id)."""
    return sorted(heads, key=lambda head: (head.kind, head.id))


def _one_after(before: Row, row: Row) -> Row:
    """What two writes to one key do, one after the other."""
    if row.write is Write.INSERT:
        if before.write is not Write.DELETE:
            raise ValueError(f"{row.table} {row.key} exists already in this Change")
        return row._replace(write=Write.PUT)
    if before.write is Write.INSERT and row.write is Write.PUT:
        return row._replace(write=Write.INSERT)
    return row
