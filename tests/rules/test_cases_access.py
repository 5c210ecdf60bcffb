"""Who may do what in `cases`, cell by cell: written by hand from the charter, not from the table."""

from __future__ import annotations

import pytest

from libs.common import errors
from libs.common.permit import Actor, Permit, Role
from services.cases import access
from services.cases.access import Situation


def registered(*relations: str, coordinates: bool = False) -> Situation:
    """An agency of the register, and what it is to the thing asked for."""
    return Situation(True, coordinates, coordinates, frozenset(relations))


SITUATIONS = {
    "stranger": Situation(),
    #: Nobody is in the register yet.
    "first": Situation(is_registry=True),
    #: Registered, and nothing to the thing.
    "member": registered(),
    "holder": registered("holder"),
    "recipient": registered("recipient"),
    "sender": registered("sender"),
    "returned": registered("returned"),
    #: Party to the case, and not to this transfer of it.
    "bystander": registered("bystander"),
    #: Differing about whose the case is.
    "disputant": registered("disputant"),
    #: Asked for help in the case, and having answered.
    "requested": registered("requested"),
    "answered": registered("answered"),
    #: The officer's own agency.
    "own": registered("own"),
    #: The office of the joint meeting, which keeps the register; the case is others'.
    "office": registered(coordinates=True),
    #: The office holds the case itself.
    "own_office": registered("holder", coordinates=True),
    #: Named in a case, and not in the register: cannot be, and must not open anything.
    "unregistered": Situation(relations=frozenset({"holder", "recipient", "own"})),
}

#: Columns of the rows below.
ROLES = ("handler", "approver", "registrar", "coordinator", "auditor", "operator", "service", "nothing")

