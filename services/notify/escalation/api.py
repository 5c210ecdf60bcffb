"""Routes of policies: read those that count, and put another in place."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Response
from pydantic import Field

from libs.common.change import Change
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.permit import Permit
from libs.common.store.reading import Reader
from libs.common.web import routes
from libs.common.web.asked import Asked, Doing, asks, does, etag
from libs.common.web.description import leading, leads
from libs.common.web.fields import In, Items, Text
from services.notify import access
from services.notify.escalation import loads, rules
from services.notify.escalation.rules import Level, Policy, PolicyFile
from services.notify.escalation.tables import EscalationPolicy
from services.notify.routing import loads as routing

router = routes.router(prefix="", tag="升级规则")

PolicyId = Annotated[
    str, Path(description="升级规则", json_schema_extra={"pattern": r"^(days|hours|[a-z]+\.[a-z0-9_]+)$"})
]


class LevelIn(In):
    """一级：何时、告知谁、是否发督办函."""

    name: Annotated[str, Text(1, 40)]
    tell: Annotated[
        Items[Literal["agency", "awaits", "coordinators", "county"]], Field(min_length=1, max_length=4)
    ]
    half: bool = False
    working_days: Annotated[int, Field(ge=-30, le=90)] | None = None
    hours: Annotated[int, Field(ge=0, le=720)] | None = None
    letter: bool = False


class PolicyIn(In):
    """升级规则：自先至后各级."""

    name: Annotated[str, Text(1, 60)]
    level: Annotated[Items[LevelIn], Field(min_length=1, max_length=10)]


def _policy(policy: Policy) -> dict[str, Any]:
    levels = [level.model_dump(mode="json", exclude_defaults=True) for level in policy.level]
    return {"id": policy.id, "name": policy.name, "version": policy.version, "level": levels}


def levels(sent: tuple[LevelIn, ...]) -> tuple[Level, ...]:
    """Levels as they were sent, as levels of a policy."""
    return tuple(Level.model_validate(level.model_dump()) for level in sent)


async def _load(read: Reader, request: Request[PolicyIn]) -> Loaded[PolicyFile]:
    file = await loads.policy_file(read, request.path["policy"])
    return Loaded(await routing.situation(read, request.actor), file, file.head.version)


def _put(s: PolicyFile, request: Request[PolicyIn]) -> Change:
    body = request.body
    policy = Policy(id=request.path["policy"], name=body.name, level=levels(body.level))
    return rules.put(s, policy, by=request.actor, at=request.at)


def _put_rendered(change: Change, permit: Permit) -> Rendered:
    row = change.written(EscalationPolicy)
    body = {"id": row.id, "name": row.name, "version": row.version, "level": row.levels}
    return Rendered(body, status=200, headers={"etag": etag(change.version_of("policy"))})


PUT = Verb(
    "policy.put",
    lambda request: [f"policy/{request.path['policy']}"],
    _load,
    access.permit,
    _put,
    _put_rendered,
)


@router.get("/v1/escalation-policies", responses=leading(leads("read_policy", policy="/data/0/id")))
async def list_policies(asked: Annotated[Asked, asks("policy.read")]) -> Response:
    """现行升级规则：days 和 hours 为通用规则，其余各为某一时限所用。"""
    async with asked.reading() as read:
        visible = access.permits(asked.actor, asked.action, await routing.situation(read, asked.actor))
        policies = await loads.in_force(read) if visible else {}
    return asked.show({"data": [_policy(policies[id_]) for id_ in sorted(policies)], "next": None})


@router.get("/v1/escalation-policies/{policy}")
async def read_policy(asked: Annotated[Asked, asks("policy.read")], policy: PolicyId) -> Response:
    """某一升级规则；没有专设的时限，给出其通用规则。"""
    async with asked.reading() as read:
        access.permit(asked.actor, asked.action, await routing.situation(read, asked.actor))
        file, policies = await loads.policy_file(read, policy), await loads.in_force(read)
    return asked.show(_policy(rules.of(policies, policy, file.limits)), version=file.head.version)


@router.put("/v1/escalation-policies/{policy}")
async def put_policy(
    doing: Annotated[Doing, does("policy.put")], policy: PolicyId, body: PolicyIn
) -> Response:
    """置入升级规则：正在计时的时限自此依其升级，已到的级不再重来。"""
    return await doing.do(PUT, body)
