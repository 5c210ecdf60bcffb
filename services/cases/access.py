"""Who may do what in `cases`: one pure permit(), asked by every way out.

What an actor may do follows from what their agency is to the thing, together with their role there. What is
not named in RULES is denied. A thing that an actor may not know of is NotFound; creating is NotPermitted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from libs.common.permit import Actor, Permit, Role, Rule, granted, judge, only

HOLDER, RECIPIENT, SENDER, RETURNED = "holder", "recipient", "sender", "returned"
#: An agency of the county's register.
MEMBER = "member"
#: The agency that keeps the register (县政府授权的名录管理机关).
REGISTRY = "registry"
#: The office of the joint meeting.
COORDINATING = "coordinating"
#: A service or an operator of this installation; related to no case.
INSTALLATION = "installation"

#: Who differ about whose a case is, while they do.
DISPUTANT = "disputant"
#: Asked for help in a case, and having answered or no longer having to.
REQUESTED, ANSWERED = "requested", "answered"
#: A party of a case, as seen from a transfer between two others.
BYSTANDER = "bystander"
#: What an agency is to a case that it may read; who was offered it in vain reads its own transfer only.
READING = frozenset({HOLDER, RECIPIENT, SENDER, DISPUTANT})
#: The agency that an officer belongs to.
OWN = "own"

#: Personal data, by what it belongs to. Of a case: the party's name and number, free text that may name
#: people, and who acted; of a transfer or a dispute: its free text; of a request for help: its free text,
#: and the party where it must be named; of an officer: name and certificate number.
CASE_DATA = frozenset({"party_name", "party_id", "summary", "person", "reason"})
TRANSFER_DATA = frozenset({"package", "ground", "note", "new_facts"})
DISPUTE_DATA = frozenset({"ground", "papers", "reply", "danger", "opinion"})
ASSISTANCE_DATA = frozenset(
    {"party_name", "party_id", "items", "ground", "extension_reason", "answers", "note"}
)
OFFICER_DATA = frozenset({"name", "certificate"})

HANDLER, APPROVER, REGISTRAR = Role.HANDLER, Role.APPROVER, Role.REGISTRAR
COORDINATOR, AUDITOR, OPERATOR, SERVICE = Role.COORDINATOR, Role.AUDITOR, Role.OPERATOR, Role.SERVICE
OFFICIALS = frozenset({HANDLER, APPROVER, REGISTRAR, COORDINATOR, AUDITOR})


_READS_CASE: Mapping[str, frozenset[Role]] = {
    HOLDER: frozenset({HANDLER, APPROVER, AUDITOR}),
    RECIPIENT: frozenset({HANDLER, APPROVER, AUDITOR}),
    SENDER: frozenset({HANDLER, APPROVER, AUDITOR}),
    DISPUTANT: frozenset({HANDLER, APPROVER, AUDITOR}),
    COORDINATING: frozenset({COORDINATOR, AUDITOR}),
}
_READS_TRANSFER: Mapping[str, frozenset[Role]] = {
    **_READS_CASE,
    RETURNED: frozenset({HANDLER, APPROVER, AUDITOR}),
    BYSTANDER: frozenset({HANDLER, APPROVER, AUDITOR}),
}
_READS_DISPUTE = _READS_TRANSFER
#: Who is asked reads the request and nothing else of the case; once it has answered, not what people wrote.
_READS_ASSISTANCE: Mapping[str, frozenset[Role]] = {
    **_READS_CASE,
    REQUESTED: frozenset({HANDLER, APPROVER, AUDITOR}),
    ANSWERED: frozenset({HANDLER, APPROVER, AUDITOR}),
}
_WITNESSES: Mapping[str, frozenset[Role]] = {
    COORDINATING: frozenset({COORDINATOR, AUDITOR}),
    INSTALLATION: frozenset({OPERATOR, SERVICE}),
}
#: Who handles the case, or is asked to take it, reads its personal data; others read them masked.
_HANDLING = frozenset({HOLDER, RECIPIENT})
_READS_OFFICER: Mapping[str, frozenset[Role]] = {
    OWN: OFFICIALS,
    REGISTRY: frozenset({REGISTRAR}),
    MEMBER: OFFICIALS,
}


#: Who answered already, or was too late, may ask again and is told that it is too late.
_ANSWERS: Mapping[str, frozenset[Role]] = {
    RECIPIENT: frozenset({HANDLER}),
    RETURNED: frozenset({HANDLER}),
}
#: Who offered a case and who declined it may bring that before the coordinator; nobody else knows enough.
_CONTESTS: Mapping[str, frozenset[Role]] = {**_ANSWERS, SENDER: frozenset({HANDLER})}
#: The same for who differ; when it is over, those who do not hold the case are *returned*.
_ARGUES: Mapping[str, frozenset[Role]] = {
    DISPUTANT: frozenset({HANDLER}),
    RETURNED: frozenset({HANDLER}),
}
#: The same for who was asked for help.
_ASSISTS: Mapping[str, frozenset[Role]] = {
    REQUESTED: frozenset({HANDLER}),
    ANSWERED: frozenset({HANDLER}),
}


def _case(zh: str, may: Mapping[str, frozenset[Role]]) -> Rule:
    return Rule(zh, may, seen_by="case.read", personal=CASE_DATA, clear_to=_HANDLING)


def _transfer(
    zh: str,
    may: Mapping[str, frozenset[Role]],
    clear_to: frozenset[str] = _HANDLING,
    seen_by: str = "transfer.read",
) -> Rule:
    return Rule(zh, may, seen_by=seen_by, personal=TRANSFER_DATA, clear_to=clear_to)


def _dispute(zh: str, may: Mapping[str, frozenset[Role]]) -> Rule:
    # Who coordinates must read what both say, or could not judge it.
    clear_to = frozenset({DISPUTANT, HOLDER, COORDINATING})
    return Rule(zh, may, seen_by="dispute.read", personal=DISPUTE_DATA, clear_to=clear_to)


def _assistance(
    zh: str, may: Mapping[str, frozenset[Role]], clear_to: frozenset[str], seen_by: str = "assistance.read"
) -> Rule:
    return Rule(zh, may, seen_by=seen_by, personal=ASSISTANCE_DATA, clear_to=clear_to)


RULES: Mapping[str, Rule] = {
    "agency.register": Rule("登记机关", only(REGISTRY, REGISTRAR), open=True),
    "agency.read": Rule("查看机关名录", only(MEMBER, *OFFICIALS)),
    "officer.register": Rule("登记执法人员", only(REGISTRY, REGISTRAR), open=True),
    "officer.read": Rule(
        "查看执法人员", _READS_OFFICER, personal=OFFICER_DATA, clear_to=frozenset({OWN, REGISTRY})
    ),
    "power.publish": Rule("公布职权事项", only(REGISTRY, REGISTRAR), open=True),
    "power.read": Rule("查看职权事项", only(MEMBER, *OFFICIALS)),
    "grant.effect": Rule("赋权", only(REGISTRY, REGISTRAR), open=True),
    "grant.recall": Rule("收回赋权", only(REGISTRY, REGISTRAR), seen_by="grant.read"),
    "grant.read": Rule("查看赋权", only(MEMBER, *OFFICIALS)),
    "competence.read": Rule("查询管辖", only(MEMBER, *OFFICIALS)),
    "clue.register": Rule("登记线索", only(MEMBER, HANDLER), open=True),
    "case.read": _case("查看案件", _READS_CASE),
    "case.move": _case("办理阶段流转", only(HOLDER, HANDLER, APPROVER)),
    "case.prove": _case("取得留痕证明", _READS_CASE),
    "transfer.read": _transfer("查看移送", _READS_TRANSFER, frozenset({SENDER, RECIPIENT})),
    # It is the case that is offered: who may not know of that is told nothing, also if a transfer was theirs.
    "transfer.offer": _transfer("移送", only(HOLDER, HANDLER), seen_by="case.read"),
    "transfer.accept": _transfer("接收移送", _ANSWERS, frozenset({RECIPIENT})),
    "transfer.return": _transfer("退回移送", _ANSWERS, frozenset({RECIPIENT})),
    # Who withdraws has never ceased to hold the case.
    "transfer.withdraw": _transfer("撤回移送", only(SENDER, HANDLER), frozenset({SENDER})),
    "transfer.contest": _transfer("就退回提请协调", _CONTESTS, frozenset({SENDER})),
    "dispute.read": _dispute("查看管辖争议", _READS_DISPUTE),
    "dispute.propose": _dispute("提出协商意见", _ARGUES),
    "dispute.reply": _dispute("答复争议", _ARGUES),
    "dispute.accept": _dispute("受理争议", only(COORDINATING, COORDINATOR)),
    "dispute.forward": _dispute("转送争议材料", only(COORDINATING, COORDINATOR)),
    "dispute.lead": _dispute("指定先行处置机关", only(COORDINATING, COORDINATOR)),
    "dispute.rule": _dispute("出具协调意见", only(COORDINATING, COORDINATOR)),
    "assistance.read": _assistance(
        "查看协助请求", _READS_ASSISTANCE, frozenset({HOLDER, RECIPIENT, REQUESTED})
    ),
    "assistance.request": _assistance(
        "请求协助", only(HOLDER, HANDLER), frozenset({HOLDER}), seen_by="case.read"
    ),
    "assistance.reply": _assistance("答复协助请求", _ASSISTS, frozenset({REQUESTED})),
    "assistance.refuse": _assistance("不予协助", _ASSISTS, frozenset({REQUESTED})),
    "assistance.extend": _assistance("延期答复协助请求", _ASSISTS, frozenset({REQUESTED})),
    "assistance.withdraw": _assistance("撤回协助请求", only(HOLDER, HANDLER), frozenset({HOLDER})),
    "journal.read": Rule("取得事件日志", only(INSTALLATION, SERVICE)),
    "parked.read": Rule("查看搁置的事件", only(INSTALLATION, OPERATOR)),
    "parked.redrive": Rule("重新处理搁置的事件", only(INSTALLATION, OPERATOR), open=True),
    "witness.read": Rule("查看见证的链首", _WITNESSES),
}


@dataclass(frozen=True, slots=True)
class Situation:
    """What the actor's agency is, to the county and to the thing asked for."""

    is_member: bool = False
    is_registry: bool = False
    coordinates: bool = False
    #: What the agency is to the case, to the transfer, to the officer; empty where there is none.
    relations: frozenset[str] = frozenset()


def permit(actor: Actor, action: str, situation: Situation) -> Permit:
    """Leave for `actor` to do `action`, or NotFound, or NotPermitted."""
    return judge(RULES, actor, action, _relations(actor, situation))


def permits(actor: Actor, action: str, situation: Situation) -> Permit | None:
    """The permit, or None: for lists, which leave out what may not be seen."""
    return granted(RULES, actor, action, _relations(actor, situation))


def shown(fields: Mapping[str, Any], permit: Permit) -> dict[str, Any]:
    """An answer as the permit lets it out: what it masks is blank, and named in `masked`."""
    hidden = sorted(permit.masked & fields.keys())
    return {**fields, **dict.fromkeys(hidden), "masked": hidden}


def _relations(actor: Actor, situation: Situation) -> set[str]:
    # Who is not in the register is nothing to a case, whatever a row of the case may say.
    relations = {MEMBER, *situation.relations} if situation.is_member else set()
    relations |= {REGISTRY} if situation.is_registry else set()
    if situation.coordinates and actor.roles & {COORDINATOR, AUDITOR}:
        relations.add(COORDINATING)
    return relations | ({INSTALLATION} if actor.roles & {OPERATOR, SERVICE} else set())
