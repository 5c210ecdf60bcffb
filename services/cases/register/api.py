"""Routes of the register: agencies, powers, grants, and who may act."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Annotated, Any, Literal, Self, TypeVar

from fastapi import Path, Query, Response
from pydantic import AfterValidator, model_validator
from pydantic_core import PydanticCustomError

from libs.common import errors
from libs.common.change import Change
from libs.common.contracts.cases import AgencyKind
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.law import basis
from libs.common.permit import Permit
from libs.common.store.reading import Reader
from libs.common.store.schema import Entry
from libs.common.web import paging, routes
from libs.common.web.asked import Asked, Doing, asks, does, etag
from libs.common.web.description import created, leading, leads, versioned
from libs.common.web.fields import Day, Division, In, PowerCode, Text, Uscc
from libs.common.web.paging import Cursor, Limit
from services.cases import access
from services.cases.register import loads, rules
from services.cases.register.loads import Recalling, Registering
from services.cases.register.rules import Competence, Standing
from services.cases.register.tables import Agency, Grant, Power, power_of

E = TypeVar("E", bound=Entry)

router = routes.router(prefix="", tag="名录与职权")

AgencyId = Annotated[
    str, Path(description="统一社会信用代码", json_schema_extra={"minLength": 18, "maxLength": 18})
]
Code = Annotated[str, Path(description="职权事项编码", json_schema_extra={"pattern": "^[0-9]{12}$"})]
GrantId = Annotated[str, Path(description="赋权", json_schema_extra={"pattern": r"^[0-9]{12}\.g[0-9]+$"})]

Mode = Literal["conferred", "delegated"]

#: Digits of the division code of a township or street.
TOWNSHIP_DIGITS = 9


def _cited(text: str) -> str:
    if not basis.cited(text):
        raise PydanticCustomError("no-article", "须写明条文，例如「某条例第十六条」")
    return text


class AgencyIn(In):
    """机关: a department or a township by its credit code."""

    id: Uscc
    name: Annotated[str, Text(1, 100)]
    kind: AgencyKind
    division: Division
    coordinates: bool = False

    @model_validator(mode="after")
    def _division_fits(self) -> Self:
        if (self.kind in ("township", "street")) != (len(self.division) == TOWNSHIP_DIGITS):
            raise PydanticCustomError("division-of-kind", "乡镇（街道）用 9 位区划代码，县级机关用 6 位")
        return self


class PowerIn(In):
    """职权事项, as the county's list has it."""

    code: PowerCode
    name: Annotated[str, Text(1, 200)]
    department: Uscc
    basis: Annotated[Annotated[str, Text(1, 500)], AfterValidator(_cited)]
    penalty_range: Annotated[str, Text(0, 500)] = ""
    rectify_first: bool = False


class GrantIn(In):
    """赋权: a power for a township, by the number of the published decision."""

    power: PowerCode
    agency: Uscc
    mode: Mode
    document: Annotated[str, Text(1, 200)]
    effective_on: Day


class RecallIn(In):
    """收回: the first day on which the township no longer holds the power."""

    recalled_on: Day
    document: Annotated[str, Text(1, 200)]


def _shown_agency(agency: Agency) -> dict[str, Any]:
    return {
        "id": agency.id,
        "name": agency.name,
        "kind": agency.kind,
        "division": agency.division,
        "coordinates": agency.coordinates,
    }


def _shown_power(power: Power) -> dict[str, Any]:
    return {
        "code": power.code,
        "name": power.name,
        "department": power.department,
        "basis": power.basis,
        "penalty_range": power.penalty_range,
        "rectify_first": power.rectify_first,
    }


def _shown_grant(grant: Grant) -> dict[str, Any]:
    return {
        "id": grant.id,
        "power": grant.power,
        "agency": grant.agency,
        "department": grant.department,
        "mode": grant.mode,
        "document": grant.document,
        "effective_on": grant.effective_on.isoformat(),
        "recalled_on": grant.recalled_on.isoformat() if grant.recalled_on else None,
        "recall_document": grant.recall_document or None,
    }


def _shown_standing(standing: Standing) -> dict[str, Any]:
    return {
        "agency": standing.agency,
        "in_name_of": standing.in_name_of,
        "basis": standing.basis,
        "grant": standing.grant or None,
    }


async def _load_agency(read: Reader, request: Request[AgencyIn]) -> Loaded[Registering]:
    facts = await loads.registering(read, request.body.id, request.body.name)
    return Loaded(await loads.situation(read, request.actor), facts)


