"""What `notify` says: who was told and signed for it, which clocks run, and who is under supervision."""

from __future__ import annotations

from datetime import date
from typing import Any, ClassVar, Literal

from libs.common.contracts.event import Event

SOURCE = "/services/notify"

Severity = Literal["info", "action", "urgent", "alarm"]

#: Names the layout of what a receipt's signature covers.
RECEIPT = "liandong-receipt-1"


class _Ours(Event):
    """An event that `notify` says."""

    SOURCE: ClassVar[str] = SOURCE


class NoticeIssued(_Ours):
    """通知送达收件箱: `agency` has a notice about `event`."""

    TYPE: ClassVar[str] = "liandong.notice.issued.v1"
    notice: str
    agency: str
    event: str  #: the id of the event it tells of
    about: str  #: the subject of that event, e.g. case/<id>
    severity: Severity
    sign: bool = False  #: whether the agency is asked to sign for it (签收)
    notice_digest: str = ""  #: SHA-256 over the notice's canonical content, hex


class NoticeReceived(_Ours):
    """签收: the agency signed for a notice; the signed receipt travels whole and can be verified offline."""

    TYPE: ClassVar[str] = "liandong.notice.received.v1"
    notice: str
    receipt: str
    agency: str
    event: str
    about: str
    event_chain: str  #: where the event stands in its stream's chain, hex
    notice_digest: str
    signed_at: str  #: RFC 3339, as it was signed
    key: str  #: id of notify's key
    signature: str  #: Ed25519 over the canonical JSON of `signed()`, base64url

    def signed(self) -> dict[str, str]:
        """What the signature covers."""
        return {
            "format": RECEIPT,
            "receipt": self.receipt,
            "notice": self.notice,
            "agency": self.agency,
            "event": self.event,
            "about": self.about,
            "event_chain": self.event_chain,
            "notice_digest": self.notice_digest,
            "signed_at": self.signed_at,
        }

    def proof(self) -> dict[str, Any]:
        """The receipt as it is shown: what was signed, and the signature."""
        return {"receipt": self.signed(), "signature": {"key": self.key, "value": self.signature}}


class CalendarUpdated(_Ours):
    """节假日历更新: the days off and the make-up workdays of a year, as announced."""

    TYPE: ClassVar[str] = "liandong.calendar.updated.v1"
    year: int
    version: int
    off: tuple[date, ...]
    work: tuple[date, ...]
    paper: str


class LimitSet(_Ours):
    """时限参数设定: the county set a local limit, by a document of its own; clocks that run keep theirs."""

    TYPE: ClassVar[str] = "liandong.limit.set.v1"
    rule: str
    length: int
    unit: str  #: a Unit of libs.common.law.limits
    basis: str


class PolicySet(_Ours):
    """升级规则设定: how silence is escalated, for one kind of clock."""

    TYPE: ClassVar[str] = "liandong.policy.set.v1"
    policy: str
    version: int


class _OfClock(_Ours):
    """An event of one obligation: who must do what by when, and who waits for it."""

    obligation: str
    rule: str  #: a rule of libs/common/law/limits.csv
    agency: str  #: who must act
    awaits: str = ""  #: who waits for it
    about: str  #: the stream of what it is about, e.g. case/<id>


class _Running(_OfClock):
    """What a clock says while it runs; instants are RFC 3339."""

    due_on: date  #: the last day
    due_at: str  #: the first instant that is too late
    yellow_at: str
    black_at: str
    provisional: bool  #: it leans on a calendar that is not announced


class ObligationOpened(_Running):
    """时限开始: a fact made somebody owe something by a date."""

    TYPE: ClassVar[str] = "liandong.obligation.opened.v1"
    event: str  #: the id of the fact


class ObligationAmended(_Running):
    """时限变更: the date moved, the clock stopped or went on, or another agency owes it now."""

    TYPE: ClassVar[str] = "liandong.obligation.amended.v1"
    cause: Literal["calendar", "extended", "passed", "paused", "resumed"]


