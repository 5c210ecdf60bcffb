"""A domain so small that only the core is left to test: things that are counted, and who hears of it."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel
from sqlalchemy import BigInteger, LargeBinary, select
from sqlmodel import Field

from libs.common import edge, errors
from libs.common.change import Change, Fact, Fence, Head, Told
from libs.common.clock import Clock, Moment, Trace
from libs.common.log import envelope
from libs.common.log.envelope import Heard
from libs.common.log.seam import Outgoing, Partition, Record
from libs.common.permit import Actor
from libs.common.store import schema
from libs.common.store.reading import Known, Want
from libs.common.store.schema import (
    Entry,
    HeldEvent,
    JournalEntry,
    ParkedKey,
    ParkedRecord,
    instant,
    json_column,
)
from libs.common.store.seam import Engine, Outcome
from libs.common.store.store import Claim, Store

T = TypeVar("T")

ACTOR = Actor("zhang", "11330726MB1234567X")
#: A service that nobody implements; what it says is heard here.
SOURCE = "/services/things"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Thing(Entry):
    """A row with a column of every kind."""

    TABLE: ClassVar[str] = "t_things"
    id: str = Field(primary_key=True)
    name: str = "thing"
    count: int = 0
    large: int = Field(default=0, sa_type=BigInteger)
    is_good: bool = True
    tags: dict[str, Any] = json_column({})
    made_at: datetime = Field(default=NOON, sa_type=schema.UtcDateTime)
    made_on: date = NOON.date()
    raw: bytes = Field(default=b"", sa_type=LargeBinary)
    gone_at: datetime | None = instant(nullable=True)


class ThingRow(Thing, table=True): ...


class Place(Entry):
    """What only one can have: unique beside its key."""

    TABLE: ClassVar[str] = "t_places"
    id: str = Field(primary_key=True)
    number: int = Field(unique=True)


class PlaceRow(Place, table=True): ...


class Note(Entry):
    """A line of the one log, with a position: what was applied twice stands here twice."""

    TABLE: ClassVar[str] = "t_notes"
    position: int = Field(default=0, primary_key=True, sa_type=BigInteger)
    stream: str
    seq: int


class NoteRow(Note, table=True): ...


class Tally(Entry):
    """What was heard of a stream, in order: a row that is read, changed and written."""

    TABLE: ClassVar[str] = "t_tallies"
    stream: str = Field(primary_key=True)
    heard: list[int] = json_column()


class TallyRow(Tally, table=True): ...


class Pad(Entry):
    """Makes a Change large."""

    TABLE: ClassVar[str] = "t_pads"
    id: str = Field(primary_key=True)


class PadRow(Pad, table=True): ...


METADATA = schema.service_metadata(ThingRow, PlaceRow, NoteRow, TallyRow, PadRow)

#: More rows than PostgreSQL takes into one statement.
PADDING = tuple(Pad(id=f"pad {n}") for n in range(60))


class Counted(BaseModel):
    """A thing was counted."""

    TYPE: ClassVar[str] = "liandong.thing.counted.v1"
    SOURCE: ClassVar[str] = SOURCE
    n: int


@dataclass(frozen=True)
class Saying:
    """An event of any type with any data, as somebody newer or mistaken would say it."""

    TYPE: str
    data: dict[str, Any] = field(default_factory=dict)
    SOURCE: ClassVar[str] = SOURCE

    def model_dump(self, *, mode: str, exclude_none: bool) -> dict[str, Any]:
        return self.data


async def eventually(attempt: Callable[[], Awaitable[T]]) -> T:
    """The first answer that is one."""
    async with asyncio.timeout(20):
        while True:
            if found := await attempt():
                return found
            await asyncio.sleep(0.01)


def now() -> Moment:
    return Moment(Clock().now(), Trace("request-1"))


def counted(head: Head, n: int = 0, *, thing: Thing | None = None) -> Change:
    """A Change of one stream: a fact, and perhaps the thing."""
    change = Change().telling(Counted(n=n), on=head, by=ACTOR, at=now())
    return change.putting(thing) if thing else change


def entry_of(fact: Fact) -> JournalEntry:
    """The fact as it would stand in its source's journal."""
    return JournalEntry(
        position=1,
        kind=fact.kind,
        id=fact.id,
        seq=fact.seq,
        type=fact.type,
        public=fact.public,
        private=fact.private,
        salt=fact.salt,
        digest=fact.digest,
        recorded_at=fact.recorded_at,
        acted_on=fact.acted_on,
        correlation=fact.trace.correlation,
        causation=fact.trace.causation,
        traceparent=fact.trace.traceparent,
    )


