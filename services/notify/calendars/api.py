"""Routes of calendars and limits: read them, put a year in place, set a local limit, ask for a date."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Response
from pydantic import Field

from libs.common import errors
from libs.common.change import Change
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.law.calendar import Year
from libs.common.law.limits import Limit, Unit
from libs.common.permit import Permit
from libs.common.store.reading import Reader
from libs.common.web import routes
from libs.common.web.asked import Asked, Doing, asks, does, etag
from libs.common.web.description import leading, leads
from libs.common.web.fields import Day, In, Items, Text
from services.notify import access
from services.notify.calendars import loads, rules
from services.notify.calendars.rules import LimitFile, YearFile
from services.notify.calendars.tables import AnnouncedYear, CountyLimit
from services.notify.routing import loads as routing

router = routes.router(prefix="", tag="日历与时限")

YearOf = Annotated[str, Path(description="年份", json_schema_extra={"pattern": rules.YEAR.pattern})]
RuleId = Annotated[str, Path(description="时限规则", json_schema_extra={"pattern": r"^[a-z]+\.[a-z0-9_]+$"})]


class CalendarIn(In):
    """某年度的放假和调休安排，以国务院办公厅的通知为准."""

    off: Annotated[Items[Day], Field(min_length=1, max_length=100)]
    work: Annotated[Items[Day], Field(max_length=50)]
    paper: Annotated[str, Text(1, 500)]


class LimitIn(In):
    """本县设定的时限及其文件."""

    length: Annotated[int, Field(ge=1, le=366)]
    unit: Annotated[Unit, Field(strict=False)]
    basis: Annotated[str, Text(1, 200)]


def _year(year: int, announced: Year | None) -> dict[str, Any]:
    return {
        "year": year,
        "announced": announced is not None,
        "version": announced.version if announced else None,
        "off": [day.isoformat() for day in sorted(announced.off)] if announced else [],
        "work": [day.isoformat() for day in sorted(announced.work)] if announced else [],
        "paper": announced.paper if announced else None,
    }


def _limit(limit: Limit) -> dict[str, Any]:
    return {
        "rule": limit.rule,
        "name": limit.zh,
        "length": limit.length,
        "unit": limit.unit,
        "starts_on": limit.starts_on,
        "obligor": limit.obligor,
        "basis": limit.basis,
        "source": limit.source,
        "note": limit.note or None,
    }


async def _load_year(read: Reader, request: Request[CalendarIn]) -> Loaded[YearFile]:
    file = await loads.year_file(read, request.path["year"])
    return Loaded(await routing.situation(read, request.actor), file, file.head.version)


async def _load_limit(read: Reader, request: Request[LimitIn]) -> Loaded[LimitFile]:
    file = await loads.limit_file(read, request.path["rule"])
    return Loaded(await routing.situation(read, request.actor), file, file.head.version)


def _put(s: YearFile, request: Request[CalendarIn]) -> Change:
    body = request.body
    return rules.put(s, body.off, body.work, body.paper, by=request.actor, at=request.at)


def _set(s: LimitFile, request: Request[LimitIn]) -> Change:
    body = request.body
    return rules.set_limit(s, body.length, body.unit, body.basis, by=request.actor, at=request.at)


def _put_rendered(change: Change, permit: Permit) -> Rendered:
    row = change.written(AnnouncedYear)
    body = {"year": row.year, "version": row.version, "off": row.off, "work": row.work, "paper": row.paper}
    return Rendered(body, status=200, headers={"etag": etag(change.version_of("calendar"))})


def _set_rendered(change: Change, permit: Permit) -> Rendered:
    row = change.written(CountyLimit)
    body = {"rule": row.rule, "length": row.length, "unit": row.unit, "basis": row.basis}
    return Rendered(body, status=200, headers={"etag": etag(change.version_of("limit"))})


PUT = Verb(
    "calendar.put",
    lambda request: [f"calendar/{request.path['year']}"],
    _load_year,
    access.permit,
    _put,
    _put_rendered,
)
SET = Verb(
    "limit.set",
    lambda request: [f"limit/{request.path['rule']}"],
    _load_limit,
    access.permit,
    _set,
    _set_rendered,
)


@router.get("/v1/calendars", responses=leading(leads("read_calendar", year="/data/0/year")))
async def list_calendars(asked: Annotated[Asked, asks("calendar.read")]) -> Response:
    """已公布的各年度节假日安排，含本机构所置。"""
    async with asked.reading() as read:
        visible = access.permits(asked.actor, asked.action, await routing.situation(read, asked.actor))
        years = (await loads.calendar(read)).years if visible else {}
    return asked.show({"data": [_year(year, years[year]) for year in sorted(years)], "next": None})


@router.get("/v1/calendars/{year}")
async def read_calendar(asked: Annotated[Asked, asks("calendar.read")], year: YearOf) -> Response:
    """某年度的放假和调休安排；尚未公布的，announced 为 false。"""
    async with asked.reading() as read:
        access.permit(asked.actor, asked.action, await routing.situation(read, asked.actor))
        file = await loads.year_file(read, year)
    return asked.show(_year(file.year, file.announced), version=file.head.version)


@router.put("/v1/calendars/{year}")
async def put_calendar(
    doing: Annotated[Doing, does("calendar.put")], year: YearOf, body: CalendarIn
) -> Response:
    """置入某年度的放假和调休安排：依其计算的时限随即重算并告知。"""
    return await doing.do(PUT, body)


@router.get("/v1/limits")
async def list_limits(asked: Annotated[Asked, asks("limit.read")]) -> Response:
    """全部时限规则及其依据；source 为 local 的由本县设定。"""
    async with asked.reading() as read:
        visible = access.permits(asked.actor, asked.action, await routing.situation(read, asked.actor))
        found = (await loads.in_force(read)).values() if visible else ()
    return asked.show({"data": [_limit(limit) for limit in found], "next": None})


@router.put("/v1/limits/{rule}")
async def set_limit(doing: Annotated[Doing, does("limit.set")], rule: RuleId, body: LimitIn) -> Response:
    """由本县文件设定一项地方时限；已在计时的不受影响。"""
    return await doing.do(SET, body)


@router.get("/v1/limits/{rule}/due")
async def due(
    asked: Annotated[Asked, asks("limit.read")],
    rule: RuleId,
    start: Annotated[Day, Query(alias="from")],
) -> Response:
    """某时限自某日起算到哪一天：届满日、是否暂定、依据哪些年度的日历。"""
    async with asked.reading() as read:
        access.permit(asked.actor, asked.action, await routing.situation(read, asked.actor))
        calendar, limit = await loads.calendar(read), (await loads.in_force(read)).get(rule)
    if limit is None:
        raise errors.NotFound
    term = rules.due(limit, start, calendar)
    return asked.show(
        {
            **_limit(limit),
            "from": start.isoformat(),
            "due_on": term.day.isoformat(),
            "ends_at": term.ends.isoformat(),
            "before_rolling": term.raw.isoformat(),
            "provisional": term.provisional,
            "calendars": {
                str(year): calendar.years[year].version if calendar.announces(year) else None
                for year in term.leans_on
            },
        }
    )
