"""Who may act: what the articles ask, said in cases; nothing here is read off the tables that it tests."""

from __future__ import annotations

from datetime import date

import pytest

from libs.common import errors
from services.cases.procedure import rules as procedure
from services.cases.register import rules as register
from services.cases.register.rules import (
    BeyondPower,
    ContestedPower,
    NotDelegable,
    OutsideTerritory,
    OverlappingGrant,
)
from services.cases.register.tables import Grant
from tests.worlds import dossier
from tests.worlds.dossier import DEPARTMENT, NEIGHBOUR, OTHER, TODAY, TOMORROW, TOWNSHIP, YESTERDAY


def test_the_department_acts_by_statute() -> None:
    """It needs no grant, and acts in its own name.

    basis: 行政处罚法第十七条
    basis: 行政处罚法第二十三条
    """
    standing = dossier.a_competence().require(DEPARTMENT, TODAY)
    assert standing.in_name_of == DEPARTMENT.id
    assert standing.grant == ""


def test_a_department_does_not_act_outside_its_statutory_power() -> None:
    """basis: 行政处罚法第十七条"""
    with pytest.raises(BeyondPower) as refused:
        dossier.a_competence(dossier.a_grant()).require(OTHER, TODAY)
    assert "行政处罚法第十七条" in refused.value.basis


def test_nobody_acts_under_a_power_that_is_not_in_the_list() -> None:
    """basis: 行政处罚法第十七条"""
    with pytest.raises(BeyondPower):
        dossier.a_competence(power=None).require(DEPARTMENT, TODAY)


def test_a_township_acts_by_conferral_in_its_own_name() -> None:
    """basis: 行政处罚法第二十四条第一款"""
    standing = dossier.a_competence(dossier.a_grant()).require(TOWNSHIP, TODAY)
    assert standing.in_name_of == TOWNSHIP.id
    assert standing.basis == "行政处罚法第二十四条第一款"


def test_a_township_without_the_grant_does_not_act() -> None:
    """basis: 行政处罚法第二十四条第一款"""
    with pytest.raises(BeyondPower) as refused:
        dossier.a_competence(dossier.a_grant(NEIGHBOUR)).require(TOWNSHIP, TODAY)
    assert refused.value.basis == "行政处罚法第二十四条第一款"


def test_a_delegated_power_is_exercised_in_the_departments_name() -> None:
    """basis: 行政处罚法第二十条"""
    grant = dossier.a_grant(mode="delegated")
    standing = dossier.a_competence(grant).require(TOWNSHIP, TODAY)
    assert standing.in_name_of == DEPARTMENT.id
    assert standing.basis == "行政处罚法第二十条"


def test_a_case_under_a_delegated_power_is_filed_in_the_departments_name() -> None:
    """basis: 行政处罚法第二十条"""
    competence = dossier.a_competence(dossier.a_grant(mode="delegated"))
    change = procedure.take(dossier.a_proceeding(competence=competence), dossier.a_step("file"))
    assert dossier.only_fact(change)["data"]["in_name_of"] == DEPARTMENT.id


def test_compulsory_measures_are_not_delegated() -> None:
    """basis: 行政强制法第十七条第一款"""
    power = dossier.POWER.but(code="330317001000")
    grant = dossier.a_grant(mode="delegated", power=power.code)
    with pytest.raises(NotDelegable) as refused:
        register.effect_grant(
            dossier.a_competence(power=power),
            TOWNSHIP,
            grant,
            by=dossier.an_actor(),
            at=dossier.a_moment(),
        )
    assert refused.value.basis == "行政强制法第十七条第一款"


@pytest.mark.parametrize(
    ("acted_on", "holds"),
    [(date(2026, 2, 28), False), (date(2026, 3, 1), True), (TODAY, True), (date(2030, 1, 1), True)],
)
def test_a_grant_holds_from_its_day_on(acted_on: date, holds: bool) -> None:
    """basis: 行政处罚法第二十四条第一款"""
    assert may(dossier.a_grant(effective_on=date(2026, 3, 1)), acted_on) is holds


@pytest.mark.parametrize(("acted_on", "holds"), [(YESTERDAY, True), (TODAY, False), (TOMORROW, False)])
def test_a_grant_recalled_on_a_day_no_longer_holds_on_it(acted_on: date, holds: bool) -> None:
    """Competence is judged on the day of the act: the day before is within the power still.

    basis: 行政处罚法第二十四条第二款
    """
    assert may(dossier.a_grant(recalled_on=TODAY), acted_on) is holds


def test_one_power_is_not_granted_twice_for_one_day() -> None:
    """basis: 行政处罚法第二十四条第一款"""
    with pytest.raises(OverlappingGrant):
        register.effect_grant(
            dossier.a_competence(dossier.a_grant()),
            TOWNSHIP,
            dossier.a_grant(effective_on=TODAY),
            by=dossier.an_actor(),
            at=dossier.a_moment(),
        )


def test_nobody_acts_under_a_power_held_twice() -> None:
    """A list that came in with an overlap blocks its use until somebody has split it.

    basis: 行政处罚法第二十四条第一款
    """
    twice = dossier.a_competence(dossier.a_grant(), dossier.a_grant(id=f"{dossier.POWER.code}.g2"))
    with pytest.raises(ContestedPower):
        twice.require(TOWNSHIP, TODAY)


def test_the_agency_of_the_place_acts() -> None:
    """basis: 行政处罚法第二十二条"""
    register.require_within(TOWNSHIP, TOWNSHIP.division)
    register.require_within(DEPARTMENT, TOWNSHIP.division)


def test_a_township_does_not_act_in_another() -> None:
    """basis: 行政处罚法第二十二条"""
    elsewhere = dossier.a_case(territory=NEIGHBOUR.division)
    with pytest.raises(OutsideTerritory) as refused:
        procedure.take(dossier.a_proceeding(elsewhere), dossier.a_step("file"))
    assert refused.value.basis == "行政处罚法第二十二条"


def may(grant: Grant, acted_on: date) -> bool:
    try:
        dossier.a_competence(grant).require(TOWNSHIP, acted_on)
    except errors.RuleBroken:
        return False
    return True
