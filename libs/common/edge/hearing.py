"""The edge of events: what a service hears, and how each event takes effect once, when it is its turn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import ValidationError

from libs.common import errors
from libs.common.change import Change, Fence
from libs.common.clock import Clock, Moment, monotonic
from libs.common.edge import conflicts, parking
from libs.common.log.envelope import Heard
from libs.common.log.seam import Record
from libs.common.store import schema
from libs.common.store.reading import Known, Want
from libs.common.store.seam import Committed, Conflict, FenceLost
from libs.common.store.store import Store

React = Callable[[Known, Any, Heard, Moment], Change]
Wants = Callable[[Any, Heard], Iterable[Want]]
Streams = Callable[[Any, Heard], Iterable[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Reaction:
    """What a service does when it hears an event, and what it must know for that."""

    react: React
    wants: Wants = lambda event, heard: ()
    streams: Streams = lambda event, heard: ()

    def beside(self, other: Reaction) -> Reaction:
        """Both, in one Change; neither knows of the other."""

        def react(known: Known, event: Any, heard: Heard, at: Moment) -> Change:
            return Change.all_of([self.react(known, event, heard, at), other.react(known, event, heard, at)])

        return Reaction(
            react,
            wants=lambda event, heard: (*self.wants(event, heard), *other.wants(event, heard)),
            streams=lambda event, heard: (*self.streams(event, heard), *other.streams(event, heard)),
        )


def together(*every: Mapping[str, Reaction]) -> Mapping[str, Reaction]:
    """The reactions of several chapters, by type: all that there are to a type, in this order."""
    found: dict[str, Reaction] = {}
    for reactions in every:
        for type_, reaction in reactions.items():
            found[type_] = found[type_].beside(reaction) if type_ in found else reaction
    return found


@dataclass(frozen=True, slots=True)
class Hears:
    """What one service hears: its consumer group, the topics, and a reaction per event type."""

    group: str
    topics: tuple[str, ...]
    reactions: Mapping[str, Reaction]
    #: For a type that is not in our catalogue: somebody newer said it. The event is None.
    otherwise: Reaction | None = None
    #: The published language: an event model by type.
    catalogue: Mapping[str, Any] = field(default_factory=dict)

    def reaction(self, heard: Heard) -> tuple[Reaction | None, Any]:
        """The reaction to an event, with its data. Raises Poison where the data cannot be understood."""
        model = self.catalogue.get(heard.type)
        if model is None:
            name = heard.type.rpartition(".v")[0]
            if any(known.rpartition(".v")[0] == name for known in self.catalogue):
                raise errors.Poison(f"未知的事件主版本：{heard.type}", code="unknown-version")
            return self.otherwise, None
        if heard.source != model.SOURCE:
            raise errors.Poison(f"{heard.source} 无权发布 {heard.type}", code="not-its-event")
        try:
            return self.reactions.get(heard.type), model.model_validate(orjson.loads(heard.value))
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in error.errors())
            raise errors.Poison(f"事件数据不符合约定：{faults}", code="incompatible") from error


@dataclass(slots=True)
class Report:
    """What became of the events of a batch; for metrics, redrives and tests."""

    applied: list[Heard] = field(default_factory=list)
    old: list[Heard] = field(default_factory=list)
    held: list[Heard] = field(default_factory=list)
    parked: list[tuple[Heard, str]] = field(default_factory=list)
    unreadable: int = 0

    def add(self, later: Report) -> None:
        """Also what was done afterwards."""
        self.applied += later.applied
        self.old += later.old
        self.held += later.held
        self.parked += later.parked
        self.unreadable += later.unreadable


class Leave(Exception):
    """Another process owns the partition: stop reading it, leave the group and join again."""


class Broken(Exception):
    """An event failed in a way that is our fault: `heard`, or one before it in the same Change."""

    def __init__(self, heard: Heard, error: Exception) -> None:
        super().__init__(f"{heard.id}: {type(error).__name__}: {error}")
        self.heard = heard


async def consume(
    store: Store,
    hears: Hears,
    records: Sequence[Record],
    fence: Fence,
    clock: Clock,
    condemned: Mapping[str, str] | None = None,
    *,
    patience: float = conflicts.PATIENCE,
) -> Report:
    """Apply a batch of one partition: effects, gates and the position in one commit.

    `condemned` events, by id, are parked with the reason given instead of being reacted to.
    Raises Leave when the fence is lost, Broken when a reaction fails, Transient when the store is down.
    """
    events, unread = parking.decoded(records, clock)
    until = monotonic() + patience
    attempt = 0
    async with store.streams("/".join(event.gate) for event in events):
        while True:
            known = await known_for(store, hears, events, condemned or {})
            change, report = fold(known, hears, events, clock, condemned or {})
            report.unreadable = len(unread)
            with blaming(events):
                outcome = await store.commit(change.putting(*unread).under(fence))
            match outcome:
                case Committed():
                    return report
                case FenceLost():
                    raise Leave
                case Conflict():
                    attempt += 1
                    await decide_again(attempt, until, events)


def fold(
    known: Known, hears: Hears, events: Iterable[Heard], clock: Clock, condemned: Mapping[str, str]
) -> tuple[Change, Report]:
    """React to each event whose turn it is; hold those that came early, park those that cannot be."""
    steps: list[Change] = []
    report = Report()
    for event in events:
        step = _step(known, hears, event, clock, condemned, report)
        known.learn(step)
        steps.append(step)
    return Change.all_of(steps), report


def _step(
    known: Known,
    hears: Hears,
    event: Heard,
    clock: Clock,
    condemned: Mapping[str, str],
    report: Report,
) -> Change:
    gate = known.head(*event.gate)
    at = Moment(clock.now(), event.trace)
    if event.seq == gate.seq and event.chain != gate.digest:
        rewritten = errors.Poison("同一序号出现另一条记录：来源的历史被改写或回退", code="rewritten")
        report.parked.append((event, str(rewritten)))
        return parking.park(event, gate, rewritten, at)
    if event.seq <= gate.seq:
        report.old.append(event)
        return Change()
    blocked = known.one(schema.ParkedKey, parking.source_of(event), event.stream)
    if blocked or event.seq > gate.seq + 1:
        report.held.append(event)
        return Change().putting(parking.held_event(event, clock))
    try:
        if event.id in condemned:
            raise errors.Poison(condemned[event.id], code="failed")
        if not event.follows(gate.digest):
            raise errors.Poison(
                "此条不接续已收到的上一条：来源的历史被改写，或记录是伪造的", code="not-following"
            )
        reaction, data = hears.reaction(event)
        step = reaction.react(known, data, event, at) if reaction else Change()
    except (errors.Refusal, errors.Poison) as why:
        report.parked.append((event, str(why)))
        return parking.park(event, gate, why, at)
    except Exception as error:
        raise Broken(event, error) from error
    report.applied.append(event)
    return step.ending(gate, seq=event.seq, digest=event.chain)


async def known_for(
    store: Store, hears: Hears, events: Sequence[Heard], condemned: Mapping[str, str]
) -> Known:
    """Heads and rows that these events' gates and reactions need, in one query per table."""
    streams: list[tuple[str, str]] = [event.gate for event in events]
    wants = [Want(schema.ParkedKey, (parking.source_of(event), event.stream)) for event in events]
    for event in events:
        if event.id in condemned:
            continue
        try:
            reaction, data = hears.reaction(event)
        except errors.Poison:
            continue  # it is parked when its turn comes
        if reaction:
            with blaming([event]):
                streams += reaction.streams(data, event)
                wants += reaction.wants(data, event)
    with blaming(events):
        async with store.reading() as read:
            return await read.known(streams, wants)


async def decide_again(attempt: int, until: float, events: Sequence[Heard]) -> None:
    """After a conflict, for a while; one that never ends may be an event's own doing."""
    if events and monotonic() > until:
        raise Broken(events[-1], errors.Busy())
    await conflicts.jitter(attempt)


@contextmanager
def blaming(events: Sequence[Heard]) -> Iterator[None]:
    """What is refused inside is the fault of one of these events."""
    try:
        yield
    except (errors.Transient, Broken):
        raise
    except Exception as error:
        if not events:
            raise
        raise Broken(events[-1], error) from error
