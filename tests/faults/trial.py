"""One run: a county at work, a nemesis, those who watch, and the checks when all is quiet."""

from __future__ import annotations

import asyncio
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from libs.common import clock
from libs.common.permit import Role
from tests.faults import checks, evidence, ledger, load
from tests.faults.books import Away
from tests.faults.fleet import Fleet
from tests.faults.load import Callers, Load
from tests.faults.nemesis import Fault, Kinds, Nemesis, NotWell
from tests.faults.watching import Follower, Holders
from tests.worlds import cast

#: Of what one check finds, so much is shown.
SHOWN = 5
#: How much more is asked for when nothing breaks any more and events are still wanted.
UNHINDERED = 2.0
#: Seconds without progress after which waiting for more events is given up.
STALLED = 60.0


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is."""

    faults: int
    events: int
    #: Requests a second.
    rate: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    seed: str
    faults: Sequence[Fault]
    events: int
    requests: int
    unknown: int
    refused: int
    seconds: float
    #: What does not hold, by the name of the check.
    found: dict[str, list[str]]

    def complaint(self) -> str:
        """What does not hold, with the seed that leads there again and the lines that prove it."""
        told = [f"seed {self.seed}: {len(self.found)} checks do not hold"]
        for name, found in self.found.items():
            told += [f"\n{name}: {len(found)} times", *found[:SHOWN]]
        return "\n".join(told)

    def table(self) -> list[str]:
        """The faults by kind, and how long it took to recover from them, in seconds."""
        times: defaultdict[str, list[float]] = defaultdict(list)
        for fault in self.faults:
            times[fault.kind].append(fault.recovery)
        rows = [
            f"| {kind} | {len(took)} | {statistics.median(took):.1f} | {max(took):.1f} |"
            for kind, took in sorted(times.items())
        ]
        return [
            f"seed {self.seed}: {len(self.faults)} faults, {self.events} events, {self.requests} requests"
            f" ({self.refused} refused, {self.unknown} asked again) in {self.seconds:.0f} s;"
            f" {sum(fault.eased for fault in self.faults)} times the load was eased",
            "",
            "| fault | times | recovery, median (s) | longest (s) |",
            "|---|---|---|---|",
            *rows,
        ]


async def run(fleet: Fleet, kinds: Kinds, seed: str, size: Size) -> Outcome:
    """Break a fleet as the seed says, until there were enough faults and enough events, and judge."""
    began = clock.monotonic()
    book = ledger.Ledger(fleet.place / "ledger.jsonl")
    callers = Callers(fleet, book, seed, size.rate)
    async with AsyncExitStack() as stack:
        stack.callback(book.close)
        stack.push_async_callback(callers.close)
        await load.register(fleet, callers)
        work = Load(callers, seed)
        holders = Holders(callers, fleet.books, work)
        followers = {
            "the coordinator": Follower(callers, cast.OFFICE, Role.COORDINATOR),
            "the department": Follower(callers, cast.DEPARTMENT, Role.HANDLER),
        }
        striking = Nemesis(fleet, callers, book, kinds, seed)
        stuck: list[str] = []
        async with _beside(holders.run(), *(f.run() for f in followers.values())):
            async with asyncio.TaskGroup() as group:
                group.create_task(work.run())
                try:
                    await striking.run(size.faults)
                    callers.ease(UNHINDERED)
                    await _until_enough(fleet, size.events)
                except NotWell as why:
                    stuck.append(str(why))
                finally:
                    work.end()
            await evidence.until_quiet(fleet.books)
        world = await evidence.gather(fleet, callers, ledger.read(book.file), holders, followers, seed)
        return _judged(world, striking.faults, stuck, seed, clock.monotonic() - began)


def _judged(
    world: evidence.World, faults: Sequence[Fault], stuck: list[str], seed: str, seconds: float
) -> Outcome:
    found = {"every_fault_is_overcome": stuck}
    found |= {check.__name__: list(check(world)) for check in checks.CHECKS}
    requests = [request for request in world.requests.values() if request.verb]
    return Outcome(
        seed=seed,
        faults=faults,
        events=len(world.facts),
        requests=len(requests),
        unknown=sum('"do": "unknown"' in "".join(request.lines) for request in requests),
        refused=sum(request.outcome == "refused" for request in requests),
        seconds=seconds,
        found={name: complaints for name, complaints in found.items() if complaints},
    )


async def _until_enough(fleet: Fleet, events: int) -> None:
    """Go on until so many facts are written. Raises NotWell where no more come."""
    most, since = 0, clock.monotonic()
    while most < events:
        try:
            now = await evidence.count_facts(fleet.books)
        except Away:
            now = most
        if now > most:
            most, since = now, clock.monotonic()
        if clock.monotonic() - since > STALLED:
            raise NotWell(f"stalled at {most} of {events} events")
        await asyncio.sleep(0.5)


@asynccontextmanager
async def _beside(*running: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """These run while the block does; one that ends by itself has failed."""
    tasks = [asyncio.create_task(each) for each in running]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error
