"""Who asks, and what the answer to "may they?" looks like.

Each service has one pure `permit(actor, action, situation) -> Permit` in its `access.py`; every way out
(list, search, export, feed, report) asks it. What an actor may do follows from the relation of their
agency to the thing (holder, recipient, sender ...) together with their role, never from rank alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a person is appointed to at their agency; a token may carry several."""

    HANDLER = "handler"  #: 执法人员: registers, files, investigates, offers and accepts
    APPROVER = "approver"  #: 审批负责人: approves what the law gives to the head (57)
    REGISTRAR = "registrar"  #: 名录管理员: keeps agencies, officers, powers and grants
    COORDINATOR = "coordinator"  #: 联席会议协调员: sees every case of the county, handles none
    AUDITOR = "auditor"  #: 执法监督员: reads, never writes
    OPERATOR = "operator"  #: 运维人员: parked keys, redrives, rebuilds; reads no case
    SERVICE = "service"  #: one of the three services, fetching a journal


@dataclass(frozen=True, slots=True)
class Actor:
    """A person at an agency with roles, as their token says."""

    person: str
    agency: str  #: unified social credit code (统一社会信用代码), 18 characters
    roles: frozenset[Role] = field(default_factory=frozenset)

    def is_a(self, role: Role) -> bool:
        return role in self.roles


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to do one thing to one thing, and the mask that rendering must use."""

    action: str
    relations: frozenset[str] = field(default_factory=frozenset)
    #: Names of fields that rendering must mask; personal data is masked unless a Permit says otherwise.
    masked: frozenset[str] = field(default_factory=frozenset)
