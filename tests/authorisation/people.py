"""Everybody who may ask: each role at each agency, at one that is not of this county, and a service."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from libs.common.clock import Clock
from libs.common.permit import Actor, Role
from libs.common.web import tokens
from services.sharing.board import rules as board
from services.sharing.board.api import COOKIE
from tests.authorisation.world import STRANGER, World

PEOPLE = frozenset(Role) - {Role.SERVICE}
#: What a token of a person carries: one role.
APPOINTMENTS: tuple[frozenset[Role], ...] = tuple(frozenset({role}) for role in Role if role in PEOPLE)
#: Or none, or all of them: tried at one agency of each kind.
ODD: tuple[frozenset[Role], ...] = (frozenset(), PEOPLE)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody with a good token."""

    agency: str
    name: str  #: of the agency, in words
    roles: frozenset[Role]
    standing: frozenset[str]  #: what the agency is to the county
    authorization: bytes
    cookie: str  #: the same person's session at the board

    def __str__(self) -> str:
        return f"{self.name} {'+'.join(sorted(self.roles)) or 'no role'}"


def callers(world: World) -> Iterator[Caller]:
    """Everybody, the service last."""
    county = world.county
    for agency, name, odd in (*_agencies(world), (STRANGER, "外县某局", True)):
        for roles in APPOINTMENTS + (ODD if odd else ()):
            token = county.issuer.issue("somebody", agency, roles, 3600)
            cookie = _session(world, Actor("somebody", agency, roles))
            yield Caller(agency, name, roles, world.standing(agency), _bearer(token), cookie)
    keys = county.parts["notify"].keyring.tokens
    token = tokens.service_issuer(county.settings, "notify", keys).issue_for_service("notify")
    roles = frozenset({Role.SERVICE})
    cookie = _session(world, Actor("service:notify", "", roles))
    yield Caller("", "notify", roles, frozenset({"anywhere"}), _bearer(token), cookie)


def _agencies(world: World) -> Iterator[tuple[str, str, bool]]:
    """Each agency with its name, and whether it is the first of its kind."""
    kinds: set[str] = set()
    for agency in world.agencies:
        yield agency.id, agency.short, agency.kind not in kinds
        kinds.add(agency.kind)


def _session(world: World, actor: Actor) -> str:
    """What the board's door would give them, if it let them in."""
    key = world.county.parts["sharing"].keyring.tokens.derive(board.SESSIONS)
    return f"{COOKIE}={board.sealed(key, board.Session(actor, Clock().now() + timedelta(hours=1)))}"


def _bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()
