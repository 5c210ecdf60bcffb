"""Assistance: what an answered request refuses, what is told, and what stays in the private record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from libs.common import errors
from libs.common.change import Change
from services.cases.assistance import rules
from services.cases.assistance.rules import Assisting, NoExtension, NotAssisting
from services.cases.assistance.tables import Assistance, case_of
from services.cases.intake.tables import Case, Party
from services.cases.register.rules import NotRegistered
from services.cases.register.tables import Agency
from tests.worlds import dossier
from tests.worlds.dossier import DEPARTMENT, OTHER, TODAY, TOMORROW, TOWNSHIP

BY_TOWNSHIP, BY_OTHER = dossier.an_actor(), dossier.an_actor(OTHER)
AT = dossier.a_moment()


def reply(s: Assisting, outcomes: str = "provided lacking provided") -> Change:
    answers = [
        {"item": n, "outcome": outcome, "answer": "张三无证", "papers": []}
        for n, outcome in enumerate(outcomes.split(), 1)
    ]
    return rules.reply(s, answers[::-1], by=BY_OTHER, at=AT)


def refuse(s: Assisting) -> Change:
    return rules.refuse(
        s, ground="unlawful", legal_basis="某条例第三条", note="张三一案另有规定", by=BY_OTHER, at=AT
    )


def extend(s: Assisting, until: date = TODAY + timedelta(days=9)) -> Change:
    return rules.extend(s, until=until, reason="张三案卷在途", by=BY_OTHER, at=AT)


def withdraw(s: Assisting) -> Change:
    return rules.withdraw(s, note="张三已自认", by=BY_TOWNSHIP, at=AT)


ENDS: dict[str, Callable[[Assisting], Change]] = {
    "replied": reply,
    "refused": refuse,
    "withdrawn": withdraw,
}


@pytest.mark.parametrize("state", ENDS)
def test_an_answer_ends_the_request_and_leaves_the_case_where_it_is(state: str) -> None:
    change = ENDS[state](dossier.an_assisting())
    assert change.written(Assistance).state == state
    assert change.written(Case).holder == TOWNSHIP.id
    assert not [row for row in change.rows if isinstance(row.entry, Party)]
    assert dossier.only_fact(change)["type"] == f"liandong.assistance.{state}.v1"


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize("answer", [reply, refuse, withdraw, extend])
def test_an_answered_request_is_not_answered_again(state: str, answer: Callable[[Assisting], Change]) -> None:
    with pytest.raises(NotAssisting) as refused:
        answer(dossier.an_assisting(state=state))
    assert refused.value.facts["state"] == state


@pytest.mark.parametrize("change", [*(end(dossier.an_assisting()) for end in ENDS.values())])
def test_what_people_write_stays_in_the_private_record(change: Change) -> None:
    (fact,) = change.facts
    assert "张三".encode() not in fact.public
    assert "张三".encode() in fact.private


def test_a_letter_is_told_by_its_number_and_kinds_and_not_by_its_words() -> None:
    due = TODAY + timedelta(days=7)
    change = rules.request(dossier.a_seeking(), dossier.a_letter(due=due), by=BY_TOWNSHIP, at=AT)
    data = dossier.only_fact(change)["data"]
    assert data == {
        "case": "c1",
        "assistance": "c1.a1",
        "holder": TOWNSHIP.id,
        "requested_agency": OTHER.id,
        "letter_no": "青山镇协函〔2026〕第3号",
        "form": "papers",
        "kinds": ["documents", "identification"],
        "items": 3,
        "power": "",
        "urgency": "normal",
        "due": due.isoformat(),
    }
    assert "张三".encode() in change.facts[0].private


@pytest.mark.parametrize("to", [None, TOWNSHIP], ids=["unknown", "itself"])
def test_help_is_asked_of_another_registered_agency(to: Agency | None) -> None:
    with pytest.raises(NotRegistered):
        rules.request(dossier.a_seeking(to=to), dossier.a_letter(), by=BY_TOWNSHIP, at=AT)


def test_help_is_asked_by_a_power_that_is_in_the_list() -> None:
    seeking = dossier.a_seeking(competence=dossier.a_competence(power=None))
    letter = dossier.a_letter(power=dossier.POWER.code)
    with pytest.raises(NotRegistered):
        rules.request(seeking, letter, by=BY_TOWNSHIP, at=AT)


def test_an_answer_is_not_asked_for_by_a_day_that_is_over() -> None:
    letter = dossier.a_letter(due=TODAY - timedelta(days=1))
    with pytest.raises(errors.Malformed):
        rules.request(dossier.a_seeking(), letter, by=BY_TOWNSHIP, at=AT)


@pytest.mark.parametrize("outcomes", ["provided", "provided provided", "provided " * 4])
def test_every_item_is_answered_once(outcomes: str) -> None:
    with pytest.raises(errors.Malformed):
        reply(dossier.an_assisting(), outcomes)


def test_answers_stand_in_the_order_of_their_items_and_are_counted() -> None:
    change = reply(dossier.an_assisting())
    assert [answer["item"] for answer in change.written(Assistance).answers] == [1, 2, 3]
    data = dossier.only_fact(change)["data"]
    assert (data["provided"], data["lacking"]) == (2, 1)


@pytest.mark.parametrize(
    ("promised", "until", "later"),
    [
        ({}, TOMORROW, True),
        ({}, TODAY, False),
        ({"due": TOMORROW}, TOMORROW, False),
        ({"due": TOMORROW}, TOMORROW + timedelta(days=1), True),
        ({"due": TODAY, "until": TOMORROW}, TOMORROW, False),
    ],
)
def test_an_extension_leads_to_a_later_day(promised: dict[str, Any], until: date, later: bool) -> None:
    assisting = dossier.an_assisting(**promised)
    if later:
        change = extend(assisting, until)
        assert (change.written(Assistance).state, change.written(Assistance).until) == ("requested", until)
        assert dossier.only_fact(change)["data"]["until"] == until.isoformat()
    else:
        with pytest.raises(NoExtension):
            extend(assisting, until)


def test_who_waits_is_whoever_holds_the_case_now() -> None:
    change = reply(dossier.an_assisting(case=dossier.a_case(holder=DEPARTMENT)))
    assert dossier.only_fact(change)["data"]["holder"] == DEPARTMENT.id


def test_a_refusal_for_want_of_power_relies_on_the_register() -> None:
    s = dossier.an_assisting(competence=dossier.a_competence(dossier.a_grant()))
    change = rules.refuse(s, ground="outside_powers", legal_basis="某条例第三条", note="", by=BY_OTHER, at=AT)
    assert [head.stream for head in change.relied] == [f"power/{dossier.POWER.code}"]


def test_numbers_of_requests_name_their_case() -> None:
    seeking = dossier.a_seeking(dossier.a_case(assistance_count=11))
    assistance = rules.request(seeking, dossier.a_letter(), by=BY_TOWNSHIP, at=AT).written(Assistance)
    assert assistance.id == "c1.a12"
    assert case_of(assistance.id) == "c1"
