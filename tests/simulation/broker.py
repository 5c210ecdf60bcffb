"""A simulated log: at-least-once and nothing more, with groups that learn late who left them.

A record that was not acknowledged may have been written, may be written later, or never; one that was
acknowledged may be lost all the same, once, where the run is to have a gap.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

from libs.common import errors
from libs.common.log.seam import Outgoing, Partition, Polled, Record, Subscription, partition_of
from tests.simulation.network import Network
from tests.simulation.processes import Process

PARTITIONS = 2
#: Seconds of silence after which a member is put out of its group.
SESSION = 0.8


class Broker:
    """What all processes share."""

    def __init__(self, network: Network, topic: str, losing: set[str]) -> None:
        """`losing` are ids of events that are acknowledged and lost, the first time that they come."""
        self.network = network
        self.partitions = [Partition(topic, n) for n in range(PARTITIONS)]
        self.records: dict[Partition, list[Record]] = {partition: [] for partition in self.partitions}
        self._losing = losing
        self._members: list[Member] = []

    def append(self, partition: Partition, outgoing: Sequence[Outgoing]) -> None:
        """Write records, in order."""
        written = self.records[partition]
        for one in outgoing:
            id_ = dict(one.headers)["ce_id"].decode()
            is_lost = id_ in self._losing
            self._losing.discard(id_)
            self.network.promises.appended(id_)
            if not is_lost:
                written.append(Record(partition, len(written), one.key.encode(), one.value, one.headers))
        for member in self._members:
            self.network.tell(member.process, 0.005, member.awake.set)

    def join(self, member: Member) -> None:
        self._members.append(member)
        self._deal()

    def leave(self, member: Member) -> None:
        if member in self._members:
            self._members.remove(member)
            self._deal()

    def miss(self, member: Member) -> None:
        """Nobody speaks for this member any longer: in the end it is put out, if it did not leave."""
        self.network.later(SESSION, lambda: self.leave(member))

    def expire(self, process: Process) -> None:
        """The process has been silent for too long: its members are out, and hear of it when they can."""
        if process.is_up:
            return
        for member in [member for member in self._members if member.process is process]:
            self.network.note("the broker", f"{process} is put out of its group")
            self.leave(member)
            if not process.is_dead:
                self.network.tell(process, 0.5, member.rejoin)

    def _deal(self) -> None:
        """Deal the partitions round; each member hears of it at its own time."""
        for n, member in enumerate(self._members):
            member.generation += 1
            share = set(self.partitions[n :: len(self._members)])
            hear = functools.partial(member.assign, member.generation, share)
            self.network.tell(member.process, 0.2, hear)


class Log:
    """One process's way to the log."""

    def __init__(self, process: Process, broker: Broker) -> None:
        self._process = process
        self._broker = broker
        self._network = broker.network

    async def prepare(self, topics: Sequence[str]) -> None: ...

    async def publish(self, topic: str, outgoing: Sequence[Outgoing], *, within: float) -> list[bool]:
        await self._network.travel(self._process)
        if self._network.fails():
            raise errors.Transient("no broker")
        acknowledged = [True] * len(outgoing)
        for number, partition in enumerate(self._broker.partitions):
            places = [n for n, one in enumerate(outgoing) if partition_of(one.key, PARTITIONS) == number]
            for place in places[self._sent(partition, [outgoing[n] for n in places]) :]:
                acknowledged[place] = False
        self._network.note(self._process, f"published {len(outgoing)}, acknowledged {sum(acknowledged)}")
        await self._network.travel(self._process)
        if not all(acknowledged):
            await asyncio.sleep(self._network.chance.random() * within)
        return acknowledged

    async def subscribe(self, group: str, topics: Sequence[str]) -> Subscription:
        member = Member(self._process, self._broker)
        try:
            await self._network.call(self._process, "join", lambda: self._broker.join(member))
        except errors.Transient:
            self._broker.miss(member)
            raise
        return member

    async def read_at(self, partition: Partition, offset: int) -> Record | None:
        records = self._broker.records[partition]
        return await self._network.ask(
            self._process, lambda: records[offset] if offset < len(records) else None
        )

    async def ready(self) -> None: ...

    async def close(self) -> None: ...

    def _sent(self, partition: Partition, outgoing: Sequence[Outgoing]) -> int:
        """Send to one partition; gives how many, from the first, were acknowledged."""
        if not self._network.fails(3.0):
            self._broker.append(partition, outgoing)
            return len(outgoing)
        chance = self._network.chance
        acknowledged = chance.randrange(len(outgoing) + 1)
        self._broker.append(partition, outgoing[:acknowledged])
        rest = outgoing[acknowledged:]
        match chance.choice(("written", "late", "never")):
            case "written":
                self._broker.append(partition, rest)
            case "late":
                self._network.later(chance.random() * 3, lambda: self._broker.append(partition, rest))
        return acknowledged


@dataclass(eq=False)
class Member:
    """One member of the group."""

    process: Process
    broker: Broker
    generation: int = 0
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    _is_closed: bool = False
    _known: int = 0
    _given: set[Partition] = field(default_factory=set)
    _taken: set[Partition] = field(default_factory=set)
    #: The offset to be read next, None until it was sought.
    _next: dict[Partition, int | None] = field(default_factory=dict)

    async def poll(self, *, most: int, within: float) -> Polled:
        network = self.broker.network
        await network.travel(self.process)
        if network.fails(0.3):
            raise errors.Transient("this member is of no more use")
        self.awake.clear()
        polled = self._collected()
        if polled == Polled():
            try:
                async with asyncio.timeout(within):
                    await self.awake.wait()
            except TimeoutError:
                return Polled()
            polled = self._collected()
        return polled

    def seek(self, partition: Partition, offset: int) -> None:
        if partition in self._next and partition not in self._given:
            self._next[partition] = offset

    def end(self, partition: Partition) -> int | None:
        return len(self.broker.records[partition])

    async def close(self) -> None:
        self._is_closed = True
        self.broker.miss(self)
        with contextlib.suppress(errors.Transient):
            await self.broker.network.call(self.process, "leave", lambda: self.broker.leave(self))

    def rejoin(self) -> None:
        """It has heard that it was put out."""
        if not self._is_closed:
            self.broker.join(self)

    def assign(self, generation: int, share: set[Partition]) -> None:
        """Take up these partitions and no others, unless newer word has come."""
        if generation <= self._known:
            return
        self._known = generation
        had = set(self._next)
        self._given = (self._given | (share - had)) & share
        self._taken |= had - share
        self._next = {partition: self._next.get(partition) for partition in sorted(share, key=str)}
        self.awake.set()

    def _collected(self) -> Polled:
        given, self._given = frozenset(self._given), set()
        taken, self._taken = frozenset(self._taken), set()
        records: dict[Partition, Sequence[Record]] = {}
        for partition, offset in self._next.items():
            if offset is None or partition in given:
                continue
            size = self.broker.network.chance.choice((1, 20, 20))
            if found := self.broker.records[partition][offset : offset + size]:
                records[partition] = found
                self._next[partition] = offset + len(found)
        return Polled(given, taken, records)
