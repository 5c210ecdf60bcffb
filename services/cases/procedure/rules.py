"""The moves of a case: what the table allows, guard by guard, and what each becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from libs.common import errors, wording
from libs.common.change import Change, Head
from libs.common.clock import Moment
from libs.common.contracts import cases as said
from libs.common.contracts.event import Event
from libs.common.permit import Actor, Role
from services.cases.intake.rules import CaseFile
from services.cases.intake.tables import Case, Handler
from services.cases.law import procedure
from services.cases.law.procedure import Guard, Move
from services.cases.people.rules import Crew
from services.cases.register import rules as register
from services.cases.register.rules import Competence
from services.cases.register.tables import Agency

Decision = Literal["penalty", "no_penalty", "not_established"]


class NoSuchMove(errors.Conflict):
    """The case is not at a stage from which this move leaves."""

    code = "no-such-move"
    title = "案件当前阶段不能进行该流转"


class OpenTransfer(errors.RuleBroken):
    """A transfer of the case waits for an answer: it moves when that is settled."""

    code = "open-transfer"
    title = "案件有待接收的移送，须先接收、退回或撤回"


class WrongRole(errors.NotPermitted):
    """The move is another role's, or another agency's."""

    code = "wrong-role"
    title = "该流转不由您进行"


class ApproverHandles(errors.RuleBroken):
    """Who approves the decision also handles the case."""

    code = "approver-handles"
    title = "审批人不得是本案承办人员"


@dataclass(frozen=True, slots=True)
class Proceeding:
    """A case with all that its next move may depend on."""

    file: CaseFile
    agency: Agency  #: of the holder
    competence: Competence
    crew: Crew  #: the officers named in the request
    handlers: tuple[str, ...]
    number: Head  #: the counter of the number that the move will give, see `numbered`


@dataclass(frozen=True, slots=True)
class Step:
    """A move as it is asked for."""

    move: Move
    by: Actor
    at: Moment
    day: date
    reason: str = ""
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Option:
    """A move that leaves the present stage, and what blocks it for this person now."""

    move: Move
    blocks: tuple[errors.Refusal, ...]


def needed(name: str, given: Mapping[str, object]) -> Move:
    """The move of this name, if what is given is what it needs, no more and no less. Raises Malformed."""
    move = procedure.load().moves.get(name)
    if move is None:
        raise errors.Malformed(errors=(wording.fault("/move", "no-such-move", "没有这项流转"),))
    brought = {need for need in procedure.NEEDS if given.get(need)}
    faults = [
        *(wording.fault(f"/{need}", "missing", "缺少必填项") for need in sorted(move.needs - brought)),
        *(
            wording.fault(f"/{need}", "not-needed", f"「{move.zh}」不需要此项")
            for need in sorted(brought - move.needs)
        ),
    ]
    if faults:
        raise errors.Malformed(errors=tuple(faults))
    return move


def take(s: Proceeding, step: Step) -> Change:
    """Make a move. Raises NotHolder, WrongRole, NoSuchMove, or the refusal of a guard that does not hold."""
    s.file.require_holder(step.by.agency)
    move = step.move
    if refusal := _not_theirs(s, step):
        raise refusal
    if s.file.case.stage not in move.from_:
        raise NoSuchMove(f"「{move.zh}」不能从当前阶段进行", stage=s.file.case.stage)
    for guard in move.guards:
        _GUARDS[guard.name](s, step, guard)
    case, event = _EFFECTS[move.name](s, step)
    case = case.but(last_acted_on=step.day)
    # Whoever handles the case by an act of their own is one of its handlers, named in it or not.
    acting = [step.by.person] if move.who is Role.HANDLER else []
    handlers = [Handler(case=case.id, officer=person) for person in (*s.crew.named, *acting)]
    change = Change().owning(s.file.head).putting(case, *handlers).relying_on(*s.crew.heads)
    if "power_held" in {guard.name for guard in move.guards}:
        change = change.relying_on(s.competence.head)
    if move.name in _NUMBERED:
        change = change.owning(s.number)
    private = {"reason": step.reason, "officers": list(s.crew.named), "stage": case.stage}
    return change.telling(event, on=s.file.head, by=step.by, at=step.at, acted_on=step.day, private=private)


def options(s: Proceeding, by: Actor, at: Moment) -> list[Option]:
    """What `by` may do now, and what blocks the rest: every refusal with its article.

    Officers are named only when a move is made, so `s.crew` holds here all whom the holder could name.
    """
    found = []
    for move in procedure.load().from_stage(s.file.case.stage):
        step = Step(move, by, at, at.day)
        theirs = _not_theirs(s, step)
        found.append(Option(move, (*([theirs] if theirs else []), *_refusals(s, step))))
    return found


def _not_theirs(s: Proceeding, step: Step) -> WrongRole | None:
    if step.by.agency == s.file.case.holder and step.by.is_a(step.move.who):
        return None
    return WrongRole(f"「{step.move.zh}」由承办单位的{_WHO[step.move.who]}进行", who=step.move.who.value)


def _refusals(s: Proceeding, step: Step) -> list[errors.RuleBroken]:
    refusals = []
    for guard in step.move.guards:
        try:
            _GUARDS[guard.name](s, step, guard)
        except errors.RuleBroken as refusal:
            refusals.append(refusal)
    return refusals


def counter_of(holder: str, move: str, day: date) -> tuple[str, str] | None:
    """The counter whose next value numbers this move: per agency, year and kind, without a gap."""
    kind = _NUMBERED.get(move)
    return ("counter", f"{holder}/{day.year}/{kind}") if kind else None


def _power_held(s: Proceeding, step: Step, guard: Guard) -> None:
    s.competence.require(s.agency, step.day)


def _within_territory(s: Proceeding, step: Step, guard: Guard) -> None:
    register.require_within(s.agency, s.file.case.territory)


def _two_officers(s: Proceeding, step: Step, guard: Guard) -> None:
    s.crew.require(s.agency, step.day)


def _no_open_transfer(s: Proceeding, step: Step, guard: Guard) -> None:
    if waiting := s.file.case.open_transfer:
        raise OpenTransfer(basis=guard.basis, transfer=waiting)


def _undisputed(s: Proceeding, step: Step, guard: Guard) -> None:
    s.file.require_undisputed(guard.basis)


def _undisputed_or_leading(s: Proceeding, step: Step, guard: Guard) -> None:
    if s.file.case.lead != s.agency.id:
        s.file.require_undisputed(guard.basis)


def _approver_apart(s: Proceeding, step: Step, guard: Guard) -> None:
    if step.by.person in s.handlers:
        raise ApproverHandles(basis=guard.basis)


#: A guard of the table is a function of this name; a test holds the two against each other.
_GUARDS: Mapping[str, Callable[[Proceeding, Step, Guard], None]] = {
    "power_held": _power_held,
    "within_territory": _within_territory,
    "two_officers": _two_officers,
    "no_open_transfer": _no_open_transfer,
    "undisputed": _undisputed,
    "undisputed_or_leading": _undisputed_or_leading,
    "approver_apart": _approver_apart,
}


def _filed(s: Proceeding, step: Step) -> tuple[Case, Event]:
    standing = s.competence.require(s.agency, step.day)
    number = f"{s.agency.name}立〔{step.day.year}〕第{s.number.version + 1}号"
    case = s.file.case.but(stage=step.move.to, no=number, filed_on=step.day, in_name_of=standing.in_name_of)
    return case, said.CaseFiled(
        case=case.id,
        case_no=case.no,
        holder=case.holder,
        in_name_of=case.in_name_of,
        power=case.power,
        territory=case.territory,
        filed_on=step.day,
    )


def _rejected(s: Proceeding, step: Step) -> tuple[Case, Event]:
    case = s.file.case.but(stage=step.move.to)
    return case, said.ClueRejected(case=case.id, holder=case.holder, basis=step.move.basis)


def _investigated(s: Proceeding, step: Step) -> tuple[Case, Event]:
    case = s.file.case.but(stage=step.move.to)
    return case, said.InvestigationOpened(case=case.id, holder=case.holder)


def _decided(s: Proceeding, step: Step) -> tuple[Case, Event]:
    assert step.decision is not None  # `needs` of the table: the request brings it
    number = f"{s.agency.name}罚决〔{step.day.year}〕第{s.number.version + 1}号"
    case = s.file.case.but(
        stage=step.move.to, decision=step.decision, decision_no=number, decided_on=step.day
    )
    return case, said.DecisionMade(
        case=case.id,
        holder=case.holder,
        decision_no=number,
        decision=step.decision,
        decided_on=step.day,
    )


def _closed(s: Proceeding, step: Step) -> tuple[Case, Event]:
    case = s.file.case.but(stage=step.move.to, closed_on=step.day)
    return case, said.CaseClosed(case=case.id, holder=case.holder, closed_on=step.day)


_EFFECTS: Mapping[str, Callable[[Proceeding, Step], tuple[Case, Event]]] = {
    "file": _filed,
    "reject": _rejected,
    "investigate": _investigated,
    "decide": _decided,
    "close": _closed,
}
_NUMBERED: Mapping[str, str] = {"file": "立案", "decide": "决定"}
_WHO: Mapping[Role, str] = {Role.HANDLER: "承办人员", Role.APPROVER: "审批负责人"}
