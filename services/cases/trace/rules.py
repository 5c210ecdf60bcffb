"""What was done, in order, in words; and the bundle that proves it without any part of the system running."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from libs.common import errors, proof
from libs.common.change import Change, Head
from libs.common.contracts import cases as said
from libs.common.contracts.event import CATALOGUE
from libs.common.contracts.notify import NoticeReceived
from libs.common.seal import Seal, encoded
from services.cases.assistance.rules import GROUNDS
from services.cases.handover.rules import RETURN_REASONS
from services.cases.trace.tables import Signature

FORMAT = "liandong-proof-1"

#: How an agency is called, by its code.
Name = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Written:
    """A fact of the case, as the journal has it."""

    seq: int
    type: str
    public: bytes
    private: bytes
    salt: bytes
    digest: bytes
    data: Mapping[str, Any]  #: of the public part
    record: Mapping[str, Any]  #: the private part
    recorded_at: datetime
    acted_on: date


@dataclass(frozen=True, slots=True)
class Trace:
    """A case's head with all its facts, and the signatures of those who were told."""

    head: Head
    facts: tuple[Written, ...]
    signatures: tuple[Signature, ...]


def within(head: Head, signature: Signature) -> bool:
    """Whether what was signed for had happened when the head was read."""
    number = signature.event.rpartition("/")[2]
    return number.isdecimal() and int(number) <= head.seq


@dataclass(frozen=True, slots=True)
class Deed:
    """One line of the timeline: a fact, or that an agency signed for the notice of one."""

    at: datetime
    name: str
    summary: str
    agency: str
    fact: Written | None = None
    signature: Signature | None = None


def sign(event: NoticeReceived) -> Change:
    """Keep a signature for a notice about a case; the case's own stream does not move. Raises Poison."""
    kind, _, case = event.about.partition("/")
    if kind != "case":
        return Change()
    if event.event.rpartition("/")[0] != event.about:
        raise errors.Poison(f"回执所签的事件不属于该案件：{event.event}", code="incompatible")
    try:
        at = datetime.fromisoformat(event.signed_at)
    except ValueError as error:
        raise errors.Poison(f"签收时间不可识别：{event.signed_at}", code="incompatible") from error
    if at.tzinfo is None:
        raise errors.Poison(f"签收时间没有时区：{event.signed_at}", code="incompatible")
    return Change().putting(
        Signature(
            receipt=event.receipt,
            case=case,
            notice=event.notice,
            agency=event.agency,
            event=event.event,
            event_chain=event.event_chain,
            notice_digest=event.notice_digest,
            signed_at=event.signed_at,
            at=at,
            key=event.key,
            signature=event.signature,
        )
    )


def timeline(trace: Trace, name: Name) -> list[Deed]:
    """Facts in the order of the stream, with each signature at its time."""
    facts = [
        Deed(
            at=fact.recorded_at,
            name=called(fact.type),
            summary=told(fact, name),
            agency=str(fact.record["agency"]),
            fact=fact,
        )
        for fact in trace.facts
    ]
    about = {f"{trace.head.stream}/{fact.seq}": fact for fact in trace.facts}
    signatures = [
        Deed(
            at=signature.at,
            name="签收",
            summary=_signed(name(signature.agency), about.get(signature.event)),
            agency=signature.agency,
            signature=signature,
        )
        for signature in trace.signatures
    ]
    # The order of the stream is the law's; clocks of different machines only place signatures in it.
    return list(heapq.merge(facts, signatures, key=lambda deed: deed.at))


def called(type_: str) -> str:
    """The Chinese name of an event type."""
    event = CATALOGUE.get(type_)
    return (event.__doc__ or type_).partition(":")[0].strip(" .") if event else type_


def told(fact: Written, name: Name) -> str:
    """What happened, in one Chinese sentence."""
    sentence = SENTENCES.get(fact.type)
    return sentence(CATALOGUE[fact.type].model_validate(fact.data), name) if sentence else called(fact.type)


