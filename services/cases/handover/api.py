"""Routes of the transfer: offer, read, accept, return, withdraw."""

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
from libs.common.web.description import CONDITIONAL, created, leads, versioned
from libs.common.web.fields import Day, In, Items, Text, Uscc
from services.cases import access
from services.cases.handover import loads, rules
from services.cases.handover.rules import Handover, Offering, Package
from services.cases.handover.tables import Transfer, case_of
from services.cases.intake import loads as intake
from services.cases.intake.api import CaseId, PaperIn

router = routes.router(prefix="", tag="移送")

ReturnReason = Literal["not_competent", "package_incomplete", "filed_elsewhere", "facts_unclear"]
TransferId = Annotated[
    str, Path(description="移送", json_schema_extra={"pattern": r"^[0-9a-f-]{36}\.t[0-9]+$"})
]

_OF_OFFER = leads("read_transfer", "accept", "give_back", "withdraw", transfer="/id")
_TO_DISPUTE = leads("read_dispute", "accept_dispute", "propose", dispute="/dispute")
_BACK = leads("read_case", "take", "offer", case="/case")


class GoodsIn(In):
    """An entry of the goods list (物品清单)."""

    name: Annotated[str, Text(1, 200)]
    quantity: Annotated[str, Text(1, 40)]


class OfferIn(In):
    """移送书: the recipient, two officers, and the package."""

    to_agency: Uscc
    officers: Items[Annotated[str, Text(1, 64)]]
    papers: Annotated[Items[PaperIn], Field(min_length=1, max_length=200)]
    evidence: Annotated[Items[PaperIn], Field(min_length=1, max_length=200)]
    goods: Annotated[Items[GoodsIn], Field(max_length=500)]  #: may be empty, must be there
    ground: Annotated[str, Text(1, 2000, lines=True)]
    #: For which the case is another's than a binding opinion says; only where there is one.
    new_facts: Annotated[str, Text(0, 2000, lines=True)] = ""
    acted_on: Day | None = None


class AcceptanceIn(In):
    """接收."""

    acted_on: Day | None = None


class ReturnIn(In):
    """退回: reason, legal basis, and the agency that should have the case."""

    reason: ReturnReason
    basis: Annotated[str, Text(1, 500)]
    proposed_agency: Uscc
    note: Annotated[str, Text(0, 2000, lines=True)] = ""
    acted_on: Day | None = None


class WithdrawalIn(In):
    """撤回."""

    note: Annotated[str, Text(0, 2000, lines=True)] = ""
    acted_on: Day | None = None


class ContestIn(In):
    """提请协调: why the case is not one's own."""

    ground: Annotated[str, Text(1, 4000, lines=True)]
    acted_on: Day | None = None


def shown(transfer: Transfer, permit: Permit) -> dict[str, Any]:
    """A transfer as an answer; its free text may name people and is masked with them."""
    fields = {
        "id": transfer.id,
        "case": transfer.case,
        "from_agency": transfer.from_agency,
        "to_agency": transfer.to_agency,
        "state": transfer.state,
        "officers": transfer.officers,
        "note": transfer.note or None,
        "package": transfer.package,
        "ground": transfer.ground,
        "new_facts": transfer.new_facts or None,
        "dispute": transfer.dispute or None,
        "offered_on": transfer.offered_on.isoformat(),
        "offered_at": transfer.offered_at.isoformat(),
        "closed_on": transfer.closed_on.isoformat() if transfer.closed_on else None,
        "return": {
            "reason": transfer.return_reason,
            "reason_zh": rules.RETURN_REASONS[transfer.return_reason],
            "basis": transfer.return_basis,
            "proposed_agency": transfer.proposed_agency,
        }
        if transfer.return_reason
        else None,
    }
    return access.shown(fields, permit)


def _rendered(change: Change, permit: Permit) -> Rendered:
    transfer = change.written(Transfer)
    headers = {"etag": etag(change.version_of("case")), "location": f"/v1/transfers/{transfer.id}"}
    return Rendered(shown(transfer, permit), headers=headers)


async def _load_offer(read: Reader, request: Request[OfferIn]) -> Loaded[Offering]:
    file, situation = await intake.seen(read, request.actor, request.path["case"])
    facts = await loads.offering(read, file, request.body.to_agency, request.body.officers)
    return Loaded(situation, facts, file.head.version)


async def _load(
    read: Reader, request: Request[Any], *, proposed: str = "", contested: bool = False
) -> Loaded[Handover]:
    transfer = request.path["transfer"]
    facts = await loads.handover(read, transfer, proposed=proposed, contested=contested)
    situation = await loads.seen(read, request.actor, facts)
    return Loaded(situation, facts, facts.file.head.version)


