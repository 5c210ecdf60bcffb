"""What the rules of `cases` decide on, built by hand: no store, no clock, one fixed day."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from libs.common.change import Change, Fact, Head
from libs.common.clock import Moment, Trace
from libs.common.law import codes
from libs.common.permit import Actor, Role
from services.cases.assistance.rules import Assisting, Letter, Seeking
from services.cases.assistance.tables import Assistance
from services.cases.dispute.rules import Disputing
from services.cases.dispute.tables import Dispute
from services.cases.handover.rules import Handover, Offering, Package
from services.cases.handover.tables import Transfer
from services.cases.intake.rules import CaseFile
from services.cases.intake.tables import Case, Party
from services.cases.law import procedure
from services.cases.people.rules import Crew
from services.cases.people.tables import Officer
from services.cases.procedure.rules import Proceeding, Step
from services.cases.register.rules import Competence
from services.cases.register.tables import Agency, Grant, Power

TODAY = date(2026, 3, 2)
YESTERDAY, TOMORROW = TODAY - timedelta(days=1), TODAY + timedelta(days=1)
LONG_AGO = date(2024, 1, 1)

TOWNSHIP = Agency(
    id=codes.with_check_digit("11330726MB1234567"),
    name="青山镇",
    kind="township",
    division="330726101",
    coordinates=False,
)
NEIGHBOUR = Agency(
    id=codes.with_check_digit("11330726MB7654321"),
    name="白水街道",
    kind="street",
    division="330726102",
    coordinates=False,
)
DEPARTMENT = Agency(
    id=codes.with_check_digit("11330726002600002"),
    name="青禾县综合行政执法局",
    kind="department",
    division="330726",
    coordinates=False,
)
OTHER = Agency(
    id=codes.with_check_digit("11330726002600003"),
    name="青禾县林业局",
    kind="department",
    division="330726",
    coordinates=False,
)
#: The office of the joint meeting.
OFFICE = Agency(
    id=codes.with_check_digit("11330726002600001"),
    name="青禾县联席会议办公室",
    kind="government",
    division="330726",
    coordinates=True,
)
POWER = Power(
    code="330217016000",
    name="占道设摊",
    department=DEPARTMENT.id,
    basis="浙江省城市市容和环境卫生管理条例第十六条",
    penalty_range="五十元以下",
    rectify_first=True,
)


def an_actor(agency: Agency = TOWNSHIP, *roles: Role, person: str = "zhang") -> Actor:
    """Somebody at the agency, by default a handler."""
    return Actor(person, agency.id, frozenset(roles or {Role.HANDLER}))


def a_moment(on: date = TODAY) -> Moment:
    """Nine in the morning of that day in China; two moments of one day are equal."""
    return Moment(datetime(on.year, on.month, on.day, 1, tzinfo=UTC), Trace("request-1"), seed=bytes(32))


def a_grant(to: Agency = TOWNSHIP, **but: Any) -> Grant:
    """The power, conferred long ago and not recalled."""
    usual = {
        "id": f"{POWER.code}.g1",
        "power": POWER.code,
        "agency": to.id,
        "department": DEPARTMENT.id,
        "mode": "conferred",
        "document": "浙政发〔2024〕1号",
        "effective_on": LONG_AGO,
    }
    return Grant(**{**usual, **but})


def a_competence(*grants: Grant, power: Power | None = POWER) -> Competence:
    """The power with these grants."""
    code = power.code if power else POWER.code
    return Competence(Head("power", code, version=3, seq=3) if power else Head("power", code), power, grants)


def an_officer(id_: str, agency: Agency = TOWNSHIP, **but: Any) -> Officer:
    """An officer whose certificate is valid for long."""
    usual = {
        "id": id_,
        "agency": agency.id,
        "name": f"姓名{id_}",
        "certificate": f"证{id_}",
        "valid_from": LONG_AGO,
        "valid_to": date(2027, 12, 31),
    }
    return Officer(**{**usual, **but})


def a_crew(*officers: Officer, named: Sequence[str] | None = None) -> Crew:
    """These officers, as named for an act."""
    known = tuple(Head("officer", officer.id, version=1, seq=1) for officer in officers)
    return Crew(tuple(named if named is not None else (o.id for o in officers)), officers, known)


def a_case(stage: str = "registered", holder: Agency = TOWNSHIP, **but: Any) -> Case:
    """A case of the township, registered long ago."""
    filed = stage not in ("registered", "not_filed")
    usual = {
        "id": "c1",
        "no": "青山镇立〔2026〕第1号" if filed else "",
        "stage": stage,
        "holder": holder.id,
        "power": POWER.code,
        "territory": TOWNSHIP.division,
        "source": "inspection",
        "summary": "集市占道设摊",
        "party_name": "张三",
        "party_id": "330726199001010011",
        "urgency": "normal",
        "registered_by": "zhang",
        "registered_on": date(2026, 1, 5),
        "filed_on": date(2026, 1, 6) if filed else None,
        "in_name_of": holder.id if filed else "",
        "registered_at": datetime(2026, 1, 5, 1, tzinfo=UTC),
    }
    return Case(**{**usual, **but})


def a_file(case: Case | None = None, *parties: Party) -> CaseFile:
    """A case with its head; its holder is a party to it."""
    case = case or a_case()
    holder = Party(case=case.id, agency=case.holder, relation="holder")
    return CaseFile(Head("case", case.id, version=1, seq=1), case, (holder, *parties))


def a_proceeding(
    case: Case | None = None,
    *,
    holder: Agency = TOWNSHIP,
    competence: Competence | None = None,
    crew: Crew | None = None,
    handlers: Sequence[str] = (),
    numbers_given: int = 0,
) -> Proceeding:
    """A case before its next move; by default nothing stands in the way."""
    return Proceeding(
        file=a_file(case),
        agency=holder,
        competence=competence or a_competence(a_grant()),
        crew=crew or a_crew(an_officer("zhang"), an_officer("li")),
        handlers=tuple(handlers),
        number=Head("counter", "n", version=numbers_given),
    )


def a_step(move: str, by: Actor | None = None, *, on: date = TODAY, **but: Any) -> Step:
    """A move as asked for, by the role that makes it, with what it needs."""
    chosen = procedure.load().moves[move]
    brought: dict[str, Any] = {
        "reason": "理由" if "reason" in chosen.needs else "",
        "decision": "penalty" if "decision" in chosen.needs else None,
    }
    who = by or an_actor(TOWNSHIP, chosen.who, person="head" if chosen.who is Role.APPROVER else "zhang")
    return Step(chosen, who, a_moment(), on, **{**brought, **but})


def an_offering(
    case: Case | None = None, to: Agency | None = DEPARTMENT, crew: Crew | None = None
) -> Offering:
    """A case before it is offered."""
    return Offering(
        file=a_file(case),
        sender=TOWNSHIP,
        recipient=to,
        crew=crew or a_crew(an_officer("zhang"), an_officer("li")),
    )


def a_package(**but: Any) -> Package:
    """移送材料."""
    return replace(Package(({"name": "案件移送书"},), ({"name": "现场照片"},), (), "不属于本机关职权"), **but)


def a_transfer(state: str = "offered", to: Agency = DEPARTMENT, **but: Any) -> Transfer:
    """The first offer of the case by the township."""
    usual = {
        "id": "c1.t1",
        "case": "c1",
        "from_agency": TOWNSHIP.id,
        "to_agency": to.id,
        "state": state,
        "package": {},
        "officers": ["zhang", "li"],
        "ground": "不属于本机关职权",
        "offered_on": YESTERDAY,
        "offered_at": datetime(2026, 3, 1, 1, tzinfo=UTC),
    }
    return Transfer(**{**usual, **but})


def a_handover(
    transfer: Transfer | None = None,
    case: Case | None = None,
    *,
    to: Agency = DEPARTMENT,
    competence: Competence | None = None,
    proposed: Agency | None = OTHER,
) -> Handover:
    """A transfer before it is answered."""
    transfer = transfer or a_transfer(to=to)
    waiting = transfer.id if transfer.state == "offered" else ""
    case = case or a_case(open_transfer=waiting, transfer_count=1)
    recipient = Party(case=case.id, agency=to.id, relation="recipient")
    competence = competence or a_competence(a_grant())
    return Handover(a_file(case, recipient), transfer, to, competence, proposed, OFFICE.id)


def a_disputing(
    state: str = "opened",
    named: Agency | None = DEPARTMENT,
    *,
    case: Case | None = None,
    competence: Competence | None = None,
    **but: Any,
) -> Disputing:
    """A dispute between the township, which holds the case, and the department, which declined it."""
    usual = {
        "id": "c1.d1",
        "case": "c1",
        "transfer": "c1.t2",
        "from_agency": TOWNSHIP.id,
        "to_agency": DEPARTMENT.id,
        "state": state,
        "coordinator": OFFICE.id,
        "opened_on": YESTERDAY,
        "opened_at": datetime(2026, 3, 1, 1, tzinfo=UTC),
        "proposals": {},
        "papers": [],
    }
    case = case or a_case("filed", open_dispute="c1.d1", dispute_count=1, returns=2, transfer_count=2)
    file = a_file(case, Party(case=case.id, agency=DEPARTMENT.id, relation="disputant"))
    return Disputing(file, Dispute(**{**usual, **but}), competence or a_competence(a_grant()), named)


def a_seeking(
    case: Case | None = None, to: Agency | None = OTHER, competence: Competence | None = None
) -> Seeking:
    """A case before its holder asks for help."""
    return Seeking(a_file(case), to, competence)


def a_letter(**but: Any) -> Letter:
    """协助函 for two papers and an identification."""
    usual: dict[str, Any] = {
        "number": "青山镇协函〔2026〕第3号",
        "form": "papers",
        "items": (
            {"kind": "documents", "what": "张三的采伐许可"},
            {"kind": "documents", "what": "林地权属"},
            {"kind": "identification", "what": "树种认定"},
        ),
        "ground": "查明是否有许可",
    }
    return Letter(**{**usual, **but})


def an_assisting(
    assistance: Assistance | None = None,
    case: Case | None = None,
    *,
    to: Agency = OTHER,
    competence: Competence | None = None,
    **but: Any,
) -> Assisting:
    """A request of the township before it is answered."""
    usual = {
        "id": "c1.a1",
        "case": "c1",
        "from_agency": TOWNSHIP.id,
        "to_agency": to.id,
        "state": "requested",
        "letter_no": "青山镇协函〔2026〕第3号",
        "form": "papers",
        "power": POWER.code if competence else "",
        "items": [dict(item) for item in a_letter().items],
        "ground": "查明是否有许可",
        "names_party": False,
        "answers": [],
        "requested_on": YESTERDAY,
        "requested_at": datetime(2026, 3, 1, 1, tzinfo=UTC),
    }
    row = assistance or Assistance(**{**usual, **but})
    return Assisting(a_file(case or a_case(assistance_count=1)), row, to, competence)


def public(fact: Fact) -> dict[str, Any]:
    """What a fact publishes."""
    read: dict[str, Any] = json.loads(fact.public)
    return read


def only_fact(change: Change) -> dict[str, Any]:
    """The one fact of a Change, as published."""
    (fact,) = change.facts
    return public(fact)
