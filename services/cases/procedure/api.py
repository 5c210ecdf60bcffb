"""Routes of the procedure: what may be done with a case now, and doing it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Response
from pydantic import Field

from libs.common import errors
from libs.common.change import Change
from libs.common.edge import Loaded, Request, Verb
from libs.common.store.reading import Reader
from libs.common.web import routes
from libs.common.web.asked import Asked, Doing, asks, does
from libs.common.web.description import CONDITIONAL, created, leads, versioned
from libs.common.web.fields import Day, In, Items, Text
from services.cases import access
from services.cases.intake import api as cases
from services.cases.intake import loads as intake
from services.cases.law import procedure
from services.cases.law.procedure import Move
from services.cases.people.api import PersonId
from services.cases.procedure import loads, rules
from services.cases.procedure.rules import Decision, Option, Proceeding, Step

router = routes.router(prefix="", tag="办理阶段")


class TransitionIn(In):
    """流转: a move of the procedure table, with what that move needs and nothing else."""

    move: Annotated[str, Text(1, 40)]
    acted_on: Day | None = None
    officers: Annotated[Items[PersonId], Field(max_length=20)] = ()
    reason: Annotated[str, Text(0, 2000, lines=True)] = ""
    decision: Decision | None = None


def _shown(option: Option) -> dict[str, Any]:
    move = option.move
    return {
        "name": move.name,
        "zh": move.zh,
        "to": move.to,
        "to_zh": procedure.load().stages[move.to],
        "who": move.who.value,
        "needs": sorted(move.needs),
        "basis": move.basis,
        "allowed": not option.blocks,
        "blocks": [_block(refusal, move) for refusal in option.blocks],
    }


def _block(refusal: errors.Refusal, move: Move) -> dict[str, str]:
    basis = refusal.basis if isinstance(refusal, errors.RuleBroken) else move.basis
    return {"code": refusal.code, "detail": refusal.detail, "basis": basis}


async def _load(read: Reader, request: Request[TransitionIn]) -> Loaded[Proceeding]:
    body = request.body
    file, situation = await intake.seen(read, request.actor, request.path["case"])
    day = body.acted_on or request.at.day
    facts = await loads.proceeding(read, file, body.officers, move=body.move, day=day)
    return Loaded(situation, facts, file.head.version)


def _take(s: Proceeding, request: Request[TransitionIn]) -> Change:
    body = request.body
    step = Step(
        move=procedure.load().moves[body.move],
        by=request.actor,
        at=request.at,
        day=s.file.day_of(body.acted_on, request.at),
        reason=body.reason,
        decision=body.decision,
    )
    return rules.take(s, step)


def _streams(request: Request[TransitionIn]) -> Iterator[str]:
    """The case, and the counter of the number that a holder's move would take."""
    yield f"case/{request.path['case']}"
    day = request.body.acted_on or request.at.day
    if counter := rules.counter_of(request.actor.agency, request.body.move, day):
        yield "/".join(counter)


TAKE = Verb("case.move", _streams, _load, access.permit, _take, cases.rendered, conditional=True)


@router.get(
    "/v1/cases/{case}/transitions", responses=versioned(leads("take", "offer", case="$request.path.case"))
)
async def list_transitions(asked: Annotated[Asked, asks("case.read")], case: cases.CaseId) -> Response:
    """当前阶段可作的流转：我现在能否进行，不能时受何条文限制。"""
    at = asked.at
    async with asked.reading() as read:
        file, situation = await intake.seen(read, asked.actor, case)
        access.permit(asked.actor, asked.action, situation)
        outlook = await loads.outlook(read, file, day=at.day)
    stage = file.case.stage
    body = {
        "stage": stage,
        "stage_zh": procedure.load().stages[stage],
        "data": [_shown(option) for option in rules.options(outlook, asked.actor, at)],
    }
    return asked.show(body, version=file.head.version)


@router.post(
    "/v1/cases/{case}/transitions",
    status_code=201,
    responses=created(leads(*cases.OF_CASE, case="/id")) | CONDITIONAL,
)
async def take(
    doing: Annotated[Doing, does("case.move")], case: cases.CaseId, body: TransitionIn
) -> Response:
    """办理阶段流转；所需材料以流转表为准，不多不少。"""
    # Before anything is known of the case, so that what is malformed tells nothing of it.
    rules.needed(body.move, body.model_dump())
    return await doing.do(TAKE, body)
