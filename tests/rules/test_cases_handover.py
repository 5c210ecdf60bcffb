"""Transfers: who holds the case at each step, and what an answered transfer refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from libs.common.change import Change
from services.cases.handover import rules
from services.cases.handover.rules import Handover, NotOffered, TransferOpen
from services.cases.handover.tables import Transfer, case_of
from services.cases.intake.rules import NotHolder
from services.cases.intake.tables import Case, Party
from services.cases.register.rules import NotRegistered
from services.cases.register.tables import Agency
from tests.worlds import dossier
from tests.worlds.dossier import DEPARTMENT, OTHER, TOWNSHIP

BY_TOWNSHIP, BY_DEPARTMENT = dossier.an_actor(), dossier.an_actor(DEPARTMENT)
AT = dossier.a_moment()


def accept(s: Handover) -> Change:
    return rules.accept(s, by=BY_DEPARTMENT, at=AT)


def give_back(s: Handover) -> Change:
    return rules.give_back(
        s, reason="not_competent", legal_basis="行政处罚法第二十二条", note="", by=BY_DEPARTMENT, at=AT
    )


def withdraw(s: Handover) -> Change:
    return rules.withdraw(s, note="", by=BY_TOWNSHIP, at=AT)


ANSWERS = {"accepted": accept, "returned": give_back, "withdrawn": withdraw}
#: answer -> (holder after it, what each agency is to the case then)
AFTER = {
    "accepted": (DEPARTMENT, {TOWNSHIP.id: "sender", DEPARTMENT.id: "holder"}),
    "returned": (TOWNSHIP, {DEPARTMENT.id: "returned"}),
    "withdrawn": (TOWNSHIP, {DEPARTMENT.id: "returned"}),
}


def parties(change: Change) -> dict[str, str]:
    return {row.entry.agency: row.entry.relation for row in change.rows if isinstance(row.entry, Party)}


def test_an_offer_leaves_the_case_where_it_is() -> None:
    change = rules.offer(dossier.an_offering(), dossier.a_package(), by=BY_TOWNSHIP, at=AT)
    case = change.written(Case)
    assert (case.holder, case.stage, case.open_transfer) == (TOWNSHIP.id, "registered", "c1.t1")
    assert parties(change) == {DEPARTMENT.id: "recipient"}


@pytest.mark.parametrize("state", ANSWERS)
def test_an_answer_settles_who_holds_the_case(state: str) -> None:
    change = ANSWERS[state](dossier.a_handover())
    holder, relations = AFTER[state]
    case = change.written(Case)
    assert (case.holder, case.open_transfer) == (holder.id, "")
    assert change.written(Transfer).state == state
    assert parties(change) == relations
    assert dossier.only_fact(change)["type"] == f"liandong.transfer.{state}.v1"


@pytest.mark.parametrize("state", ANSWERS)
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answered_transfer_is_not_answered_again(state: str, answer: Callable[[Handover], Change]) -> None:
    with pytest.raises(NotOffered) as refused:
        answer(dossier.a_handover(dossier.a_transfer(state)))
    assert refused.value.facts["state"] == state


def test_a_case_on_offer_is_not_offered_again() -> None:
    offering = dossier.an_offering(dossier.a_case(open_transfer="c1.t1"))
    with pytest.raises(TransferOpen):
        rules.offer(offering, dossier.a_package(), by=BY_TOWNSHIP, at=AT)


@pytest.mark.parametrize("to", [None, TOWNSHIP], ids=["unknown", "itself"])
def test_a_case_is_offered_to_another_registered_agency(to: Agency | None) -> None:
    with pytest.raises(NotRegistered):
        rules.offer(dossier.an_offering(to=to), dossier.a_package(), by=BY_TOWNSHIP, at=AT)


def test_only_the_holder_offers() -> None:
    with pytest.raises(NotHolder):
        rules.offer(dossier.an_offering(), dossier.a_package(), by=BY_DEPARTMENT, at=AT)


def test_who_declines_proposes_a_registered_agency() -> None:
    with pytest.raises(NotRegistered):
        give_back(dossier.a_handover(proposed=None))


def test_an_acceptance_relies_on_the_power() -> None:
    change = accept(dossier.a_handover())
    assert [head.stream for head in change.relied] == [f"power/{dossier.POWER.code}"]


def test_the_reason_and_the_proposal_travel_and_the_note_does_not() -> None:
    change = rules.give_back(
        dossier.a_handover(proposed=OTHER),
        reason="facts_unclear",
        legal_basis="行政处罚法第二十二条",
        note="当事人张三已搬走",
        by=BY_DEPARTMENT,
        at=AT,
    )
    (fact,) = change.facts
    assert dossier.public(fact)["data"]["proposed_agency"] == OTHER.id
    assert "张三".encode() not in fact.public
    assert "张三".encode() in fact.private


def test_numbers_of_transfers_name_their_case() -> None:
    offering = dossier.an_offering(dossier.a_case(transfer_count=11))
    change = rules.offer(offering, dossier.a_package(), by=BY_TOWNSHIP, at=AT)
    transfer = change.written(Transfer)
    assert transfer.id == "c1.t12"
    assert case_of(transfer.id) == "c1"