def _signed(agency: str, fact: Written | None) -> str:
    return f"{agency}签收了「{called(fact.type)}」的通知" if fact else f"{agency}签收了通知"


def bundle(
    trace: Trace, seal: Seal, keys: Mapping[str, Any], *, disclosed: bool, at: datetime
) -> dict[str, Any]:
    """The proof: every fact with its digests, the signed head, the receipts known, and the `keys` of all.

    Private records come with it only where they may be `disclosed`; the chain holds without them.
    """
    head = {
        "stream": trace.head.stream,
        "seq": trace.head.seq,
        "digest": trace.head.digest.hex(),
        "at": at.isoformat(timespec="microseconds"),
    }
    return {
        "format": FORMAT,
        "stream": trace.head.stream,
        "entries": [_entry(fact, disclosed) for fact in trace.facts],
        "head": head,
        "signature": {"key": seal.key_id, "value": encoded(seal.sign(proof.canonical(head)))},
        "keys": keys,
        "receipts": [_receipt(signature) for signature in trace.signatures],
    }


def _entry(fact: Written, disclosed: bool) -> dict[str, Any]:
    record = {"salt": fact.salt.hex(), "private": fact.private.decode()}
    return {
        "public": fact.public.decode(),
        "private_digest": proof.private_digest(fact.salt, fact.private).hex(),
        **({"record": record} if disclosed else {}),
        "digest": fact.digest.hex(),
    }


def _receipt(signature: Signature) -> dict[str, Any]:
    fields = signature.columns
    about = f"case/{fields.pop('case')}"
    return NoticeReceived.model_validate({**fields, "about": about}).proof()


def _clue_registered(event: said.ClueRegistered, name: Name) -> str:
    return f"{name(event.holder)}登记线索，为首接机关"


def _clue_rejected(event: said.ClueRejected, name: Name) -> str:
    return f"{name(event.holder)}决定不予立案"


def _case_filed(event: said.CaseFiled, name: Name) -> str:
    in_name_of = "" if event.in_name_of == event.holder else f"，以{name(event.in_name_of)}名义"
    return f"{name(event.holder)}立案，{event.case_no}{in_name_of}"


def _investigation_opened(event: said.InvestigationOpened, name: Name) -> str:
    return f"{name(event.holder)}开展调查取证"


def _decision_made(event: said.DecisionMade, name: Name) -> str:
    return f"{name(event.holder)}作出决定：{_DECISIONS[event.decision]}，{event.decision_no}"


def _case_closed(event: said.CaseClosed, name: Name) -> str:
    return f"{name(event.holder)}结案"


def _transfer_offered(event: said.TransferOffered, name: Name) -> str:
    return f"{name(event.from_agency)}向{name(event.to_agency)}移送案件，待接收"


def _transfer_accepted(event: said.TransferAccepted, name: Name) -> str:
    return f"{name(event.to_agency)}接收{name(event.from_agency)}移送的案件，自此由其承办"


def _transfer_returned(event: said.TransferReturned, name: Name) -> str:
    reason = RETURN_REASONS.get(event.reason, event.reason)
    return f"{name(event.to_agency)}退回移送：{reason}，建议由{name(event.proposed_agency)}管辖"


def _transfer_withdrawn(event: said.TransferWithdrawn, name: Name) -> str:
    return f"{name(event.from_agency)}撤回向{name(event.to_agency)}的移送"


def _dispute_opened(event: said.DisputeOpened, name: Name) -> str:
    between = "与".join(map(name, event.parties))
    if event.opened_by:
        return f"{name(event.opened_by)}就{between}的管辖争议提请协调"
    return f"案件第{event.returns}次被退回，{between}的管辖争议自此成立"


def _dispute_proposed(event: said.DisputeProposed, name: Name) -> str:
    return f"{name(event.agency)}提出由{name(event.competent_agency)}管辖的协商意见"


def _dispute_settled(event: said.DisputeSettled, name: Name) -> str:
    return f"争议双方协商一致，自此由{name(event.competent_agency)}承办"


