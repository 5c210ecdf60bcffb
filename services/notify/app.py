"""`notify` composed: its chapters' routes and reactions on the parts it is given."""

from __future__ import annotations

from fastapi import FastAPI

from libs.common import edge
from libs.common.contracts.event import CATALOGUE
from libs.common.permit import Actor, Permit
from libs.common.store.reading import Reader
from libs.common.web import application, operations
from services.notify import access
from services.notify.inbox import api as inbox
from services.notify.inbox import reacts
from services.notify.routing import api as routing
from services.notify.routing import loads
from services.parts import Parts, topic

ROUTERS = (inbox.router, routing.router)


def hears(fallback: str | None) -> edge.Hears:
    """Everything that the other two say; `fallback` receives what the route table cannot place."""
    table = loads.table()
    return edge.Hears(
        group="notify",
        topics=(topic("cases"), topic("sharing")),
        reactions=reacts.reactions(table, fallback=fallback),
        otherwise=reacts.otherwise(table, fallback=fallback),
        catalogue=CATALOGUE,
    )


def create(parts: Parts) -> FastAPI:
    """The application. The route table is read here: one that leaves an event with nobody stops the start."""
    heard = hears(parts.settings.default_agency)

    async def measure(read: Reader) -> None:
        for type_, count in (await loads.unroutable(read)).items():
            parts.metrics.unroutable(type_, count)

    loops = parts.loops(heard, measure=measure)
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
    return app


async def gate(read: Reader, actor: Actor, action: str) -> Permit:
    """The permit for what belongs to the installation and to no case."""
    return access.permit(actor, action, await loads.situation(read, actor))
