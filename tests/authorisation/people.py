"""Everybody who may ask: each role at each agency, at one that is not of this county, and a service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from libs.common.permit import Role
from libs.common.web import tokens
from tests.authorisation.world import STRANGER, World

PEOPLE = frozenset(Role) - {Role.SERVICE}
#: What a token of a person may carry: one role, none, or all of them.
APPOINTMENTS: tuple[frozenset[Role], ...] = (
    *(frozenset({role}) for role in Role if role in PEOPLE),
    frozenset(),
    PEOPLE,
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a good token."""

    agency: str
    name: str  #: of the agency, in words
    roles: frozenset[Role]
    standing: frozenset[str]  #: what the agency is to the county
    authorization: bytes

    def __str__(self) -> str:
        return f"{self.name} {'+'.join(sorted(self.roles)) or 'no role'}"


def callers(world: World) -> Iterator[Caller]:
    """Everybody, the service last."""
    county = world.county
    known = [(agency.id, agency.short) for agency in world.agencies]
    for agency, name in (*known, (STRANGER, "外县某局")):
        for roles in APPOINTMENTS:
            token = county.issuer.issue("somebody", agency, roles, 3600)
            yield Caller(agency, name, roles, world.standing(agency), f"Bearer {token}".encode())
    keys = county.parts["notify"].keyring.tokens
    token = tokens.service_issuer(county.settings, "notify", keys).issue_for_service("notify")
    yield Caller("", "notify", frozenset({Role.SERVICE}), frozenset({"anywhere"}), f"Bearer {token}".encode())
