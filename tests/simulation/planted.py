"""Bugs planted on purpose, each a peer of what it replaces: a run that does not find them proves nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select, update

from libs.common import edge
from libs.common.change import Change, Head, Row, Write
from libs.common.log import envelope
from libs.common.log.seam import Outgoing, Partition, Record
from libs.common.loops.consumer import Consumer
from libs.common.loops.relay import ROUND, Relay
from libs.common.store import schema
from libs.common.store.schema import JournalEntry, JournalRow
from libs.common.store.seam import Committed, Outcome
from libs.common.store.store import Lease, Store, Unpublished
from services.sharing.feeds import rules
from tests.simulation.broker import Log
from tests.simulation.engine import Engine
from tests.simulation.parts import Parts
from tests.simulation.seeds import SCHEDULE

_JOURNAL = schema.table(JournalRow)


class MarksFirst(Relay):
    """Marks what it is about to publish."""

    async def once(self) -> int:
        lease = await self._lease.held()
        entries = await self._store.unpublished(ROUND) if lease else []
        if not lease or not entries:
            return 0
        places = [entry.position for entry in entries]
        await self._store.mark_published(places, at=self._clock.now(), lease=lease)
        await self._log.publish(self._topic, [envelope.outgoing(entry) for entry in entries], within=1.0)
        return len(entries)


class PassingBy(Store):
    """A relay's store that goes on behind the greatest position it has given."""

    _last = 0

    async def unpublished(self, most: int) -> list[Unpublished]:
        behind = select(_JOURNAL).where(_JOURNAL.c.position > self._last).order_by(_JOURNAL.c.position)
        async with self.reading() as read:
            found = await read.all(JournalEntry, behind.limit(most))
        self._last = max([self._last, *(entry.position for entry in found)])
        return [Unpublished(*(getattr(entry, name) for name in Unpublished._fields)) for entry in found]


class Believing(Log):
    """Calls acknowledged whatever it has sent."""

    async def publish(self, topic: str, outgoing: Sequence[Outgoing], *, within: float) -> list[bool]:
        await super().publish(topic, outgoing, within=within)
        return [True] * len(outgoing)


class Gapped(Log):
    """Sends record by record, and goes on behind one that failed."""

    def _sent(self, partition: Partition, outgoing: Sequence[Outgoing]) -> int:
        return sum(super(Gapped, self)._sent(partition, [one]) for one in outgoing)


class AnyoneMarks(Store):
    """Marks for whoever asks, under whatever lease."""

    async def mark_published(self, positions: Sequence[int], *, at: datetime, lease: Lease) -> bool:
        chosen = _JOURNAL.c.position.in_(bindparam("positions", expanding=True))
        marking = update(_JOURNAL).where(chosen).values(published_at=at).returning(_JOURNAL.c.position)
        return bool(await self._engine.run(marking, {"positions": list(positions)}))


class Unfenced(Engine):
    """Moves the position wherever it is told to, whoever tells it."""

    async def commit(self, change: Change) -> Outcome:
        if (fence := change.fence) is None:
            return await super().commit(change)

        def effect() -> Outcome:
            outcome = self._database.commit(change._replace(fence=None))
            if isinstance(outcome, Committed):
                self._database.raw.execute(
                    "UPDATE positions SET next = ?, last_id = ? WHERE topic = ? AND partition = ?",
                    (fence.then, fence.last_id, fence.topic, fence.partition),
                )
            self._promises.committed(outcome)
            return outcome

        return await self._network.call(self._process, "commit", effect)


class PositionFirst(Store):
    """Commits the position, and then the effects."""

    async def commit(self, change: Change) -> Outcome:
        if change.fence:
            moved = await super().commit(Change().under(change.fence))
            if not isinstance(moved, Committed):
                return moved
        return await super().commit(change._replace(fence=None))


