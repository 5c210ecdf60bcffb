"""Routes of the dispute: read, propose, accept, forward, reply, name who leads, rule."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import Field

from libs.common.change import Change
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.permit import Permit
from libs.common.store.reading import Reader
from libs.common.web import routes
from libs.common.web.asked import Asked, Doing, asks, does, etag
from libs.common.web.description import created, leads, versioned
from libs.common.web.fields import Day, In, Items, Text, Uscc
from services.cases import access
from services.cases.dispute import loads, rules
from services.cases.dispute.rules import Disputing, Opinion
from services.cases.dispute.tables import Dispute, case_of
from services.cases.intake.api import DocumentNo, PaperIn

router = routes.router(prefix="", tag="管辖争议")

DisputeId = Annotated[
    str, Path(description="管辖争议", json_schema_extra={"pattern": r"^[0-9a-f-]{36}\.d[0-9]+$"})
]

_OPENED = leads("read_dispute", "propose", "accept_dispute", "name_lead", dispute="/id")
_ACCEPTED = leads("read_dispute", "forward", "rule", dispute="/id")
_FORWARDED = leads("read_dispute", "reply_to_dispute", dispute="/id")
_REPLIED = leads("read_dispute", "rule", dispute="/id")
_BACK = leads("read_case", case="/case")


class ProposalIn(In):
    """协商意见: the party to which the case should go."""

    competent_agency: Uscc
    acted_on: Day | None = None


class AcceptanceIn(In):
    """受理."""

    acted_on: Day | None = None


class ForwardingIn(In):
    """转送: to which party, what, and until when it should reply."""

    to_agency: Uscc
    papers: Annotated[Items[PaperIn], Field(min_length=1, max_length=200)]
    due: Day | None = None
    acted_on: Day | None = None


class ReplyIn(In):
    """争议答复: whose the case is, and by which article."""

    statement: Annotated[str, Text(1, 4000, lines=True)]
    basis: Annotated[str, Text(1, 500)]
    acted_on: Day | None = None


class LeadIn(In):
    """指定先行处置: who acts at once, and against what danger to public or personal safety."""

    lead: Uscc
    danger: Annotated[str, Text(1, 2000, lines=True)]
    acted_on: Day | None = None


class RulingIn(In):
    """行政执法协调意见书: its number, who has the case, by which article and why."""

    opinion_no: DocumentNo
    competent_agency: Uscc
    basis: Annotated[str, Text(1, 500)]
    opinion: Annotated[str, Text(1, 4000, lines=True)]
    #: Why an agency is named that by the register has not the power (yet).
    despite_register: Annotated[str, Text(0, 2000, lines=True)] = ""
    acted_on: Day | None = None


def shown(dispute: Dispute, permit: Permit) -> dict[str, Any]:
    """A dispute as an answer; its free text may name people and is masked with them."""
    fields = {
        "id": dispute.id,
        "case": dispute.case,
        "transfer": dispute.transfer,
        "parties": list(dispute.parties),
        "state": dispute.state,
        "coordinator": dispute.coordinator,
        "opened_by": dispute.opened_by or None,
        "ground": dispute.ground or None,
        "opened_on": dispute.opened_on.isoformat(),
        "opened_at": dispute.opened_at.isoformat(),
        "proposals": dispute.proposals,
        "forwarded_to": dispute.forwarded_to or None,
        "papers": dispute.papers,
        "due": dispute.due.isoformat() if dispute.due else None,
        "reply": dispute.reply or None,
        "reply_basis": dispute.reply_basis or None,
        "lead": dispute.lead or None,
        "danger": dispute.danger or None,
        "competent_agency": dispute.competent_agency or None,
        "opinion_no": dispute.opinion_no or None,
        "opinion_basis": dispute.opinion_basis or None,
        "opinion": dispute.opinion or None,
        "closed_on": dispute.closed_on.isoformat() if dispute.closed_on else None,
    }
    return access.shown(fields, permit)


def _rendered(change: Change, permit: Permit) -> Rendered:
    dispute = change.written(Dispute)
    headers = {"etag": etag(change.version_of("case")), "location": f"/v1/disputes/{dispute.id}"}
    return Rendered(shown(dispute, permit), headers=headers)


async def _load(read: Reader, request: Request[Any], *, named: str = "") -> Loaded[Disputing]:
    facts = await loads.disputing(read, request.path["dispute"], named=named)
    situation = await loads.seen(read, request.actor, facts)
    return Loaded(situation, facts, facts.file.head.version)


async def _load_competent(read: Reader, request: Request[ProposalIn | RulingIn]) -> Loaded[Disputing]:
    return await _load(read, request, named=request.body.competent_agency)


async def _load_forwarding(read: Reader, request: Request[ForwardingIn]) -> Loaded[Disputing]:
    return await _load(read, request, named=request.body.to_agency)


async def _load_lead(read: Reader, request: Request[LeadIn]) -> Loaded[Disputing]:
    return await _load(read, request, named=request.body.lead)


def _propose(s: Disputing, request: Request[ProposalIn]) -> Change:
    return rules.propose(s, by=request.actor, at=request.at, acted_on=request.body.acted_on)


def _accept(s: Disputing, request: Request[AcceptanceIn]) -> Change:
    return rules.accept(s, by=request.actor, at=request.at, acted_on=request.body.acted_on)


def _forward(s: Disputing, request: Request[ForwardingIn]) -> Change:
    body = request.body
    papers = [paper.model_dump(exclude_none=True) for paper in body.papers]
    return rules.forward(s, papers, due=body.due, by=request.actor, at=request.at, acted_on=body.acted_on)


def _reply(s: Disputing, request: Request[ReplyIn]) -> Change:
    body = request.body
    return rules.reply(s, body.statement, body.basis, by=request.actor, at=request.at, acted_on=body.acted_on)


def _lead(s: Disputing, request: Request[LeadIn]) -> Change:
    body = request.body
    return rules.lead(s, body.danger, by=request.actor, at=request.at, acted_on=body.acted_on)


def _rule(s: Disputing, request: Request[RulingIn]) -> Change:
    body = request.body
    opinion = Opinion(body.opinion_no, body.basis, body.opinion, body.despite_register)
    return rules.rule(s, opinion, by=request.actor, at=request.at, acted_on=body.acted_on)


def _case_stream(request: Request[Any]) -> list[str]:
    return [f"case/{case_of(request.path['dispute'])}"]


PROPOSE = Verb("dispute.propose", _case_stream, _load_competent, access.permit, _propose, _rendered)
ACCEPT = Verb("dispute.accept", _case_stream, _load, access.permit, _accept, _rendered)
FORWARD = Verb("dispute.forward", _case_stream, _load_forwarding, access.permit, _forward, _rendered)
REPLY = Verb("dispute.reply", _case_stream, _load, access.permit, _reply, _rendered)
LEAD = Verb("dispute.lead", _case_stream, _load_lead, access.permit, _lead, _rendered)
RULE = Verb("dispute.rule", _case_stream, _load_competent, access.permit, _rule, _rendered)


@router.post("/v1/disputes/{dispute}/proposal", status_code=201, responses=created(_OPENED, _BACK))
async def propose(
    doing: Annotated[Doing, does("dispute.propose")], dispute: DisputeId, body: ProposalIn
) -> Response:
    """提出协商意见：双方意见一致的，案件自此由该方承办，争议终结。"""
    return await doing.do(PROPOSE, body)


@router.post("/v1/disputes/{dispute}/acceptance", status_code=201, responses=created(_ACCEPTED))
async def accept_dispute(
    doing: Annotated[Doing, does("dispute.accept")], dispute: DisputeId, body: AcceptanceIn
) -> Response:
    """受理管辖争议。"""
    return await doing.do(ACCEPT, body)


@router.post("/v1/disputes/{dispute}/forwarding", status_code=201, responses=created(_FORWARDED))
async def forward(
    doing: Annotated[Doing, does("dispute.forward")], dispute: DisputeId, body: ForwardingIn
) -> Response:
    """向争议一方转送材料，请其答复。"""
    return await doing.do(FORWARD, body)


@router.post("/v1/disputes/{dispute}/reply", status_code=201, responses=created(_REPLIED))
async def reply_to_dispute(
    doing: Annotated[Doing, does("dispute.reply")], dispute: DisputeId, body: ReplyIn
) -> Response:
    """答复管辖争议：写明意见和法律依据。"""
    return await doing.do(REPLY, body)


@router.post("/v1/disputes/{dispute}/lead", status_code=201, responses=created(_OPENED, _BACK))
async def name_lead(
    doing: Annotated[Doing, does("dispute.lead")], dispute: DisputeId, body: LeadIn
) -> Response:
    """危及公共安全、人身安全的，立即指定先行处置机关；争议解决之前由其承办。"""
    return await doing.do(LEAD, body)


@router.post("/v1/disputes/{dispute}/ruling", status_code=201, responses=created(_BACK))
async def rule(doing: Annotated[Doing, does("dispute.rule")], dispute: DisputeId, body: RulingIn) -> Response:
    """出具行政执法协调意见书，指定管辖：案件自此由被指定的机关承办。"""
    return await doing.do(RULE, body)


@router.get("/v1/disputes/{dispute}", responses=versioned(_OPENED, _BACK))
async def read_dispute(asked: Annotated[Asked, asks("dispute.read")], dispute: DisputeId) -> Response:
    """查看一次管辖争议。"""
    async with asked.reading() as read:
        facts = await loads.disputing(read, dispute)
        situation = await loads.seen(read, asked.actor, facts)
    permit = access.permit(asked.actor, asked.action, situation)
    return asked.show(shown(facts.dispute, permit), version=facts.file.head.version)
