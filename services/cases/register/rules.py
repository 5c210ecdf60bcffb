"""Who may act: powers, grants and competence on a day, at a place (行政处罚法 17, 20, 22, 23, 24)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Self

from libs.common import errors, wording
from libs.common.change import Change, Head
from libs.common.clock import Moment
from libs.common.contracts import cases as said
from libs.common.law import codes
from libs.common.permit import Actor
from services.cases.register.tables import Agency, Grant, Power

BY_STATUTE = "行政处罚法第十七条、行政处罚法第二十三条"
BY_CONFERRAL = "行政处罚法第二十四条第一款"
BY_DELEGATION = "行政处罚法第二十条"
BY_PLACE = "行政处罚法第二十二条"
NEVER_DELEGATED = "行政强制法第十七条第一款"
#: Digits 3-4 of the code of a compulsory measure (行政强制).
COMPULSION = "03"


class BeyondPower(errors.RuleBroken):
    """The agency does not hold the power on the day of the act."""

    code = "beyond-power"
    title = "该机关在行为日不具有该项职权"


class ContestedPower(errors.RuleBroken):
    """Two grants of one power to one agency overlap: nobody files until they are split."""

    code = "contested-power"
    title = "该项职权的赋权记录重叠，须先厘清"


class OutsideTerritory(errors.RuleBroken):
    """The act took place where the agency does not act."""

    code = "outside-territory"
    title = "违法行为发生地不在该机关辖区内"

    @classmethod
    def of(cls, agency: Agency, territory: str) -> Self:
        """The refusal for this agency at this place."""
        return cls(f"{territory}不在{agency.name}辖区内", basis=BY_PLACE, territory=territory)


class NotDelegable(errors.RuleBroken):
    """A compulsory measure cannot be delegated."""

    code = "not-delegable"
    title = "行政强制措施权不得委托"


class FirstCoordinates(errors.Conflict):
    """The first agency of a register must be the office that keeps it, or nobody could go on."""

    code = "first-coordinates"
    title = "名录中登记的第一个机关须为联席会议办公室"


class OverlappingGrant(errors.RuleBroken):
    """The agency already holds this power on a day of the new grant."""

    code = "overlapping-grant"
    title = "该机关已被赋予该项职权，赋权期间重叠"


class AlreadyRegistered(errors.Conflict):
    """A thing with this number exists."""

    code = "already-registered"
    title = "该编号已登记"


class NotRegistered(errors.Conflict):
    """What the request names is not in the register."""

    code = "not-registered"
    title = "所指对象未在名录中登记"


class AlreadyRecalled(errors.Conflict):
    """The grant was recalled before."""

    code = "already-recalled"
    title = "该赋权已收回"


@dataclass(frozen=True, slots=True)
class Standing:
    """How an agency stands to a power on a day: by what, and in whose name it acts."""

    agency: str
    in_name_of: str
    basis: str
    grant: str = ""


def require_within(agency: Agency, territory: str) -> None:
    """An agency acts where the act took place (22). Raises OutsideTerritory."""
    if not agency.covers(territory):
        raise OutsideTerritory.of(agency, territory)


@dataclass(frozen=True, slots=True)
class Competence:
    """One power with all its grants, as one stream: what is decided on it relies on its version."""

    head: Head
    power: Power | None
    grants: tuple[Grant, ...] = ()

    def require(self, agency: Agency, day: date) -> Standing:
        """How `agency` may act on `day`. Raises BeyondPower or ContestedPower, with the article."""
        if self.power is None:
            raise BeyondPower("该职权事项不在本县职权清单内", basis=BY_STATUTE)
        if not agency.is_township:
            return self._by_statute(agency)
        held = [grant for grant in self.grants if grant.agency == agency.id and grant.holds_on(day)]
        if not held:
            raise BeyondPower(
                f"{agency.name}在{day.isoformat()}未被赋予「{self.power.name}」，不得以该事项办案",
                basis=BY_CONFERRAL,
                power=self.power.code,
            )
        if len(held) > 1:
            raise ContestedPower(basis=BY_CONFERRAL, power=self.power.code)
        return self._by_grant(held[0])

    def refusals(self, agency: Agency, day: date, territory: str | None = None) -> list[errors.RuleBroken]:
        """Why `agency` may not act on `day`, at that place if one is named; empty where it may."""
        found: list[errors.RuleBroken] = []
        try:
            self.require(agency, day)
        except errors.RuleBroken as refusal:
            found.append(refusal)
        if territory and not agency.covers(territory):
            found.append(OutsideTerritory.of(agency, territory))
        return found

    def _by_statute(self, agency: Agency) -> Standing:
        assert self.power is not None
        if agency.id != self.power.department:
            raise BeyondPower(
                f"「{self.power.name}」的法定主管部门不是{agency.name}",
                basis=BY_STATUTE,
                power=self.power.code,
            )
        return Standing(agency.id, in_name_of=agency.id, basis=BY_STATUTE)

    def _by_grant(self, grant: Grant) -> Standing:
        if grant.mode == "delegated":
            return Standing(grant.agency, grant.department, BY_DELEGATION, grant.id)
        return Standing(grant.agency, grant.agency, BY_CONFERRAL, grant.id)


def register_agency(
    head: Head, agency: Agency, *, name: Head, is_first: bool, by: Actor, at: Moment
) -> Change:
    """Enter an agency in the register. Raises AlreadyRegistered, FirstCoordinates."""
    if not head.is_new:
        raise AlreadyRegistered
    if not name.is_new:
        # Case numbers carry the agency's name, so two of one name would number two cases alike.
        raise AlreadyRegistered("名录中已有同名机关")
    if is_first and not agency.coordinates:
        raise FirstCoordinates
    event = said.AgencyRegistered(
        agency=agency.id,
        name=agency.name,
        kind=agency.kind,  # type: ignore[arg-type]
        division=agency.division,
        coordinates=agency.coordinates,
    )
    change = Change().inserting(agency).owning(name).telling(event, on=head, by=by, at=at)
    # There is one first agency: two registrars of an empty register both make this head, and one conflicts.
    return change.owning(Head("register", "agencies")) if is_first else change


def publish_power(
    competence: Competence, department: Agency | None, power: Power, *, by: Actor, at: Moment
) -> Change:
    """Enter a department's power in the list. Raises AlreadyRegistered, NotRegistered."""
    if competence.power is not None:
        raise AlreadyRegistered
    if department is None or department.is_township:
        raise NotRegistered("职权事项的主管部门未登记，或不是县级部门")
    event = said.PowerPublished(
        power=power.code, name=power.name, department=power.department, basis=power.basis
    )
    return Change().inserting(power).telling(event, on=competence.head, by=by, at=at)