async def _load_power(read: Reader, request: Request[PowerIn]) -> Loaded[tuple[Competence, Agency | None]]:
    known = await loads.competence(read, request.body.code)
    department = await loads.agency(read, request.body.department)
    return Loaded(await loads.situation(read, request.actor), (known, department))


async def _load_grant(read: Reader, request: Request[GrantIn]) -> Loaded[tuple[Competence, Agency | None]]:
    known = await loads.competence(read, request.body.power)
    grantee = await loads.agency(read, request.body.agency)
    return Loaded(await loads.situation(read, request.actor), (known, grantee))


async def _load_recall(read: Reader, request: Request[RecallIn]) -> Loaded[Recalling]:
    facts = await loads.recalling(read, request.path["grant"])
    return Loaded(await loads.situation(read, request.actor), facts, facts.competence.head.version)


def _register(s: Registering, request: Request[AgencyIn]) -> Change:
    agency = Agency(**request.body.model_dump())
    return rules.register_agency(
        s.head, agency, name=s.name, is_first=s.is_first, by=request.actor, at=request.at
    )


def _publish(s: tuple[Competence, Agency | None], request: Request[PowerIn]) -> Change:
    power = Power(**request.body.model_dump())
    return rules.publish_power(*s, power, by=request.actor, at=request.at)


def _effect(s: tuple[Competence, Agency | None], request: Request[GrantIn]) -> Change:
    grant = Grant(id="", department="", **request.body.model_dump())
    return rules.effect_grant(*s, grant, by=request.actor, at=request.at)


def _recall(s: Recalling, request: Request[RecallIn]) -> Change:
    body = request.body
    return rules.recall_grant(
        s.competence, s.grant, on=body.recalled_on, document=body.document, by=request.actor, at=request.at
    )


def _rendered_agency(change: Change, permit: Permit) -> Rendered:
    agency = change.written(Agency)
    headers = {"etag": etag(change.version_of("agency")), "location": f"/v1/agencies/{agency.id}"}
    return Rendered(_shown_agency(agency), headers=headers)


def _rendered_power(change: Change, permit: Permit) -> Rendered:
    power = change.written(Power)
    headers = {"etag": etag(change.version_of("power")), "location": f"/v1/powers/{power.code}"}
    return Rendered(_shown_power(power), headers=headers)


def _rendered_grant(change: Change, permit: Permit) -> Rendered:
    grant = change.written(Grant)
    headers = {"etag": etag(change.version_of("power")), "location": f"/v1/grants/{grant.id}"}
    return Rendered(_shown_grant(grant), headers=headers)


REGISTER = Verb(
    "agency.register",
    lambda request: [f"agency/{request.body.id}"],
    _load_agency,
    access.permit,
    _register,
    _rendered_agency,
)
PUBLISH = Verb(
    "power.publish",
    lambda request: [f"power/{request.body.code}"],
    _load_power,
    access.permit,
    _publish,
    _rendered_power,
)
EFFECT = Verb(
    "grant.effect",
    lambda request: [f"power/{request.body.power}"],
    _load_grant,
    access.permit,
    _effect,
    _rendered_grant,
)
RECALL = Verb(
    "grant.recall",
    lambda request: [f"power/{power_of(request.path['grant'])}"],
    _load_recall,
    access.permit,
    _recall,
    _rendered_grant,
)


@router.post("/v1/agencies", status_code=201, responses=created(leads("read_agency", agency="/id")))
async def register_agency(doing: Annotated[Doing, does("agency.register")], body: AgencyIn) -> Response:
    """登记机关：名录中的第一个机关须为联席会议办公室。"""
    return await doing.do(REGISTER, body)


