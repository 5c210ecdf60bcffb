"""Routes of the people who enforce."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Self

from fastapi import Path, Query, Response
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from libs.common import errors
from libs.common.change import Change
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.permit import Permit
from libs.common.store.reading import Reader
from libs.common.web import paging, routes
from libs.common.web.asked import Asked, Doing, asks, does, etag
from libs.common.web.description import created, leading, leads, versioned
from libs.common.web.fields import Day, In, Text, Uscc
from libs.common.web.paging import Cursor, Limit
from services.cases import access
from services.cases.people import loads, rules
from services.cases.people.rules import Enrolment
from services.cases.people.tables import Officer
from services.cases.register import loads as register

router = routes.router(prefix="", tag="执法人员")

_PERSON = r"^[A-Za-z0-9._-]{1,64}$"
#: As the `sub` of the person's tokens; it stands in addresses and in events, so it must name nobody.
PersonId = Annotated[str, Field(pattern=_PERSON)]
OfficerId = Annotated[str, Path(description="执法人员", json_schema_extra={"pattern": _PERSON})]


class OfficerIn(In):
    """执法人员及执法证."""

    id: PersonId
    agency: Uscc
    name: Annotated[str, Text(1, 60)]
    certificate: Annotated[str, Text(1, 60)]
    valid_from: Day
    valid_to: Day

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_to < self.valid_from:
            raise PydanticCustomError("validity", "执法证有效期的截止日早于起始日")
        return self


def shown(officer: Officer, permit: Permit) -> dict[str, Any]:
    """An officer as an answer."""
    fields = {
        "id": officer.id,
        "agency": officer.agency,
        "name": officer.name,
        "certificate": officer.certificate,
        "valid_from": officer.valid_from.isoformat(),
        "valid_to": officer.valid_to.isoformat(),
        "suspended_on": officer.suspended_on.isoformat() if officer.suspended_on else None,
        "left_on": officer.left_on.isoformat() if officer.left_on else None,
    }
    return access.shown(fields, permit)


async def _load(read: Reader, request: Request[OfficerIn]) -> Loaded[Enrolment]:
    body = request.body
    facts = await loads.enrolment(read, body.id, body.agency, body.certificate)
    return Loaded(await register.situation(read, request.actor), facts)


def _register(s: Enrolment, request: Request[OfficerIn]) -> Change:
    officer = Officer(**request.body.model_dump())
    return rules.register_officer(s, officer, by=request.actor, at=request.at)


def _rendered(change: Change, permit: Permit) -> Rendered:
    officer = change.written(Officer)
    headers = {"etag": etag(change.version_of("officer")), "location": f"/v1/officers/{officer.id}"}
    return Rendered(shown(officer, permit), headers=headers)


REGISTER = Verb(
    "officer.register",
    lambda request: [f"officer/{request.body.id}", f"certificate/{request.body.certificate}"],
    _load,
    access.permit,
    _register,
    _rendered,
)


@router.post("/v1/officers", status_code=201, responses=created(leads("read_officer", officer="/id")))
async def register_officer(doing: Annotated[Doing, does("officer.register")], body: OfficerIn) -> Response:
    """登记执法人员及其执法证。"""
    return await doing.do(REGISTER, body)


@router.get("/v1/officers", responses=leading(leads("read_officer", officer="/data/0/id")))
async def list_officers(
    asked: Annotated[Asked, asks("officer.read")],
    agency: Annotated[Uscc | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """执法人员名册：姓名和执法证号只对本机关和名录管理机关显示。"""
    async with asked.reading() as read:
        situation = await register.situation(read, asked.actor)
        may = access.permits(asked.actor, asked.action, situation)
        filters = {"agency": agency}
        found = await register.listed(read, Officer, filters, limit=limit, cursor=cursor) if may else []

    def show(officer: Officer) -> dict[str, Any] | None:
        seen = replace(situation, relations=loads.relation(asked.actor, officer))
        permit = access.permits(asked.actor, asked.action, seen)
        return shown(officer, permit) if permit else None

    return asked.show(paging.page(found, limit, show))


@router.get("/v1/officers/{officer}", responses=versioned())
async def read_officer(asked: Annotated[Asked, asks("officer.read")], officer: OfficerId) -> Response:
    """查看一名执法人员。"""
    async with asked.reading() as read:
        head = await read.head("officer", officer)
        found = await read.one(Officer, id=officer)
        relations = loads.relation(asked.actor, found) if found else frozenset()
        situation = await register.situation(read, asked.actor, relations)
    permit = access.permit(asked.actor, asked.action, situation)
    if found is None:
        raise errors.NotFound
    return asked.show(shown(found, permit), version=head.version)