class ObligationDischarged(_OfClock):
    """时限了结: it was met, in time or late, or fell away."""

    TYPE: ClassVar[str] = "liandong.obligation.discharged.v1"
    event: str  #: the id of the fact that ended it
    outcome: Literal["met", "late", "lapsed"]


class _Level(_OfClock):
    """A level of escalation that was reached, once."""

    level: int
    due_on: date
    told: tuple[str, ...]  #: agencies by code, and names of offices
    late: bool  #: reached while the system was down, and told only now


class ObligationWarned(_Level):
    """时限预警: the date comes near."""

    TYPE: ClassVar[str] = "liandong.obligation.warned.v1"


class ObligationOverdue(_Level):
    """时限超期: the date has passed."""

    TYPE: ClassVar[str] = "liandong.obligation.overdue.v1"


class ObligationEscalated(_Level):
    """超期升级: still nothing; it goes to those above."""

    TYPE: ClassVar[str] = "liandong.obligation.escalated.v1"
    supervision: str = ""  #: the letter of supervision that was issued with it


LetterKind = Literal["supervision", "opinion", "decision"]


class _Letter(_Ours):
    """A letter with a clock: 督办函, 行政执法监督意见书, 行政执法监督决定书."""

    supervision: str
    kind: LetterKind
    number: str
    agency: str  #: whom it is addressed to
    issuer: str


class SupervisionIssued(_Letter):
    """督办发出: the agency must answer by the date."""

    TYPE: ClassVar[str] = "liandong.supervision.issued.v1"
    about: str = ""  #: the stream of what it is about
    obligation: str = ""  #: the clock whose silence it follows
    due_on: date | None = None  #: where the letter names a day


class SupervisionReplied(_Letter):
    """督办反馈: the agency answered; the issuer judges."""

    TYPE: ClassVar[str] = "liandong.supervision.replied.v1"


class SupervisionReturned(_Letter):
    """督办反馈退回: the answer does not suffice; the agency must answer again by the date."""

    TYPE: ClassVar[str] = "liandong.supervision.returned.v1"
    due_on: date


class SupervisionClosed(_Letter):
    """督办销号: the issuer is satisfied."""

    TYPE: ClassVar[str] = "liandong.supervision.closed.v1"


#: What may be changed of an endpoint.
Changed = Literal["name", "url", "subscription", "secret"]
#: Why an endpoint is enabled, or no longer is.
EnabledFor = Literal["verified", "owner"]
DisabledFor = Literal["owner", "gone", "exhausted", "removed"]


class _OfEndpoint(_Ours):
    """An event of an endpoint: whose it is, and never where it is."""

    endpoint: str
    agency: str  #: whose endpoint it is


class EndpointRegistered(_OfEndpoint):
    """推送端点登记: nothing is sent before the agency has proved that the address is its own."""

    TYPE: ClassVar[str] = "liandong.endpoint.registered.v1"


class EndpointChanged(_OfEndpoint):
    """推送端点变更: a new address must be proved again."""

    TYPE: ClassVar[str] = "liandong.endpoint.changed.v1"
    what: Changed


class EndpointEnabled(_OfEndpoint):
    """推送端点启用: webhooks are sent from now on, what has waited first."""

    TYPE: ClassVar[str] = "liandong.endpoint.enabled.v1"
    reason: EnabledFor


class EndpointWarned(_OfEndpoint):
    """推送端点将停用: it has failed without a break for this much of the time after which it is disabled."""

    TYPE: ClassVar[str] = "liandong.endpoint.warned.v1"
    percent: int


class EndpointDisabled(_OfEndpoint):
    """推送端点停用: nothing is sent any more; what is said meanwhile waits, but for who removed it."""

    TYPE: ClassVar[str] = "liandong.endpoint.disabled.v1"
    reason: DisabledFor


class DeliveryFailed(_OfEndpoint):
    """推送未达: a message was given up after all attempts; it can be sent again."""

    TYPE: ClassVar[str] = "liandong.delivery.failed.v1"
    message: str
    event: str  #: the id of the event that it holds; empty for a test
