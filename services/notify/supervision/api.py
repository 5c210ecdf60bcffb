"""Routes of letters: issue, read, answer, send an answer back, close."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import Path, Response
from pydantic import Field
from sqlmodel import col, select

from libs.common import errors
from libs.common.change import Change
from libs.common.contracts.notify import LetterKind
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.permit import Permit
from libs.common.store.reading import Reader
from libs.common.web import paging, routes
from libs.common.web.asked import Asked, Doing, asks, does, etag
from libs.common.web.description import created, leading, leads, versioned
from libs.common.web.fields import Day, In, Items, Text, Uscc
from libs.common.web.paging import Cursor, Limit
from services.notify import access
from services.notify.routing import loads as routing
from services.notify.routing.tables import Addressee
from services.notify.supervision import loads, rules
from services.notify.supervision.rules import Draft, File, Issuing
from services.notify.supervision.tables import Supervision, SupervisionRow

router = routes.router(prefix="", tag="督办与执法监督")

SupervisionId = Annotated[str, Path(description="督办", json_schema_extra={"format": "uuid"})]
_ACTS = leads("reply", "return_reply", "close", "read_supervision", supervision="/id")


class SupervisionIn(In):
    """督办函、行政执法监督意见书或决定书."""

    kind: LetterKind
    agency: Uscc
    title: Annotated[str, Text(1, 100)]
    items: Annotated[Items[Annotated[str, Text(1, 500)]], Field(min_length=1, max_length=20)]
    about: Annotated[str, Field(pattern=r"^[a-z_]{1,20}/[0-9A-Za-z._-]{1,80}$")] | None = None
    due_on: Day | None = None


class ReplyIn(In):
    """反馈：办理情况和结果."""

    text: Annotated[str, Text(1, 2000, lines=True)]


class ReturnIn(In):
    """退回反馈：为何不足，何日前再报."""

    remark: Annotated[str, Text(1, 1000, lines=True)]
    due_on: Day


class ClosureIn(In):
    """销号."""

    remark: Annotated[str, Text(0, 1000, lines=True)] = ""


def _shown(letter: Supervision) -> dict[str, Any]:
    return {
        "id": letter.id,
        "kind": letter.kind,
        "name": rules.KINDS[letter.kind].zh,  # type: ignore[index]
        "number": letter.number,
        "issuer": letter.issuer,
        "agency": letter.agency,
        "about": letter.about or None,
        "obligation": letter.obligation or None,
        "title": letter.title,
        "items": letter.items,
        "state": letter.state,
        "issued_on": letter.issued_on.isoformat(),
        "due_on": letter.due_on.isoformat() if letter.due_on else None,
        "reply": letter.reply or None,
        "replied_on": letter.replied_on.isoformat() if letter.replied_on else None,
        "returned": letter.returned,
        "remark": letter.remark or None,
        "closed_on": letter.closed_on.isoformat() if letter.closed_on else None,
    }


def _rendered(change: Change, permit: Permit) -> Rendered:
    letter = change.written(Supervision)
    headers = {
        "etag": etag(change.version_of("supervision")),
        "location": f"/v1/supervisions/{letter.id}",
    }
    return Rendered(_shown(letter), headers=headers)


async def _load_issue(read: Reader, request: Request[SupervisionIn]) -> Loaded[Issuing]:
    situation = await routing.situation(read, request.actor)
    issuer = await read.one(Addressee, agency=request.actor.agency)
    if issuer is None:
        raise errors.NotPermitted
    body = request.body
    return Loaded(situation, await loads.issuing(read, issuer, body.agency, body.kind, request.at.day))


async def _load(read: Reader, request: Request[Any]) -> Loaded[File]:
    file = await loads.file(read, request.path["supervision"])
    return Loaded(await loads.seen(read, request.actor, file.letter), file, file.head.version)


def _issue(s: Issuing, request: Request[SupervisionIn]) -> Change:
    body = request.body
    draft = Draft(body.kind, body.title, body.items, about=body.about or "", due_on=body.due_on)
    return rules.issue(s, draft, by=request.actor, at=request.at)


def _reply(s: File, request: Request[ReplyIn]) -> Change:
    return rules.reply(s, request.body.text, by=request.actor, at=request.at)


def _give_back(s: File, request: Request[ReturnIn]) -> Change:
    return rules.give_back(s, request.body.remark, request.body.due_on, by=request.actor, at=request.at)


def _close(s: File, request: Request[ClosureIn]) -> Change:
    return rules.close(s, request.body.remark, by=request.actor, at=request.at)


def _counter(request: Request[SupervisionIn]) -> list[str]:
    return ["/".join(rules.counter_of(request.actor.agency, request.body.kind, request.at.day))]


def _stream(request: Request[Any]) -> list[str]:
    return [f"supervision/{request.path['supervision']}"]


ISSUE = Verb("supervision.issue", _counter, _load_issue, access.permit, _issue, _rendered)
REPLY = Verb("supervision.reply", _stream, _load, access.permit, _reply, _rendered)
RETURN = Verb("supervision.judge", _stream, _load, access.permit, _give_back, _rendered)
CLOSE = Verb("supervision.judge", _stream, _load, access.permit, _close, _rendered)


@router.post("/v1/supervisions", status_code=201, responses=created(_ACTS))
async def supervise(doing: Annotated[Doing, does("supervision.issue")], body: SupervisionIn) -> Response:
    """发出督办函、行政执法监督意见书或决定书：收函机关须在期限内反馈。"""
    return await doing.do(ISSUE, body)


@router.get("/v1/supervisions", responses=leading(leads("read_supervision", supervision="/data/0/id")))
async def list_supervisions(
    asked: Annotated[Asked, asks("supervision.read")],
    state: Literal["issued", "replied", "closed"] | None = None,
    agency: Uscc | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """发往本机关的函；协调机关见全县的函。"""
    statement = select(SupervisionRow).order_by(col(SupervisionRow.id)).limit(limit + 1)
    if cursor is not None:
        statement = statement.where(col(SupervisionRow.id) > paging.key_of(cursor)[0])
    equal = {name: value for name, value in (("state", state), ("agency", agency)) if value}
    async with asked.reading() as read:
        own = await routing.situation(read, asked.actor)
        if not access.permits(asked.actor, asked.action, own):
            statement = statement.where(col(SupervisionRow.agency) == asked.actor.agency)
        party = replace(own, relations=frozenset({access.ADDRESSEE}))
        visible = access.permits(asked.actor, asked.action, party)
        found = await read.all(Supervision, statement.filter_by(**equal)) if visible else []

    def show(letter: Supervision) -> dict[str, Any] | None:
        situation = loads.towards(own, asked.actor, letter)
        return _shown(letter) if access.permits(asked.actor, asked.action, situation) else None

    return asked.show(paging.page(found, limit, show))


@router.get("/v1/supervisions/{supervision}", responses=versioned(_ACTS))
async def read_supervision(
    asked: Annotated[Asked, asks("supervision.read")], supervision: SupervisionId
) -> Response:
    """查看一件函及其反馈。"""
    async with asked.reading() as read:
        file = await loads.file(read, supervision)
        situation = await loads.seen(read, asked.actor, file.letter)
    access.permit(asked.actor, asked.action, situation)
    return asked.show(_shown(file.letter), version=file.head.version)


@router.post("/v1/supervisions/{supervision}/reply", status_code=201, responses=created(_ACTS))
async def reply(
    doing: Annotated[Doing, does("supervision.reply")], supervision: SupervisionId, body: ReplyIn
) -> Response:
    """反馈办理情况。"""
    return await doing.do(REPLY, body)


@router.post("/v1/supervisions/{supervision}/return", status_code=201, responses=created(_ACTS))
async def return_reply(
    doing: Annotated[Doing, does("supervision.judge")], supervision: SupervisionId, body: ReturnIn
) -> Response:
    """退回反馈：写明不足之处和再次反馈的日期。"""
    return await doing.do(RETURN, body)


@router.post("/v1/supervisions/{supervision}/closure", status_code=201, responses=created(_ACTS))
async def close(
    doing: Annotated[Doing, does("supervision.judge")], supervision: SupervisionId, body: ClosureIn
) -> Response:
    """销号：只有发函机关可以。"""
    return await doing.do(CLOSE, body)
