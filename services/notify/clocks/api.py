"""Routes of clocks: list them, explain one, and try a policy on one that there might be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from pydantic import Field

from libs.common.change import Change
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.law import limits
from libs.common.permit import Permit
from libs.common.store.reading import Reader
from libs.common.web import paging, routes
from libs.common.web.asked import Asked, Doing, asks, does
from libs.common.web.description import leading, leads
from libs.common.web.fields import Day, In, Items, Uscc
from libs.common.web.paging import Cursor, Limit
from services.notify import access
from services.notify.calendars import rules as calendars
from services.notify.clocks import loads, rules
from services.notify.clocks.rules import Law
from services.notify.clocks.tables import Obligation, Reached
from services.notify.escalation import rules as escalation
from services.notify.escalation.api import LevelIn, PolicyId, levels
from services.notify.escalation.rules import Policy
from services.notify.routing import loads as routing
from services.notify.routing.rules import Directory
from services.notify.routing.tables import Addressee

router = routes.router(prefix="", tag="时限与升级")

ObligationId = Annotated[str, Path(description="时限", json_schema_extra={"format": "uuid"})]
About = Annotated[
    str, Query(pattern=r"^[a-z_]{1,20}/[0-9A-Za-z._-]{1,80}$", description="所涉事项，如 case/…")
]


class SimulationIn(In):
    """试算：某一时限自某日起算，按现行规则或所拟规则逐级升级到谁、在哪一天."""

    rule: Annotated[str, Field(pattern=r"^[a-z]+\.[a-z0-9_]+$")]
    start: Day
    agency: Uscc
    awaits: Uscc | None = None
    level: Annotated[Items[LevelIn], Field(min_length=1, max_length=10)] | None = None


def _shown(obligation: Obligation, now: datetime) -> dict[str, Any]:
    ended = obligation.ended_at
    return {
        "id": obligation.id,
        "rule": obligation.rule,
        "name": obligation.terms["zh"],
        "basis": obligation.terms["basis"],
        "agency": obligation.agency,
        "awaits": obligation.awaits or None,
        "about": obligation.about,
        "thing": obligation.thing,
        "state": obligation.state,
        "light": rules.light(obligation, now),
        "started_at": obligation.started_at.isoformat(),
        "due_on": obligation.due_on.isoformat(),
        "due_at": obligation.due_at.isoformat(),
        "provisional": obligation.provisional,
        "level": obligation.level,
        "ended_at": ended.isoformat() if ended else None,
    }


def _explained(law: Law, obligation: Obligation, reached: list[Reached], now: datetime) -> dict[str, Any]:
    limit = rules.limit_of(obligation)
    coming = [rung for rung in rules.ladder(law, obligation) if rung.number > obligation.level]
    return {
        **_shown(obligation, now),
        "limit": {
            "length": limit.length,
            "unit": limit.unit,
            "basis": limit.basis,
            "source": limit.source,
            "rolls": limit.rolls,
        },
        "opened_by": obligation.event,
        "set_due": obligation.set_due.isoformat() if obligation.set_due else None,
        "set_by": obligation.set_by or None,
        "pauses": obligation.pauses,
        "begins_at": obligation.begins_at.isoformat(),
        "yellow_at": obligation.yellow_at.isoformat(),
        "black_at": obligation.black_at.isoformat(),
        "calendars": obligation.leans_on,
        "ended_by": obligation.ended_by or None,
        "reached": [
            {
                "level": one.level,
                "name": one.name,
                "planned_at": one.planned_at.isoformat(),
                "at": one.at.isoformat(),
                "late": one.late,
                "told": one.told,
                "supervision": one.supervision or None,
            }
            for one in reached
        ],
        "coming": [
            {
                "level": rung.number,
                "name": rung.level.name,
                "at": rung.at.isoformat(),
                "tell": rules.addressees(rung.level, obligation),
                "letter": rung.level.letter,
            }
            for rung in coming
            if obligation.state == "running"
        ],
    }


@router.get("/v1/obligations", responses=leading(leads("explain_obligation", obligation="/data/0/id")))
async def list_obligations(
    asked: Annotated[Asked, asks("obligation.read")],
    state: Literal["running", "paused", "met", "late", "lapsed"] | None = None,
    agency: Uscc | None = None,
    about: About | None = None,
    rule: Annotated[str, Query(max_length=60)] | None = None,
    due_before: Day | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """须本机关办理和本机关在等候的时限，先届满的在前；协调机关见全县的。"""
    wished = {"state": state, "agency": agency, "about": about, "rule": rule}
    filters = {name: value for name, value in wished.items() if value}
    async with asked.reading() as read:
        own = await routing.situation(read, asked.actor)
        whole = access.permits(asked.actor, asked.action, own)
        party = replace(own, relations=frozenset({access.OBLIGOR}))
        if not (whole or access.permits(asked.actor, asked.action, party)):
            return asked.show({"data": [], "next": None})
        found = await loads.page(
            read,
            filters,
            of=None if whole else asked.actor.agency,
            before=limits.end_of(due_before) if due_before else None,
            after=paging.instant_of(cursor) if cursor else None,
            count=limit + 1,
        )
    now = asked.here.clock.now()
    shown = [
        _shown(one, now)
        for one in found[:limit]
        if access.permits(asked.actor, asked.action, loads.towards(own, asked.actor, one))
    ]
    last = found[limit - 1] if len(found) > limit else None
    following = paging.after(last.due_at.astimezone(UTC).isoformat(), last.id) if last else None
    return asked.show({"data": shown, "next": following})


@router.get("/v1/obligations/{obligation}/explain")
async def explain_obligation(
    asked: Annotated[Asked, asks("obligation.read")], obligation: ObligationId
) -> Response:
    """一项时限的来龙去脉：规则和依据、起算、中止、日历版本、届满日、是否暂定、已升级和将升级的各级。"""
    async with asked.reading() as read:
        file = await loads.file(read, obligation)
        situation = await loads.seen(read, asked.actor, file.obligation)
        law = await loads.law(read)
        reached = list(await loads.reached(read, obligation))
    access.permit(asked.actor, asked.action, situation)
    return asked.show(_explained(law, file.obligation, reached, asked.here.clock.now()))


async def _load_simulation(read: Reader, request: Request[SimulationIn]) -> Loaded[tuple[Law, Directory]]:
    agencies = {agency.agency: agency for agency in await read.all(Addressee)}
    facts = (await loads.law(read), Directory(agencies))
    return Loaded(await routing.situation(read, request.actor), facts)


def _simulating(policy: str) -> Verb[tuple[Law, Directory], SimulationIn]:
    """The verb that says what would happen; nothing is written but the answer."""
    said: dict[str, Any] = {}

    def decide(s: tuple[Law, Directory], request: Request[SimulationIn]) -> Change:
        law, directory = s
        body = request.body
        tried = escalation.of(law.policies, policy, law.limits)
        if body.level is not None:
            tried = Policy(id=policy, name=tried.name, level=levels(body.level))
            escalation.check(tried)
        law = rules.trying(law, body.rule, tried)
        start = calendars.beginning(body.start, "/start")
        clock = rules.supposed(law, body.rule, start, body.agency, body.awaits or "")
        said.update(_ladder(law, clock, directory))
        return Change()

    def render(change: Change, permit: Permit) -> Rendered:
        return Rendered(said, status=200)

    return Verb("policy.try", lambda request: (), _load_simulation, access.permit, decide, render)


def _ladder(law: Law, clock: Obligation, directory: Directory) -> dict[str, Any]:
    return {
        "rule": clock.rule,
        "name": clock.terms["zh"],
        "basis": clock.terms["basis"],
        "start": clock.started_at.isoformat(),
        "yellow_at": clock.yellow_at.isoformat(),
        "due_on": clock.due_on.isoformat(),
        "due_at": clock.due_at.isoformat(),
        "provisional": clock.provisional,
        "calendars": clock.leans_on,
        "ladder": [
            {
                "level": rung.number,
                "name": rung.level.name,
                "at": rung.at.isoformat(),
                "letter": rung.level.letter,
                "told": [
                    {"addressee": one, "agency": code, "name": directory.name(code)}
                    for one in rules.addressees(rung.level, clock)
                    for code in directory.reached(one) or (one,)
                ],
            }
            for rung in rules.ladder(law, clock)
        ],
    }


@router.post("/v1/escalation-policies/{policy}/simulate")
async def simulate_policy(
    doing: Annotated[Doing, does("policy.try")], policy: PolicyId, body: SimulationIn
) -> Response:
    """试算升级规则：逐级的时间、告知的机关，是否发督办函。"""
    return await doing.do(_simulating(policy), body)
