"""Routes of the inbox: read it, sign for notices one by one or together, show receipts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Path, Response
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from sqlalchemy import and_, func, or_
from sqlmodel import col, select

from libs.common import errors
from libs.common.change import Change
from libs.common.contracts.notify import Severity
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.permit import Permit
from libs.common.seal import Keyring, seals
from libs.common.store.reading import Reader
from libs.common.web import paging, routes
from libs.common.web.asked import Asked, Doing, asks, does, etag
from libs.common.web.description import created, leading, leads, versioned
from libs.common.web.fields import In, Items, Text
from libs.common.web.paging import Cursor, Limit
from services.notify import access
from services.notify.inbox import loads, rules
from services.notify.inbox.rules import Batch, NoticeFile
from services.notify.inbox.tables import Notice, NoticeRow, Receipt
from services.notify.routing import loads as routing
from services.notify.routing import rules as placing

router = routes.router(prefix="", tag="收件箱")


NoticeId = Annotated[str, Path(description="通知", json_schema_extra={"format": "uuid"})]
ReceiptId = Annotated[str, Path(description="回执", json_schema_extra={"format": "uuid"})]


def _distinct(ids: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(ids)) != len(ids):
        raise PydanticCustomError("repeated", "同一通知不得重复")
    return ids


class ReceiptIn(In):
    """签收: nothing need be said but that it was received."""


class ReceiptsIn(In):
    """批量签收: all of these or none."""

    notices: Annotated[
        Items[Annotated[str, Text(1, 64)]],
        Field(min_length=1, max_length=rules.BATCH),
        AfterValidator(_distinct),
    ]


def _shown(notice: Notice) -> dict[str, Any]:
    return {
        "id": notice.id,
        "agency": notice.agency,
        "event": notice.event,
        "event_chain": notice.event_chain,
        "about": notice.about,
        "type": notice.type,
        "name": placing.called(notice.type),
        "severity": notice.severity,
        "urgency": notice.urgency,
        "title": notice.title,
        "body": notice.body,
        "sign": notice.sign,
        "state": notice.state,
        "receipt": notice.receipt or None,
        "issued_at": notice.issued_at.isoformat(timespec="microseconds"),
        "digest": notice.digest,
    }


def _proof(receipt: Receipt) -> dict[str, Any]:
    signature = {"key": receipt.key, "value": receipt.signature}
    return {"receipt": json.loads(receipt.signed), "signature": signature}


async def _page(
    read: Reader, agency: str, filters: dict[str, Any], limit: int, cursor: str | None
) -> Sequence[Notice]:
    """Newest first, one more than asked for where there is more."""
    statement = select(NoticeRow).where(col(NoticeRow.agency) == agency).filter_by(**filters)
    if cursor is not None:
        at, id_ = paging.instant_of(cursor)
        earlier = and_(col(NoticeRow.issued_at) == at, col(NoticeRow.id) < id_)
        statement = statement.where(or_(col(NoticeRow.issued_at) < at, earlier))
    newest = (col(NoticeRow.issued_at).desc(), col(NoticeRow.id).desc())
    return await read.all(Notice, statement.order_by(*newest).limit(limit + 1))


async def _load_one(read: Reader, request: Request[Any]) -> Loaded[NoticeFile]:
    file = await loads.notice_file(read, request.path["notice"])
    situation = await loads.seen(read, request.actor, file.notice.agency)
    return Loaded(situation, file, file.head.version)


async def _load_batch(read: Reader, request: Request[ReceiptsIn]) -> Loaded[Batch]:
    facts = await loads.batch(read, request.actor.agency, request.body.notices)
    return Loaded(await routing.situation(read, request.actor), facts)


def _receiving(keyring: Keyring) -> Verb[NoticeFile, ReceiptIn | None]:
    """The verb that signs for one notice, with this installation's seal."""

    def decide(s: NoticeFile, request: Request[ReceiptIn | None]) -> Change:
        return rules.receive(s, by=request.actor, at=request.at, seal=keyring.seal)

    def render(change: Change, permit: Permit) -> Rendered:
        receipt = change.written(Receipt)
        headers = {"etag": etag(change.version_of("notice")), "location": f"/v1/receipts/{receipt.id}"}
        return Rendered({**_proof(receipt), "keys": seals(keyring.jwks)}, headers=headers)

    return Verb(
        action="notice.receive",
        names=lambda request: [f"notice/{request.path['notice']}"],
        load=_load_one,
        permit=access.permit,
        decide=decide,
        render=render,
    )


