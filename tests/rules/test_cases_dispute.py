"""Disputes: exactly one holder at every step, what each step refuses, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import product

import pytest

from libs.common import errors
from libs.common.change import Change
from libs.common.permit import Role
from services.cases.dispute import rules
from services.cases.dispute.rules import Disputing, NotAParty, NotAsked, NotInDispute, Opinion
from services.cases.dispute.tables import Dispute, case_of
from services.cases.handover import rules as handover
from services.cases.handover.rules import NotDisputable, NotTransferable
from services.cases.handover.tables import Transfer
from services.cases.intake.rules import CaseFile
from services.cases.intake.tables import Case, Party
from services.cases.register.rules import NotRegistered
from services.cases.register.tables import Agency
from tests.worlds import dossier
from tests.worlds.dossier import DEPARTMENT, NEIGHBOUR, OFFICE, OTHER, TODAY, TOWNSHIP

AT = dossier.a_moment()
COORDINATOR = dossier.an_actor(OFFICE, Role.COORDINATOR, person="he")
PAPERS = [{"name": "张三案移送材料"}]


def propose(s: Disputing) -> Change:
    return rules.propose(s, by=dossier.an_actor(), at=AT)


def accept(s: Disputing) -> Change:
    return rules.accept(s, by=COORDINATOR, at=AT)


def forward(s: Disputing) -> Change:
    return rules.forward(s, PAPERS, due=TODAY + timedelta(days=5), by=COORDINATOR, at=AT)


def reply(s: Disputing) -> Change:
    by = dossier.an_actor(DEPARTMENT)
    return rules.reply(s, "张三在集镇设摊", "某条例第三条", by=by, at=AT)


def lead(s: Disputing) -> Change:
    return rules.lead(s, "张三的棚架将倒", by=COORDINATOR, at=AT)


def rule(s: Disputing, despite: str = "张三案另有安排") -> Change:
    opinion = Opinion("青禾协意〔2026〕第1号", "某条例第三条", "张三一案由其管辖", despite)
    return rules.rule(s, opinion, by=COORDINATOR, at=AT)


STEPS: dict[str, tuple[Callable[[Disputing], Change], set[str]]] = {
    "propose": (propose, {"opened", "accepted", "forwarded", "replied"}),
    "accept": (accept, {"opened"}),
    "forward": (forward, {"accepted"}),
    "reply": (reply, {"forwarded"}),
    "lead": (lead, {"opened", "accepted", "forwarded", "replied"}),
    "rule": (rule, {"accepted", "forwarded", "replied"}),
}
STATES = ("opened", "accepted", "forwarded", "replied", "settled", "ruled")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_made_where_it_leads_on_and_nowhere_else(step: str, state: str) -> None:
    make, allowed = STEPS[step]
    s = dossier.a_disputing(state, forwarded_to=DEPARTMENT.id)
    if state in allowed:
        assert len(make(s).facts) == 1
    else:
        with pytest.raises(NotInDispute) as refused:
            make(s)
        assert refused.value.facts["state"] == state


@pytest.mark.parametrize("step", ["forward", "reply", "lead", "rule"])
def test_what_people_write_stays_in_the_private_record(step: str) -> None:
    make, allowed = STEPS[step]
    (fact,) = make(dossier.a_disputing(sorted(allowed)[0], forwarded_to=DEPARTMENT.id)).facts
    assert "张三".encode() not in fact.public
    assert "张三".encode() in fact.private


def walks() -> Iterator[tuple[Agency, ...]]:
    """Who is named to lead, if anybody is, once or twice, and who gets the case in the end."""
    capable = (TOWNSHIP, DEPARTMENT)
    for leads in ((), *product(capable), *product(capable, capable)):
        yield from ((*leads, to) for to in (TOWNSHIP, DEPARTMENT, OTHER, NEIGHBOUR))


@pytest.mark.parametrize("walk", list(walks()), ids=lambda walk: " ".join(agency.name for agency in walk))
def test_at_every_step_one_agency_holds_the_case_and_whoever_did_before_has_ceased(
    walk: tuple[Agency, ...],
) -> None:
    *leads, to = walk
    s = dossier.a_disputing("accepted")
    for named in leads:
        s = after(s, lead(named_in(s, named)))
        assert holders(s.file) == [s.file.case.holder] == [named.id]
    s = after(s, rule(named_in(s, to)))
    assert holders(s.file) == [s.file.case.holder] == [to.id]
    held = {TOWNSHIP.id, *(agency.id for agency in leads)} - {to.id}
    assert {agency for agency in held if s.file.relation_of(agency) != "sender"} == set()
    # Who never held it and does not get it has no part in it any more.
    lost = {DEPARTMENT.id} - held - {to.id}
    assert all(s.file.relation_of(agency) == "returned" for agency in lost)


def named_in(s: Disputing, named: Agency) -> Disputing:
    return Disputing(s.file, s.dispute, s.competence, named)


def after(s: Disputing, change: Change) -> Disputing:
    parties = {party.agency: party for party in s.file.parties}
    parties |= {row.entry.agency: row.entry for row in change.rows if isinstance(row.entry, Party)}
    file = CaseFile(s.file.head, change.written(Case), tuple(parties.values()))
    return Disputing(file, change.written(Dispute), s.competence)


def holders(file: CaseFile) -> list[str]:
    return [party.agency for party in file.parties if party.relation == "holder"]


@pytest.mark.parametrize("mine", [TOWNSHIP, DEPARTMENT], ids=["one's own", "the other's"])
def test_one_proposal_settles_nothing(mine: Agency) -> None:
    change = propose(dossier.a_disputing(named=mine))
    dispute = change.written(Dispute)
    assert (dispute.state, dispute.proposals) == ("opened", {TOWNSHIP.id: mine.id})
    data = dossier.only_fact(change)["data"]
    assert (data["agency"], data["competent_agency"]) == (TOWNSHIP.id, mine.id)


def test_two_who_propose_different_agencies_have_not_agreed() -> None:
    s = dossier.a_disputing(named=DEPARTMENT, proposals={DEPARTMENT.id: TOWNSHIP.id})
    assert propose(s).written(Dispute).state == "opened"


def test_an_agreement_does_not_bind_who_was_no_part_of_it() -> None:
    with pytest.raises(NotAParty):
        propose(dossier.a_disputing(named=OTHER))


def test_an_agreement_relies_on_the_power() -> None:
    s = dossier.a_disputing(proposals={DEPARTMENT.id: DEPARTMENT.id})
    assert [head.stream for head in propose(s).relied] == [f"power/{dossier.POWER.code}"]


def test_papers_go_to_a_party() -> None:
    with pytest.raises(NotAParty):
        forward(dossier.a_disputing("accepted", OTHER))
    with pytest.raises(NotRegistered):
        forward(dossier.a_disputing("accepted", None))


def test_a_reply_is_not_asked_for_by_a_day_that_is_over() -> None:
    s = dossier.a_disputing("accepted")
    with pytest.raises(errors.Malformed):
        rules.forward(s, PAPERS, due=TODAY - timedelta(days=1), by=COORDINATOR, at=AT)


def test_who_was_not_asked_does_not_reply() -> None:
    with pytest.raises(NotAsked):
        reply(dossier.a_disputing("forwarded", forwarded_to=TOWNSHIP.id))


def contest(transfer: Transfer, case: Case) -> Change:
    s = dossier.a_handover(transfer, case)
    return handover.contest(s, ground="张三案不归本镇", by=dossier.an_actor(), at=AT)


def test_a_party_may_bring_the_first_return_before_the_coordinator() -> None:
    change = contest(dossier.a_transfer("returned"), dossier.a_case(transfer_count=1, returns=1))
    data = dossier.only_fact(change)["data"]
    assert (data["opened_by"], data["coordinator"], data["returns"]) == (TOWNSHIP.id, OFFICE.id, 1)
    assert data["parties"] == [TOWNSHIP.id, DEPARTMENT.id]
    assert change.written(Transfer).dispute == change.written(Case).open_dispute == "c1.d1"


@pytest.mark.parametrize("state", ["offered", "accepted", "withdrawn"])
def test_what_was_not_returned_is_not_disputed(state: str) -> None:
    with pytest.raises(NotDisputable):
        contest(dossier.a_transfer(state), dossier.a_case(transfer_count=1))


@pytest.mark.parametrize(
    ("transfer", "count"),
    [(dossier.a_transfer("returned", dispute="c1.d1"), 1), (dossier.a_transfer("returned"), 2)],
)
def test_a_return_is_brought_before_the_coordinator_once_and_while_it_is_the_last_word(
    transfer: Transfer, count: int
) -> None:
    with pytest.raises(NotDisputable):
        contest(transfer, dossier.a_case(transfer_count=count))


def test_what_was_decided_meanwhile_is_not_disputed() -> None:
    with pytest.raises(NotTransferable):
        contest(dossier.a_transfer("returned"), dossier.a_case("decided", transfer_count=1))


def test_who_held_the_case_before_goes_on_reading_it_as_that() -> None:
    transfer = dossier.a_transfer(recipient_was="sender")
    case = dossier.a_case(open_transfer="c1.t1", transfer_count=1, returns=1)
    s = dossier.a_handover(transfer, case)
    change = handover.give_back(
        s,
        reason="not_competent",
        legal_basis="某条例第三条",
        note="",
        by=dossier.an_actor(DEPARTMENT),
        at=AT,
    )
    relations = {
        row.entry.agency: row.entry.relation for row in change.folded_rows() if isinstance(row.entry, Party)
    }
    assert relations == {DEPARTMENT.id: "sender"}


def test_numbers_of_disputes_name_their_case() -> None:
    case = dossier.a_case(transfer_count=1, returns=1, dispute_count=11)
    dispute = contest(dossier.a_transfer("returned"), case).written(Dispute)
    assert dispute.id == "c1.d12"
    assert case_of(dispute.id) == "c1"
