"""Disputes over whose a case is: consultation, designation, and who may act meanwhile, by the article."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from libs.common.change import Change
from libs.common.permit import Actor, Role
from services.cases.dispute import rules
from services.cases.dispute.rules import (
    Disputing,
    NotInDispute,
    Opinion,
    OwnCause,
    UngroundedStatement,
)
from services.cases.dispute.tables import Dispute
from services.cases.handover import rules as handover
from services.cases.handover.rules import RulingBinds
from services.cases.intake.rules import DisputeOpen
from services.cases.intake.tables import Case
from services.cases.procedure import rules as procedure
from services.cases.register.rules import BeyondPower, OutsideTerritory
from services.cases.register.tables import Agency
from tests.worlds import dossier
from tests.worlds.dossier import DEPARTMENT, NEIGHBOUR, OFFICE, OTHER, TOWNSHIP

AT = dossier.a_moment()
COORDINATOR = dossier.an_actor(OFFICE, Role.COORDINATOR, person="he")
ARTICLE = "行政处罚法第二十五条第二款"


def an_opinion(legal_basis: str = "行政处罚法第二十三条", despite: str = "") -> Opinion:
    return Opinion("青禾协意〔2026〕第1号", legal_basis, "由法定主管部门管辖", despite)


def rule(s: Disputing, opinion: Opinion | None = None) -> Change:
    return rules.rule(s, opinion or an_opinion(), by=COORDINATOR, at=AT)


def lead(s: Disputing) -> Change:
    return rules.lead(s, "棚架随时可能坍塌", by=COORDINATOR, at=AT)


def return_again(case: Case) -> Change:
    s = dossier.a_handover(dossier.a_transfer(), case)
    return handover.give_back(
        s,
        reason="not_competent",
        legal_basis="行政处罚法第二十二条",
        note="",
        by=dossier.an_actor(DEPARTMENT),
        at=AT,
    )


@pytest.mark.parametrize(("before", "disputed"), [(0, False), (1, True), (4, True)])
def test_the_second_disagreement_over_a_case_is_a_dispute(before: int, disputed: bool) -> None:
    """basis: 行政处罚法第二十五条第二款"""
    change = return_again(dossier.a_case(open_transfer="c1.t1", transfer_count=1, returns=before))
    case = change.written(Case)
    assert (case.returns, bool(case.open_dispute), case.holder) == (before + 1, disputed, TOWNSHIP.id)
    told = [dossier.public(fact)["type"] for fact in change.facts]
    opened = ["liandong.dispute.opened.v1"] if disputed else []
    assert told == ["liandong.transfer.returned.v1", *opened]


def a_disputed(stage: str = "registered", *, leading: str = "") -> Case:
    return dossier.a_case(stage, open_dispute="c1.d1", returns=2, lead=leading)


@pytest.mark.parametrize(
    ("stage", "move"),
    [
        ("registered", "file"),
        ("registered", "reject"),
        ("filed", "investigate"),
        ("investigating", "decide"),
    ],
)
def test_while_it_is_disputed_nobody_moves_the_case(stage: str, move: str) -> None:
    """basis: 行政处罚法第二十五条第二款"""
    proceeding = dossier.a_proceeding(a_disputed(stage))
    with pytest.raises(DisputeOpen) as refused:
        procedure.take(proceeding, dossier.a_step(move))
    assert refused.value.basis == ARTICLE


@pytest.mark.parametrize(
    ("stage", "move", "may"),
    [
        ("registered", "file", True),
        ("filed", "investigate", True),
        ("registered", "reject", False),
        ("investigating", "decide", False),
    ],
)
def test_who_leads_for_safety_may_act_and_may_not_end_the_case(stage: str, move: str, may: bool) -> None:
    """basis: 行政处罚法第二十五条第二款"""
    proceeding = dossier.a_proceeding(a_disputed(stage, leading=TOWNSHIP.id))
    if may:
        assert procedure.take(proceeding, dossier.a_step(move)).facts
    else:
        with pytest.raises(DisputeOpen):
            procedure.take(proceeding, dossier.a_step(move))


@pytest.mark.parametrize("leading", ["", TOWNSHIP.id])
def test_while_it_is_disputed_nobody_offers_the_case_to_a_third(leading: str) -> None:
    """basis: 行政处罚法第二十五条第二款"""
    offering = dossier.an_offering(a_disputed(leading=leading), to=OTHER)
    with pytest.raises(DisputeOpen) as refused:
        handover.offer(offering, dossier.a_package(), by=dossier.an_actor(), at=AT)
    assert refused.value.basis == ARTICLE


def test_first_they_consult_and_where_they_agree_the_case_goes_there() -> None:
    """basis: 行政处罚法第二十五条第二款"""
    s = dossier.a_disputing(proposals={TOWNSHIP.id: DEPARTMENT.id})
    change = rules.propose(s, by=dossier.an_actor(DEPARTMENT), at=AT)
    case, dispute = change.written(Case), change.written(Dispute)
    assert (dispute.state, case.holder, case.open_dispute) == ("settled", DEPARTMENT.id, "")


def test_an_agreement_gives_nobody_a_power() -> None:
    """basis: 行政处罚法第二十五条第二款、行政处罚法第二十四条第一款"""
    s = dossier.a_disputing(
        named=TOWNSHIP, competence=dossier.a_competence(), proposals={DEPARTMENT.id: TOWNSHIP.id}
    )
    with pytest.raises(BeyondPower):
        rules.propose(s, by=dossier.an_actor(), at=AT)


@pytest.mark.parametrize("state", ["accepted", "forwarded", "replied"])
def test_the_common_superior_designates_whether_they_were_heard_or_not(state: str) -> None:
    """也可以直接由共同的上一级行政机关指定管辖.

    basis: 行政处罚法第二十五条第二款
    """
    change = rule(dossier.a_disputing(state))
    case = change.written(Case)
    assert (change.written(Dispute).state, case.holder, case.ruled_to) == (
        "ruled",
        DEPARTMENT.id,
        DEPARTMENT.id,
    )
    assert (case.open_dispute, case.in_name_of) == ("", DEPARTMENT.id)


def test_what_was_not_accepted_is_not_ruled() -> None:
    """basis: 行政处罚法第二十五条第二款"""
    with pytest.raises(NotInDispute):
        rule(dossier.a_disputing("opened"))


STEPS: dict[str, Callable[[Disputing, Actor], Change]] = {
    "opened": lambda s, by: rules.accept(s, by=by, at=AT),
    "accepted": lambda s, by: rules.forward(s, [{"name": "函"}], due=None, by=by, at=AT),
    "forwarded": lambda s, by: rules.lead(s, "危险", by=by, at=AT),
    "replied": lambda s, by: rules.rule(s, an_opinion(), by=by, at=AT),
}


@pytest.mark.parametrize("state", STEPS)
@pytest.mark.parametrize("party", [TOWNSHIP, DEPARTMENT], ids=["who offered", "who declined"])
def test_nobody_designates_in_a_dispute_of_their_own(party: Agency, state: str) -> None:
    """共同的上一级行政机关 is neither of the two.

    basis: 行政处罚法第二十五条第二款
    """
    with pytest.raises(OwnCause) as refused:
        STEPS[state](dossier.a_disputing(state), dossier.an_actor(party, Role.COORDINATOR))
    assert refused.value.basis == ARTICLE
    assert STEPS[state](dossier.a_disputing(state), COORDINATOR).facts


def test_an_opinion_names_its_article() -> None:
    """basis: 行政处罚法第二十五条第二款"""
    with pytest.raises(UngroundedStatement):
        rule(dossier.a_disputing("replied"), an_opinion("经研究"))


@pytest.mark.parametrize(
    ("named", "why"),
    [(OTHER, BeyondPower), (NEIGHBOUR, BeyondPower)],
    ids=["a department without the power", "a township without the grant"],
)
def test_who_is_designated_has_the_power_or_the_opinion_says_why_not(
    named: Agency, why: type[Exception]
) -> None:
    """basis: 行政处罚法第二十三条、行政处罚法第二十四条第一款"""
    s = dossier.a_disputing("replied", named)
    with pytest.raises(why):
        rule(s)
    change = rule(s, an_opinion(despite="赋权决定已公布，下月一日生效"))
    assert change.written(Case).holder == named.id
    assert "赋权决定已公布".encode() in change.facts[-1].private


def test_who_is_designated_acts_where_it_happened() -> None:
    """basis: 行政处罚法第二十二条"""
    s = dossier.a_disputing("replied", NEIGHBOUR, competence=dossier.a_competence(dossier.a_grant(NEIGHBOUR)))
    with pytest.raises(OutsideTerritory):
        rule(s)


def test_a_designation_binds_until_there_are_new_facts() -> None:
    """basis: 行政处罚法第二十五条第二款"""
    offering = dossier.an_offering(dossier.a_case(ruled_to=TOWNSHIP.id, returns=2))
    with pytest.raises(RulingBinds) as refused:
        handover.offer(offering, dossier.a_package(), by=dossier.an_actor(), at=AT)
    assert refused.value.basis == ARTICLE
    package = dossier.a_package(new_facts="查明行为发生在县道，不在集镇")
    change = handover.offer(offering, package, by=dossier.an_actor(), at=AT)
    assert "县道".encode() in change.facts[0].private
    assert "县道".encode() not in change.facts[0].public


def test_who_leads_must_have_the_power() -> None:
    """basis: 行政处罚法第二十三条"""
    assert lead(dossier.a_disputing()).written(Case).lead == DEPARTMENT.id
    with pytest.raises(BeyondPower):
        lead(dossier.a_disputing(named=OTHER))
