"""What `cases` says: agencies, officers, powers and grants, and everything that happens to a case."""

from __future__ import annotations

from datetime import date
from typing import ClassVar, Literal

from libs.common.contracts.event import Event

SOURCE = "/services/cases"

AgencyKind = Literal["government", "department", "township", "street"]
Urgency = Literal["normal", "urgent"]
AssistanceKind = Literal["documents", "identification", "presence", "inspection", "other"]


class _Ours(Event):
    """An event that `cases` says."""

    SOURCE: ClassVar[str] = SOURCE


class AgencyRegistered(_Ours):
    """机关登记: an agency of the county is known from now on."""

    TYPE: ClassVar[str] = "liandong.agency.registered.v1"
    agency: str
    name: str
    kind: AgencyKind
    division: str
    coordinates: bool  #: its coordinators see every case of the county (联席会议办公室)


class OfficerCertified(_Ours):
    """执法证件生效: an officer of the agency holds a valid certificate; neither is named on the wire."""

    TYPE: ClassVar[str] = "liandong.officer.certified.v1"
    agency: str
    valid_from: date
    valid_to: date


class PowerPublished(_Ours):
    """职权事项公布: a power of a county department is in the list."""

    TYPE: ClassVar[str] = "liandong.power.published.v1"
    power: str
    name: str
    department: str
    basis: str


class GrantEffected(_Ours):
    """赋权生效: a township may decide this power from `effective_on`."""

    TYPE: ClassVar[str] = "liandong.grant.effected.v1"
    grant: str
    power: str
    agency: str
    department: str
    mode: Literal["conferred", "delegated"]
    effective_on: date


class GrantRecalled(_Ours):
    """赋权收回: from `recalled_on` the township may no longer decide this power."""

    TYPE: ClassVar[str] = "liandong.grant.recalled.v1"
    grant: str
    power: str
    agency: str
    department: str
    recalled_on: date


class ClueRegistered(_Ours):
    """线索登记: a case begins; `holder` is the first receiver and keeps it until another signs."""

    TYPE: ClassVar[str] = "liandong.clue.registered.v1"
    case: str
    holder: str
    power: str
    territory: str
    clue_source: str
    urgency: Urgency


class ClueRejected(_Ours):
    """不予立案: the holder does not file, with a reason."""

    TYPE: ClassVar[str] = "liandong.clue.rejected.v1"
    case: str
    holder: str
    basis: str


class CaseFiled(_Ours):
    """立案."""

    TYPE: ClassVar[str] = "liandong.case.filed.v1"
    case: str
    case_no: str
    holder: str
    in_name_of: str  #: whose name stands on the decision: the holder, or the delegating department (20)
    power: str
    territory: str
    filed_on: date


class InvestigationOpened(_Ours):
    """调查取证开始."""

    TYPE: ClassVar[str] = "liandong.investigation.opened.v1"
    case: str
    holder: str


class DecisionMade(_Ours):
    """作出决定."""

    TYPE: ClassVar[str] = "liandong.decision.made.v1"
    case: str
    holder: str
    decision_no: str
    decision: Literal["penalty", "no_penalty", "not_established"]
    decided_on: date


class CaseClosed(_Ours):
    """结案."""

    TYPE: ClassVar[str] = "liandong.case.closed.v1"
    case: str
    holder: str
    closed_on: date


class TransferOffered(_Ours):
    """移送: the sender still holds the case until the recipient accepts."""

    TYPE: ClassVar[str] = "liandong.transfer.offered.v1"
    case: str
    transfer: str
    from_agency: str
    to_agency: str
    power: str
    territory: str
    stage: str
    urgency: Urgency


class TransferAccepted(_Ours):
    """接收移送: `to_agency` holds the case from now on."""

    TYPE: ClassVar[str] = "liandong.transfer.accepted.v1"
    case: str
    transfer: str
    from_agency: str
    to_agency: str


class TransferReturned(_Ours):
    """退回移送: declined, with reason, basis and the agency that should have it; the sender holds on."""

    TYPE: ClassVar[str] = "liandong.transfer.returned.v1"
    case: str
    transfer: str
    from_agency: str
    to_agency: str
    reason: str  #: a code of the reasons table
    basis: str  #: the articles cited, and nothing else that was written
    proposed_agency: str


class TransferWithdrawn(_Ours):
    """撤回移送: the sender took the offer back before it was accepted."""

    TYPE: ClassVar[str] = "liandong.transfer.withdrawn.v1"
    case: str
    transfer: str
    from_agency: str
    to_agency: str


