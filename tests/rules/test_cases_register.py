"""The register: what is entered once, what overlaps, and how a grant ends."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from libs.common import errors
from libs.common.change import Change, Head
from libs.common.law import codes
from services.cases.people import rules as people
from services.cases.people.rules import Enrolment
from services.cases.register import rules
from services.cases.register.rules import (
    AlreadyRecalled,
    AlreadyRegistered,
    FirstCoordinates,
    NotRegistered,
    OverlappingGrant,
)
from services.cases.register.tables import Agency, Grant, power_of
from tests.worlds import dossier
from tests.worlds.dossier import DEPARTMENT, NEIGHBOUR, POWER, TODAY, TOMORROW, TOWNSHIP, YESTERDAY

BY, AT = dossier.an_actor(), dossier.a_moment()
OFFICE = Agency(
    id=codes.with_check_digit("11330726002600001"),
    name="联席会议办公室",
    kind="government",
    division="330726",
    coordinates=True,
)


def register(agency: Agency, *, version: int = 0, named: int = 0, is_first: bool = False) -> Change:
    head = Head("agency", agency.id, version=version)
    name = Head("agency_name", agency.name, version=named)
    return rules.register_agency(head, agency, name=name, is_first=is_first, by=BY, at=AT)


def effect(*held: Grant, to: Agency | None = TOWNSHIP, **but: Any) -> Grant:
    """The grant that results, where those in `held` exist."""
    asked = dossier.a_grant(to or TOWNSHIP, **{"id": "", "department": "", **but})
    change = rules.effect_grant(dossier.a_competence(*held), to, asked, by=BY, at=AT)
    return change.written(Grant)


def test_an_agency_is_registered_once() -> None:
    assert dossier.only_fact(register(TOWNSHIP))["data"]["name"] == "青山镇"
    with pytest.raises(AlreadyRegistered):
        register(TOWNSHIP, version=1)


def test_no_two_agencies_have_one_name() -> None:
    """Case numbers carry the name: two of one name would number two cases alike."""
    with pytest.raises(AlreadyRegistered):
        register(TOWNSHIP, named=1)


def test_the_first_agency_is_the_one_that_keeps_the_register() -> None:
    with pytest.raises(FirstCoordinates):
        register(TOWNSHIP, is_first=True)
    assert register(OFFICE, is_first=True).facts


def test_a_power_is_a_departments() -> None:
    none = dossier.a_competence(power=None)
    assert rules.publish_power(none, DEPARTMENT, POWER, by=BY, at=AT).facts
    for nobody in (None, TOWNSHIP):
        with pytest.raises(NotRegistered):
            rules.publish_power(none, nobody, POWER, by=BY, at=AT)
    with pytest.raises(AlreadyRegistered):
        rules.publish_power(dossier.a_competence(), DEPARTMENT, POWER, by=BY, at=AT)


def test_a_grant_names_its_power_and_takes_its_department_from_it() -> None:
    first = dossier.a_grant(NEIGHBOUR)
    grant = effect(first)
    assert grant.id == f"{POWER.code}.g2"
    assert power_of(grant.id) == POWER.code
    assert grant.department == DEPARTMENT.id


def test_powers_are_granted_to_townships() -> None:
    for nobody in (None, DEPARTMENT):
        with pytest.raises(NotRegistered):
            effect(to=nobody)


#: what is held -> first day of the new grant -> whether it overlaps
OVERLAPS = [
    ({}, TODAY, True),
    ({"recalled_on": TODAY}, TODAY, False),
    ({"recalled_on": TOMORROW}, TODAY, True),
    ({"recalled_on": YESTERDAY}, date(2023, 1, 1), True),
    ({"effective_on": TOMORROW}, TODAY, True),
]


@pytest.mark.parametrize(("held", "effective_on", "overlaps"), OVERLAPS)
def test_grants_of_one_power_to_one_township_do_not_overlap(
    held: dict[str, Any], effective_on: date, overlaps: bool
) -> None:
    if overlaps:
        with pytest.raises(OverlappingGrant):
            effect(dossier.a_grant(**held), effective_on=effective_on)
    else:
        assert effect(dossier.a_grant(**held), effective_on=effective_on).id == f"{POWER.code}.g2"


def test_another_townships_grant_is_no_overlap() -> None:
    assert effect(dossier.a_grant(NEIGHBOUR)).agency == TOWNSHIP.id


@pytest.mark.parametrize(("acted_on", "holds"), [(YESTERDAY, True), (TODAY, False)])
def test_a_grant_recalled_on_a_day_held_until_the_day_before(acted_on: date, holds: bool) -> None:
    change = rules.recall_grant(
        dossier.a_competence(dossier.a_grant()), dossier.a_grant(), on=TODAY, document="1号", by=BY, at=AT
    )
    assert change.written(Grant).holds_on(acted_on) is holds
    assert dossier.only_fact(change)["data"]["recalled_on"] == TODAY.isoformat()


def test_a_grant_is_recalled_once_and_not_before_it_held() -> None:
    competence = dossier.a_competence(dossier.a_grant())
    recalled = dossier.a_grant(recalled_on=YESTERDAY)
    with pytest.raises(AlreadyRecalled):
        rules.recall_grant(competence, recalled, on=TODAY, document="1号", by=BY, at=AT)
    with pytest.raises(errors.Malformed) as refused:
        rules.recall_grant(competence, dossier.a_grant(), on=date(2023, 1, 1), document="1号", by=BY, at=AT)
    assert refused.value.errors[0]["pointer"] == "/recalled_on"


def test_why_an_agency_may_not_act_is_told_in_full() -> None:
    competence = dossier.a_competence(dossier.a_grant(recalled_on=TODAY))
    refusals = competence.refusals(TOWNSHIP, TODAY, NEIGHBOUR.division)
    assert [refusal.code for refusal in refusals] == ["beyond-power", "outside-territory"]
    assert competence.refusals(DEPARTMENT, TODAY, NEIGHBOUR.division) == []


def enrol(*, version: int = 0, agency: Agency | None = TOWNSHIP, taken: bool = False) -> Change:
    s = Enrolment(Head("officer", "zhang", version=version), agency, taken)
    return people.register_officer(s, dossier.an_officer("zhang"), by=BY, at=AT)


def test_an_officer_is_entered_and_named_nowhere_in_public() -> None:
    (fact,) = enrol().facts
    assert "姓名zhang".encode() not in fact.public
    assert "证zhang".encode() not in fact.public
    assert "姓名zhang".encode() in fact.private


def test_an_officer_is_entered_once_with_a_certificate_of_their_own() -> None:
    with pytest.raises(AlreadyRegistered):
        enrol(version=1)
    with pytest.raises(AlreadyRegistered, match="执法证号"):
        enrol(taken=True)
    with pytest.raises(NotRegistered):
        enrol(agency=None)
