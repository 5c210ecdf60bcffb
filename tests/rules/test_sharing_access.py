"""Who may see what in `sharing`, cell by cell: written by hand from the charter, not from the table."""

from __future__ import annotations

import pytest

from libs.common import audience, errors
from libs.common.permit import Actor, Role
from services.sharing import access
from services.sharing.access import Situation


def related(*relations: str, coordinates: bool = False) -> Situation:
    return Situation(is_member=True, coordinates=coordinates, relations=frozenset(relations))


SITUATIONS = {
    "stranger": Situation(),
    #: Registered, and a right was given to the code, which must open nothing.
    "unregistered": Situation(relations=frozenset({audience.HOLDER, audience.COUNTY, access.OWN})),
    "member": related(),
    "holder": related(audience.HOLDER),
    "recipient": related(audience.RECIPIENT),
    "addressee": related(audience.ADDRESSEE),
    "county": related(audience.COUNTY),
    "own": related(access.OWN),
    "office": related(coordinates=True),
}

#: Columns of the rows below.
ROLES = ("handler", "approver", "registrar", "coordinator", "auditor", "operator", "service", "nothing")

#: y: may; n: 403, nothing is revealed; -: 404, or withheld, as if it were not there.
EXPECTED = """
feed.list        stranger      - - - - - - - -
feed.list        member        y y y y y - - -
feed.list        office        y y y y y - - -
feed.read        stranger      - - - - - - - -
feed.read        unregistered  - - - - - - - -
feed.read        member        y y y y y - - -
feed.read        office        y y y y y - - -
entry.read       stranger      - - - - - - - -
entry.read       unregistered  - - - - - - - -
entry.read       member        - - - - - - - -
entry.read       holder        y y - - y - - -
entry.read       recipient     y y - - y - - -
entry.read       addressee     y y y y y - - -
entry.read       county        y y y y y - - -
entry.read       own           - - - - - - - -
entry.read       office        - - - y y - - -
readers.read     stranger      - - - - - y - -
readers.read     unregistered  - - - - - y - -
readers.read     member        - - - - - y - -
readers.read     holder        - - - - - y - -
readers.read     office        - - - y - y - -
picture.read     stranger      - - - - - - - -
picture.read     unregistered  - - - - - - - -
picture.read     member        - - - - - - - -
picture.read     holder        - - - - - - - -
picture.read     own           y y y y y - - -
picture.read     office        - - - y y - - -
dates.read       stranger      - - - - - - - -
dates.read       unregistered  - - - - - - - -
dates.read       member        y y y y y - - -
dates.read       office        y y y y y - - -
board.read       stranger      - - - - - - - -
board.read       unregistered  - - - - - - - -
board.read       member        y y y y y - - -
board.read       office        y y y y y - - -
board.open       stranger      n n n n n n n n
board.open       unregistered  n n n n n n n n
board.open       member        y y y y n n n n
board.open       office        y y y y n n n n
picture.rebuild  stranger      n n n n n y n n
picture.rebuild  member        n n n n n y n n
picture.rebuild  office        n n n n n y n n
rebuild.read     stranger      - - - - - y - -
rebuild.read     office        - - - - - y - -
journal.read     stranger      - - - - - - y -
journal.read     office        - - - - - - y -
parked.read      stranger      - - - - - y - -
parked.read      office        - - - - - y - -
parked.redrive   stranger      n n n n n y n n
parked.redrive   office        n n n n n y n n
witness.read     stranger      - - - - - y y -
witness.read     member        - - - - - y y -
witness.read     office        - - - y y y y -
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


def test_an_operator_who_also_handles_cases_sees_what_a_handler_sees() -> None:
    both = Actor("zhang", "A", frozenset({Role.HANDLER, Role.OPERATOR}))
    assert answer(both, "entry.read", SITUATIONS["holder"]) == "y"
    assert answer(both, "entry.read", SITUATIONS["member"]) == "-"


def test_the_office_sees_as_a_party_what_concerns_itself() -> None:
    handler = Actor("zhang", "A", frozenset({Role.HANDLER}))
    assert answer(handler, "entry.read", related(audience.RECIPIENT, coordinates=True)) == "y"


def answer(actor: Actor, action: str, situation: Situation) -> str:
    try:
        access.permit(actor, action, situation)
    except errors.NotPermitted:
        return "n"
    except errors.NotFound:
        return "-"
    return "y"
