"""Routes of the trace: the timeline, and the proof that an offline verifier accepts."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Response

from libs.common.permit import Permit
from libs.common.seal import seals
from libs.common.web import routes
from libs.common.web.asked import Asked, asks
from services.cases import access
from services.cases.intake import loads as intake
from services.cases.intake.api import CaseId
from services.cases.trace import loads, rules
from services.cases.trace.rules import Deed, Written
from services.cases.trace.tables import Signature

router = routes.router(prefix="", tag="全程留痕")


def _shown(deed: Deed, permit: Permit) -> dict[str, Any]:
    shared = {
        "at": deed.at.isoformat(),
        "name": deed.name,
        "summary": deed.summary,
        "agency": deed.agency,
    }
    if deed.fact:
        return {"kind": "fact", **shared, **access.shown(_fact(deed.fact), permit)}
    assert deed.signature is not None  # a deed is one or the other
    return {"kind": "receipt", **shared, **_signature(deed.signature)}


def _fact(fact: Written) -> dict[str, Any]:
    return {
        "seq": fact.seq,
        "type": fact.type,
        "acted_on": fact.acted_on.isoformat(),
        "person": fact.record["person"],
        "reason": fact.record.get("reason") or fact.record.get("note") or None,
        "data": fact.data,
        "digest": fact.digest.hex(),
    }


def _signature(signature: Signature) -> dict[str, Any]:
    return {
        "receipt": signature.receipt,
        "notice": signature.notice,
        "event": signature.event,
        "signed_at": signature.signed_at,
    }


@router.get("/v1/cases/{case}/timeline")
async def timeline(asked: Annotated[Asked, asks("case.read")], case: CaseId) -> Response:
    """全程留痕：案件的每一步，以及各机关的签收，依次列出。"""
    async with asked.reading() as read:
        file, situation = await intake.seen(read, asked.actor, case)
        permit = access.permit(asked.actor, asked.action, situation)
        trace = await loads.trace(read, file.head)
        names = await loads.names(read)
    deeds = rules.timeline(trace, lambda code: names.get(code, code))
    return asked.show({"data": [_shown(deed, permit) for deed in deeds]})


@router.get("/v1/cases/{case}/proof")
async def proof(asked: Annotated[Asked, asks("case.prove")], case: CaseId) -> Response:
    """留痕证明：无须运行本系统的任何部分即可核验；无权查看个人信息的，不含私有记录。"""
    async with asked.reading() as read:
        file, situation = await intake.seen(read, asked.actor, case)
        permit = access.permit(asked.actor, asked.action, situation)
        trace = await loads.trace(read, file.head)
    keyring = asked.here.keyring
    keys = seals(keyring.jwks)
    bundle = rules.bundle(trace, keyring.seal, keys, disclosed=not permit.masked, at=asked.at.now)
    return asked.show(bundle)
