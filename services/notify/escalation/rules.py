"""What follows silence: policies, each a ladder of levels that no clock climbs twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from libs.common import errors, wording
from libs.common.change import Change, Head
from libs.common.clock import Moment
from libs.common.contracts import notify as said
from libs.common.law import limits
from libs.common.law.calendar import Calendar
from libs.common.law.limits import Limit, Term, Unit
from libs.common.permit import Actor
from services.notify.escalation.tables import EscalationPolicy
from services.notify.routing.rules import COORDINATORS, COUNTY

#: Whom a level may tell, by the word in a policy.
TELLS: Mapping[str, str] = {
    "agency": "责任单位",
    "awaits": "等候单位",
    COORDINATORS: "联席会议办公室",
    COUNTY: "县政府",
}
#: The policies that serve clocks without one of their own: those that count days, and those that count hours.
DAYS, HOURS = "days", "hours"


class BadPolicy(errors.Malformed):
    """The policy leaves silence without an end, or its levels are out of order."""

    code = "bad-policy"
    title = "升级规则不能使用"


class NoSuchPolicy(errors.Malformed):
    """A policy serves all clocks in days or in hours, or one rule that exists."""

    code = "no-such-policy"
    title = "升级规则只能为 days、hours，或某一时限规则设定"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Level(_Table):
    """A level of a policy: exactly one of `half`, `working_days` and `hours` says when."""

    name: Annotated[str, Field(min_length=1, max_length=40)]
    tell: Annotated[tuple[str, ...], Strict(False), Field(min_length=1, max_length=4)]
    half: bool = False
    working_days: Annotated[int, Field(ge=-30, le=90)] | None = None
    hours: Annotated[int, Field(ge=0, le=720)] | None = None
    letter: bool = False

    @property
    def order(self) -> float:
        """Where it stands among others, roughly in hours from the end."""
        return -1000.0 if self.half else float((self.working_days or 0) * 24 + (self.hours or 0))

    def at(self, term: Term, calendar: Calendar) -> datetime:
        """The instant at which silence has lasted to this level."""
        if self.half:
            return term.begins + (term.ends - term.begins) / 2
        if self.hours is not None:
            return term.ends + timedelta(hours=self.hours)
        days = self.working_days or 0
        if days < 0:
            return limits.end_of(calendar.leaving(term.day, -days))
        return term.ends if days == 0 else limits.end_of(calendar.after(term.day, days))


class Policy(_Table):
    """What follows silence, level by level."""

    id: str
    name: Annotated[str, Field(min_length=1, max_length=60)]
    level: Annotated[tuple[Level, ...], Strict(False), Field(min_length=1, max_length=10)]
    version: int = 0  #: 0 as this release ships it


class PolicySheet(_Table):
    """The policies of this release."""

    policy: Annotated[tuple[Policy, ...], Strict(False)]


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """The stream of a policy, and the limits that one may serve."""

    head: Head
    limits: Mapping[str, Limit]


def read(raw: Mapping[str, Any]) -> Mapping[str, Policy]:
    """The policies of a release, checked. Raises BadPolicy."""
    try:
        sheet = PolicySheet.model_validate(raw)
    except ValidationError as why:
        faults = wording.faults(why.errors())
        raise BadPolicy(wording.said(faults), errors=faults) from None
    found = {policy.id: policy for policy in sheet.policy}
    for policy in found.values():
        check(policy)
    if missing := {DAYS, HOURS} - found.keys():
        raise BadPolicy(f"缺少升级规则：{'、'.join(sorted(missing))}")
    return found


def in_force(shipped: Mapping[str, Policy], put: Iterable[EscalationPolicy]) -> Mapping[str, Policy]:
    """The policies that count: what was put in place here, over those of the release."""
    own = {
        row.id: Policy(
            id=row.id,
            name=row.name,
            level=tuple(Level.model_validate(level) for level in row.levels),
            version=row.version,
        )
        for row in put
    }
    return {**shipped, **own}


def check(policy: Policy) -> None:
    """Refuse a policy that would leave silence unheard. Raises BadPolicy."""
    faults = [
        wording.fault(wording.pointer(("level", number)), "bad-level", f"第 {number + 1} 级：{complaint}")
        for number, complaint in _level_complaints(policy)
    ]
    if not any(level.order >= 0 and {COORDINATORS, COUNTY} & {*level.tell} for level in policy.level):
        complaint = "届满之后须有一级告知联席会议办公室或县政府，否则逾期无人过问"
        faults.append(wording.fault("/level", "ends-nowhere", complaint))
    if faults:
        raise BadPolicy(wording.said(faults), errors=tuple(faults))


def put(s: PolicyFile, policy: Policy, *, by: Actor, at: Moment) -> Change:
    """Put a policy in place; clocks that run follow it from now on. Raises NoSuchPolicy, BadPolicy."""
    if policy.id not in s.limits and policy.id not in (DAYS, HOURS):
        raise NoSuchPolicy
    check(policy)
    levels = [level.model_dump(mode="json", exclude_defaults=True) for level in policy.level]
    row = EscalationPolicy(id=policy.id, name=policy.name, levels=levels, version=s.head.version + 1)
    event = said.PolicySet(policy=row.id, version=row.version)
    return Change().putting(row).telling(event, on=s.head, by=by, at=at)


def serving(policies: Mapping[str, Policy], rule: str, unit: Unit) -> Policy:
    """The policy of a rule: its own, or the one for clocks that count as it does."""
    return policies.get(rule) or policies[HOURS if unit is Unit.HOURS else DAYS]


def of(policies: Mapping[str, Policy], id_: str, known: Mapping[str, Limit]) -> Policy:
    """A policy by its id, or the one that serves a rule without its own. Raises NotFound."""
    if id_ in policies:
        return policies[id_]
    if id_ not in known:
        raise errors.NotFound
    return serving(policies, id_, known[id_].unit)


def _level_complaints(policy: Policy) -> Iterator[tuple[int, str]]:
    for number, level in enumerate(policy.level):
        if [level.half, level.working_days is not None, level.hours is not None].count(True) != 1:
            yield number, "half、working_days、hours 须写且只写其一"
        for word in level.tell:
            if word not in TELLS:
                yield number, f"“{wording.shown(word)}”不是可告知的对象"
        if {*level.tell} <= {"awaits"}:
            yield number, "未必有等候单位，须另有告知对象"
        if level.letter and level.order <= 0:
            yield number, "届满之前不发督办函"
        if number and level.order <= policy.level[number - 1].order:
            yield number, "须晚于前一级"
