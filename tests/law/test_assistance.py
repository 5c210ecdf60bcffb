"""Asking another agency for help: what the article asks of who asks and of who is asked."""

from __future__ import annotations

import pytest

from services.cases.assistance import rules
from services.cases.assistance.rules import NeedsNoAssistance, ShallAssist, UngroundedRefusal
from services.cases.assistance.tables import Assistance
from services.cases.intake.rules import NotHolder
from services.cases.intake.tables import Case
from tests.worlds import dossier
from tests.worlds.dossier import DEPARTMENT, OTHER, TOWNSHIP

AT = dossier.a_moment()


@pytest.mark.parametrize("stage", ["registered", "filed", "investigating", "decided"])
def test_help_is_asked_for_a_penalty_that_is_being_handled(stage: str) -> None:
    """basis: 行政处罚法第二十六条"""
    seeking = dossier.a_seeking(dossier.a_case(stage))
    change = rules.request(seeking, dossier.a_letter(), by=dossier.an_actor(), at=AT)
    assert dossier.only_fact(change)["data"]["requested_agency"] == OTHER.id
    assert change.written(Case).holder == TOWNSHIP.id


@pytest.mark.parametrize("stage", ["not_filed", "closed"])
def test_no_help_is_asked_for_where_no_penalty_is_left(stage: str) -> None:
    """basis: 行政处罚法第二十六条"""
    with pytest.raises(NeedsNoAssistance) as refused:
        rules.request(
            dossier.a_seeking(dossier.a_case(stage)), dossier.a_letter(), by=dossier.an_actor(), at=AT
        )
    assert refused.value.basis == "行政处罚法第二十六条"


def test_who_handles_the_case_asks_and_nobody_else() -> None:
    """basis: 行政处罚法第二十六条"""
    with pytest.raises(NotHolder):
        rules.request(dossier.a_seeking(), dossier.a_letter(), by=dossier.an_actor(DEPARTMENT), at=AT)


def refuse(s: rules.Assisting, ground: rules.Ground, legal_basis: str = "行政处罚法第十七条") -> Assistance:
    by = dossier.an_actor(s.requested)
    change = rules.refuse(s, ground=ground, legal_basis=legal_basis, note="", by=by, at=AT)
    return change.written(Assistance)


def test_what_lies_inside_an_agencys_powers_it_shall_help_with() -> None:
    """The department holds the power that the letter names; another agency does not.

    basis: 行政处罚法第二十六条
    """
    competence = dossier.a_competence(dossier.a_grant())
    with pytest.raises(ShallAssist) as refused:
        refuse(dossier.an_assisting(to=DEPARTMENT, competence=competence), "outside_powers")
    assert refused.value.basis == "行政处罚法第二十六条"
    assert refuse(dossier.an_assisting(to=OTHER, competence=competence), "outside_powers").state == "refused"
    # What a law forbids to hand out stays forbidden, whoever holds the power.
    assert refuse(dossier.an_assisting(to=DEPARTMENT, competence=competence), "unlawful").state == "refused"


@pytest.mark.parametrize(
    ("legal_basis", "grounded"), [("某条例第3条", True), ("人手不足", False), ("", False)]
)
def test_who_refuses_says_by_which_article(legal_basis: str, grounded: bool) -> None:
    """basis: 行政处罚法第二十六条"""
    if grounded:
        assert refuse(dossier.an_assisting(), "outside_powers", legal_basis).refusal_basis == "某条例第3条"
    else:
        with pytest.raises(UngroundedRefusal):
            refuse(dossier.an_assisting(), "outside_powers", legal_basis)


def test_to_be_busy_is_no_ground_for_a_refusal() -> None:
    """basis: 行政处罚法第二十六条"""
    assert set(rules.GROUNDS) == {"outside_powers", "unlawful"}
