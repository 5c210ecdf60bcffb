"""Routes of the route table: read the one in force, check another."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Response
from pydantic import Field

from libs.common.change import Change
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.permit import Permit
from libs.common.store.reading import Reader
from libs.common.web import routes
from libs.common.web.asked import Asked, Doing, asks, does
from libs.common.web.fields import In, Items
from services.notify import access
from services.notify.routing import loads, rules
from services.notify.routing.rules import Route, RouteTable, Sheet, Silent

router = routes.router(prefix="", tag="路由")


class TableIn(In):
    """A route table as JSON, in the shape of routes.toml."""

    route: Annotated[Items[Route], Field(max_length=500)]
    silent: Annotated[Items[Silent], Field(max_length=100)] = ()
    words: dict[str, dict[str, str]] = Field(default_factory=dict)


def _shown(table: RouteTable) -> list[dict[str, Any]]:
    return [
        {"name": rules.called(type_), **route.model_dump(mode="json")}
        for type_, rows in table.routes.items()
        for route in rows
    ]


async def _load(read: Reader, request: Request[TableIn]) -> Loaded[Sheet]:
    sheet = Sheet(route=request.body.route, silent=request.body.silent, words=request.body.words)
    return Loaded(await loads.situation(read, request.actor), sheet)


def _decide(sheet: Sheet, request: Request[TableIn]) -> Change:
    """Nothing is written but the answer: a table comes into force with a release."""
    rules.check(sheet)
    return Change()


def _rendered(change: Change, permit: Permit) -> Rendered:
    return Rendered({"usable": True}, status=200)


CHECK = Verb("route.check", lambda request: (), _load, access.permit, _decide, _rendered)


@router.get("/v1/routes")
async def read_routes(asked: Annotated[Asked, asks("route.read")]) -> Response:
    """现行路由表：每种事件告知谁、是否须签收、为什么。"""
    async with asked.reading() as read:
        situation = await loads.situation(read, asked.actor)
    visible = access.permits(asked.actor, asked.action, situation)
    table = loads.table()
    silent = [{"event": e, "name": rules.called(e), "reason": why} for e, why in table.silent.items()]
    return asked.show({"data": _shown(table) if visible else [], "silent": silent if visible else []})


@router.post("/v1/routes/check")
async def check_routes(doing: Annotated[Doing, does("route.check")], body: TableIn) -> Response:
    """校验一份路由表：有事件到达不了任何机关，或写了不存在的事件、字段的，逐行指出。"""
    return await doing.do(CHECK, body)
