"""Routes of the clue and of the case that it opens: register, read, list and search."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Query, Response
from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from libs.common.change import Change
from libs.common.contracts.cases import Urgency
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.permit import Permit
from libs.common.store.reading import Reader
from libs.common.web import paging, routes
from libs.common.web.asked import Asked, Doing, asks, does, etag
from libs.common.web.description import created, leading, leads, versioned
from libs.common.web.fields import Day, Division, In, PowerCode, Text, Uscc
from libs.common.web.paging import Cursor, Limit
from services.cases import access
from services.cases.intake import loads, rules
from services.cases.intake.loads import Search
from services.cases.intake.rules import Receiving
from services.cases.intake.tables import Case
from services.cases.law import procedure
from services.cases.register import loads as register
from services.cases.register.api import TOWNSHIP_DIGITS

router = routes.router(prefix="", tag="线索与案件")

#: What is looked up is not judged by its form: an id that cannot be is an id that is not there.
CaseId = Annotated[str, Path(description="案件", json_schema_extra={"format": "uuid"})]

#: Where one goes on from a case.
OF_CASE = ("read_case", "list_transitions", "take", "offer", "request_assistance", "timeline", "proof")

#: Where a clue comes from: 监督检查、投诉举报、其他机关移送、上级交办、其他. A code, because it is published.
Source = Literal["inspection", "complaint", "referral", "assignment", "other"]


#: 文号: it is published, so it holds a number and not whatever somebody may write.
DocumentNo = Annotated[str, Field(max_length=60, pattern=r"^[\u4e00-\u9fffA-Za-z0-9（）〔〕-]+号$")]


def _of_township(division: str) -> str:
    if len(division) != TOWNSHIP_DIGITS:
        raise PydanticCustomError("place", "违法行为发生地应为 9 位乡镇（街道）区划代码")
    return division


def _of_table(stage: str) -> str:
    if stage not in procedure.load().stages:
        raise PydanticCustomError("stage", "没有这个办理阶段")
    return stage


class PaperIn(In):
    """A paper or a piece of evidence, by name and digest."""

    name: Annotated[str, Text(1, 200)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class ClueIn(In):
    """线索: where, what power it may fall under, who is suspected."""

    power: PowerCode
    territory: Annotated[Division, AfterValidator(_of_township)]
    source: Source
    summary: Annotated[str, Text(1, 4000, lines=True)]
    party_name: Annotated[str, Text(1, 200)]
    party_id: Annotated[str, Text(0, 64)] = ""
    urgency: Urgency = "normal"
    registered_on: Day | None = None


def shown(case: Case, permit: Permit) -> dict[str, Any]:
    """A case as an answer."""
    fields = {
        "id": case.id,
        "no": case.no or None,
        "stage": case.stage,
        "stage_zh": procedure.load().stages[case.stage],
        "holder": case.holder,
        "power": case.power,
        "territory": case.territory,
        "source": case.source,
        "summary": case.summary,
        "party_name": case.party_name,
        "party_id": case.party_id,
        "urgency": case.urgency,
        "registered_on": case.registered_on.isoformat(),
        "registered_at": case.registered_at.isoformat(),
        "filed_on": case.filed_on.isoformat() if case.filed_on else None,
        "in_name_of": case.in_name_of or None,
        "decision": case.decision or None,
        "decision_no": case.decision_no or None,
        "decided_on": case.decided_on.isoformat() if case.decided_on else None,
        "closed_on": case.closed_on.isoformat() if case.closed_on else None,
        "open_transfer": case.open_transfer or None,
        "returns": case.returns,
        "open_dispute": case.open_dispute or None,
        "lead": case.lead or None,
        "ruled_to": case.ruled_to or None,
    }
    return access.shown(fields, permit)


async def _load(read: Reader, request: Request[ClueIn]) -> Loaded[Receiving]:
    await read.ahead(register.of_agency(request.actor.agency), *register.of_power(request.body.power))
    facts = Receiving(
        receiver=await register.agency(read, request.actor.agency),
        competence=await register.competence(read, request.body.power),
    )
    return Loaded(await register.situation(read, request.actor), facts)


def _register(s: Receiving, request: Request[ClueIn]) -> Change:
    body = request.body
    case = Case(
        id=request.at.new_id("case"),
        stage=procedure.BEGINNING,
        holder=request.actor.agency,
        power=body.power,
        territory=body.territory,
        source=body.source,
        summary=body.summary,
        party_name=body.party_name,
        party_id=body.party_id,
        urgency=body.urgency,
        registered_by=request.actor.person,
        registered_on=body.registered_on or request.at.day,
        registered_at=request.at.now,
    )
    return rules.register_clue(s, case, by=request.actor, at=request.at)


def rendered(change: Change, permit: Permit) -> Rendered:
    case = change.written(Case)
    headers = {"etag": etag(change.version_of("case")), "location": f"/v1/cases/{case.id}"}
    return Rendered(shown(case, permit), headers=headers)


REGISTER = Verb("clue.register", lambda request: (), _load, access.permit, _register, rendered)


@router.post("/v1/clues", status_code=201, responses=created(leads(*OF_CASE, case="/id")))
async def register_clue(doing: Annotated[Doing, does("clue.register")], body: ClueIn) -> Response:
    """登记线索：案件自此开始，首接机关承办，直至其他机关接收。"""
    return await doing.do(REGISTER, body)


@router.get("/v1/cases", responses=leading(leads(*OF_CASE, case="/data/0/id")))
async def list_cases(
    asked: Annotated[Asked, asks("case.read")],
    stage: Annotated[Annotated[str, AfterValidator(_of_table)] | None, Query()] = None,
    holder: Annotated[Uscc | None, Query()] = None,
    power: Annotated[PowerCode | None, Query()] = None,
    territory: Annotated[Division | None, Query()] = None,
    q: Annotated[Annotated[str, Text(1, 100)] | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """案件清单与检索，新的在前；q 检索案号，有权查看案情的还检索案情。"""
    search = Search(stage, holder, power, territory, q)
    async with asked.reading() as read:
        found = await loads.listed(read, asked.actor, search, limit=limit, cursor=cursor)
    permits = {listed.case.id: listed.permit for listed in found}
    cases = [listed.case for listed in found]
    return asked.show(paging.page(cases, limit, lambda case: shown(case, permits[case.id])))


@router.get("/v1/cases/{case}", responses=versioned(leads(*OF_CASE, case="/id")))
async def read_case(asked: Annotated[Asked, asks("case.read")], case: CaseId) -> Response:
    """查看一个案件。"""
    async with asked.reading() as read:
        file, situation = await loads.seen(read, asked.actor, case)
    permit = access.permit(asked.actor, asked.action, situation)
    return asked.show(shown(file.case, permit), version=file.head.version)
