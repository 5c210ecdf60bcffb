"""Who may do what in `notify`, cell by cell: written by hand from the charter, not from the table."""

from __future__ import annotations

import pytest

from libs.common import errors
from libs.common.permit import Actor, Role
from services.notify import access
from services.notify.access import Situation

STRANGER = Situation()
#: Registered, and the thing is another agency's.
MEMBER = Situation(is_member=True)
ADDRESSEE = Situation(is_member=True, relations=frozenset({access.ADDRESSEE}))
OFFICE = Situation(is_member=True, coordinates=True)
#: The office, and the thing is its own.
OWN_OFFICE = Situation(is_member=True, coordinates=True, relations=frozenset({access.ADDRESSEE}))
#: Named in a notice, and not registered: cannot be, and must not open anything.
UNREGISTERED_ADDRESSEE = Situation(relations=frozenset({access.ADDRESSEE}))

#: Who must act by a clock, and who waits for it.
OBLIGOR = Situation(is_member=True, relations=frozenset({access.OBLIGOR}))
AWAITING = Situation(is_member=True, relations=frozenset({access.AWAITING}))

SITUATIONS = {
    "obligor": OBLIGOR,
    "awaiting": AWAITING,
    "stranger": STRANGER,
    "member": MEMBER,
    "addressee": ADDRESSEE,
    "office": OFFICE,
    "own_office": OWN_OFFICE,
    "unregistered": UNREGISTERED_ADDRESSEE,
    "owner": Situation(is_member=True, relations=frozenset({access.OWNER})),
}

#: Columns of the rows below.
ROLES = (
    "handler",
    "approver",
    "registrar",
    "coordinator",
    "auditor",
    "integrator",
    "operator",
    "service",
    "nothing",
)

