"""The case as a noun, and its beginning: the registered clue (行政处罚法 54; 首接负责)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from libs.common import errors
from libs.common.change import Change, Head
from libs.common.clock import Moment
from libs.common.contracts import cases as said
from libs.common.permit import Actor
from services.cases.intake.tables import Case, Party
from services.cases.register.rules import Competence, NotRegistered
from services.cases.register.tables import Agency

DATED = "行政处罚法第四十七条"


class ImpossibleDay(errors.RuleBroken):
    """An act is dated after today or before the clue."""

    code = "impossible-day"
    title = "行为日期不成立"


class NotHolder(errors.Conflict):
    """The agency does not hold the case (any more)."""

    code = "not-holder"
    title = "本机关不是该案承办单位"


class DisputeOpen(errors.RuleBroken):
    """It is disputed whose the case is: until that is settled nobody acts alone."""

    code = "dispute-open"
    title = "案件管辖争议未决，任何一方不得单独处理"


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A case with its stream's head and its parties: what every verb on a case starts from."""

    head: Head
    case: Case
    parties: tuple[Party, ...]

    def relation_of(self, agency: str) -> str | None:
        """What `agency` is to the case, None if nothing."""
        return next((party.relation for party in self.parties if party.agency == agency), None)

    def day_of(self, acted_on: date | None, at: Moment) -> date:
        """The day of an act: not after today, not before the clue or the last act. Raises ImpossibleDay."""
        day = acted_on or at.day
        if day > at.day:
            raise ImpossibleDay("行为日期不得晚于今天", basis=DATED)
        if day < self.case.registered_on:
            raise ImpossibleDay("行为日期不得早于线索登记日期", basis=DATED)
        last = self.case.last_acted_on
        if last and day < last:
            # Else an act could be dated before the offer it answers, or before a power was recalled.
            raise ImpossibleDay(f"行为日期不得早于本案上一行为的日期 {last.isoformat()}", basis=DATED)
        return day

    def require_holder(self, agency: str) -> None:
        """Only the holder acts on the case. Raises NotHolder."""
        if agency != self.case.holder:
            raise NotHolder

    def require_undisputed(self, basis: str) -> None:
        """Nobody acts alone while it is disputed whose the case is. Raises DisputeOpen."""
        if self.case.open_dispute:
            raise DisputeOpen(basis=basis, dispute=self.case.open_dispute)

    def passing(self, case: Case, to: str, in_name_of: str) -> Change:
        """`case` as `to` holds it from this commit on, and whoever held it before has ceased to."""
        if to == self.case.holder:
            return Change().putting(case)
        if case.in_name_of:
            # A case that was filed goes on in the name in which its new holder acts (20, 24).
            case = case.but(in_name_of=in_name_of)
        parties = self.party(self.case.holder, "sender"), self.party(to, "holder")
        return Change().putting(case.but(holder=to), *parties)

    def party(self, agency: str, relation: str) -> Party:
        """The row that makes `agency` a party, or changes what it is."""
        return Party(case=self.case.id, agency=agency, relation=relation)


@dataclass(frozen=True, slots=True)
class Receiving:
    """What registering a clue depends on."""

    receiver: Agency | None
    competence: Competence


def register_clue(s: Receiving, case: Case, *, by: Actor, at: Moment) -> Change:
    """Open a case with its clue; the agency that registers it is its first holder.

    Whether the agency may decide the matter is not asked yet: the first receiver keeps the clue until another
    signs for it. Raises NotRegistered for an unknown power, ImpossibleDay.
    """
    if s.receiver is None or s.competence.power is None:
        raise NotRegistered("登记机关或所涉职权事项不在名录中")
    if case.registered_on > at.day:
        raise ImpossibleDay("线索登记日期不得晚于今天", basis=DATED)
    head = Head("case", case.id)
    event = said.ClueRegistered(
        case=case.id,
        holder=case.holder,
        power=case.power,
        territory=case.territory,
        clue_source=case.source,
        urgency=case.urgency,  # type: ignore[arg-type]
    )
    change = Change().inserting(case, Party(case=case.id, agency=case.holder, relation="holder"))
    private = {"party_name": case.party_name, "party_id": case.party_id, "summary": case.summary}
    return change.telling(event, on=head, by=by, at=at, acted_on=case.registered_on, private=private)