@dataclass
class Voice:
    """Another service: what it says has its seq and its chain, as its relay would publish it."""

    journal: dict[str, list[JournalEntry]] = field(default_factory=dict)
    _heads: dict[str, Head] = field(default_factory=dict)

    def say(self, stream: str, event: Told | Saying | None = None) -> Outgoing:
        """The next event of the stream."""
        kind, _, id_ = stream.partition("/")
        head = self._heads.get(stream, Head(kind, id_))
        event = event or Counted(n=head.seq + 1)
        change = Change().telling(event, on=head, by=ACTOR, at=now())  # type: ignore[arg-type]
        self._heads[stream] = change.end_of(head)
        entry = entry_of(change.facts[0])
        self.journal.setdefault(stream, []).append(entry)
        return envelope.outgoing(entry)

    def several(self, stream: str, count: int) -> list[Outgoing]:
        return [self.say(stream) for _ in range(count)]


@dataclass
class Journals:
    """The journals of the other services, as they answer over HTTP, but for the HTTP."""

    voice: Voice = field(default_factory=Voice)
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    #: Sources that do not answer.
    silent: set[str] = field(default_factory=set)
    #: What happens elsewhere before the answer arrives.
    meanwhile: Callable[[], Awaitable[Any]] | None = None
    #: What is lost, as event ids.
    lost: set[str] = field(default_factory=set)

    async def after(self, source: str, stream: str, seq: int) -> Sequence[Heard]:
        self.asked.append((source, stream, seq))
        if source in self.silent:
            raise errors.Transient(f"{source} is away")
        if self.meanwhile:
            await self.meanwhile()
        entries = [envelope.structured(entry) for entry in self.voice.journal.get(stream, ())[seq:]]
        return [envelope.read_structured(event) for event in entries if event["id"] not in self.lost]


def interleaved(*streams: Sequence[Outgoing]) -> list[Outgoing]:
    """The events of several streams, taking turns."""
    turns = itertools.zip_longest(*streams)
    return [said for turn in turns for said in turn if said is not None]


def muddled(said: Sequence[Outgoing], chance: random.Random) -> list[Outgoing]:
    """Late, early and again: within a window of eight, a third of it twice."""
    first = [(place + chance.uniform(0, 8), one) for place, one in enumerate(said)]
    again = [(place + chance.uniform(0, 8), one) for place, one in first if chance.random() < 0.33]
    return [one for _, one in sorted([*first, *again], key=lambda placed: placed[0])]


def heard(said: Outgoing) -> Heard:
    return envelope.read(Record(Partition("t", 0), 0, said.key.encode(), said.value, said.headers))


#: Stands in for a reaction: raises, or gives a Change of its own.
Mood = Callable[[Heard], Change]


def raising(error: Exception) -> Mood:
    def mood(heard: Heard) -> Change:
        raise error

    return mood


@dataclass
class Listener:
    """A service that hears: it notes each event and keeps a tally per stream, unless it is in a mood."""

    group: str = "listeners"
    topics: tuple[str, ...] = ("t",)
    #: By event id.
    moods: dict[str, Mood] = field(default_factory=dict)
    #: By event id; raises while it is asked what a reaction must know.
    cannot_say: dict[str, Exception] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)

    @property
    def hears(self) -> edge.Hears:
        reaction = edge.Reaction(self._react, wants=self._wants)
        return edge.Hears(
            group=self.group,
            topics=self.topics,
            reactions={Counted.TYPE: reaction},
            otherwise=edge.Reaction(self._otherwise),
            catalogue={Counted.TYPE: Counted},
        )

    def _wants(self, event: Counted, heard: Heard) -> Iterable[Want]:
        if heard.id in self.cannot_say:
            raise self.cannot_say[heard.id]
        return [Want(Tally, (heard.stream,))]

    def _react(self, known: Known, event: Counted, heard: Heard, at: Moment) -> Change:
        self.tried.append(heard.id)
        extra = self.moods[heard.id](heard) if heard.id in self.moods else Change()
        tally = known.one(Tally, heard.stream) or Tally(stream=heard.stream, heard=[])
        grown = tally.but(heard=[*tally.heard, heard.seq])
        note = Note(stream=heard.stream, seq=heard.seq)
        return Change.all_of([extra, Change().putting(grown).numbering("notes", note)])

    def _otherwise(self, known: Known, event: None, heard: Heard, at: Moment) -> Change:
        return Change().putting(Pad(id=f"{heard.type} {heard.seq}"))


