"""What `sharing` does when it hears an event: the log takes it, the picture folds it, in one Change.

The rebuild stands here too: it hears the whole log again, case by case.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from libs.common import errors, telemetry
from libs.common.change import Change
from libs.common.clock import Clock, Moment, Trace
from libs.common.contracts.event import CATALOGUE, Event
from libs.common.edge import Reaction
from libs.common.log.envelope import Heard
from libs.common.loops.backoff import Backoff
from libs.common.loops.lease import Leased
from libs.common.store.reading import Known, Reader, Want
from libs.common.store.seam import Committed
from libs.common.store.store import Store
from services.sharing.clocks import reacts as clocks
from services.sharing.clocks import rules as running
from services.sharing.feeds import loads as feeds
from services.sharing.feeds import reacts as log
from services.sharing.picture import loads, rules
from services.sharing.picture.rules import Album, Happening, Rebuilding, View
from services.sharing.picture.tables import Offer, Picture, PicturedCase, Rebuild

#: Seconds between looks for a rebuild that was asked for elsewhere, or left undone.
SLOW_POLL = 1.0

_log = logging.getLogger(__name__)


def reactions() -> Mapping[str, Reaction]:
    """A reaction for every type of the catalogue."""
    entering = otherwise()
    folding = Reaction(on_event, wants=_wants, streams=_streams)
    keeping = dict.fromkeys(running.FOLDS, clocks.KEEPING)
    folded = {**keeping, **dict.fromkeys(rules.FOLDS, folding)}
    return {type_: folded.get(type_, entering) for type_ in CATALOGUE}


def otherwise() -> Reaction:
    """The reaction to everything else: it enters the log and leaves the picture as it is."""
    return Reaction(log.on_event, wants=log.wants, streams=log.streams)


def on_event(known: Known, event: Event, heard: Heard, at: Moment) -> Change:
    """Enter an event that changes the picture, and fold it."""
    happening = Happening(_case_of(heard), heard.seq, heard.recorded_at)

    def view(generation: int) -> View:
        slot = rules.slot_of(generation)
        standing = known.one(PicturedCase, happening.case, slot)
        offer = known.one(Offer, rules.transfer_of(event), slot)
        return View(
            generation,
            standing if standing and standing.generation == generation else None,
            offer if offer and offer.generation == generation else None,
        )

    album = Album(known.head(*rules.HEAD), known.one(Picture, "current"), view)
    return Change.all_of([log.on_event(known, event, heard, at), rules.keep(album, event, happening)])


def _case_of(heard: Heard) -> str:
    return heard.stream.partition("/")[2]


def _wants(event: Event, heard: Heard) -> Iterable[Want]:
    yield from log.wants(event, heard)
    yield Want(Picture, ("current",))
    for slot in (0, 1):
        yield Want(PicturedCase, (_case_of(heard), slot))
        if transfer := rules.transfer_of(event):
            yield Want(Offer, (transfer, slot))


def _streams(event: Event, heard: Heard) -> Iterable[tuple[str, str]]:
    return [*log.streams(event, heard), rules.HEAD]


class Rebuilder:
    """Carries out the rebuilds that are asked for, in one process at a time, a step a commit.

    One that was left undone is gone on with. Two at once would do no harm: every step relies on the picture's
    head, or owns it.
    """

    def __init__(self, store: Store, clock: Clock, lease: Leased) -> None:
        self._store = store
        self._clock = clock
        self._lease = lease
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """A rebuild was asked for."""
        self._awake.set()

    async def run(self) -> None:
        """Rebuild until cancelled; gives the lease back on the way out."""
        backoff = Backoff()
        try:
            while True:
                self._awake.clear()
                try:
                    if not await self.once():
                        await self._rest()
                    backoff.reset()
                except errors.Transient as why:
                    _log.warning("rebuild waits: %s", why.detail, extra={"action": "rebuild_wait"})
                    await backoff.wait()
        finally:
            await self._leave()

    async def once(self) -> bool:
        """One step; False when there is none to take, or another process takes it."""
        async with self._store.reading() as read:
            s = await loads.rebuilding(read)
        if s is None or await self._lease.held() is None:
            return False
        trace = Trace(s.rebuild.trace)
        with telemetry.traced(trace):
            async with self._store.reading() as read:
                change = await self._step(read, s, Moment(self._clock.now(), trace))
            if isinstance(await self._store.commit(change), Committed):
                self._log(s.rebuild, change)
        return True

    async def _step(self, read: Reader, s: Rebuilding, at: Moment) -> Change:
        match s.rebuild.state:
            case "asked":
                return rules.begin(s, newest=await feeds.end(read))
            case "filling":
                cases = await loads.next_cases(read, s.rebuild.filled_to)
                return rules.fill(s, cases) if cases else rules.finish(s, newest=await feeds.end(read), at=at)
            case _:
                return rules.clear(s, await loads.outdated(read, s.picture.generation), at=at)

    def _log(self, before: Rebuild, change: Change) -> None:
        after = [row.entry for row in change.rows if isinstance(row.entry, Rebuild)]
        if after and after[0].state != before.state:
            told = {"action": f"rebuild_{after[0].state}", "generation": after[0].generation}
            _log.info("rebuild %s: %s", before.id, after[0].state, extra=told)

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(SLOW_POLL):
                await self._awake.wait()
        except TimeoutError:
            return

    async def _leave(self) -> None:
        try:
            await self._lease.release()
        except errors.Transient:
            return  # the lease runs out by itself
