"""Who may see what in `sharing`: one pure permit(), asked by every way out.

An entry of a stream is for the agencies that were party to it when it happened; an entry of the register is
for every agency of the county; the office of the joint meeting sees all. What is not named in RULES is
denied. A thing that an actor may not know of is NotFound; creating is NotPermitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.audience import COORDINATING, OFFICIALS, OVERSEERS, READS
from libs.common.permit import Actor, Permit, Role, Rule, granted, judge, only

#: What an agency is to its own line of the picture.
OWN = "own"
#: An agency that is registered with the county.
MEMBER = "member"
#: A service or an operator of this installation; related to no entry.
INSTALLATION = "installation"

OPERATOR, SERVICE = Role.OPERATOR, Role.SERVICE

_WITNESSES: Mapping[str, frozenset[Role]] = {
    COORDINATING: OVERSEERS,
    INSTALLATION: frozenset({OPERATOR, SERVICE}),
}
_WATCHES: Mapping[str, frozenset[Role]] = {
    COORDINATING: frozenset({Role.COORDINATOR}),
    INSTALLATION: frozenset({OPERATOR}),
}

RULES: Mapping[str, Rule] = {
    "feed.list": Rule("查看订阅源", only(MEMBER, *OFFICIALS)),
    "feed.read": Rule("读取订阅源", only(MEMBER, *OFFICIALS)),
    "entry.read": Rule("查看一条记录", READS),
    "readers.read": Rule("查看订阅者", _WATCHES),
    "picture.read": Rule("查看协同态势", {OWN: OFFICIALS, COORDINATING: OVERSEERS}),
    "dates.read": Rule("查看到期日历", {MEMBER: OFFICIALS, COORDINATING: OVERSEERS}),
    "board.open": Rule("打开态势板", only(MEMBER, *OFFICIALS - {Role.AUDITOR}), open=True),
    "board.read": Rule("查看态势板", only(MEMBER, *OFFICIALS)),
    "picture.rebuild": Rule("重建协同态势", only(INSTALLATION, OPERATOR), open=True),
    "rebuild.read": Rule("查看重建进度", only(INSTALLATION, OPERATOR)),
    "journal.read": Rule("取得事件日志", only(INSTALLATION, SERVICE)),
    "parked.read": Rule("查看搁置的事件", only(INSTALLATION, OPERATOR)),
    "parked.redrive": Rule("重新处理搁置的事件", only(INSTALLATION, OPERATOR), open=True),
    "witness.read": Rule("查看见证的链首", _WITNESSES),
}


@dataclass(frozen=True, slots=True)
class Situation:
    """What the actor's agency is, to the county and to the thing asked for."""

    is_member: bool = False
    coordinates: bool = False
    #: What the agency is to the entry, to the line of the picture; empty where there is none.
    relations: frozenset[str] = frozenset()


def permit(actor: Actor, action: str, situation: Situation) -> Permit:
    """Leave for `actor` to do `action`, or NotFound, or NotPermitted."""
    return judge(RULES, actor, action, _relations(actor, situation))


def permits(actor: Actor, action: str, situation: Situation) -> Permit | None:
    """The permit, or None: for lists, which leave out, and feeds, which withhold, what may not be seen."""
    return granted(RULES, actor, action, _relations(actor, situation))


def _relations(actor: Actor, situation: Situation) -> set[str]:
    # Who is not registered with the county is nothing to it, whatever right was given to that code.
    relations = {MEMBER} | situation.relations if situation.is_member else set()
    if situation.is_member and situation.coordinates:
        relations.add(COORDINATING)
    return relations | ({INSTALLATION} if actor.roles & {OPERATOR, SERVICE} else set())
