"""`sharing` composed: its chapters' routes and reactions on the parts it is given."""

from __future__ import annotations

from fastapi import FastAPI

from libs.common import edge
from libs.common.contracts.event import CATALOGUE
from libs.common.permit import Actor, Permit
from libs.common.store.reading import Reader
from libs.common.web import application, operations
from services.parts import Parts, topic
from services.sharing import access
from services.sharing.feeds import api as feeds
from services.sharing.feeds import loads
from services.sharing.feeds import reacts as log
from services.sharing.picture import api as picture
from services.sharing.picture import reacts
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
ROUTERS = (feeds.router, readers.router, picture.router)


def create(parts: Parts) -> FastAPI:
    """The application. Who waits at a feed is woken by what this process enters, and let go at its end."""
    arrivals = Arrivals(parts.store, every=parts.settings.poll_seconds, reading=parts.metrics.reading)
    followers = Followers(parts.store, parts.clock)
    rebuilder = reacts.Rebuilder(parts.store, parts.clock, parts.leased("rebuild"))

    def told(report: edge.Report) -> None:
        arrivals.tell()
        for seconds in log.seen_after(report, parts.clock.now()):
            parts.metrics.seen(seconds)

    async def measure(read: Reader) -> None:
        await followers.measure(read, parts.metrics)

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


async def gate(read: Reader, actor: Actor, action: str) -> Permit:
    """The permit for what belongs to the installation and to no case."""
    return access.permit(actor, action, await loads.situation(read, actor))