async def _load_return(read: Reader, request: Request[ReturnIn]) -> Loaded[Handover]:
    return await _load(read, request, proposed=request.body.proposed_agency)


async def _load_contest(read: Reader, request: Request[ContestIn]) -> Loaded[Handover]:
    return await _load(read, request, contested=True)


def _offer(s: Offering, request: Request[OfferIn]) -> Change:
    body = request.body
    package = Package(
        papers=tuple(paper.model_dump(exclude_none=True) for paper in body.papers),
        evidence=tuple(paper.model_dump(exclude_none=True) for paper in body.evidence),
        goods=tuple(entry.model_dump() for entry in body.goods),
        ground=body.ground,
        new_facts=body.new_facts,
    )
    return rules.offer(s, package, by=request.actor, at=request.at, acted_on=body.acted_on)


def _accept(s: Handover, request: Request[AcceptanceIn]) -> Change:
    return rules.accept(s, by=request.actor, at=request.at, acted_on=request.body.acted_on)


def _give_back(s: Handover, request: Request[ReturnIn]) -> Change:
    body = request.body
    return rules.give_back(
        s,
        reason=body.reason,
        legal_basis=body.basis,
        note=body.note,
        by=request.actor,
        at=request.at,
        acted_on=body.acted_on,
    )


def _withdraw(s: Handover, request: Request[WithdrawalIn]) -> Change:
    body = request.body
    return rules.withdraw(s, note=body.note, by=request.actor, at=request.at, acted_on=body.acted_on)


def _contest(s: Handover, request: Request[ContestIn]) -> Change:
    body = request.body
    return rules.contest(s, ground=body.ground, by=request.actor, at=request.at, acted_on=body.acted_on)


def _case_stream(request: Request[Any]) -> list[str]:
    case = request.path.get("case") or case_of(request.path["transfer"])
    return [f"case/{case}"]


OFFER = Verb("transfer.offer", _case_stream, _load_offer, access.permit, _offer, _rendered, conditional=True)
ACCEPT = Verb("transfer.accept", _case_stream, _load, access.permit, _accept, _rendered)
RETURN = Verb("transfer.return", _case_stream, _load_return, access.permit, _give_back, _rendered)
WITHDRAW = Verb("transfer.withdraw", _case_stream, _load, access.permit, _withdraw, _rendered)
CONTEST = Verb("transfer.contest", _case_stream, _load_contest, access.permit, _contest, _rendered)


@router.post(
    "/v1/cases/{case}/transfers",
    status_code=201,
    responses=created(_OF_OFFER, _BACK) | CONDITIONAL,
)
async def offer(doing: Annotated[Doing, does("transfer.offer")], case: CaseId, body: OfferIn) -> Response:
    """移送案件：移送机关在对方接收前仍是承办单位。"""
    return await doing.do(OFFER, body)


@router.post("/v1/transfers/{transfer}/acceptance", status_code=201, responses=created(_BACK))
async def accept(
    doing: Annotated[Doing, does("transfer.accept")], transfer: TransferId, body: AcceptanceIn
) -> Response:
    """接收移送：自此由接收机关承办。"""
    return await doing.do(ACCEPT, body)


@router.post(
    "/v1/transfers/{transfer}/return",
    status_code=201,
    responses=created(leads("contest", transfer="/id"), _BACK),
)
async def give_back(
    doing: Annotated[Doing, does("transfer.return")], transfer: TransferId, body: ReturnIn
) -> Response:
    """退回移送：写明理由、法律依据和建议管辖机关。"""
    return await doing.do(RETURN, body)


@router.post("/v1/transfers/{transfer}/withdrawal", status_code=201, responses=created(_BACK))
async def withdraw(
    doing: Annotated[Doing, does("transfer.withdraw")], transfer: TransferId, body: WithdrawalIn
) -> Response:
    """撤回移送：仅在对方接收或退回之前。"""
    return await doing.do(WITHDRAW, body)


@router.post(
    "/v1/transfers/{transfer}/dispute",
    status_code=201,
    responses=created(_TO_DISPUTE),
)
async def contest(
    doing: Annotated[Doing, does("transfer.contest")], transfer: TransferId, body: ContestIn
) -> Response:
    """就被退回的移送提请协调：管辖争议自此成立，解决之前任何一方不得单独处理。"""
    return await doing.do(CONTEST, body)


@router.get("/v1/transfers/{transfer}", responses=versioned(_OF_OFFER, _BACK))
async def read_transfer(asked: Annotated[Asked, asks("transfer.read")], transfer: TransferId) -> Response:
    """查看一次移送。"""
    async with asked.reading() as read:
        facts = await loads.handover(read, transfer)
        situation = await loads.seen(read, asked.actor, facts)
    permit = access.permit(asked.actor, asked.action, situation)
    return asked.show(shown(facts.transfer, permit), version=facts.file.head.version)