@dataclass
class Hearing:
    """One partition of a topic, fed by hand: a batch goes through the event edge as a consumer gives it."""

    store: Store
    listener: Listener
    patience: float = edge.PATIENCE
    claim: Claim | None = None
    next: int = 0

    async def take(self, *said: Outgoing | Record, epoch: int | None = None) -> edge.Report:
        """One batch, applied from the position where this process believes to stand."""
        if self.claim is None:
            self.claim = await self.store.claim(self.listener.group, "t", 0)
            self.next = self.claim.next
        records = [self._record(self.next + n, one) for n, one in enumerate(said)]
        then = self.next + len(said)
        fence = Fence(self.listener.group, "t", 0, epoch or self.claim.epoch, self.next, then, "last")
        report = await edge.consume(
            self.store, self.listener.hears, records, fence, Clock(), patience=self.patience
        )
        self.next = then
        return report

    @staticmethod
    def _record(offset: int, said: Outgoing | Record) -> Record:
        key = said.key.encode() if isinstance(said, Outgoing) else said.key
        return Record(Partition("t", 0), offset, key, said.value, said.headers)


async def applied(store: Store) -> int:
    """How many events took effect so far."""
    async with store.reading() as read:
        return len(await read.all(Note))


async def until_applied(store: Store, count: int) -> None:
    """Until so many events took effect."""

    async def all_of_them() -> bool:
        return await applied(store) == count

    await eventually(all_of_them)


async def effects(store: Store) -> dict[str, list[int]]:
    """The seqs that took effect, by stream, in the order of the one log. The tallies must agree with it."""
    async with store.reading() as read:
        notes = await read.all(Note, select(schema.table(NoteRow)).order_by("position"))
        tallies = await read.all(Tally)
    assert [note.position for note in notes] == list(range(1, len(notes) + 1))
    found: dict[str, list[int]] = {}
    for note in notes:
        found.setdefault(note.stream, []).append(note.seq)
    assert {tally.stream: tally.heard for tally in tallies} == found
    return found


async def dump(store: Store) -> dict[str, list[Any]]:
    """Everything that the database holds."""
    found = {}
    async with store.reading() as read:
        for table in METADATA.sorted_tables:
            rows = await read.rows(select(table))
            found[table.name] = sorted((dict(row) for row in rows), key=repr)
    return found


#: Raises, or gives something to wait for, or nothing.
Act = Callable[[Change], Awaitable[Any] | None]


class Acting(Store):
    """A store that does something just before, and just after, its commits: as a process of its own would."""

    def __init__(self, engine: Engine, *, before: Act | None = None, after: Act | None = None) -> None:
        super().__init__(engine)
        self._before = before
        self._after = after

    async def commit(self, change: Change) -> Outcome:
        if self._before and (acting := self._before(change)):
            await acting
        outcome = await super().commit(change)
        if self._after and (acting := self._after(change)):
            await acting
        return outcome


class Crash(BaseException):
    """The process ends here: no handler of ours sees it."""


def crash(change: Change) -> None:
    raise Crash


def once(act: Act) -> Act:
    """Acts on the first commit only."""
    left = [act]
    return lambda change: left.pop()(change) if left else None


async def parked(store: Store) -> dict[str, ParkedKey]:
    """The keys that wait for a person, by stream."""
    async with store.reading() as read:
        return {key.stream: key for key in await read.all(ParkedKey)}


async def held(store: Store) -> list[tuple[str, int]]:
    """The events that wait for their turn, by stream and seq."""
    async with store.reading() as read:
        return sorted((event.stream, event.seq) for event in await read.all(HeldEvent))


async def unreadable(store: Store) -> list[ParkedRecord]:
    """The records that were parked alone."""
    async with store.reading() as read:
        return await read.all(ParkedRecord)


@asynccontextmanager
async def running(*loops: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """These loops run inside this block; one that ends with an error fails it."""
    tasks = [asyncio.ensure_future(loop()) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