#: y: may; n: 403, knows of it or nothing is revealed; -: 404, as if it did not exist.
EXPECTED = """
agency.register    stranger      n n n n n n n n
agency.register    first         n n y n n n n n
agency.register    member        n n n n n n n n
agency.register    office        n n y n n n n n
agency.read        stranger      - - - - - - - -
agency.read        first         - - - - - - - -
agency.read        member        y y y y y - - -
agency.read        office        y y y y y - - -
officer.register   stranger      n n n n n n n n
officer.register   member        n n n n n n n n
officer.register   own           n n n n n n n n
officer.register   office        n n y n n n n n
officer.read       stranger      - - - - - - - -
officer.read       member        y y y y y - - -
officer.read       own           y y y y y - - -
officer.read       office        y y y y y - - -
officer.read       unregistered  - - - - - - - -
power.publish      stranger      n n n n n n n n
power.publish      member        n n n n n n n n
power.publish      office        n n y n n n n n
power.read         stranger      - - - - - - - -
power.read         member        y y y y y - - -
power.read         office        y y y y y - - -
grant.effect       stranger      n n n n n n n n
grant.effect       member        n n n n n n n n
grant.effect       office        n n y n n n n n
grant.recall       stranger      - - - - - - - -
grant.recall       member        n n n n n - - -
grant.recall       office        n n y n n - - -
grant.read         stranger      - - - - - - - -
grant.read         member        y y y y y - - -
grant.read         office        y y y y y - - -
competence.read    stranger      - - - - - - - -
competence.read    member        y y y y y - - -
competence.read    office        y y y y y - - -
clue.register      stranger      n n n n n n n n
clue.register      first         n n n n n n n n
clue.register      member        y n n n n n n n
clue.register      office        y n n n n n n n
case.read          stranger      - - - - - - - -
case.read          member        - - - - - - - -
case.read          holder        y y - - y - - -
case.read          recipient     y y - - y - - -
case.read          sender        y y - - y - - -
case.read          returned      - - - - - - - -
case.read          office        - - - y y - - -
case.read          own_office    y y - y y - - -
case.read          unregistered  - - - - - - - -
case.move          stranger      - - - - - - - -
case.move          member        - - - - - - - -
case.move          holder        y y - - n - - -
case.move          recipient     n n - - n - - -
case.move          sender        n n - - n - - -
case.move          returned      - - - - - - - -
case.move          office        - - - n n - - -
case.move          own_office    y y - n n - - -
case.move          unregistered  - - - - - - - -
case.prove         stranger      - - - - - - - -
case.prove         member        - - - - - - - -
case.prove         holder        y y - - y - - -
case.prove         recipient     y y - - y - - -
case.prove         sender        y y - - y - - -
case.prove         returned      - - - - - - - -
case.prove         office        - - - y y - - -
transfer.read      stranger      - - - - - - - -
transfer.read      member        - - - - - - - -
transfer.read      holder        y y - - y - - -
transfer.read      recipient     y y - - y - - -
transfer.read      sender        y y - - y - - -
transfer.read      returned      y y - - y - - -
transfer.read      bystander     y y - - y - - -
transfer.read      office        - - - y y - - -
transfer.offer     stranger      - - - - - - - -
transfer.offer     member        - - - - - - - -
transfer.offer     holder        y n - - n - - -
transfer.offer     recipient     n n - - n - - -
transfer.offer     sender        n n - - n - - -
transfer.offer     returned      - - - - - - - -
transfer.offer     office        - - - n n - - -
transfer.accept    stranger      - - - - - - - -
transfer.accept    member        - - - - - - - -
transfer.accept    holder        n n - - n - - -
transfer.accept    recipient     y n - - n - - -
transfer.accept    sender        n n - - n - - -
transfer.accept    returned      y n - - n - - -
transfer.accept    bystander     n n - - n - - -
transfer.accept    office        - - - n n - - -
transfer.accept    unregistered  - - - - - - - -
transfer.return    stranger      - - - - - - - -
transfer.return    holder        n n - - n - - -
transfer.return    recipient     y n - - n - - -
transfer.return    sender        n n - - n - - -
transfer.return    office        - - - n n - - -
transfer.withdraw  stranger      - - - - - - - -
transfer.withdraw  holder        n n - - n - - -
transfer.withdraw  recipient     n n - - n - - -
transfer.withdraw  sender        y n - - n - - -
transfer.return    returned      y n - - n - - -
transfer.return    bystander     n n - - n - - -
transfer.withdraw  returned      n n - - n - - -
transfer.withdraw  bystander     n n - - n - - -
transfer.withdraw  office        - - - n n - - -
transfer.contest   stranger      - - - - - - - -
transfer.contest   member        - - - - - - - -
transfer.contest   sender        y n - - n - - -
transfer.contest   recipient     y n - - n - - -
transfer.contest   returned      y n - - n - - -
transfer.contest   bystander     n n - - n - - -
transfer.contest   office        - - - n n - - -
case.read          disputant     y y - - y - - -
case.move          disputant     n n - - n - - -
transfer.offer     disputant     n n - - n - - -
dispute.read       stranger      - - - - - - - -
dispute.read       member        - - - - - - - -
dispute.read       disputant     y y - - y - - -
dispute.read       returned      y y - - y - - -
dispute.read       holder        y y - - y - - -
dispute.read       bystander     y y - - y - - -
dispute.read       office        - - - y y - - -
dispute.propose    stranger      - - - - - - - -
dispute.propose    disputant     y n - - n - - -
dispute.propose    returned      y n - - n - - -
dispute.propose    holder        n n - - n - - -
dispute.propose    office        - - - n n - - -
dispute.reply      disputant     y n - - n - - -
dispute.reply      returned      y n - - n - - -
dispute.reply      bystander     n n - - n - - -
dispute.reply      office        - - - n n - - -
dispute.accept     stranger      - - - - - - - -
dispute.accept     disputant     n n - - n - - -
dispute.accept     office        - - - y n - - -
dispute.forward    disputant     n n - - n - - -
dispute.forward    office        - - - y n - - -
dispute.lead       disputant     n n - - n - - -
dispute.lead       office        - - - y n - - -
dispute.rule       disputant     n n - - n - - -
dispute.rule       holder        n n - - n - - -
dispute.rule       office        - - - y n - - -
assistance.request stranger      - - - - - - - -
assistance.request member        - - - - - - - -
assistance.request holder        y n - - n - - -
assistance.request recipient     n n - - n - - -
assistance.request sender        n n - - n - - -
assistance.request returned      - - - - - - - -
assistance.request office        - - - n n - - -
assistance.read    stranger      - - - - - - - -
assistance.read    member        - - - - - - - -
assistance.read    holder        y y - - y - - -
assistance.read    recipient     y y - - y - - -
assistance.read    sender        y y - - y - - -
assistance.read    returned      - - - - - - - -
assistance.read    requested     y y - - y - - -
assistance.read    answered      y y - - y - - -
assistance.read    office        - - - y y - - -
case.read          requested     - - - - - - - -
case.prove         requested     - - - - - - - -
transfer.read      requested     - - - - - - - -
assistance.reply   stranger      - - - - - - - -
assistance.reply   member        - - - - - - - -
assistance.reply   holder        n n - - n - - -
assistance.reply   requested     y n - - n - - -
assistance.reply   answered      y n - - n - - -
assistance.reply   office        - - - n n - - -
assistance.refuse  holder        n n - - n - - -
assistance.refuse  requested     y n - - n - - -
assistance.refuse  answered      y n - - n - - -
assistance.extend  holder        n n - - n - - -
assistance.extend  requested     y n - - n - - -
assistance.extend  answered      y n - - n - - -
assistance.withdraw member       - - - - - - - -
assistance.withdraw holder       y n - - n - - -
assistance.withdraw requested    n n - - n - - -
assistance.withdraw sender       n n - - n - - -
assistance.withdraw office       - - - n n - - -
journal.read       stranger      - - - - - - y -
journal.read       office        - - - - - - y -
parked.read        stranger      - - - - - y - -
parked.read        office        - - - - - y - -
parked.redrive     stranger      n n n n n y n n
parked.redrive     office        n n n n n y n n
witness.read       stranger      - - - - - y y -
witness.read       member        - - - - - y y -
witness.read       office        - - - y y y y -
"""

