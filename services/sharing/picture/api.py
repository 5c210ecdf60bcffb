"""Routes of the joint picture: the county, one township, one department; rebuilding it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Path, Response
from fastapi import Request as HttpRequest

from libs.common import errors
from libs.common.change import Change, Head
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.permit import Actor, Permit
from libs.common.store.reading import Reader
from libs.common.web import routes
from libs.common.web.asked import Asked, Doing, asks, does
from libs.common.web.description import leads
from libs.common.web.fields import In
from services.sharing import access
from services.sharing.clocks import loads as clocks
from services.sharing.clocks import rules as running
from services.sharing.feeds import loads as feeds
from services.sharing.feeds.tables import Member
from services.sharing.picture import loads, rules
from services.sharing.picture.rules import Line, Snapshot
from services.sharing.picture.tables import Rebuild

router = routes.router(prefix="", tag="协同态势")


Township = Annotated[str, Path(description="行政区划代码", json_schema_extra={"pattern": "^[1-9][0-9]{8}$"})]
Department = Annotated[
    str, Path(description="统一社会信用代码", json_schema_extra={"minLength": 18, "maxLength": 18})
]
RebuildId = Annotated[str, Path(description="重建", json_schema_extra={"format": "uuid"})]


class RebuildIn(In):
    """重建协同态势: nothing need be said but that it is to be done; Audit-Reason says why."""


async def _visible(asked: Asked) -> tuple[Snapshot, list[Line]]:
    """The picture, and those of its lines that the actor may see."""
    async with asked.reading() as read:
        own = await feeds.situation(read, asked.actor)
        snapshot = await loads.snapshot(read, asked.at.now) if own.is_member else rules.NOWHERE
    return snapshot, [line for line in snapshot.lines if may_see(asked.actor, own, line.agency)]


def may_see(actor: Actor, own: access.Situation, *agencies: str) -> bool:
    """Whether somebody sees what the picture says of these agencies: the office all, another its own."""
    relations = frozenset({access.OWN} if actor.agency in agencies else ())
    return access.permits(actor, "picture.read", replace(own, relations=relations)) is not None


def _one(snapshot: Snapshot, lines: list[Line]) -> dict[str, Any]:
    if not lines:
        raise errors.NotFound
    return {**snapshot.place(), **snapshot.shown(lines[0])}


@router.get("/v1/picture")
async def picture(asked: Annotated[Asked, asks("picture.read")]) -> Response:
    """协同态势：各乡镇（街道）和部门承办、移送的情况；协调机关可看全县，其他机关只看本机关。"""
    snapshot, lines = await _visible(asked)
    return asked.show(
        {
            **(snapshot.place() if lines else rules.NOWHERE.place()),
            "townships": [snapshot.shown(line) for line in lines if line.is_township],
            "departments": [snapshot.shown(line) for line in lines if not line.is_township],
        }
    )


@router.get("/v1/picture/townships/{code}")
async def township(asked: Annotated[Asked, asks("picture.read")], code: Township) -> Response:
    """一个乡镇（街道）的情况，按行政区划代码。"""
    snapshot, lines = await _visible(asked)
    found = [line for line in lines if line.is_township and line.division == code]
    return asked.show(_one(snapshot, found))


@router.get("/v1/picture/departments/{uscc}")
async def department(asked: Annotated[Asked, asks("picture.read")], uscc: Department) -> Response:
    """一个部门的情况，按统一社会信用代码。"""
    snapshot, lines = await _visible(asked)
    found = [line for line in lines if not line.is_township and line.agency == uscc]
    return asked.show(_one(snapshot, found))


@router.get("/v1/picture/bottlenecks")
async def bottlenecks(asked: Annotated[Asked, asks("picture.read")]) -> Response:
    """谁在等谁：每一对等候机关和责任机关之间运行的时限、最差的灯和最早的期限，最急的在前；各机关只看与本机关有关的。"""
    async with asked.reading() as read:
        own = await feeds.situation(read, asked.actor)
        found = await clocks.tallies(read, asked.at.now) if own.is_member else []
        names = {member.agency: member.name for member in await read.all(Member)} if found else {}
    shown = [
        {
            "awaits": pair.awaits or None,
            "awaits_name": names.get(pair.awaits),
            "agency": pair.agency,
            "agency_name": names.get(pair.agency),
            "running": pair.lights.n,
            "light": pair.lights.worst,
            "lights": pair.lights.shown(),
            "oldest_due_at": rules.instant(pair.lights.due_at),
        }
        for pair in running.pairs(found)
        if may_see(asked.actor, own, *{pair.awaits, pair.agency})
    ]
    return asked.show({"data": shown, "next": None})


async def _load_desk(read: Reader, request: Request[RebuildIn | None]) -> Loaded[tuple[Head, Rebuild | None]]:
    head = await read.head(*rules.DESK)
    facts = head, await loads.running(read)
    return Loaded(await feeds.situation(read, request.actor), facts)


def _ask(s: tuple[Head, Rebuild | None], request: Request[RebuildIn | None]) -> Change:
    desk, running = s
    return rules.ask(desk, running, reason=request.actor.reason, by=request.actor, at=request.at)


def _asked(change: Change, permit: Permit) -> Rendered:
    rebuild = change.written(Rebuild)
    return Rendered(_shown(rebuild), status=202, headers={"location": f"/v1/rebuilds/{rebuild.id}"})


def _shown(rebuild: Rebuild) -> dict[str, Any]:
    return {
        "id": rebuild.id,
        "state": "done" if rebuild.state == "done" else "running",
        "phase": rebuild.state,
        "generation": rebuild.generation or None,
        "position": rebuild.filled_to,
        "of": rebuild.newest,
        "asked_at": rules.instant(rebuild.asked_at),
        "finished_at": rules.instant(rebuild.finished_at),
    }


_DESK = "/".join(rules.DESK)
REBUILD = Verb("picture.rebuild", lambda request: [_DESK], _load_desk, access.permit, _ask, _asked)


@router.post("/v1/rebuilds", status_code=202, responses={202: {"links": leads("read_rebuild", id="/id")}})
async def rebuild(
    doing: Annotated[Doing, does("picture.rebuild")], http: HttpRequest, body: RebuildIn | None = None
) -> Response:
    """从日志重建协同态势，期间照常读取；进度见 Location。"""
    answer = await doing.do(REBUILD, body)
    wake: Callable[[], None] = http.app.state.wake_rebuild
    wake()
    return answer


@router.get("/v1/rebuilds/{id}")
async def read_rebuild(asked: Annotated[Asked, asks("rebuild.read")], id: RebuildId) -> Response:
    """一次重建的进度。"""
    async with asked.reading() as read:
        access.permit(asked.actor, asked.action, await feeds.situation(read, asked.actor))
        found = await read.one(Rebuild, id=id)
    if found is None:
        raise errors.NotFound
    return asked.show(_shown(found))
