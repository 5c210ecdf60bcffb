"""Handing a case over: what the articles ask of who offers it and of who takes it."""

from __future__ import annotations

import pytest

from services.cases.handover import rules
from services.cases.handover.rules import NotTransferable, UngroundedReturn
from services.cases.handover.tables import Transfer
from services.cases.intake.tables import Case
from services.cases.people.rules import TooFewOfficers
from services.cases.register.rules import BeyondPower, OutsideTerritory
from tests.worlds import dossier
from tests.worlds.dossier import DEPARTMENT, NEIGHBOUR, OTHER, TODAY, TOWNSHIP, YESTERDAY

BY_DEPARTMENT = dossier.an_actor(DEPARTMENT)


@pytest.mark.parametrize("stage", ["registered", "filed", "investigating"])
def test_a_case_of_anothers_jurisdiction_may_be_handed_over_before_the_decision(stage: str) -> None:
    """basis: 行政处罚法第二十二条"""
    offering = dossier.an_offering(dossier.a_case(stage))
    change = rules.offer(offering, dossier.a_package(), by=dossier.an_actor(), at=dossier.a_moment())
    assert dossier.only_fact(change)["type"] == "liandong.transfer.offered.v1"


@pytest.mark.parametrize("stage", ["not_filed", "decided", "closed"])
def test_what_is_decided_is_not_handed_over(stage: str) -> None:
    """basis: 行政处罚法第二十二条"""
    offering = dossier.an_offering(dossier.a_case(stage))
    with pytest.raises(NotTransferable):
        rules.offer(offering, dossier.a_package(), by=dossier.an_actor(), at=dossier.a_moment())


def test_two_certified_officers_sign_for_the_sender() -> None:
    """basis: 行政处罚法第四十二条第一款"""
    offering = dossier.an_offering(crew=dossier.a_crew(dossier.an_officer("zhang")))
    with pytest.raises(TooFewOfficers):
        rules.offer(offering, dossier.a_package(), by=dossier.an_actor(), at=dossier.a_moment())


def test_a_department_accepts_what_it_holds_by_statute() -> None:
    """basis: 行政处罚法第二十三条"""
    change = rules.accept(dossier.a_handover(), by=BY_DEPARTMENT, at=dossier.a_moment())
    assert change.written(Transfer).state == "accepted"


def test_a_department_without_the_power_does_not_accept() -> None:
    """basis: 行政处罚法第十七条"""
    with pytest.raises(BeyondPower):
        rules.accept(dossier.a_handover(to=OTHER), by=dossier.an_actor(OTHER), at=dossier.a_moment())


def test_a_township_accepts_by_its_grant_and_not_after_its_recall() -> None:
    """basis: 行政处罚法第二十四条第一款"""
    case = dossier.a_case(holder=DEPARTMENT, open_transfer="c1.t1", territory=NEIGHBOUR.division)
    competence = dossier.a_competence(dossier.a_grant(NEIGHBOUR, recalled_on=TODAY))
    s = dossier.a_handover(case=case, to=NEIGHBOUR, competence=competence)
    by = dossier.an_actor(NEIGHBOUR)
    with pytest.raises(BeyondPower) as refused:
        rules.accept(s, by=by, at=dossier.a_moment(), acted_on=TODAY)
    assert refused.value.basis == "行政处罚法第二十四条第一款"
    assert rules.accept(s, by=by, at=dossier.a_moment(), acted_on=YESTERDAY).facts


def test_a_township_does_not_accept_what_happened_in_another() -> None:
    """basis: 行政处罚法第二十二条"""
    competence = dossier.a_competence(dossier.a_grant(NEIGHBOUR))
    s = dossier.a_handover(to=NEIGHBOUR, competence=competence)
    with pytest.raises(OutsideTerritory):
        rules.accept(s, by=dossier.an_actor(NEIGHBOUR), at=dossier.a_moment())


def test_a_filed_case_goes_on_in_the_name_of_its_new_holder() -> None:
    """A decision in the name of whoever held it before would have the wrong subject.

    basis: 行政处罚法第二十条
    """
    case = dossier.a_case("filed", open_transfer="c1.t1")
    change = rules.accept(dossier.a_handover(case=case), by=BY_DEPARTMENT, at=dossier.a_moment())
    assert change.written(Case).in_name_of == DEPARTMENT.id


@pytest.mark.parametrize(
    ("legal_basis", "grounded"),
    [("行政处罚法第二十二条", True), ("某条例第3条", True), ("不归我们管", False), ("", False)],
)
def test_who_declines_says_by_which_article(legal_basis: str, grounded: bool) -> None:
    """basis: 行政处罚法第二十五条第二款"""

    def give_back() -> object:
        return rules.give_back(
            dossier.a_handover(),
            reason="not_competent",
            legal_basis=legal_basis,
            note="",
            by=BY_DEPARTMENT,
            at=dossier.a_moment(),
        )

    if grounded:
        assert give_back()
    else:
        with pytest.raises(UngroundedReturn) as refused:
            give_back()
        assert refused.value.basis == "行政处罚法第二十五条第二款"


def test_who_filed_first_keeps_the_case_until_another_accepts() -> None:
    """basis: 行政处罚法第二十五条第一款"""
    offering = dossier.an_offering(dossier.a_case("filed"))
    change = rules.offer(offering, dossier.a_package(), by=dossier.an_actor(), at=dossier.a_moment())
    assert change.written(Case).holder == TOWNSHIP.id