class AssistanceRequested(_Ours):
    """请求协助: the holder asks another agency for help in a case; it holds the case as before."""

    TYPE: ClassVar[str] = "liandong.assistance.requested.v1"
    case: str
    assistance: str
    holder: str  #: waits for the answer
    requested_agency: str  #: must answer
    letter_no: str
    form: Literal["papers", "action"]  #: papers to be sent, or something to be done
    kinds: tuple[AssistanceKind, ...]  #: of what is asked, each once
    items: int
    power: str  #: the power of the requested agency by which it is asked; empty where none is named
    urgency: Urgency
    due: date | None = None  #: the day by which the answer is asked for, where a person set one


class AssistanceReplied(_Ours):
    """答复协助: every item was answered."""

    TYPE: ClassVar[str] = "liandong.assistance.replied.v1"
    case: str
    assistance: str
    holder: str
    requested_agency: str
    provided: int  #: items that were provided
    lacking: int  #: items that do not exist, or are not with this agency


class AssistanceRefused(_Ours):
    """不予协助: the requested agency refuses, with ground and article."""

    TYPE: ClassVar[str] = "liandong.assistance.refused.v1"
    case: str
    assistance: str
    holder: str
    requested_agency: str
    ground: str  #: a code of the grounds table
    basis: str  #: the articles cited, and nothing else that was written


class AssistanceExtended(_Ours):
    """延期答复协助: the requested agency says in writing until when it will answer."""

    TYPE: ClassVar[str] = "liandong.assistance.extended.v1"
    case: str
    assistance: str
    holder: str
    requested_agency: str
    until: date


class AssistanceWithdrawn(_Ours):
    """撤回协助请求: the holder no longer needs the answer."""

    TYPE: ClassVar[str] = "liandong.assistance.withdrawn.v1"
    case: str
    assistance: str
    holder: str
    requested_agency: str


class DisputeOpened(_Ours):
    """管辖争议: until it is settled nobody acts alone on the case, but who is named to lead for safety."""

    TYPE: ClassVar[str] = "liandong.dispute.opened.v1"
    case: str
    dispute: str
    transfer: str  #: the returned transfer over which they differ
    parties: tuple[str, ...]  #: who offered it, and who declined it
    coordinator: str  #: must accept it
    holder: str  #: holds the case as before
    opened_by: str  #: who brought it; empty where the second disagreement opened it by itself
    power: str
    territory: str
    stage: str
    returns: int  #: how often the case has been returned so far
    urgency: Urgency


class DisputeProposed(_Ours):
    """提出协商意见: a party says to which of the two the case should go; the other has not said the same."""

    TYPE: ClassVar[str] = "liandong.dispute.proposed.v1"
    case: str
    dispute: str
    parties: tuple[str, ...]
    coordinator: str
    agency: str  #: who proposes
    competent_agency: str  #: whom it proposes


class DisputeSettled(_Ours):
    """协商一致: the parties agree, and `competent_agency` holds the case from now on."""

    TYPE: ClassVar[str] = "liandong.dispute.settled.v1"
    case: str
    dispute: str
    parties: tuple[str, ...]
    coordinator: str
    former_holder: str  #: may be the same
    competent_agency: str


class DisputeAccepted(_Ours):
    """受理争议: the coordinator takes it up."""

    TYPE: ClassVar[str] = "liandong.dispute.accepted.v1"
    case: str
    dispute: str
    parties: tuple[str, ...]
    coordinator: str  #: must forward the papers


class DisputeForwarded(_Ours):
    """转送争议材料: a party is asked to reply."""

    TYPE: ClassVar[str] = "liandong.dispute.forwarded.v1"
    case: str
    dispute: str
    parties: tuple[str, ...]
    coordinator: str  #: waits for the reply
    to_agency: str  #: must reply
    due: date | None = None  #: the day by which the coordinator asks for it, where one was set


class DisputeReplied(_Ours):
    """争议答复: the party that was asked has replied."""

    TYPE: ClassVar[str] = "liandong.dispute.replied.v1"
    case: str
    dispute: str
    parties: tuple[str, ...]
    coordinator: str
    agency: str  #: who replied


class DisputeLeadNamed(_Ours):
    """指定先行处置: for public or personal safety `lead` holds the case, and may act, until it is settled."""

    TYPE: ClassVar[str] = "liandong.dispute.lead_named.v1"
    case: str
    dispute: str
    parties: tuple[str, ...]
    coordinator: str
    former_holder: str  #: may be the same
    lead: str


class DisputeRuled(_Ours):
    """行政执法协调意见: binding; `competent_agency` holds the case from now on."""

    TYPE: ClassVar[str] = "liandong.dispute.ruled.v1"
    case: str
    dispute: str
    parties: tuple[str, ...]
    coordinator: str
    former_holder: str  #: may be the same
    competent_agency: str
    opinion_no: str
    basis: str  #: the articles cited, and nothing else that was written
