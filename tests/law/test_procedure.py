"""From the clue to the closed case: what the articles ask of each move."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from libs.common.permit import Role
from services.cases.intake import rules as intake
from services.cases.intake.rules import ImpossibleDay, Receiving
from services.cases.people.rules import TooFewOfficers
from services.cases.people.tables import Officer
from services.cases.procedure import rules
from services.cases.procedure.rules import ApproverHandles, NoSuchMove, OpenTransfer, WrongRole
from services.cases.register.rules import BeyondPower
from tests.worlds import dossier
from tests.worlds.dossier import TODAY, TOMORROW, TOWNSHIP, YESTERDAY

ZHANG, LI = dossier.an_officer("zhang"), dossier.an_officer("li")


def test_what_meets_the_standard_is_filed() -> None:
    """basis: 行政处罚法第五十四条第二款"""
    change = rules.take(dossier.a_proceeding(), dossier.a_step("file"))
    fact = dossier.only_fact(change)
    assert fact["type"] == "liandong.case.filed.v1"
    assert fact["data"]["filed_on"] == TODAY.isoformat()


def test_a_case_is_investigated_only_once_filed() -> None:
    """basis: 行政处罚法第五十四条第一款"""
    with pytest.raises(NoSuchMove):
        rules.take(dossier.a_proceeding(dossier.a_case("registered")), dossier.a_step("investigate"))
    change = rules.take(dossier.a_proceeding(dossier.a_case("filed")), dossier.a_step("investigate"))
    assert dossier.only_fact(change)["type"] == "liandong.investigation.opened.v1"


def test_who_investigates_shows_a_certificate() -> None:
    """basis: 行政处罚法第五十五条"""
    expired = dossier.an_officer("li", valid_to=YESTERDAY)
    s = dossier.a_proceeding(dossier.a_case("filed"), crew=dossier.a_crew(ZHANG, expired))
    with pytest.raises(TooFewOfficers):
        rules.take(s, dossier.a_step("investigate"))


def test_a_clue_may_be_left_unfiled_with_a_reason() -> None:
    """basis: 行政处罚法第三十三条"""
    change = rules.take(dossier.a_proceeding(), dossier.a_step("reject", reason="情节轻微，已改正"))
    fact = dossier.only_fact(change)
    assert fact["type"] == "liandong.clue.rejected.v1"
    assert fact["data"]["basis"] == "行政处罚法第三十三条"


@pytest.mark.parametrize("decision", ["penalty", "no_penalty", "not_established"])
def test_the_head_of_the_agency_decides_when_the_investigation_ends(decision: str) -> None:
    """basis: 行政处罚法第五十七条第一款"""
    step = dossier.a_step("decide", decision=decision)
    change = rules.take(dossier.a_proceeding(dossier.a_case("investigating")), step)
    assert dossier.only_fact(change)["data"]["decision"] == decision


def test_who_investigates_does_not_decide() -> None:
    """basis: 行政处罚法第五十七条第一款"""
    s = dossier.a_proceeding(dossier.a_case("investigating"), handlers=("zhang", "li"))
    handler = dossier.an_actor(TOWNSHIP, Role.HANDLER)
    with pytest.raises(WrongRole):
        rules.take(s, dossier.a_step("decide", handler))
    both = dossier.an_actor(TOWNSHIP, Role.HANDLER, Role.APPROVER, person="zhang")
    with pytest.raises(ApproverHandles) as refused:
        rules.take(s, dossier.a_step("decide", both))
    assert refused.value.basis == "行政处罚法第五十七条第一款"


def test_nothing_is_decided_before_the_investigation() -> None:
    """basis: 行政处罚法第五十七条第一款"""
    for stage in ("registered", "filed"):
        with pytest.raises(NoSuchMove):
            rules.take(dossier.a_proceeding(dossier.a_case(stage)), dossier.a_step("decide"))


def test_the_whole_course_is_recorded_to_its_end() -> None:
    """Every move leaves one fact, and the private record says who made it.

    basis: 行政处罚法第四十七条
    """
    change = rules.take(dossier.a_proceeding(dossier.a_case("decided")), dossier.a_step("close"))
    (fact,) = change.facts
    assert fact.type == "liandong.case.closed.v1"
    assert b'"person":"zhang"' in fact.private


@pytest.mark.parametrize(
    ("acted_on", "possible"),
    [(date(2026, 1, 4), False), (date(2026, 1, 5), True), (TODAY, True), (TOMORROW, False)],
)
def test_an_act_is_dated_between_the_clue_and_today(acted_on: date, possible: bool) -> None:
    """A record is true: nothing is done before the clue, nor tomorrow.

    basis: 行政处罚法第四十七条
    """
    file = dossier.a_file()
    if possible:
        assert file.day_of(acted_on, dossier.a_moment()) == acted_on
    else:
        with pytest.raises(ImpossibleDay):
            file.day_of(acted_on, dossier.a_moment())


def test_a_clue_is_not_registered_for_tomorrow() -> None:
    """basis: 行政处罚法第四十七条"""
    case = dossier.a_case(registered_on=TOMORROW)
    receiving = Receiving(TOWNSHIP, dossier.a_competence())
    with pytest.raises(ImpossibleDay):
        intake.register_clue(receiving, case, by=dossier.an_actor(), at=dossier.a_moment())


def test_a_clue_may_be_registered_by_whom_it_reached_first() -> None:
    """Whether the agency may decide is asked when it files, not when it listens.

    basis: 行政处罚法第五十四条第一款
    """
    receiving = Receiving(dossier.OTHER, dossier.a_competence())
    case = dossier.a_case(holder=dossier.OTHER)
    by = dossier.an_actor(dossier.OTHER)
    change = intake.register_clue(receiving, case, by=by, at=dossier.a_moment())
    assert dossier.only_fact(change)["data"]["holder"] == dossier.OTHER.id


CREWS: dict[str, tuple[Officer, ...]] = {
    "nobody": (),
    "one": (ZHANG,),
    "one of another agency": (ZHANG, dossier.an_officer("wang", dossier.DEPARTMENT)),
    "one whose certificate ran out yesterday": (ZHANG, dossier.an_officer("li", valid_to=YESTERDAY)),
    "one whose certificate begins tomorrow": (ZHANG, dossier.an_officer("li", valid_from=TOMORROW)),
    "one suspended from today on": (ZHANG, dossier.an_officer("li", suspended_on=TODAY)),
    "one who left yesterday": (ZHANG, dossier.an_officer("li", left_on=YESTERDAY)),
}


@pytest.mark.parametrize("crew", CREWS.values(), ids=CREWS.keys())
@pytest.mark.parametrize(("move", "stage"), [("file", "registered"), ("investigate", "filed")])
def test_fewer_than_two_certified_officers_do_not_act(
    move: str, stage: str, crew: tuple[Officer, ...]
) -> None:
    """basis: 行政处罚法第四十二条第一款"""
    s = dossier.a_proceeding(dossier.a_case(stage), crew=dossier.a_crew(*crew))
    with pytest.raises(TooFewOfficers) as refused:
        rules.take(s, dossier.a_step(move))
    assert refused.value.basis == "行政处罚法第四十二条第一款"


def test_one_officer_named_twice_is_one() -> None:
    """basis: 行政处罚法第四十二条第一款"""
    crew = dossier.a_crew(ZHANG, named=("zhang", "zhang"))
    with pytest.raises(TooFewOfficers):
        rules.take(dossier.a_proceeding(crew=crew), dossier.a_step("file"))


@pytest.mark.parametrize("but", [{"valid_to": TODAY}, {"suspended_on": TOMORROW}, {"left_on": TOMORROW}])
def test_the_last_day_of_a_certificate_is_one_of_its_days(but: dict[str, Any]) -> None:
    """basis: 行政处罚法第四十二条第一款"""
    crew = dossier.a_crew(ZHANG, dossier.an_officer("li", **but))
    assert rules.take(dossier.a_proceeding(crew=crew), dossier.a_step("file")).facts


def test_certificates_are_judged_on_the_day_of_the_act() -> None:
    """Valid then and not now is enough; valid now and not then is not.

    basis: 行政处罚法第四十二条第一款
    """
    crew = dossier.a_crew(ZHANG, dossier.an_officer("li", valid_to=YESTERDAY))
    assert rules.take(dossier.a_proceeding(crew=crew), dossier.a_step("file", on=YESTERDAY)).facts
    crew = dossier.a_crew(ZHANG, dossier.an_officer("li", valid_from=TODAY))
    with pytest.raises(TooFewOfficers):
        rules.take(dossier.a_proceeding(crew=crew), dossier.a_step("file", on=YESTERDAY))


@pytest.mark.parametrize(("move", "stage"), [("file", "registered"), ("decide", "investigating")])
def test_a_recalled_power_files_and_decides_nothing_from_that_day_on(move: str, stage: str) -> None:
    """basis: 行政处罚法第二十四条第一款"""
    recalled = dossier.a_competence(dossier.a_grant(recalled_on=TODAY))
    s = dossier.a_proceeding(dossier.a_case(stage), competence=recalled)
    with pytest.raises(BeyondPower):
        rules.take(s, dossier.a_step(move, on=TODAY))
    assert rules.take(s, dossier.a_step(move, on=YESTERDAY)).facts


@pytest.mark.parametrize(
    ("move", "stage"), [("file", "registered"), ("reject", "registered"), ("investigate", "filed")]
)
def test_a_case_that_is_on_offer_does_not_move(move: str, stage: str) -> None:
    """basis: 行政处罚法第二十五条"""
    s = dossier.a_proceeding(dossier.a_case(stage, open_transfer="c1.t1"))
    with pytest.raises(OpenTransfer):
        rules.take(s, dossier.a_step(move))