def _dispute_accepted(event: said.DisputeAccepted, name: Name) -> str:
    return f"{name(event.coordinator)}受理管辖争议"


def _dispute_forwarded(event: said.DisputeForwarded, name: Name) -> str:
    sent = f"{name(event.coordinator)}向{name(event.to_agency)}转送争议材料"
    return f"{sent}，请于{event.due}前答复" if event.due else sent


def _dispute_replied(event: said.DisputeReplied, name: Name) -> str:
    return f"{name(event.agency)}答复管辖争议"


def _dispute_lead_named(event: said.DisputeLeadNamed, name: Name) -> str:
    return f"{name(event.coordinator)}指定{name(event.lead)}先行处置，争议解决之前由其承办"


def _dispute_ruled(event: said.DisputeRuled, name: Name) -> str:
    named = f"指定{name(event.competent_agency)}管辖，自此由其承办"
    return f"{name(event.coordinator)}出具协调意见，{event.opinion_no}：{named}"


def _assistance_requested(event: said.AssistanceRequested, name: Name) -> str:
    asked = (
        f"{name(event.holder)}请求{name(event.requested_agency)}协助（{event.letter_no}，{event.items}项）"
    )
    return f"{asked}，请于{event.due}前答复" if event.due else asked


def _assistance_replied(event: said.AssistanceReplied, name: Name) -> str:
    return f"{name(event.requested_agency)}答复协助请求：已提供{event.provided}项，未能提供{event.lacking}项"


def _assistance_refused(event: said.AssistanceRefused, name: Name) -> str:
    ground = GROUNDS.get(event.ground, event.ground)
    return f"{name(event.requested_agency)}不予协助：{ground}（{event.basis}）"


def _assistance_extended(event: said.AssistanceExtended, name: Name) -> str:
    return f"{name(event.requested_agency)}延期至{event.until}答复协助请求"


def _assistance_withdrawn(event: said.AssistanceWithdrawn, name: Name) -> str:
    return f"{name(event.holder)}撤回向{name(event.requested_agency)}的协助请求"


_DECISIONS: Mapping[str, str] = {
    "penalty": "给予行政处罚",
    "no_penalty": "违法行为轻微，不予行政处罚",
    "not_established": "违法事实不能成立，不予行政处罚",
}
#: A sentence for every fact that a case's stream may hold.
SENTENCES: Mapping[str, Callable[[Any, Name], str]] = {
    said.ClueRegistered.TYPE: _clue_registered,
    said.ClueRejected.TYPE: _clue_rejected,
    said.CaseFiled.TYPE: _case_filed,
    said.InvestigationOpened.TYPE: _investigation_opened,
    said.DecisionMade.TYPE: _decision_made,
    said.CaseClosed.TYPE: _case_closed,
    said.TransferOffered.TYPE: _transfer_offered,
    said.TransferAccepted.TYPE: _transfer_accepted,
    said.TransferReturned.TYPE: _transfer_returned,
    said.TransferWithdrawn.TYPE: _transfer_withdrawn,
    said.DisputeOpened.TYPE: _dispute_opened,
    said.DisputeProposed.TYPE: _dispute_proposed,
    said.DisputeSettled.TYPE: _dispute_settled,
    said.DisputeAccepted.TYPE: _dispute_accepted,
    said.DisputeForwarded.TYPE: _dispute_forwarded,
    said.DisputeReplied.TYPE: _dispute_replied,
    said.DisputeLeadNamed.TYPE: _dispute_lead_named,
    said.DisputeRuled.TYPE: _dispute_ruled,
    said.AssistanceRequested.TYPE: _assistance_requested,
    said.AssistanceReplied.TYPE: _assistance_replied,
    said.AssistanceRefused.TYPE: _assistance_refused,
    said.AssistanceExtended.TYPE: _assistance_extended,
    said.AssistanceWithdrawn.TYPE: _assistance_withdrawn,
}
