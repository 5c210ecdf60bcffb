"""What `notify` says: who was told, and who signed for it."""

from __future__ import annotations

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