#: y: may; n: 403, knows of it or nothing is revealed; -: 404, as if it did not exist.
EXPECTED = """
inbox.read         stranger      - - - - - - - - -
inbox.read         member        y y y y y - - - -
inbox.read         office        y y y y y - - - -
inbox.receive      stranger      n n n n n n n n n
inbox.receive      member        y y n n n n n n n
inbox.receive      office        y y n n n n n n n
notice.read        stranger      - - - - - - - - -
notice.read        member        - - - - - - - - -
notice.read        addressee     y y y y y - - - -
notice.read        office        - - - - - - - - -
notice.read        own_office    y y y y y - - - -
notice.read        unregistered  - - - - - - - - -
notice.receive     stranger      - - - - - - - - -
notice.receive     member        - - - - - - - - -
notice.receive     addressee     y y n n n - - - -
notice.receive     office        - - - - - - - - -
notice.receive     own_office    y y n n n - - - -
notice.receive     unregistered  - - - - - - - - -
receipt.read       stranger      - - - - - - - - -
receipt.read       member        - - - - - - - - -
receipt.read       addressee     y y y y y - - - -
receipt.read       office        - - - y y - - - -
receipt.read       own_office    y y y y y - - - -
route.read         stranger      - - - - - - - - -
route.read         member        y y y y y - - - -
route.read         office        y y y y y - - - -
route.check        stranger      n n n n n n y n n
route.check        member        n n n n n n y n n
route.check        office        n n n y n n y n n
explain.read       stranger      - - - - - - - - -
explain.read       member        - - - - - - - - -
explain.read       addressee     y y y y y - - - -
explain.read       office        - - - y y - - - -
calendar.read      stranger      - - - - - - y y -
calendar.read      member        y y y y y - y y -
calendar.put       stranger      - - - - - - y n -
calendar.put       office        n n n n n - y n -
limit.read         stranger      - - - - - - y y -
limit.read         member        y y y y y - y y -
limit.set          stranger      - - - - - - n n -
limit.set          member        n n n n n - n n -
limit.set          office        n n n y n - n n -
obligation.read    stranger      - - - - - - - - -
obligation.read    member        - - - - - - - - -
obligation.read    obligor       y y y y y - - - -
obligation.read    awaiting      y y y y y - - - -
obligation.read    office        - - - y y - - - -
policy.read        stranger      - - - - - - - - -
policy.read        member        y y y y y - - - -
policy.try         stranger      - - - - - - - - -
policy.try         member        y y y y n - - - -
policy.put         stranger      - - - - - - - - -
policy.put         member        n n n n n - - - -
policy.put         office        n n n y n - - - -
supervision.issue  stranger      n n n n n n n n n
supervision.issue  member        n n n n n n n n n
supervision.issue  office        n n n y n n n n n
supervision.read   stranger      - - - - - - - - -
supervision.read   member        - - - - - - - - -
supervision.read   addressee     y y y y y - - - -
supervision.read   office        - - - y y - - - -
supervision.reply  member        - - - - - - - - -
supervision.reply  addressee     y y n n n - - - -
supervision.reply  office        - - - n n - - - -
supervision.judge  member        - - - - - - - - -
supervision.judge  addressee     n n n n n - - - -
supervision.judge  office        - - - y n - - - -
journal.read       stranger      - - - - - - - y -
journal.read       office        - - - - - - - y -
parked.read        stranger      - - - - - - y - -
parked.read        office        - - - - - - y - -
parked.redrive     stranger      n n n n n n y n n
parked.redrive     office        n n n n n n y n n
witness.read       stranger      - - - - - - y y -
witness.read       member        - - - - - - y y -
witness.read       office        - - - y y - y y -
endpoint.register  stranger      n n n n n n n n n
endpoint.register  member        n n n n n y n n n
endpoint.register  office        n n n n n y n n n
endpoint.read      stranger      - - - - - - y - -
endpoint.read      member        - - - - - - y - -
endpoint.read      owner         - - - - y y y - -
endpoint.read      office        - - - - - - y - -
delivery.read      stranger      - - - - - - y - -
delivery.read      member        - - - - - - y - -
delivery.read      owner         - - - - y y y - -
delivery.read      office        - - - - - - y - -
endpoint.change    stranger      - - - - - - n - -
endpoint.change    member        - - - - - - n - -
endpoint.change    owner         - - - - n y n - -
endpoint.change    office        - - - - - - n - -
endpoint.remove    stranger      - - - - - - n - -
endpoint.remove    member        - - - - - - n - -
endpoint.remove    owner         - - - - n y n - -
endpoint.remove    office        - - - - - - n - -
endpoint.rotate    stranger      - - - - - - n - -
endpoint.rotate    member        - - - - - - n - -
endpoint.rotate    owner         - - - - n y n - -
endpoint.rotate    office        - - - - - - n - -
endpoint.verify    stranger      - - - - - - n - -
endpoint.verify    member        - - - - - - n - -
endpoint.verify    owner         - - - - n y n - -
endpoint.verify    office        - - - - - - n - -
endpoint.test      stranger      - - - - - - n - -
endpoint.test      member        - - - - - - n - -
endpoint.test      owner         - - - - n y n - -
endpoint.test      office        - - - - - - n - -
endpoint.enable    stranger      - - - - - - n - -
endpoint.enable    member        - - - - - - n - -
endpoint.enable    owner         - - - - n y n - -
endpoint.enable    office        - - - - - - n - -
endpoint.disable   stranger      - - - - - - n - -
endpoint.disable   member        - - - - - - n - -
endpoint.disable   owner         - - - - n y n - -
endpoint.disable   office        - - - - - - n - -
endpoint.recover   stranger      - - - - - - n - -
endpoint.recover   member        - - - - - - n - -
endpoint.recover   owner         - - - - n y n - -
endpoint.recover   office        - - - - - - n - -
delivery.retry     member        - - - - - - n - -
delivery.retry     owner         - - - - n y n - -
"""

CELLS = [
    (action, relation, role, cell)
    for line in EXPECTED.strip().splitlines()
    for action, relation, *cells in [line.split()]
    for role, cell in zip(ROLES, cells, strict=True)
]


@pytest.mark.parametrize(("action", "relation", "role", "expected"), CELLS)
def test_a_cell_of_the_table(action: str, relation: str, role: str, expected: str) -> None:
    roles = frozenset() if role == "nothing" else frozenset({Role(role)})
    assert answer(Actor("zhang", "A", roles), action, SITUATIONS[relation]) == expected


def test_every_action_has_expectations() -> None:
    assert {action for action, *_ in CELLS} == set(access.RULES)


def test_who_signs_may_also_read() -> None:
    both = frozenset({Role.HANDLER, Role.OPERATOR})
    assert answer(Actor("zhang", "A", both), "notice.receive", ADDRESSEE) == "y"
    assert answer(Actor("zhang", "A", both), "notice.receive", MEMBER) == "-"


@pytest.mark.parametrize(("role", "oversees"), [(Role.COORDINATOR, True), (Role.HANDLER, False)])
def test_only_the_offices_coordinators_and_auditors_ask_for_the_county(role: Role, oversees: bool) -> None:
    permit = access.permit(Actor("zhang", "A", frozenset({role})), "explain.read", OWN_OFFICE)
    assert access.oversees(permit) is oversees


def answer(actor: Actor, action: str, situation: Situation) -> str:
    try:
        access.permit(actor, action, situation)
    except errors.NotPermitted:
        return "n"
    except errors.NotFound:
        return "-"
    return "y"
