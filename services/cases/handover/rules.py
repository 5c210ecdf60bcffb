"""Transfer (移送): exactly one holder at every moment.

An offer changes nothing about who holds the case. The sender holds it until the recipient accepts; a
return or a withdrawal leaves it where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from libs.common import errors
from libs.common.change import Change
from libs.common.clock import Moment
from libs.common.contracts import cases as said
from libs.common.law import basis
from libs.common.permit import Actor
from services.cases.dispute import rules as dispute
from services.cases.handover.tables import Transfer
from services.cases.intake.rules import CaseFile
from services.cases.intake.tables import Case
from services.cases.people.rules import Crew
from services.cases.register import rules as register
from services.cases.register.rules import Competence, NotRegistered
from services.cases.register.tables import Agency

#: A case may be offered from the clue until the decision.
BEFORE_DECISION = frozenset({"registered", "filed", "investigating"})
PROMPT = "行政处罚法第二十二条"
WITH_GROUNDS = "行政处罚法第二十五条第二款"

#: Why a recipient declines (退回理由), by code.
RETURN_REASONS: Mapping[str, str] = {
    "not_competent": "本机关对该事项无管辖权",
    "package_incomplete": "移送材料不齐全",
    "filed_elsewhere": "另有机关最先立案",
    "facts_unclear": "基本事实不清，不足以判断管辖",
}


class TransferOpen(errors.Conflict):
    """The case is already on offer."""

    code = "transfer-open"
    title = "案件已有待接收的移送"


class NotOffered(errors.Conflict):
    """The transfer is not waiting: it was accepted, returned or withdrawn."""

    code = "not-offered"
    title = "该移送已处理，不再等待答复"


class NotTransferable(errors.RuleBroken):
    """The case is past the stages in which it may be handed over."""

    code = "not-transferable"
    title = "案件已作出决定或已终结，不得移送"


class RulingBinds(errors.RuleBroken):
    """A binding opinion says whose the case is, and no new facts are named that would change it."""

    code = "ruling-binds"
    title = "协调意见已确定管辖机关，无新的事实不得另行移送"


class NotDisputable(errors.Conflict):
    """What can be brought before the coordinator is the newest transfer, once, when it was returned."""

    code = "not-disputable"
    title = "只有最近一次被退回且未提请协调的移送可以提请协调"


class UngroundedReturn(errors.RuleBroken):
    """A return names no legal basis."""

    code = "ungrounded-return"
    title = "退回须写明法律依据（条文）"


@dataclass(frozen=True, slots=True)
class Offering:
    """What an offer depends on."""

    file: CaseFile
    sender: Agency
    recipient: Agency | None
    crew: Crew


@dataclass(frozen=True, slots=True)
class Handover:
    """A transfer with its case: what accepting, returning and withdrawing depend on."""

    file: CaseFile
    transfer: Transfer
    recipient: Agency
    competence: Competence
    proposed: Agency | None = None
    coordinator: str = ""  #: who must accept a dispute; loaded where one may be opened

    def waiting(self) -> Transfer:
        """The transfer, if it still waits for an answer. Raises NotOffered."""
        if self.transfer.state != "offered":
            raise NotOffered(state=self.transfer.state)
        return self.transfer


@dataclass(frozen=True, slots=True)
class Package:
    """What goes with a case (移送材料): papers, first evidence, goods list, ground."""

    papers: tuple[Mapping[str, Any], ...]
    evidence: tuple[Mapping[str, Any], ...]
    goods: tuple[Mapping[str, Any], ...]
    ground: str
    new_facts: str = ""  #: for which a case is another's than a binding opinion says


def offer(s: Offering, package: Package, *, by: Actor, at: Moment, acted_on: date | None = None) -> Change:
    """Offer the case to another agency; the sender holds on.

    Raises NotHolder, TransferOpen, NotTransferable, DisputeOpen, NotRegistered, RulingBinds, TooFewOfficers.
    """
    s.file.require_holder(by.agency)
    case = s.file.case
    if case.open_transfer:
        raise TransferOpen(transfer=case.open_transfer)
    if case.stage not in BEFORE_DECISION:
        raise NotTransferable(basis=PROMPT, stage=case.stage)
    s.file.require_undisputed(WITH_GROUNDS)
    if s.recipient is None or s.recipient.id == by.agency:
        raise NotRegistered("接收机关未登记，或就是移送机关本身")
    if case.ruled_to not in ("", s.recipient.id) and not package.new_facts:
        raise RulingBinds(basis=WITH_GROUNDS, competent_agency=case.ruled_to)
    day = s.file.day_of(acted_on, at)
    s.crew.require(s.sender, day)
    transfer = Transfer(
        id=f"{case.id}.t{case.transfer_count + 1}",
        case=case.id,
        from_agency=by.agency,
        to_agency=s.recipient.id,
        state="offered",
        package={
            "papers": list(package.papers),
            "evidence": list(package.evidence),
            "goods": list(package.goods),
        },
        recipient_was=s.file.relation_of(s.recipient.id) or "",
        officers=list(s.crew.named),
        ground=package.ground,
        new_facts=package.new_facts,
        offered_on=day,
        offered_at=at.now,
    )
    event = said.TransferOffered(
        case=case.id,
        transfer=transfer.id,
        from_agency=transfer.from_agency,
        to_agency=transfer.to_agency,
        power=case.power,
        territory=case.territory,
        stage=case.stage,
        urgency=case.urgency,  # type: ignore[arg-type]
    )
    case = case.but(open_transfer=transfer.id, transfer_count=case.transfer_count + 1, last_acted_on=day)
    change = Change().inserting(transfer).putting(case, s.file.party(transfer.to_agency, "recipient"))
    private: dict[str, Any] = {
        "ground": transfer.ground,
        "package": transfer.package,
        "officers": transfer.officers,
        **({"new_facts": transfer.new_facts} if transfer.new_facts else {}),
    }
    change = change.relying_on(*s.crew.heads)
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day, private=private)


def accept(s: Handover, *, by: Actor, at: Moment, acted_on: date | None = None) -> Change:
    """Take the case over: from this commit on the recipient holds it and the sender cannot act on it.

    Raises NotOffered; BeyondPower where the recipient does not hold the power on the day, a township by its
    grant, a department by statute; OutsideTerritory.
    """
    transfer = s.waiting()
    day = s.file.day_of(acted_on, at)
    standing = s.competence.require(s.recipient, day)
    register.require_within(s.recipient, s.file.case.territory)
    case = s.file.case.but(open_transfer="", last_acted_on=day)
    change = (
        s.file.passing(case, transfer.to_agency, standing.in_name_of)
        .putting(transfer.but(state="accepted", closed_on=day))
        .relying_on(s.competence.head)
    )
    event = said.TransferAccepted(**_parts(transfer))
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day)


def give_back(
    s: Handover,
    *,
    reason: str,
    legal_basis: str,
    note: str,
    by: Actor,
    at: Moment,
    acted_on: date | None = None,
) -> Change:
    """Decline the case (退回), with reason, legal basis and the agency that should have it.

    The second time that a case is returned it is disputed whose it is, from this commit on. Raises
    NotOffered, UngroundedReturn, NotRegistered.
    """
    transfer = s.waiting()
    cited = basis.cited(legal_basis)
    if not cited:
        raise UngroundedReturn(basis=WITH_GROUNDS)
    if s.proposed is None:
        raise NotRegistered("建议管辖机关未登记")
    day = s.file.day_of(acted_on, at)
    closed = transfer.but(
        state="returned",
        closed_on=day,
        return_reason=reason,
        return_basis="、".join(cited),
        proposed_agency=s.proposed.id,
        note=note,
    )
    # Only the citations are published: what else an official writes may name people.
    event = said.TransferReturned(
        **_parts(transfer), reason=reason, basis=closed.return_basis, proposed_agency=s.proposed.id
    )
    returned = s.file.case.but(returns=s.file.case.returns + 1)
    change = _closing(s, returned, closed, day)
    private = {"note": note, "basis": legal_basis}
    change = change.telling(event, on=s.file.head, by=by, at=at, acted_on=day, private=private)
    if returned.returns < dispute.DISAGREEMENTS:
        return change
    began, opened = dispute.begin(
        s.file,
        change.written(Case),
        (closed.from_agency, closed.to_agency),
        s.coordinator,
        transfer=closed.id,
        was=closed.recipient_was or "returned",
        at=at,
        day=day,
    )
    change = Change.all_of([change, began.putting(closed.but(dispute=opened.dispute))])
    return change.telling(opened, on=s.file.head, by=by, at=at, acted_on=day)


def contest(s: Handover, *, ground: str, by: Actor, at: Moment, acted_on: date | None = None) -> Change:
    """Bring a returned transfer before the coordinator: whose is the case?

    Raises NotDisputable, NotTransferable.
    """
    transfer, case = s.transfer, s.file.case
    newest = transfer.id == f"{case.id}.t{case.transfer_count}"
    if transfer.state != "returned" or transfer.dispute or not newest:
        raise NotDisputable(state=transfer.state)
    if case.stage not in BEFORE_DECISION:
        raise NotTransferable(basis=PROMPT, stage=case.stage)
    day = s.file.day_of(acted_on, at)
    began, opened = dispute.begin(
        s.file,
        case,
        (transfer.from_agency, transfer.to_agency),
        s.coordinator,
        transfer=transfer.id,
        was=s.file.relation_of(transfer.to_agency) or "returned",
        opened_by=by.agency,
        ground=ground,
        at=at,
        day=day,
    )
    change = began.putting(transfer.but(dispute=opened.dispute))
    return change.telling(opened, on=s.file.head, by=by, at=at, acted_on=day, private={"ground": ground})


def withdraw(s: Handover, *, note: str, by: Actor, at: Moment, acted_on: date | None = None) -> Change:
    """Take an offer back before it is accepted. Raises NotOffered."""
    transfer = s.waiting()
    day = s.file.day_of(acted_on, at)
    closed = transfer.but(state="withdrawn", closed_on=day, note=note)
    change = _closing(s, s.file.case, closed, day)
    event = said.TransferWithdrawn(**_parts(transfer))
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day, private={"note": note})


def _closing(s: Handover, case: Case, closed: Transfer, day: date) -> Change:
    """The offer ends, and its recipient is again what it was to the case before."""
    case = case.but(open_transfer="", last_acted_on=day)
    was = s.file.party(closed.to_agency, closed.recipient_was or "returned")
    return Change().putting(case, closed, was)


def _parts(transfer: Transfer) -> dict[str, str]:
    return {
        "case": transfer.case,
        "transfer": transfer.id,
        "from_agency": transfer.from_agency,
        "to_agency": transfer.to_agency,
    }