def _receiving_all(keyring: Keyring) -> Verb[Batch, ReceiptsIn]:
    """The verb that signs for several notices in one Change."""

    def decide(s: Batch, request: Request[ReceiptsIn]) -> Change:
        return rules.receive_all(s, by=request.actor, at=request.at, seal=keyring.seal)

    def render(change: Change, permit: Permit) -> Rendered:
        receipts = [row.entry for row in change.rows if isinstance(row.entry, Receipt)]
        return Rendered({"data": [_proof(receipt) for receipt in receipts], "keys": seals(keyring.jwks)})

    return Verb(
        action="inbox.receive",
        names=lambda request: [f"notice/{id_}" for id_ in request.body.notices],
        load=_load_batch,
        permit=access.permit,
        decide=decide,
        render=render,
    )


@router.get("/v1/inbox", responses=leading(leads("read_notice", "receive", notice="/data/0/id")))
async def inbox(
    asked: Annotated[Asked, asks("inbox.read")],
    state: Literal["unread", "received"] | None = None,
    severity: Severity | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """本机关收件箱，新的在前；可按签收状态和级别筛选。"""
    filters = {name: value for name, value in (("state", state), ("severity", severity)) if value}
    async with asked.reading() as read:
        situation = await routing.situation(read, asked.actor)
        visible = access.permits(asked.actor, asked.action, situation)
        found = await _page(read, asked.actor.agency, filters, limit, cursor) if visible else []
    last = found[limit - 1] if len(found) > limit else None
    following = paging.after(last.issued_at.isoformat(), last.id) if last else None
    return asked.show({"data": [_shown(notice) for notice in found[:limit]], "next": following})


@router.get("/v1/inbox/counts")
async def counts(asked: Annotated[Asked, asks("inbox.read")]) -> Response:
    """收件箱计数：未签收、已签收、待签收，以及未签收的各级别件数。"""
    groups = (col(NoticeRow.state), col(NoticeRow.severity), col(NoticeRow.sign))
    statement = select(*groups, func.count().label("n")).where(col(NoticeRow.agency) == asked.actor.agency)
    async with asked.reading() as read:
        situation = await routing.situation(read, asked.actor)
        visible = access.permits(asked.actor, asked.action, situation)
        found = await read.rows(statement.group_by(*groups)) if visible else []
    unread = [row for row in found if row["state"] == "unread"]
    return asked.show(
        {
            "unread": sum(row["n"] for row in unread),
            "received": sum(row["n"] for row in found) - sum(row["n"] for row in unread),
            "to_sign": sum(row["n"] for row in unread if row["sign"]),
            "unread_by_severity": {
                name: sum(row["n"] for row in unread if row["severity"] == name)
                for name in placing.SEVERITIES
            },
        }
    )


@router.post("/v1/inbox/receipts", status_code=201)
async def receive_all(doing: Annotated[Doing, does("inbox.receive")], body: ReceiptsIn) -> Response:
    """批量签收：一次最多一百件，全部签收或全部不签收。"""
    return await doing.do(_receiving_all(doing.here.keyring), body)


@router.get("/v1/notices/{notice}", responses=versioned(leads("receive", notice="/id")))
async def read_notice(asked: Annotated[Asked, asks("notice.read")], notice: NoticeId) -> Response:
    """查看一件通知。"""
    async with asked.reading() as read:
        file = await loads.notice_file(read, notice)
        situation = await loads.seen(read, asked.actor, file.notice.agency)
    access.permit(asked.actor, asked.action, situation)
    return asked.show(_shown(file.notice), version=file.head.version)


@router.post(
    "/v1/notices/{notice}/receipt",
    status_code=201,
    responses=created(
        leads("read_receipt", receipt="/receipt/receipt"), leads("read_notice", notice="$request.path.notice")
    ),
)
async def receive(
    doing: Annotated[Doing, does("notice.receive")], notice: NoticeId, body: ReceiptIn | None = None
) -> Response:
    """签收一件通知，取得可离线核验的回执。"""
    return await doing.do(_receiving(doing.here.keyring), body)


@router.get("/v1/receipts/{receipt}")
async def read_receipt(asked: Annotated[Asked, asks("receipt.read")], receipt: ReceiptId) -> Response:
    """签收回执：所签内容、签名和公钥，无须连接任何系统即可核验。"""
    async with asked.reading() as read:
        found = await read.one(Receipt, id=receipt)
        if found is None:
            raise errors.NotFound
        situation = await loads.seen(read, asked.actor, found.agency)
    access.permit(asked.actor, asked.action, situation)
    return asked.show({**_proof(found), "keys": seals(asked.here.keyring.jwks)})
