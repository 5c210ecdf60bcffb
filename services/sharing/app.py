"""`sharing` composed: its chapters' routes and reactions on the parts it is given."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI

from libs.common import clock as time
from libs.common import edge
from libs.common.clock import Clock
from libs.common.contracts.event import CATALOGUE
from libs.common.permit import Actor, Permit
from libs.common.store.reading import Reader
from libs.common.telemetry import Metrics
from libs.common.web import application, operations
from services.parts import Parts, topic
from services.sharing import access
from services.sharing.board import api as board
from services.sharing.clocks import api as clocks
from services.sharing.feeds import api as feeds
from services.sharing.feeds import loads
from services.sharing.feeds import reacts as log
from services.sharing.picture import api as picture
from services.sharing.picture import loads as pictures
from services.sharing.picture import reacts, rules
from services.sharing.picture.rules import Snapshot
from services.sharing.readers import api as readers
from services.sharing.readers.loads import Arrivals
from services.sharing.readers.reacts import Followers

HEARS = edge.Hears(
    group="sharing",
    topics=(topic("cases"), topic("notify"), topic("sharing")),
    reactions=reacts.reactions(),
    otherwise=reacts.otherwise(),
    catalogue=CATALOGUE,
)
ROUTERS = (feeds.router, clocks.router, readers.router, picture.router, board.router, board.pages)
#: The part of the time that counting the picture for operators may take.
SHARE = 0.01


def create(parts: Parts) -> FastAPI:
    """The application. Who waits at a feed is woken by what this process enters, and let go at its end."""
    arrivals = Arrivals(parts.store, every=parts.settings.poll_seconds, reading=parts.metrics.reading)
    followers = Followers(parts.store, parts.clock)
    rebuilder = reacts.Rebuilder(parts.store, parts.clock, parts.leased("rebuild"))

    def told(report: edge.Report) -> None:
        arrivals.tell()
        for seconds in log.seen_after(report, parts.clock.now()):
            parts.metrics.seen(seconds)

    counting = Counting(parts.metrics, parts.clock)

    async def measure(read: Reader) -> None:
        await followers.measure(read, parts.metrics)
        await counting.measure(read)

    others = {"rebuild": rebuilder.run, "followers": followers.run}
    loops = parts.loops(HEARS, told=told, measure=measure, others=others)
    app = application.compose(
        "联动 · 共享",
        settings=parts.settings,
        verifier=parts.verifier,
        metrics=parts.metrics,
        jwks=parts.keyring.jwks,
        checks={"loops": loops.alive, "engine": loops.ready},
        routers=(*ROUTERS, operations.routes(gate, HEARS)),
        lifespan=lambda app: loops.running(),
    )
    app.state.here, app.state.loops, app.state.end = parts.here(), loops, arrivals.end
    app.state.arrivals, app.state.following = arrivals, followers.following
    app.state.wake_rebuild = rebuilder.wake
    return app


class Counting:
    """Shows operators the numbers that `GET /v1/picture` shows coordinators.

    Counting grows with the county, and every process of the service does it: it may take a small share of
    the time, so that the larger the county, the more seldom it is counted.
    """

    def __init__(
        self, metrics: Metrics, clock: Clock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._due = monotonic()

    async def measure(self, read: Reader) -> None:
        """Bring the gauges up to date, if it is time to."""
        if (begun := self._monotonic()) < self._due:
            return
        try:
            self._show(await pictures.snapshot(read, self._clock.now()))
        finally:
            ended = self._monotonic()
            self._due = ended + (ended - begun) / SHARE

    def _show(self, snapshot: Snapshot) -> None:
        metrics, now = self._metrics, self._clock.now()
        for line in snapshot.lines:
            metrics.agency(line.agency, line.name, line.kind, line.division)
            for stage in rules.OPEN:
                metrics.holding(line.agency, line.kind, stage, snapshot.count("held", line, stage).n)
            for state in ("waiting", *rules.ANSWERS):
                to, by = (snapshot.count(part, line, state).n for part in ("offered_to", "offered_by"))
                metrics.transfers(line.agency, line.kind, "to", state, to)
                metrics.transfers(line.agency, line.kind, "by", state, by)
            since = snapshot.count("offered_to", line, "waiting").since
            waited = (now - since).total_seconds() if since else 0.0
            metrics.waiting(line.agency, line.kind, max(waited, 0.0))


async def gate(read: Reader, actor: Actor, action: str) -> Permit:
    """The permit for what belongs to the installation and to no case."""
    return access.permit(actor, action, await loads.situation(read, actor))
