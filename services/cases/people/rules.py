"""At least two officers with certificates valid on the day of the act (行政处罚法 42)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from libs.common import errors
from libs.common.change import Change, Head
from libs.common.clock import Moment
from libs.common.contracts import cases as said
from libs.common.permit import Actor
from services.cases.people.tables import Officer
from services.cases.register.rules import AlreadyRegistered, NotRegistered
from services.cases.register.tables import Agency

TWO_OFFICERS = "行政处罚法第四十二条第一款"
#: How many officers an act needs at least.
FEWEST = 2


class TooFewOfficers(errors.RuleBroken):
    """Fewer than two different officers of the agency, certified on the day of the act."""

    code = "too-few-officers"
    title = "执法人员不足两人或不具有行政执法资格"


@dataclass(frozen=True, slots=True)
class Crew:
    """The officers named for an act, as the register knows them."""

    named: tuple[str, ...]
    officers: tuple[Officer, ...]
    heads: tuple[Head, ...]

    def require(self, agency: Agency, day: date) -> None:
        """At least two of them, all of `agency`, all certified on `day`. Raises TooFewOfficers."""
        known = {officer.id: officer for officer in self.officers if officer.agency == agency.id}
        unfit = [n for n in self.named if n not in known or not known[n].is_certified_on(day)]
        if unfit or len(set(self.named)) < FEWEST:
            raise TooFewOfficers(
                f"须有不少于两名{agency.name}的执法人员，且执法证在{day.isoformat()}有效",
                basis=TWO_OFFICERS,
                unfit=sorted(set(unfit)),
            )


def certified(officers: Sequence[Officer], day: date) -> list[Officer]:
    """Those who may act on `day`."""
    return [officer for officer in officers if officer.is_certified_on(day)]


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What entering an officer depends on."""

    head: Head
    agency: Agency | None
    is_certificate_taken: bool


def register_officer(s: Enrolment, officer: Officer, *, by: Actor, at: Moment) -> Change:
    """Enter an officer with a certificate. Raises NotRegistered, AlreadyRegistered."""
    if s.agency is None:
        raise NotRegistered("执法人员所在机关未登记")
    if not s.head.is_new:
        raise AlreadyRegistered
    if s.is_certificate_taken:
        raise AlreadyRegistered("该执法证号已登记")
    event = said.OfficerCertified(
        agency=officer.agency, valid_from=officer.valid_from, valid_to=officer.valid_to
    )
    private = {"officer": officer.id, "name": officer.name, "certificate": officer.certificate}
    return Change().inserting(officer).telling(event, on=s.head, by=by, at=at, private=private)
