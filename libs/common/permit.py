"""Who asks, and what the answer to "may they?" looks like.

Each service has one pure `permit(actor, action, situation) -> Permit` in its `access.py`; every way out
(list, search, feed, proof) asks it. What an actor may do follows from the relation of their agency to the
thing (holder, recipient, sender ...) together with their role, never from rank alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum

from libs.common import errors


class Role(StrEnum):
    """What a person is appointed to at their agency; a token may carry several."""

    HANDLER = "handler"  #: 执法人员: registers, files, investigates, offers and accepts
    APPROVER = "approver"  #: 审批负责人: approves what the law gives to the head (57)
    REGISTRAR = "registrar"  #: 名录管理员: keeps agencies, officers, powers and grants
    COORDINATOR = "coordinator"  #: 联席会议协调员: sees every case of the county, handles none
    AUDITOR = "auditor"  #: 执法监督员: reads, never writes
    INTEGRATOR = "integrator"  #: 接口管理员: keeps the endpoints of the agency's own systems; reads no case
    OPERATOR = "operator"  #: 运维人员: parked keys, redrives, rebuilds; reads no case
    SERVICE = "service"  #: one of the three services, fetching a journal


@dataclass(frozen=True, slots=True)
class Actor:
    """A person at an agency with roles, as their token says."""

    person: str
    agency: str  #: unified social credit code (统一社会信用代码), 18 characters
    roles: frozenset[Role] = field(default_factory=frozenset)
    reason: str = ""  #: why they do it, as they say (Audit-Reason); kept in the private record

    def is_a(self, role: Role) -> bool:
        return role in self.roles


#: Who acts where no person does.
SYSTEM = Actor("system", "")


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to do one thing to one thing, and the mask that rendering must use."""

    action: str
    #: The relations by which it was given.
    relations: frozenset[str] = frozenset()
    #: Names of fields that rendering must mask; personal data is masked unless a rule says otherwise.
    masked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """Which roles at which relation may, and what they then see masked."""

    zh: str
    may: Mapping[str, frozenset[Role]]
    #: The action by which one knows of the thing: who may do that is refused with 403, others with 404.
    seen_by: str = ""
    #: Nothing is revealed by refusing a creation: 403.
    open: bool = False
    #: Fields that rendering masks,
    personal: frozenset[str] = frozenset()
    #: except for these relations.
    clear_to: frozenset[str] = frozenset()

    def granting(self, actor: Actor, relations: Set[str]) -> frozenset[str]:
        """Those relations at which a role of the actor may."""
        return frozenset(r for r in relations if actor.roles & self.may.get(r, frozenset()))


def only(relation: str, *roles: Role) -> Mapping[str, frozenset[Role]]:
    """These roles, at this relation."""
    return {relation: frozenset(roles)}


def granted(rules: Mapping[str, Rule], actor: Actor, action: str, relations: Set[str]) -> Permit | None:
    """Leave for an actor who stands in these relations, or None.

    What no rule names is denied: an unknown action is a KeyError, a bug that a house test finds first.
    """
    rule = rules[action]
    granting = rule.granting(actor, relations)
    if not granting:
        return None
    masked = frozenset[str]() if granting & rule.clear_to else rule.personal
    return Permit(action, granting, masked)


def judge(rules: Mapping[str, Rule], actor: Actor, action: str, relations: Set[str]) -> Permit:
    """Leave for an actor who stands in these relations, or NotPermitted; NotFound for who may not know."""
    if permit := granted(rules, actor, action, relations):
        return permit
    rule = rules[action]
    if rule.open or (rule.seen_by and rules[rule.seen_by].granting(actor, relations)):
        raise errors.NotPermitted
    raise errors.NotFound
