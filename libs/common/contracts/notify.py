"""What `notify` says: who was told, and who signed for it."""

from __future__ import annotations

from typing import ClassVar, Literal

from libs.common.contracts.event import Event

SOURCE = "/services/notify"


class NoticeIssued(Event):
    """通知送达收件箱: `agency` has a notice about `event`."""

    TYPE: ClassVar[str] = "liandong.notice.issued.v1"
    SOURCE: ClassVar[str] = SOURCE
    notice: str
    agency: str
    event: str  #: the id of the event it tells of
    about: str  #: the subject of that event, e.g. case/<id>
    severity: Literal["info", "action", "urgent", "alarm"]


class NoticeReceived(Event):
    """签收: the agency signed for a notice; the receipt can be verified offline."""

    TYPE: ClassVar[str] = "liandong.notice.received.v1"
    SOURCE: ClassVar[str] = SOURCE
    notice: str
    receipt: str
    agency: str
    event: str
    about: str
