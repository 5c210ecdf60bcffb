"""`notify` composed: its chapters' routes and reactions on the parts it is given."""

from __future__ import annotations

from fastapi import FastAPI

from libs.common import edge
from libs.common.contracts.event import CATALOGUE
from libs.common.outgoing.client import Outgoing
from libs.common.permit import Actor, Permit
from libs.common.store.reading import Reader
from libs.common.web import application, operations
from services.notify import access
from services.notify.channels import api as webhooks
from services.notify.channels import loads as endpoints
from services.notify.channels import reacts as channels
from services.notify.inbox import api as inbox
from services.notify.inbox import reacts
from services.notify.routing import api as routing
from services.notify.routing import loads
from services.parts import Parts, topic

ROUTERS = (inbox.router, routing.router, webhooks.router)


def hears(fallback: str | None) -> edge.Hears:
    """Everything that the other two say; `fallback` receives what the route table cannot place."""
    table = loads.table()
    return channels.beside(
        edge.Hears(
            group="notify",
            topics=(topic("cases"), topic("sharing")),
            reactions=reacts.reactions(table, fallback=fallback),
            otherwise=reacts.otherwise(table, fallback=fallback),
            catalogue=CATALOGUE,
        )
    )


def create(parts: Parts) -> FastAPI:
    """The application. The route table is read here: one that leaves an event with nobody stops the start."""
    heard = hears(parts.settings.default_agency)

    async def measure(read: Reader) -> None:
        for type_, count in (await loads.unroutable(read)).items():
            parts.metrics.unroutable(type_, count)
        for state, count in (await endpoints.states(read)).items():
            parts.metrics.endpoints(state, count)

    outgoing = Outgoing(parts.settings.webhook_policy)
    courier = channels.Courier(
        parts.store,
        parts.clock,
        parts.leased("courier"),
        outgoing,
        parts.keyring.webhooks,
        slots=parts.settings.webhook_slots,
        told=parts.metrics.delivery,
    )
    loops = parts.loops(
        heard, told=lambda report: courier.wake(), measure=measure, others={"courier": courier.run}
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
