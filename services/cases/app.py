"""`cases` composed: its chapters' routes and reactions on the parts it is given."""

from __future__ import annotations

from fastapi import FastAPI

from libs.common import edge
from libs.common.contracts.event import CATALOGUE
from libs.common.permit import Actor, Permit
from libs.common.store.reading import Reader
from libs.common.web import application, operations
from services.cases import access
from services.cases.assistance import api as assistance
from services.cases.dispute import api as dispute
from services.cases.handover import api as handover
from services.cases.intake import api as intake
from services.cases.law import procedure
from services.cases.people import api as people
from services.cases.procedure import api as moves
from services.cases.register import api as register
from services.cases.register import loads as agencies
from services.cases.trace import api as trace
from services.cases.trace import reacts
from services.parts import Parts, topic

HEARS = edge.Hears(
    group="cases",
    topics=(topic("notify"),),
    reactions=reacts.REACTIONS,
    catalogue=CATALOGUE,
)
ROUTERS = (
    register.router,
    people.router,
    intake.router,
    moves.router,
    dispute.router,
    handover.router,
    assistance.router,
    trace.router,
)


def create(parts: Parts) -> FastAPI:
    """The application. The tables of law are read here: a bad one stops the start, not a case."""
    procedure.load()
    loops = parts.loops(HEARS)
    app = application.compose(
        "联动 · 案件",
        settings=parts.settings,
        verifier=parts.verifier,
        metrics=parts.metrics,
        jwks=parts.keyring.jwks,
        checks={"loops": loops.alive, "engine": loops.ready},
        routers=(*ROUTERS, operations.routes(gate, HEARS)),
        lifespan=lambda app: loops.running(),
    )
    app.state.here, app.state.loops, app.state.end = parts.here(), loops, lambda: None
    return app


async def gate(read: Reader, actor: Actor, action: str) -> Permit:
    """The permit for what belongs to the installation and to no case."""
    return access.permit(actor, action, await agencies.situation(read, actor))