class Forgetful(Store):
    """Lets go what came early."""

    async def commit(self, change: Change) -> Outcome:
        kept = tuple(
            row for row in change.rows if not (row.table == "held_events" and row.write is Write.PUT)
        )
        return await super().commit(change._replace(rows=kept))


class TakesGaps(Consumer):
    """Lets an event pass its gate whatever is missing before it."""

    async def _consume(
        self, partition: Partition, place: object, records: Sequence[Record], condemned: Mapping[str, str]
    ) -> edge.Report:
        for heard in map(envelope.read, records):
            async with self._store.reading() as read:
                gate = await read.head(*heard.gate)
            if heard.seq > gate.seq + 1:
                opened = Change().ending(gate, seq=heard.seq - 1, digest=gate.digest)
                await self._store.commit(opened)
        return await super()._consume(partition, place, records, condemned)  # type: ignore[arg-type]


class LastWins(Engine):
    """Compares no head with what was read."""

    async def commit(self, change: Change) -> Outcome:
        def effect() -> Outcome:
            own = tuple(head._replace(version=self._version(head)) for head in change.own)
            outcome = self._database.commit(change._replace(own=own, relied=()))
            self._promises.committed(outcome)
            return outcome

        return await self._network.call(self._process, "commit", effect)

    def _version(self, head: Head) -> int:
        found = self._database.values(
            "SELECT version FROM heads WHERE kind = ? AND id = ?", head.kind, head.id
        )
        return found[0] if found else 0


class FromSequence(Engine):
    """Gives positions of the log before the commit, as a sequence does."""

    async def commit(self, change: Change) -> Outcome:
        if not change.numbered:
            return await super().commit(change)
        taken = await self._network.call(self._process, "sequence", lambda: self._take(len(change.numbered)))
        rows = tuple(
            Row(one.table, (taken + n,), {**one.values, "position": taken + n}, Write.INSERT)
            for n, one in enumerate(change.numbered, 1)
        )
        return await super().commit(change._replace(numbered=(), rows=(*change.rows, *rows)))

    def _take(self, count: int) -> int:
        (last,) = self._database.values(
            "INSERT INTO counters (name, position) VALUES (?, ?) ON CONFLICT (name)"
            " DO UPDATE SET position = position + excluded.position RETURNING position",
            rules.LOG,
            count,
        )
        return int(last) - count


#: Pairs of crashes, each in a schedule of its own: no bug hangs on how one of them happens to go.
PAIRS = range(SCHEDULE - 120, SCHEDULE)

#: The relays are paused at each of their awaits.
PAUSED = range(SCHEDULE + 1, SCHEDULE + 100)


@dataclass(frozen=True, slots=True)
class Bug:
    """One planted bug: what is planted, which promise that breaks, and the seeds among which it is seen."""

    name: str
    parts: Parts
    breaks: str
    within: range


BUGS = (
    Bug("marked before it is published", Parts(relay=MarksFirst), "never published", PAIRS),
    Bug("relay by position greater than last", Parts(store=PassingBy), "not marked as", PAIRS),
    Bug("an answer taken for an acknowledgement", Parts(log=Believing), "never published", PAIRS),
    Bug("a hole in what was sent", Parts(log=Gapped), "was published before|never published", PAIRS),
    Bug("a lease without its epoch", Parts(store=AnyoneMarks), "marked under epoch", PAUSED),
    Bug("no fence", Parts(engine=Unfenced), "position in partition . went back", PAIRS),
    Bug("a position committed before its effects", Parts(store=PositionFirst), "position passed", PAIRS),
    Bug("what came early is dropped", Parts(store=Forgetful), "position passed", PAIRS),
    Bug("a gate that takes a gap", Parts(consumer=TakesGaps), "not in the log|parked", PAIRS),
    Bug("the last writer wins", Parts(engine=LastWins), "went back|does not settle", PAIRS),
    Bug("positions from a sequence", Parts(engine=FromSequence), "have holes|reader of", PAIRS),
)