def effect_grant(
    competence: Competence, grantee: Agency | None, grant: Grant, *, by: Actor, at: Moment
) -> Change:
    """Give a power to a township from a day on; `grant` gets its id and its department here.

    Raises NotRegistered, NotDelegable, OverlappingGrant.
    """
    if competence.power is None or grantee is None or not grantee.is_township:
        raise NotRegistered("职权事项未公布，或承接单位不是已登记的乡镇（街道）")
    if grant.mode == "delegated" and codes.read_power(grant.power).type == COMPULSION:
        raise NotDelegable(basis=NEVER_DELEGATED, power=grant.power)
    overlapping = [g for g in competence.grants if g.agency == grant.agency and _overlap(g, grant)]
    if overlapping:
        raise OverlappingGrant(basis=BY_CONFERRAL, grant=overlapping[0].id)
    # Grants are never taken out of the register, so their number is the next one's.
    number = len(competence.grants) + 1
    grant = grant.but(id=f"{grant.power}.g{number}", department=competence.power.department)
    event = said.GrantEffected(
        grant=grant.id,
        power=grant.power,
        agency=grant.agency,
        department=grant.department,
        mode=grant.mode,  # type: ignore[arg-type]
        effective_on=grant.effective_on,
    )
    return Change().inserting(grant).telling(event, on=competence.head, by=by, at=at)


def recall_grant(
    competence: Competence, grant: Grant, *, on: date, document: str, by: Actor, at: Moment
) -> Change:
    """Take a power back: from `on` the township may no longer act under it. Raises AlreadyRecalled."""
    if grant.recalled_on is not None:
        raise AlreadyRecalled
    if on < grant.effective_on:
        fault = wording.fault("/recalled_on", "before-effect", "收回日期早于生效日期")
        raise errors.Malformed(errors=(fault,))
    recalled = grant.but(recalled_on=on, recall_document=document)
    event = said.GrantRecalled(
        grant=grant.id,
        power=grant.power,
        agency=grant.agency,
        department=grant.department,
        recalled_on=on,
    )
    return Change().putting(recalled).telling(event, on=competence.head, by=by, at=at)


def _overlap(one: Grant, other: Grant) -> bool:
    starts = max(one.effective_on, other.effective_on)
    return one.holds_on(starts) and other.holds_on(starts)
