"""Who may do what in `notify`: one pure permit(), asked by every way out.

A notice belongs to the agency it is addressed to, and to nobody else. What is not named in RULES is denied.
A thing that an actor may not know of is NotFound; creating is NotPermitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from libs.common.permit import Actor, Permit, Role, Rule, granted, judge, only

#: The agency that a notice is addressed to, or that a question is about.
ADDRESSEE = "addressee"
#: The agency that must act by a clock, and the one that waits for it.
OBLIGOR, AWAITING = "obligor", "awaiting"
#: The agency whose endpoint it is.
OWNER = "owner"
#: An agency that is registered with the county.
MEMBER = "member"
#: The office of the joint meeting.
COORDINATING = "coordinating"
#: A service or an operator of this installation; related to no notice.
INSTALLATION = "installation"

INTEGRATOR = Role.INTEGRATOR
HANDLER, APPROVER, REGISTRAR = Role.HANDLER, Role.APPROVER, Role.REGISTRAR
COORDINATOR, AUDITOR, OPERATOR, SERVICE = Role.COORDINATOR, Role.AUDITOR, Role.OPERATOR, Role.SERVICE
OFFICIALS = frozenset({HANDLER, APPROVER, REGISTRAR, COORDINATOR, AUDITOR})


_OVERSEEN = {ADDRESSEE: OFFICIALS, COORDINATING: frozenset({COORDINATOR, AUDITOR})}

_WITNESSES = {
    COORDINATING: frozenset({COORDINATOR, AUDITOR}),
    INSTALLATION: frozenset({OPERATOR, SERVICE}),
}

#: What everybody of the county may know, and who keeps the installation.
_PUBLIC = {MEMBER: OFFICIALS, INSTALLATION: frozenset({OPERATOR, SERVICE})}
#: Whoever keeps an agency's endpoints sees all of them; an operator sees how they do, and not where they are.
_READS_ENDPOINT = {OWNER: frozenset({INTEGRATOR, AUDITOR}), INSTALLATION: frozenset({OPERATOR})}


def _keeping(zh: str, seen_by: str = "endpoint.read") -> Rule:
    return Rule(zh, only(OWNER, INTEGRATOR), seen_by=seen_by)


RULES: Mapping[str, Rule] = {
    "inbox.read": Rule("查看收件箱", only(MEMBER, *OFFICIALS)),
    "inbox.receive": Rule("批量签收", only(MEMBER, HANDLER, APPROVER), open=True),
    "notice.read": Rule("查看通知", only(ADDRESSEE, *OFFICIALS)),
    "notice.receive": Rule("签收", only(ADDRESSEE, HANDLER, APPROVER), seen_by="notice.read"),
    "receipt.read": Rule("查看签收回执", _OVERSEEN),
    "route.read": Rule("查看路由表", only(MEMBER, *OFFICIALS)),
    "route.check": Rule(
        "校验路由表",
        {COORDINATING: frozenset({COORDINATOR}), INSTALLATION: frozenset({OPERATOR})},
        open=True,
    ),
    "explain.read": Rule("查询通知去向", _OVERSEEN),
    "calendar.read": Rule("查看日历", _PUBLIC),
    "calendar.put": Rule("置入日历", only(INSTALLATION, OPERATOR), seen_by="calendar.read"),
    "limit.read": Rule("查看时限规则", _PUBLIC),
    "limit.set": Rule("设定地方时限", only(COORDINATING, COORDINATOR), seen_by="limit.read"),
    "obligation.read": Rule(
        "查看时限", {OBLIGOR: OFFICIALS, AWAITING: OFFICIALS, COORDINATING: frozenset({COORDINATOR, AUDITOR})}
    ),
    "policy.read": Rule("查看升级规则", only(MEMBER, *OFFICIALS)),
    "policy.try": Rule(
        "试算升级规则", only(MEMBER, HANDLER, APPROVER, REGISTRAR, COORDINATOR), seen_by="policy.read"
    ),
    "policy.put": Rule("置入升级规则", only(COORDINATING, COORDINATOR), seen_by="policy.read"),
    "supervision.issue": Rule("发出督办函", only(COORDINATING, COORDINATOR), open=True),
    "supervision.read": Rule("查看督办函", _OVERSEEN),
    "supervision.reply": Rule("反馈督办", only(ADDRESSEE, HANDLER, APPROVER), seen_by="supervision.read"),
    "supervision.judge": Rule("审查反馈", only(COORDINATING, COORDINATOR), seen_by="supervision.read"),
    "endpoint.register": Rule("登记推送端点", only(MEMBER, INTEGRATOR), open=True),
    "endpoint.read": Rule(
        "查看推送端点", _READS_ENDPOINT, personal=frozenset({"url"}), clear_to=frozenset({OWNER})
    ),
    "endpoint.change": _keeping("变更推送端点"),
    "endpoint.remove": _keeping("删除推送端点"),
    "endpoint.rotate": _keeping("更换推送密钥"),
    "endpoint.verify": _keeping("验证推送端点"),
    "endpoint.test": _keeping("试推送"),
    "endpoint.enable": _keeping("启用推送端点"),
    "endpoint.disable": _keeping("停用推送端点"),
    "endpoint.recover": _keeping("补送"),
    "delivery.read": Rule("查看推送情况", _READS_ENDPOINT),
    "delivery.retry": _keeping("重新推送", seen_by="delivery.read"),
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
    #: What the agency is to the notice, the receipt, the question; empty where there is none.
    relations: frozenset[str] = frozenset()


def permit(actor: Actor, action: str, situation: Situation) -> Permit:
    """Leave for `actor` to do `action`, or NotFound, or NotPermitted."""
    return judge(RULES, actor, action, _relations(actor, situation))


def permits(actor: Actor, action: str, situation: Situation) -> Permit | None:
    """The permit, or None: for lists, which are empty for whoever may not see them."""
    return granted(RULES, actor, action, _relations(actor, situation))


def oversees(permit: Permit) -> bool:
    """Whether the permit's holder asks for the whole county, not for their agency alone."""
    return COORDINATING in permit.relations


def _relations(actor: Actor, situation: Situation) -> set[str]:
    # Who is not registered with the county is nothing to it, whatever they are called in a notice.
    relations = {MEMBER} | situation.relations if situation.is_member else set()
    if situation.is_member and situation.coordinates:
        relations.add(COORDINATING)
    return relations | ({INSTALLATION} if actor.roles & {OPERATOR, SERVICE} else set())
