"""`notify` composed: its chapters' routes and reactions on the parts it is given."""

from __future__ import annotations

import itertools

from fastapi import FastAPI

from libs.common import edge
from libs.common.contracts.event import CATALOGUE
from libs.common.outgoing.client import Outgoing
from libs.common.permit import Actor, Permit
from libs.common.store.reading import Reader
from libs.common.web import application, operations
from services.notify import access
from services.notify.calendars import api as calendars
from services.notify.calendars import loads as years
from services.notify.channels import api as webhooks
from services.notify.channels import loads as endpoints
from services.notify.channels import reacts as pushing
from services.notify.channels.runs import Courier
from services.notify.clocks import api as clocks
from services.notify.clocks import loads as clock_loads
from services.notify.clocks import reacts as timing
from services.notify.clocks.runs import Runner
from services.notify.escalation import api as escalation
from services.notify.escalation import loads as policies
from services.notify.inbox import api as inbox
from services.notify.inbox import reacts
from services.notify.routing import api as routing
from services.notify.routing import loads
from services.notify.supervision import api as supervision
from services.parts import Parts, topic

ROUTERS = (
    inbox.router,
    routing.router,
    calendars.router,
    supervision.router,
    escalation.router,
    clocks.router,
    webhooks.router,
)


def hears(fallback: str | None) -> edge.Hears:
    """Everything that is said, its own words too: what clocks say is told as everything is.

    `fallback` receives what the route table cannot place.
    """
    table = loads.table()
    return edge.Hears(
        group="notify",
        topics=(topic("cases"), topic("notify"), topic("sharing")),
        reactions=edge.together(
            reacts.reactions(table, fallback=fallback),
            timing.reactions(clock_loads.table()),
            dict.fromkeys(CATALOGUE, pushing.REACTION),
        ),
        otherwise=reacts.otherwise(table, fallback=fallback).beside(pushing.REACTION),
        catalogue=CATALOGUE,
    )


def create(parts: Parts) -> FastAPI:
    """The application. The tables are read here: one that leaves an event with nobody stops the start."""
    levels = max(len(policy.level) for policy in policies.shipped().values())
    years.shipped()
    heard = hears(parts.settings.default_agency)

    async def measure(read: Reader) -> None:
        # Every type is said from the start: what appears only with its first count has grown by nothing.
        for type_, count in {**dict.fromkeys(CATALOGUE, 0), **await loads.unroutable(read)}.items():
            parts.metrics.unroutable(type_, count)
        parts.metrics.obligations(await clock_loads.lights(read, parts.clock.now()))
        parts.metrics.lease("clocks", clocks_lease.leads)
        parts.metrics.lease("courier", courier_lease.leads)
        for state, count in (await endpoints.states(read)).items():
            parts.metrics.endpoints(state, count)

    for level, late in itertools.product(range(1, levels + 1), (False, True)):
        # Levels, too, are said before the first is reached.
        parts.metrics.escalated(level, late, times=0)

    clocks_lease, courier_lease = parts.leased("clocks"), parts.leased("courier")
    runner = Runner(
        parts.store,
        parts.clock,
        clocks_lease,
        every=parts.settings.poll_seconds,
        told=lambda reached: parts.metrics.escalated(reached.level, reached.late),
    )
    outgoing = Outgoing(parts.settings.webhook_policy)
    courier = Courier(
        parts.store,
        parts.clock,
        courier_lease,
        outgoing,
        parts.keyring.webhooks,
        slots=parts.settings.webhook_slots,
        told=parts.metrics.delivery,
    )
    loops = parts.loops(
        heard,
        told=lambda report: courier.wake(),
        measure=measure,
        others={"clocks": runner.run, "courier": courier.run},
    )
    app = application.compose(
        "联动 · 通知",
        settings=parts.settings,
        verifier=parts.verifier,
        metrics=parts.metrics,
        jwks=parts.keyring.jwks,
        checks={"loops": loops.alive, "engine": loops.ready},
        routers=(*ROUTERS, operations.routes(gate, heard)),
        lifespan=lambda app: loops.running(),
    )
    app.state.here, app.state.loops, app.state.end = parts.here(), loops, lambda: None
    app.state.outgoing, app.state.courier = outgoing, courier
    return app


async def gate(read: Reader, actor: Actor, action: str) -> Permit:
    """The permit for what belongs to the installation and to no case."""
    return access.permit(actor, action, await loads.situation(read, actor))