CELLS = [
    (action, relation, role, cell)
    for line in EXPECTED.strip().splitlines()
    for action, relation, *cells in [line.split()]
    for role, cell in zip(ROLES, cells, strict=True)
]

PARTY, FREE_TEXT = {"party_name", "party_id", "summary"}, {"package", "ground"}

#: What a reader of each kind sees masked.
MASKED = [
    ("case.read", "holder", Role.HANDLER, set()),
    ("case.read", "recipient", Role.HANDLER, set()),
    ("case.read", "sender", Role.HANDLER, PARTY),
    ("transfer.read", "returned", Role.HANDLER, FREE_TEXT),
    ("transfer.read", "bystander", Role.HANDLER, FREE_TEXT),
    ("case.read", "office", Role.COORDINATOR, PARTY),
    ("case.read", "own_office", Role.HANDLER, set()),
    # The office holds it, but its coordinators do not handle it.
    ("case.read", "own_office", Role.COORDINATOR, PARTY),
    ("case.prove", "holder", Role.HANDLER, set()),
    ("case.prove", "sender", Role.HANDLER, PARTY),
    ("case.prove", "office", Role.AUDITOR, PARTY),
    ("transfer.read", "sender", Role.HANDLER, set()),
    ("transfer.read", "recipient", Role.HANDLER, set()),
    ("transfer.read", "office", Role.COORDINATOR, FREE_TEXT),
    ("transfer.withdraw", "sender", Role.HANDLER, set()),
    ("case.read", "disputant", Role.HANDLER, PARTY),
    ("dispute.read", "disputant", Role.HANDLER, set()),
    ("dispute.read", "holder", Role.HANDLER, set()),
    ("dispute.read", "office", Role.COORDINATOR, set()),
    ("dispute.read", "returned", Role.HANDLER, {"ground"}),
    ("dispute.read", "bystander", Role.HANDLER, {"ground"}),
    ("assistance.read", "holder", Role.HANDLER, set()),
    ("assistance.read", "requested", Role.HANDLER, set()),
    ("assistance.read", "answered", Role.HANDLER, {"party_name", "party_id", "ground"}),
    ("assistance.read", "sender", Role.HANDLER, {"party_name", "party_id", "ground"}),
    ("assistance.read", "office", Role.COORDINATOR, {"party_name", "party_id", "ground"}),
    ("officer.read", "own", Role.HANDLER, set()),
    ("officer.read", "office", Role.REGISTRAR, set()),
    ("officer.read", "member", Role.HANDLER, {"name", "certificate"}),
    ("officer.read", "office", Role.COORDINATOR, {"name", "certificate"}),
]


@pytest.mark.parametrize(("action", "relation", "role", "expected"), CELLS)
def test_a_cell_of_the_table(action: str, relation: str, role: str, expected: str) -> None:
    roles = frozenset() if role == "nothing" else frozenset({Role(role)})
    assert answer(Actor("zhang", "A", roles), action, SITUATIONS[relation]) == expected


def test_every_action_has_expectations() -> None:
    assert {action for action, *_ in CELLS} == set(access.RULES)


def test_what_has_no_rule_is_denied() -> None:
    with pytest.raises(KeyError):
        access.permit(Actor("zhang", "A", frozenset(Role)), "case.erase", SITUATIONS["own_office"])


@pytest.mark.parametrize(("action", "relation", "role", "hidden"), MASKED)
def test_personal_data_are_masked_unless_one_handles_them(
    action: str, relation: str, role: Role, hidden: set[str]
) -> None:
    permit = access.permit(Actor("zhang", "A", frozenset({role})), action, SITUATIONS[relation])
    assert permit.masked & (PARTY | FREE_TEXT | {"name", "certificate"}) == hidden


def test_an_answer_names_what_it_masks() -> None:
    permit = Permit("case.read", masked=frozenset({"summary", "party_name"}))
    shown = access.shown({"id": "c1", "summary": "占道"}, permit)
    assert shown == {"id": "c1", "summary": None, "masked": ["summary"]}


def test_who_handles_may_also_coordinate() -> None:
    both = frozenset({Role.HANDLER, Role.COORDINATOR})
    assert answer(Actor("zhang", "A", both), "case.move", SITUATIONS["own_office"]) == "y"
    assert answer(Actor("zhang", "A", both), "case.move", SITUATIONS["office"]) == "n"


def answer(actor: Actor, action: str, situation: Situation) -> str:
    try:
        access.permit(actor, action, situation)
    except errors.NotPermitted:
        return "n"
    except errors.NotFound:
        return "-"
    return "y"
