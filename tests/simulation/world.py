"""One run: two relays, two processes of `sharing`, a writer and a reader, and who is stopped where.

Everything that is drawn is drawn from one seed, so a run can be had again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import orjson

from libs.common import clock, edge, errors
from libs.common.loops.filler import Filler
from libs.common.loops.lease import Leased
from libs.common.web.asked import Asked, Here
from services.sharing.readers import api as readers
from services.sharing.readers.loads import Arrivals
from services.sharing.readers.reacts import Followers
from tests.simulation import story
from tests.simulation.broker import SESSION, Broker
from tests.simulation.loop import Loop
from tests.simulation.network import Network
from tests.simulation.parts import TOPIC, Clock, Databases, Journals, Parts, hears
from tests.simulation.processes import Place, Process, Stop, places
from tests.simulation.promises import Promises
from tests.simulation.reading import FOLLOWING, Caller, Gone, Reader, Serving

RELAYS = ("relay-1", "relay-2")
SHARING = ("sharing-1", "sharing-2")
#: Simulated seconds after which a run must have settled, whatever happened in it.
PATIENCE = 20.0
#: Seconds of the relay's lease.
LEASE = 1.2


@dataclass(slots=True)
class Outcome:
    """What became of a run."""

    broken: list[str]
    #: Awaits of each process until the run had settled.
    awaits: dict[str, int]
    #: Where processes were stopped, with all lines that waited there.
    stopped: list[tuple[Stop, list[Place]]]
    #: The process and the await that first waited at a line that was looked for.
    found: tuple[str, int] | None
    trace: list[str]


def run(
    seed: int,
    databases: Databases,
    *,
    stops: Sequence[Stop] = (),
    parts: Parts | None = None,
    looked_for: Set[Place] = frozenset(),
) -> Outcome:
    """One run, until everything has settled or a promise was broken."""
    chance = random.Random(seed)
    loop = Loop(chance)
    with _apart(loop, chance, databases):
        return World(loop, chance, databases, stops, parts or Parts(), looked_for).run()


@contextlib.contextmanager
def _apart(loop: Loop, chance: random.Random, databases: Databases) -> Iterator[None]:
    """Time, chance, databases and silence belong to the run while it lasts; garbage waits."""
    ticking = clock.TICKING.set(loop.time)
    state, level = random.getstate(), logging.root.manager.disable
    random.seed(chance.random())
    logging.disable(logging.CRITICAL)
    gc.disable()
    both = (databases.source, databases.sharing)
    for database in both:
        database.begin(loop.time)
    try:
        yield
    finally:
        for database in both:
            database.forget()
        gc.enable()
        logging.disable(level)
        random.setstate(state)
        clock.TICKING.reset(ticking)


class World:
    """The processes of one run, and what lies around them."""

    def __init__(
        self,
        loop: Loop,
        chance: random.Random,
        databases: Databases,
        stops: Sequence[Stop],
        parts: Parts,
        looked_for: Set[Place],
    ) -> None:
        self._is_spoilt = is_spoilt = chance.random() < 0.3
        self._loop = loop
        self._chance = chance
        self._databases = databases
        self._parts = parts
        self._stops = {(stop.process, stop.nth): stop for stop in stops}
        self._promises = Promises(databases.source, databases.sharing, is_spoilt=is_spoilt)
        self._network = Network(loop, chance, self._promises)
        losing = {id_ for id_ in story.LOSABLE if chance.random() < 0.25}
        self._broker = Broker(self._network, TOPIC, losing)
        self._promises.records = {p.number: records for p, records in self._broker.records.items()}
        self._clock = Clock(loop)
        self._hears = hears(is_spoilt=is_spoilt)
        self._lives: list[Process] = []
        self._services: dict[str, Serving] = {}
        self._running: dict[str, list[asyncio.Task[Any]]] = {}
        self._reader = Reader(*chance.choice(FOLLOWING))
        self._tasks: list[asyncio.Task[Any]] = []
        self._awaits: dict[str, int] = {}
        self._stopped: list[tuple[Stop, list[Place]]] = []
        self._looked_for = looked_for
        self._found: tuple[str, int] | None = None

    def run(self) -> Outcome:
        """Play it to its end."""
        try:
            self._loop.run_until_complete(self._play())
            self._awaits = self._awaits or self._counted()
        finally:
            self._loop.run_until_complete(self._end())
        broken = [*self._promises.broken, *(f"nobody took {one}" for one in self._loop.accidents)]
        trace = [f"{at:8.3f} {who:12} {what}" for at, who, what in self._network.trace]
        return Outcome(broken, self._awaits, self._stopped, self._found, trace)

    async def _play(self) -> None:
        for name in (*RELAYS, *SHARING):
            self._network.later(self._chance.random() * 0.3, functools.partial(self._start, name, 1, 0))
        plot = [self._spawn(self._write())]
        if self._chance.random() < 0.5:
            plot.append(self._spawn(self._deploy()))
        if self._is_spoilt:
            plot.append(self._spawn(self._try_again()))
        self._spawn(self._follow(self._reader))
        why = "the story is not told"
        while self._loop.time() < PATIENCE and not self._promises.broken:
            await asyncio.sleep(0.1)
            if not all(task.done() for task in plot) or self._network.is_busy:
                continue
            why = self._promises.unsettled() or self._unread()
            if not why:
                await self._look_at_the_end()
                return
        if not self._promises.broken:
            self._promises.broke(f"it does not settle: {why}")

    def _unread(self) -> str:
        want = len(self._promises.positions_of(self._reader.feed))
        read = len(self._reader.seen)
        return f"{read} of {want} entries were read" if read < want else ""

    async def _look_at_the_end(self) -> None:
        self._awaits = self._counted()
        self._stops.clear()
        self._looked_for = frozenset()
        self._promises.check_the_end()
        reader = self._reader
        whole = Reader(reader.feed, reader.actor)
        again = await self._ask(whole, SHARING[0], limit=200, timeout=0)
        self._promises.check_reader(reader.feed, reader.seen, again)

    async def _end(self) -> None:
        """What is left of the processes goes, where it can reach nothing."""
        self._network.is_over = True
        for task in self._tasks:
            task.cancel()
        for process in self._lives:
            self._loop.resume(process)
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled() and isinstance(error := task.exception(), Exception):
                self._promises.broke(f"{task.get_name()} ended with {error!r}")

    def _counted(self) -> dict[str, int]:
        return {process.name: process.awaits for process in self._lives}

    def _newest(self, name: str) -> Process:
        return next(process for process in reversed(self._lives) if process.name == name)

    def _start(self, name: str, life: int, awaits: int) -> None:
        process = Process(name, life, awaits, self._stop)
        self._lives.append(process)
        self._network.note(process, "starts")
        if name in RELAYS:
            self._start_relay(process)
        else:
            self._start_sharing(process)

    def _start_relay(self, process: Process) -> None:
        parts = self._parts
        store = parts.store(parts.engine(process, self._network, self._databases.source))
        lease = Leased(store, "relay", str(process), seconds=LEASE)
        relay = parts.relay(store, parts.log(process, self._broker), TOPIC, self._clock, lease)
        self._run(process, store.listen, relay.run)

    def _start_sharing(self, process: Process) -> None:
        parts, network = self._parts, self._network
        store = parts.store(parts.engine(process, network, self._databases.sharing))
        arrivals = Arrivals(store)

        def told(report: edge.Report) -> None:
            arrivals.tell()

        log, journals = parts.log(process, self._broker), Journals(process, network, self._databases.source)
        consumer = parts.consumer(store, log, self._hears, self._clock, told=told)
        filler = Filler(store, journals, self._hears, self._clock, told=told)
        followers = Followers(store, self._clock)
        here = Here(store, self._clock, self._databases.settings, self._databases.keyring)
        self._services[process.name] = Serving(process, here, arrivals, followers)
        self._run(process, consumer.run, filler.run)

    def _run(self, process: Process, *loops: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._running[process.name] = [self._spawn(self._keep(loop), process) for loop in loops]

    async def _keep(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """As `loops.running` keeps it; but here a loop that ends, or fails in another way, is a finding."""
        while True:
            try:
                await loop()
            except errors.Transient:
                await asyncio.sleep(0.1)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run has failed
                return self._promises.broke(f"{loop.__qualname__} failed: {error!r}")
            else:
                return self._promises.broke(f"{loop.__qualname__} ended")

    def _stop(self, process: Process, nth: int, coroutine: Any) -> None:
        if self._looked_for and not self._found and not self._looked_for.isdisjoint(places(coroutine)):
            self._found = process.name, nth
        stop = self._stops.get((process.name, nth))
        if stop is None or self._network.is_over:
            return
        self._network.note(process, str(stop))
        self._stopped.append((stop, list(places(coroutine))))
        process.is_up = False
        if stop.how == "kill":
            self._bury(process, stop.seconds)
        else:
            self._network.later(stop.seconds, lambda: self._loop.resume(process))
            self._network.later(SESSION, lambda: self._broker.expire(process))

    def _bury(self, process: Process, seconds: float) -> None:
        process.is_up, process.is_dead = False, True
        self._network.later(SESSION, lambda: self._broker.expire(process))
        self._network.later(seconds, lambda: self._start(process.name, process.life + 1, process.awaits))
        if service := self._services.get(process.name):
            service.close()

    async def _write(self) -> None:
        for step in story.in_some_order(self._chance):
            self._databases.source.commit(step.change)
            self._network.note("writer", f"told {step.id}")
            if self._chance.random() < 0.4:
                self._network.announce()
                await asyncio.sleep(self._chance.random() * 0.25)

    async def _deploy(self) -> None:
        """One of the processes is asked to end, and is started anew."""
        await asyncio.sleep(self._chance.uniform(0.35, 1.0))
        process = self._newest(self._chance.choice((*RELAYS, *SHARING)))
        if not process.is_dead:
            await self._let_end(process)

    async def _let_end(self, process: Process) -> None:
        self._network.note(process, "is asked to end")
        loops = self._running[process.name]
        for loop in loops:
            loop.cancel()
        if service := self._services.get(process.name):
            service.arrivals.end()
        # It may be killed meanwhile, and then nothing of it is ever done.
        while not process.is_dead and not all(loop.done() for loop in loops):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if not process.is_dead:
            self._bury(process, 0.1)

    async def _try_again(self) -> None:
        """An operator has the key that will be parked tried again, and again."""
        for _ in range(6):
            await asyncio.sleep(self._chance.random() * 0.25)
            service = self._services.get(self._chance.choice(SHARING))
            if service and not service.is_closed:
                self._spawn(self._redrive(service), service.process)

    async def _redrive(self, service: Serving) -> None:
        gate = ("cases", story.SPOILT.rpartition("/")[0])
        with contextlib.suppress(errors.Transient, edge.Broken):
            await edge.drain(service.here.store, self._hears, gate, self._clock, retry=True)

    async def _follow(self, reader: Reader) -> None:
        while True:
            asked = self._chance.choice(SHARING)
            try:
                async with asyncio.timeout(3.0):
                    reader.seen += await self._ask(reader, asked, limit=3, timeout=2000)
                await asyncio.sleep(self._chance.random() * 0.2)
            except (Gone, TimeoutError):
                await asyncio.sleep(0.1)

    async def _ask(self, reader: Reader, name: str, *, limit: int, timeout: int) -> list[dict[str, Any]]:
        """The next entries, of the process with this name. Raises Gone."""
        service = self._services.get(name)
        if service is None or service.is_closed:
            raise Gone
        answer: asyncio.Future[list[dict[str, Any]]] = self._loop.create_future()
        service.open.append(answer)
        self._spawn(self._answer(reader, service, answer, limit, timeout), service.process)
        return await answer

    async def _answer(
        self, reader: Reader, service: Serving, answer: asyncio.Future[Any], limit: int, timeout: int
    ) -> None:
        http = Caller(service, self._network)
        asked = Asked(http, reader.actor, "feed.read")
        try:
            response = await readers.follow(
                asked, http, reader.feed, after=reader.after, limit=limit, timeout=timeout
            )
            await self._network.travel(service.process)
        except errors.Transient:
            service.refuse(answer)
        else:
            if not answer.done():
                answer.set_result(orjson.loads(response.body))

    def _spawn(self, work: Coroutine[Any, Any, Any], process: Process | None = None) -> asyncio.Task[Any]:
        task = self._loop.create_task(work, context=process.context if process else None)
        self._tasks.append(task)
        return task
