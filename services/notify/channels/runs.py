"""The courier, which takes messages to their endpoints as time passes."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable

from libs.common import errors, telemetry
from libs.common.clock import Clock, Moment, monotonic
from libs.common.edge.conflicts import jitter
from libs.common.loops.backoff import Backoff
from libs.common.loops.lease import Leased
from libs.common.outgoing.client import Outgoing, Unreachable
from libs.common.outgoing.targets import ForbiddenTarget
from libs.common.seal import Seal
from libs.common.store.seam import Committed
from libs.common.store.store import Store
from services.notify.channels import loads, rules
from services.notify.channels.rules import Attempt, Sending

#: Seconds between looks for what other processes wrote, and for attempts that have come due.
SLOW_POLL = 1.0
#: Seconds for one attempt, from the name's resolution to the last byte of the answer.
WITHIN = 10.0
#: Seconds that an attempt may keep a slot of the healthy; who takes longer keeps nobody waiting.
PROMPT = 0.5
#: Attempts at the same time to endpoints that have failed.
FAILING_SLOTS = 16

_log = logging.getLogger(__name__)


class Courier:
    """Takes messages to their endpoints: one at a time to each, many endpoints at once, under one lease.

    Two couriers at once would do no harm but send a message twice, which may happen anyway.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        lease: Leased,
        outgoing: Outgoing,
        seal: Seal,
        *,
        slots: int = 32,
        within: float = WITHIN,
        told: Callable[[str, float], None] = lambda outcome, seconds: None,
    ) -> None:
        """`within` is in seconds; `told` hears of every attempt, and how long it took."""
        self._store = store
        self._clock = clock
        self._lease = lease
        self._outgoing = outgoing
        self._seal = seal
        self._within = within
        self._told = told
        self._awake = asyncio.Event()
        self._healthy = asyncio.Semaphore(slots)
        self._failing = asyncio.Semaphore(FAILING_SLOTS)
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """There may be something to send."""
        self._awake.set()

    async def run(self) -> None:
        """Send until cancelled; gives the lease back on the way out."""
        backoff = Backoff()
        try:
            while True:
                self._awake.clear()
                try:
                    await self.once()
                    backoff.reset()
                    await self._rest()
                except errors.Transient as why:
                    _log.warning("courier waits: %s", why.detail, extra={"action": "courier_wait"})
                    await backoff.wait()
        finally:
            await self._leave()

    async def once(self) -> int:
        """Set out to every endpoint that something is due to; gives how many."""
        if await self._lease.held() is None:
            return 0
        async with self._store.reading() as read:
            due = await loads.due(read, self._clock.now())
        new = [endpoint for endpoint in due if endpoint not in self._under_way]
        for endpoint in new:
            task = asyncio.create_task(self._serve(endpoint), name=f"courier to {endpoint}")
            self._under_way[endpoint] = task
            task.add_done_callback(functools.partial(self._back, endpoint))
        return len(new)

    async def settled(self) -> None:
        """Wait until nobody is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way.values())

    async def _serve(self, endpoint: str) -> None:
        """Everything that is due to this endpoint, one message after the other."""
        while await self._lease.held() is not None:
            async with self._store.reading() as read:
                s = await loads.sending(read, endpoint, self._clock.now())
            if s is None:
                return
            await self._send(s)

    async def _send(self, s: Sending) -> None:
        at = Moment(self._clock.now(), telemetry.new_trace())
        with telemetry.traced(at.trace):
            slot = _Slot(self._failing) if s.file.line.tries else _Slot(self._healthy, lent_for=PROMPT)
            await slot.take()
            try:
                attempt = await self._attempt(s, at)
            finally:
                slot.give_back()
            self._told(attempt.outcome, attempt.milliseconds / 1000)
            await self._settle(s, attempt)

    async def _attempt(self, s: Sending, at: Moment) -> Attempt:
        began = monotonic()
        body = rules.sent(s.message, s.file.endpoint, self._seal, at)
        # Receivers compare with their own clocks, which nobody has moved.
        named = rules.headers(
            s.message, body, s.file.endpoint, self._seal, sent_at=Clock().now(), now=self._clock.now()
        )
        try:
            reply = await self._outgoing.post(s.file.endpoint.url, body, named, within=self._within)
        except ForbiddenTarget:
            attempt = Attempt("forbidden")
        except Unreachable:
            attempt = Attempt("unreachable")
        else:
            attempt = Attempt(rules.outcome(reply.status), reply.status, reply.retry_after)
        return attempt._replace(milliseconds=int((monotonic() - began) * 1000))

    async def _settle(self, s: Sending, attempt: Attempt) -> None:
        """Write down what came of it; decided again where the endpoint has moved meanwhile."""
        tries = 0
        while True:
            at = Moment(self._clock.now(), telemetry.current_trace())
            change = rules.settle(s, attempt, at=at)
            if isinstance(await self._store.commit(change), Committed):
                _say(s, attempt)
                return
            tries += 1
            await jitter(tries)
            try:
                async with self._store.reading() as read:
                    s = await loads.sent(read, s.message.id)
            except errors.NotFound:
                return  # its endpoint was removed

    def _back(self, endpoint: str, task: asyncio.Task[None]) -> None:
        del self._under_way[endpoint]
        if task.cancelled():
            return
        if isinstance(error := task.exception(), errors.Transient):
            _log.warning("courier waits: %s", error.detail, extra={"action": "courier_wait"})
        elif error is not None:
            _log.error("courier failed", exc_info=error, extra={"action": "courier_failed"})
        else:
            self.wake()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(SLOW_POLL):
                await self._awake.wait()
        except TimeoutError:
            return

    async def _leave(self) -> None:
        under_way = list(self._under_way.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        try:
            await self._lease.release()
        except errors.Transient:
            return  # the lease runs out by itself


class _Slot:
    """One of the slots of a lane, given back when the attempt is over, or when it was lent for so long."""

    def __init__(self, lane: asyncio.Semaphore, *, lent_for: float | None = None) -> None:
        """`lent_for` is in seconds: whoever takes longer goes on, but keeps nobody waiting."""
        self._lane = lane
        self._lent_for = lent_for
        self._timer: asyncio.TimerHandle | None = None
        self._held = False

    async def take(self) -> None:
        await self._lane.acquire()
        self._held = True
        if self._lent_for is not None:
            self._timer = asyncio.get_running_loop().call_later(self._lent_for, self.give_back)

    def give_back(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._held:
            self._held = False
            self._lane.release()


def _say(s: Sending, attempt: Attempt) -> None:
    """Never where it went: an address may hold a secret of the receiver's."""
    said = {"action": "delivery", "message": s.message.id, "endpoint": s.file.endpoint.id}
    _log.info("%s %s", attempt.outcome, s.message.id, extra={**said, "outcome": attempt.outcome})