@router.get("/v1/agencies", responses=leading(leads("read_agency", agency="/data/0/id")))
async def list_agencies(
    asked: Annotated[Asked, asks("agency.read")],
    kind: AgencyKind | None = None,
    division: Annotated[Division | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """机关名录。"""
    filters = {"kind": kind, "division": division}
    return await _list(asked, Agency, filters, _shown_agency, limit=limit, cursor=cursor)


@router.get("/v1/agencies/{agency}", responses=versioned())
async def read_agency(asked: Annotated[Asked, asks("agency.read")], agency: AgencyId) -> Response:
    """查看一个机关。"""
    async with asked.reading() as read:
        head = await read.head("agency", agency)
        found = await loads.agency(read, agency)
        situation = await loads.situation(read, asked.actor)
    access.permit(asked.actor, asked.action, situation)
    if found is None:
        raise errors.NotFound
    return asked.show(_shown_agency(found), version=head.version)


@router.post("/v1/powers", status_code=201, responses=created(leads("read_power", code="/code")))
async def publish_power(doing: Annotated[Doing, does("power.publish")], body: PowerIn) -> Response:
    """公布职权事项。"""
    return await doing.do(PUBLISH, body)


@router.get("/v1/powers", responses=leading(leads("read_power", code="/data/0/code")))
async def list_powers(
    asked: Annotated[Asked, asks("power.read")],
    department: Annotated[Uscc | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """职权事项清单。"""
    filters = {"department": department}
    return await _list(asked, Power, filters, _shown_power, limit=limit, cursor=cursor)


@router.get("/v1/powers/{code}", responses=versioned())
async def read_power(asked: Annotated[Asked, asks("power.read")], code: Code) -> Response:
    """查看一项职权。"""
    async with asked.reading() as read:
        known = await loads.competence(read, code)
        situation = await loads.situation(read, asked.actor)
    access.permit(asked.actor, asked.action, situation)
    if known.power is None:
        raise errors.NotFound
    return asked.show(_shown_power(known.power), version=known.head.version)


@router.post(
    "/v1/grants", status_code=201, responses=created(leads("read_grant", "recall_grant", grant="/id"))
)
async def effect_grant(doing: Annotated[Doing, does("grant.effect")], body: GrantIn) -> Response:
    """赋权：交由或委托乡镇（街道）行使一项职权。"""
    return await doing.do(EFFECT, body)


@router.get("/v1/grants", responses=leading(leads("read_grant", grant="/data/0/id")))
async def list_grants(
    asked: Annotated[Asked, asks("grant.read")],
    power: Annotated[PowerCode | None, Query()] = None,
    agency: Annotated[Uscc | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """赋权清单。"""
    filters = {"power": power, "agency": agency}
    return await _list(asked, Grant, filters, _shown_grant, limit=limit, cursor=cursor)


@router.get("/v1/grants/{grant}", responses=versioned(leads("recall_grant", grant="/id")))
async def read_grant(asked: Annotated[Asked, asks("grant.read")], grant: GrantId) -> Response:
    """查看一项赋权。"""
    async with asked.reading() as read:
        facts = await loads.recalling(read, grant)
        situation = await loads.situation(read, asked.actor)
    access.permit(asked.actor, asked.action, situation)
    return asked.show(_shown_grant(facts.grant), version=facts.competence.head.version)


@router.post(
    "/v1/grants/{grant}/recall", status_code=201, responses=created(leads("read_grant", grant="/id"))
)
async def recall_grant(
    doing: Annotated[Doing, does("grant.recall")], grant: GrantId, body: RecallIn
) -> Response:
    """收回赋权：自收回之日起不得再以该事项办案。"""
    return await doing.do(RECALL, body)


@router.get("/v1/competence")
async def read_competence(
    asked: Annotated[Asked, asks("competence.read")],
    power: Annotated[PowerCode, Query()],
    agency: Annotated[Uscc | None, Query()] = None,
    territory: Annotated[Division | None, Query()] = None,
    on: Annotated[Day | None, Query()] = None,
) -> Response:
    """某日（默认今天）谁有权以该事项办案、以谁的名义、依据哪一条；指定机关时一并说明为何无权。"""
    day = on or asked.at.day
    async with asked.reading() as read:
        access.permit(asked.actor, asked.action, await loads.situation(read, asked.actor))
        known = await loads.competence(read, power)
        standings = await loads.standings(read, known, agency=agency, territory=territory, on=day)
        named = await loads.agency(read, agency) if agency else None
    if known.power is None or (agency and named is None):
        raise errors.NotFound
    return asked.show(
        {
            "power": power,
            "on": day.isoformat(),
            "data": [_shown_standing(standing) for standing in standings],
            "blocks": _blocks(known, named, day, territory) if named else [],
        }
    )


def _blocks(known: Competence, agency: Agency, day: date, territory: str | None) -> list[dict[str, str]]:
    return [
        {"code": refusal.code, "detail": refusal.detail, "basis": refusal.basis}
        for refusal in known.refusals(agency, day, territory)
    ]


async def _list(
    asked: Asked,
    entry: type[E],
    filters: dict[str, Any],
    show: Callable[[E], dict[str, Any]],
    *,
    limit: int,
    cursor: str | None,
) -> Response:
    async with asked.reading() as read:
        situation = await loads.situation(read, asked.actor)
        if access.permits(asked.actor, asked.action, situation) is None:
            return asked.show({"data": [], "next": None})
        found = await loads.listed(read, entry, filters, limit=limit, cursor=cursor)
    return asked.show(paging.page(found, limit, show))
