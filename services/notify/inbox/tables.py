"""Notices and receipts as rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant, json_column


class Notice(Entry):
    """Something that one agency must know (通知): one event, told to one agency."""

    TABLE: ClassVar[str] = "notices"
    id: str = Field(primary_key=True)  #: UUIDv5 of event and agency
    agency: str
    event: str = Field(index=True)
    about: str  #: the event's stream, e.g. case/<id>
    type: str  #: the event's type
    why: str  #: what made the agency a recipient: a key of routing.rules.RECIPIENTS, or the default
    severity: str  #: info, action, urgent, alarm
    urgency: str  #: of the event: normal, urgent
    title: str
    body: str
    sign: bool  #: whether 签收 is asked for
    state: str  #: unread, received
    receipt: str = ""
    issued_at: datetime = instant()
    event_chain: str  #: the chain's digest at the event, hex
    digest: str  #: SHA-256 over the canonical content, hex


class NoticeRow(Notice, table=True):
    __table_args__ = (
        Index("notices_inbox", "agency", "issued_at", "id"),
        Index("notices_about", "agency", "about"),
    )


class WaitingNotice(Entry):
    """A notice for an agency that is not registered yet; it is issued when the agency is."""

    TABLE: ClassVar[str] = "waiting_notices"
    event: str = Field(primary_key=True)
    addressee: str = Field(primary_key=True)  #: an agency's code, or a name of routing.rules
    letter: dict[str, Any] = json_column()  #: the fields of inbox.rules.Letter


class WaitingNoticeRow(WaitingNotice, table=True): ...


class Receipt(Entry):
    """An agency's signature for a notice (签收回执); one a notice."""

    TABLE: ClassVar[str] = "receipts"
    id: str = Field(primary_key=True)
    notice: str = Field(unique=True)
    agency: str
    signed: str  #: canonical JSON, as the signature covers it
    key: str
    signature: str  #: base64url


class ReceiptRow(Receipt, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (NoticeRow, WaitingNoticeRow, ReceiptRow)
