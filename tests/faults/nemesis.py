"""The nemesis: breaks one thing after another, as the seed says, and times how long it takes to heal."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from libs.common import clock
from libs.common.settings import Name
from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres
from tests.faults.books import Away
from tests.faults.evidence import Lag
from tests.faults.fleet import Fleet, Process
from tests.faults.ledger import Ledger
from tests.faults.links import Way
from tests.faults.load import Callers
from tools.demo.engine import NAMES

#: Seconds within which everything must be well again after a fault.
RECOVERY = 180.0
#: Seconds after which the county asks for less, so that a machine which others use too can catch up.
EASE = 10.0
#: What it asks for then.
EASED = 0.05
#: Seconds that an alarm for a broker's lost tail may take.
ALARM = 30.0
#: Seconds that all is well between two faults.
REST = 0.5
#: Bytes that the broker loses: some dozens of records, more than a consumer is ever behind.
TAIL = 40_000
#: What is published again begins so long before the loss.
MARGIN = timedelta(minutes=10)


class NotWell(Exception):
    """It did not recover, or nothing goes on; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was broken and mended."""

    number: int
    kind: str
    target: str
    #: Seconds that it lasted, and from its end until all was well.
    lasted: float
    recovery: float
    #: Whether it had to be given less to do before it was well.
    eased: bool = False


#: Breaks, lasts and mends; gives what it hit.
Breaking = Callable[[Fleet, Random], Awaitable[str]]
#: Kinds of faults by name, and how often each is chosen beside the others.
Kinds = Mapping[str, tuple[Breaking, int]]


async def kill_process(fleet: Fleet, choice: Random) -> str:
    service = choice.choice(NAMES)
    number, process = _one_of(fleet, service, choice)
    process.kill()
    await asyncio.sleep(0.2)
    return f"{service} {number}"


async def pause_process(fleet: Fleet, choice: Random) -> str:
    service = choice.choice(NAMES)
    number, process = _one_of(fleet, service, choice)
    async with _paused(process):
        await asyncio.sleep(choice.uniform(1.0, 4.0))
    return f"{service} {number}"


async def pause_past_the_session(fleet: Fleet, choice: Random) -> str:
    """So long that the group has given its partitions to the other process: it wakes as a zombie."""
    service = choice.choice(NAMES)
    number, process = _one_of(fleet, service, choice)
    async with _paused(process):
        await asyncio.sleep(9.0)
    return f"{service} {number}"


async def kill_leader(fleet: Fleet, choice: Random) -> str:
    service = choice.choice(NAMES)
    pid = await leader(fleet, service)
    _signal(pid, signal.SIGKILL)
    await asyncio.sleep(0.2)
    return f"{service} relay"


async def pause_leader(fleet: Fleet, choice: Random) -> str:
    """Past its lease: the other one publishes meanwhile, and this one wakes and believes that it leads."""
    service = choice.choice(NAMES)
    pid = await leader(fleet, service)
    _signal(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(choice.uniform(4.0, 6.0))
    finally:
        _signal(pid, signal.SIGCONT)
    return f"{service} relay"


async def kill_kafka(fleet: Fleet, choice: Random) -> str:
    assert fleet.kafka
    await _kill(fleet.kafka, choice.uniform(0.0, 3.0))
    return "kafka"


async def pause_kafka(fleet: Fleet, choice: Random) -> str:
    assert fleet.kafka
    await _pause(fleet.kafka, choice.uniform(2.0, 6.0))
    return "kafka"


async def kill_postgres(fleet: Fleet, choice: Random) -> str:
    assert fleet.postgres
    await _kill(fleet.postgres, choice.uniform(0.0, 2.0))
    return "postgres"


async def pause_postgres(fleet: Fleet, choice: Random) -> str:
    assert fleet.postgres
    await _pause(fleet.postgres, choice.uniform(1.0, 4.0))
    return "postgres"


async def _kill(engine: Kafka | Postgres, away: float) -> None:
    await asyncio.to_thread(engine.kill)
    await asyncio.sleep(away)
    await asyncio.to_thread(engine.start)


async def _pause(engine: Kafka | Postgres, still: float) -> None:
    engine.pause()
    try:
        await asyncio.sleep(still)
    finally:
        engine.resume()


async def cut_one_way(fleet: Fleet, choice: Random) -> str:
    """Half-open for a while, then reset."""
    assert fleet.links
    name = choice.choice(sorted(fleet.lines))
    ways: tuple[Way, Way] = ("there", "back")
    way = choice.choice(ways)
    fleet.links.cut(fleet.lines[name], way)
    try:
        await asyncio.sleep(choice.uniform(2.0, 5.0))
    finally:
        fleet.links.mend(fleet.lines[name])
    return f"{name}, {way}"


async def lose_tail(fleet: Fleet, choice: Random) -> str:
    """Power loss at the broker, and then what docs/runbook.md tells the operator to do."""
    assert fleet.kafka
    sources: tuple[Name, Name] = ("cases", "notify")
    source = choice.choice(sources)
    topic = f"liandong.{source}.v1"
    before = clock.Clock().now() - MARGIN
    await asyncio.to_thread(fleet.kafka.kill)
    number = fleet.kafka.lose_tail(topic, TAIL)
    await asyncio.to_thread(fleet.kafka.start)
    await _until_alarmed(fleet)
    await fleet.stop()
    for service in NAMES:
        await fleet.books.rows(service, "UPDATE positions SET next = 0, last_id = '' WHERE topic = $1", topic)
    await fleet.books.rows(source, "UPDATE journal SET published_at = NULL WHERE published_at > $1", before)
    fleet.start()
    return f"{topic}/{number}"


async def kill_all(fleet: Fleet, choice: Random) -> str:
    (process,) = fleet.every
    process.kill()
    await asyncio.sleep(0.2)
    return "services"


async def pause_all(fleet: Fleet, choice: Random) -> str:
    (process,) = fleet.every
    async with _paused(process):
        await asyncio.sleep(choice.uniform(1.0, 4.0))
    return "services"


DISTRIBUTED: Kinds = {
    "process killed": (kill_process, 3),
    "process paused": (pause_process, 2),
    "process paused past its session": (pause_past_the_session, 1),
    "relay's leader killed": (kill_leader, 2),
    "relay's leader paused past its lease": (pause_leader, 2),
    "Kafka killed": (kill_kafka, 2),
    "Kafka paused": (pause_kafka, 2),
    "PostgreSQL killed": (kill_postgres, 2),
    "PostgreSQL paused": (pause_postgres, 2),
    "connection cut one way": (cut_one_way, 3),
    "broker lost its tail": (lose_tail, 1),
}
EMBEDDED: Kinds = {
    "services killed": (kill_all, 2),
    "services paused": (pause_all, 1),
}


def schedule(kinds: Kinds, count: int, choice: Random) -> list[str]:
    """Which kinds, in which order: each as often as its share, in rounds, so that none is left out."""
    shares = [kind for kind, (_, share) in kinds.items() for _ in range(share)]
    chosen: list[str] = []
    while len(chosen) < count:
        choice.shuffle(shares)
        chosen += shares
    return chosen[:count]


@dataclass
class Nemesis:
    """Breaks a fleet under load."""

    fleet: Fleet
    callers: Callers
    ledger: Ledger
    kinds: Kinds
    seed: str
    faults: list[Fault] = field(default_factory=list)

    async def run(self, count: int) -> None:
        """So many faults, one after the other. Raises NotWell at the first that is not overcome."""
        for number, kind in enumerate(schedule(self.kinds, count, Random(f"{self.seed} faults")), 1):
            await asyncio.sleep(REST)
            await self._break(number, kind)

    async def _break(self, number: int, kind: str) -> None:
        breaking, _ = self.kinds[kind]
        lag = await Lag.begin(self.fleet.books)
        began = clock.monotonic()
        await self.ledger.write("broken", f"fault {number}", kind=kind)
        target = await breaking(self.fleet, Random(f"{self.seed} fault {number}"))
        ended = clock.monotonic()
        await self.ledger.write("mended", f"fault {number}", kind=kind, target=target)
        await self._until_well(lag, ended, f"fault {number}, {kind} ({target})")
        recovery = clock.monotonic() - ended
        await self.ledger.write("well", f"fault {number}", recovery=round(recovery, 1))
        self.faults.append(Fault(number, kind, target, ended - began, recovery, recovery > EASE))

    async def _until_well(self, lag: Lag, ended: float, what: str) -> None:
        """Every process is ready, requests were done since, and nothing older than a second is unheard."""
        while reason := await self._unwell(lag, ended):
            passed = clock.monotonic() - ended
            if passed > RECOVERY:
                raise NotWell(f"{what}: not well after {RECOVERY} s: {reason}")
            if passed > EASE:
                self.callers.ease(EASED)
            await asyncio.sleep(0.2)
        self.callers.ease(1.0)

    async def _unwell(self, lag: Lag, ended: float) -> str:
        if silent := [name for name in ("cases", "notify") if self._last(name) < ended]:
            return f"nothing done by {silent}"
        try:
            if behind := await lag.behind():
                return f"{len(behind)} streams unheard, such as {behind[:5]}"
        except Away as why:
            return str(why)
        return "; ".join(await self.fleet.unready())

    def _last(self, service: Name) -> float:
        return self.callers.done_at.get(service, 0.0)


async def leader(fleet: Fleet, service: Name) -> int:
    """The process that holds the relay's lease; it must be one of ours."""
    until = clock.monotonic() + RECOVERY
    ours = {process.pid for process in fleet.processes[service]}
    while clock.monotonic() < until:
        rows = await fleet.books.rows(service, "SELECT holder FROM leases WHERE name = 'relay'")
        pid = int(rows[0]["holder"].split(":")[-2]) if rows else 0
        if pid in ours:
            return pid
        await asyncio.sleep(0.1)
    raise AssertionError(f"no process of {service} leads its relay")


async def _until_alarmed(fleet: Fleet) -> None:
    """A consumer that has read further than the log goes must stop, and say so."""
    until = clock.monotonic() + ALARM
    while not any("消费已停止" in said for said in await fleet.unready()):
        assert clock.monotonic() < until, "records were lost, and no consumer stopped with an alarm"
        await asyncio.sleep(0.1)


def _one_of(fleet: Fleet, service: Name, choice: Random) -> tuple[int, Process]:
    twins: Sequence[Process] = fleet.processes[service]
    number = choice.randrange(len(twins))
    return number, twins[number]


@asynccontextmanager
async def _paused(process: Process) -> AsyncIterator[None]:
    process.pause()
    try:
        yield
    finally:
        process.resume()


def _signal(pid: int, how: signal.Signals) -> None:
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return
