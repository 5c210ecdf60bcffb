"""Routes of assistance: ask, read, reply, refuse, extend, withdraw."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Path, Response
from pydantic import Field

from libs.common.change import Change
from libs.common.contracts.cases import AssistanceKind
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.permit import Permit
from libs.common.store.reading import Reader
from libs.common.web import routes
from libs.common.web.asked import Asked, Doing, asks, does, etag
from libs.common.web.description import created, leads, versioned
from libs.common.web.fields import Day, In, Items, PowerCode, Text, Uscc
from services.cases import access
from services.cases.assistance import loads, rules
from services.cases.assistance.rules import Assisting, Ground, Letter, Seeking
from services.cases.assistance.tables import Assistance, case_of
from services.cases.intake import loads as intake
from services.cases.intake.api import CaseId, DocumentNo, PaperIn
from services.cases.intake.tables import Case

router = routes.router(prefix="", tag="协助")

AssistanceId = Annotated[
    str, Path(description="协助请求", json_schema_extra={"pattern": r"^[0-9a-f-]{36}\.a[0-9]+$"})
]

_OF_REQUEST = leads(
    "read_assistance",
    "assist",
    "refuse_assistance",
    "extend_assistance",
    "withdraw_assistance",
    assistance="/id",
)
_BACK = leads("read_case", case="/case")


class ItemIn(In):
    """协助事项: its kind, and what is asked."""

    kind: AssistanceKind
    what: Annotated[str, Text(1, 1000, lines=True)]


class LetterIn(In):
    """协助函: to whom, under which number, what is asked and why."""

    to_agency: Uscc
    letter_no: DocumentNo
    form: Literal["papers", "action"]
    items: Annotated[Items[ItemIn], Field(min_length=1, max_length=50)]
    ground: Annotated[str, Text(1, 2000, lines=True)]
    power: PowerCode | None = None  #: of the requested agency, by which it is asked
    names_party: bool = False  #: whether it cannot be answered without the party's name and number
    due: Day | None = None
    acted_on: Day | None = None


class AnswerIn(In):
    """The answer to one item, by its number."""

    item: Annotated[int, Field(ge=1, le=50)]
    outcome: Literal["provided", "lacking"]
    answer: Annotated[str, Text(1, 4000, lines=True)]
    papers: Annotated[Items[PaperIn], Field(max_length=200)] = ()


class ReplyIn(In):
    """答复: an answer for every item."""

    answers: Annotated[Items[AnswerIn], Field(min_length=1, max_length=50)]
    acted_on: Day | None = None


class RefusalIn(In):
    """不予协助: ground and legal basis."""

    ground: Ground
    basis: Annotated[str, Text(1, 500)]
    note: Annotated[str, Text(0, 2000, lines=True)] = ""
    acted_on: Day | None = None


class ExtensionIn(In):
    """延期答复: until when, and why not before."""

    until: Day
    reason: Annotated[str, Text(1, 2000, lines=True)]
    acted_on: Day | None = None


class WithdrawalIn(In):
    """撤回协助请求."""

    note: Annotated[str, Text(0, 2000, lines=True)] = ""
    acted_on: Day | None = None


def shown(case: Case, assistance: Assistance, permit: Permit) -> dict[str, Any]:
    """A request as an answer; of the case it tells no more than who is asked must know."""
    fields = {
        "id": assistance.id,
        "case": assistance.case,
        "holder": case.holder,
        "from_agency": assistance.from_agency,
        "to_agency": assistance.to_agency,
        "state": assistance.state,
        "letter_no": assistance.letter_no,
        "form": assistance.form,
        "power": assistance.power or None,
        "territory": case.territory,
        "party_name": case.party_name if assistance.names_party else None,
        "party_id": case.party_id if assistance.names_party else None,
        "items": [_item(number, item) for number, item in enumerate(assistance.items, 1)],
        "ground": assistance.ground,
        "due": assistance.due.isoformat() if assistance.due else None,
        "until": assistance.until.isoformat() if assistance.until else None,
        "extension_reason": assistance.extension_reason or None,
        "answers": assistance.answers,
        "refusal": {
            "ground": assistance.refusal_ground,
            "ground_zh": rules.GROUNDS[assistance.refusal_ground],
            "basis": assistance.refusal_basis,
        }
        if assistance.refusal_ground
        else None,
        "note": assistance.note or None,
        "requested_on": assistance.requested_on.isoformat(),
        "requested_at": assistance.requested_at.isoformat(),
        "closed_on": assistance.closed_on.isoformat() if assistance.closed_on else None,
    }
    return access.shown(fields, permit)


def _item(number: int, item: dict[str, Any]) -> dict[str, Any]:
    return {"item": number, "kind_zh": rules.KINDS[item["kind"]], **item}


def _rendered(change: Change, permit: Permit) -> Rendered:
    assistance = change.written(Assistance)
    headers = {"etag": etag(change.version_of("case")), "location": f"/v1/assistance/{assistance.id}"}
    return Rendered(shown(change.written(Case), assistance, permit), headers=headers)


async def _load_request(read: Reader, request: Request[LetterIn]) -> Loaded[Seeking]:
    body = request.body
    file, situation = await intake.seen(read, request.actor, request.path["case"])
    facts = await loads.seeking(read, file, body.to_agency, body.power or "")
    return Loaded(situation, facts, file.head.version)


async def _load(read: Reader, request: Request[Any]) -> Loaded[Assisting]:
    facts = await loads.assisting(read, request.path["assistance"])
    situation = await loads.seen(read, request.actor, facts)
    return Loaded(situation, facts, facts.file.head.version)


def _request(s: Seeking, request: Request[LetterIn]) -> Change:
    body = request.body
    letter = Letter(
        number=body.letter_no,
        form=body.form,
        items=tuple(item.model_dump() for item in body.items),
        ground=body.ground,
        power=body.power or "",
        names_party=body.names_party,
        due=body.due,
    )
    return rules.request(s, letter, by=request.actor, at=request.at, acted_on=body.acted_on)


def _reply(s: Assisting, request: Request[ReplyIn]) -> Change:
    body = request.body
    answers = [answer.model_dump(exclude_none=True) for answer in body.answers]
    return rules.reply(s, answers, by=request.actor, at=request.at, acted_on=body.acted_on)


def _refuse(s: Assisting, request: Request[RefusalIn]) -> Change:
    body = request.body
    return rules.refuse(
        s,
        ground=body.ground,
        legal_basis=body.basis,
        note=body.note,
        by=request.actor,
        at=request.at,
        acted_on=body.acted_on,
    )


def _extend(s: Assisting, request: Request[ExtensionIn]) -> Change:
    body = request.body
    return rules.extend(
        s,
        until=body.until,
        reason=body.reason,
        by=request.actor,
        at=request.at,
        acted_on=body.acted_on,
    )


def _withdraw(s: Assisting, request: Request[WithdrawalIn]) -> Change:
    body = request.body
    return rules.withdraw(s, note=body.note, by=request.actor, at=request.at, acted_on=body.acted_on)


def _case_stream(request: Request[Any]) -> list[str]:
    case = request.path.get("case") or case_of(request.path["assistance"])
    return [f"case/{case}"]


REQUEST = Verb("assistance.request", _case_stream, _load_request, access.permit, _request, _rendered)
REPLY = Verb("assistance.reply", _case_stream, _load, access.permit, _reply, _rendered)
REFUSE = Verb("assistance.refuse", _case_stream, _load, access.permit, _refuse, _rendered)
EXTEND = Verb("assistance.extend", _case_stream, _load, access.permit, _extend, _rendered)
WITHDRAW = Verb("assistance.withdraw", _case_stream, _load, access.permit, _withdraw, _rendered)


@router.post("/v1/cases/{case}/assistance", status_code=201, responses=created(_OF_REQUEST, _BACK))
async def request_assistance(
    doing: Annotated[Doing, does("assistance.request")], case: CaseId, body: LetterIn
) -> Response:
    """请求其他机关协助：案件仍由本机关承办，被请求机关只见协助函。"""
    return await doing.do(REQUEST, body)


@router.post("/v1/assistance/{assistance}/reply", status_code=201, responses=created(_OF_REQUEST))
async def assist(
    doing: Annotated[Doing, does("assistance.reply")], assistance: AssistanceId, body: ReplyIn
) -> Response:
    """答复协助请求：逐项答复。"""
    return await doing.do(REPLY, body)


@router.post("/v1/assistance/{assistance}/refusal", status_code=201, responses=created(_OF_REQUEST))
async def refuse_assistance(
    doing: Annotated[Doing, does("assistance.refuse")], assistance: AssistanceId, body: RefusalIn
) -> Response:
    """不予协助：写明理由和法律依据；属于本机关职权范围的应当协助。"""
    return await doing.do(REFUSE, body)


@router.post("/v1/assistance/{assistance}/extension", status_code=201, responses=created(_OF_REQUEST))
async def extend_assistance(
    doing: Annotated[Doing, does("assistance.extend")], assistance: AssistanceId, body: ExtensionIn
) -> Response:
    """延期答复：书面写明理由和日期。"""
    return await doing.do(EXTEND, body)


@router.post("/v1/assistance/{assistance}/withdrawal", status_code=201, responses=created(_OF_REQUEST))
async def withdraw_assistance(
    doing: Annotated[Doing, does("assistance.withdraw")], assistance: AssistanceId, body: WithdrawalIn
) -> Response:
    """撤回协助请求：仅在答复之前。"""
    return await doing.do(WITHDRAW, body)


@router.get("/v1/assistance/{assistance}", responses=versioned(_OF_REQUEST))
async def read_assistance(
    asked: Annotated[Asked, asks("assistance.read")], assistance: AssistanceId
) -> Response:
    """查看一次协助请求。"""
    async with asked.reading() as read:
        facts = await loads.assisting(read, assistance)
        situation = await loads.seen(read, asked.actor, facts)
    permit = access.permit(asked.actor, asked.action, situation)
    return asked.show(shown(facts.file.case, facts.assistance, permit), version=facts.file.head.version)
