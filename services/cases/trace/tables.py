"""Receipts of `notify` that tell who signed for what happened to a case, as rows."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant


class Signature(Entry):
    """An agency's signature (签收) for a notice about a case; the signed receipt is kept whole."""

    TABLE: ClassVar[str] = "signatures"
    receipt: str = Field(primary_key=True)
    case: str = Field(index=True)
    notice: str
    agency: str
    event: str  #: id of the event that the notice told of
    event_chain: str  #: where that event stands in the case's chain, hex
    notice_digest: str
    signed_at: str  #: RFC 3339, to the letter: the signature covers it
    at: datetime = instant()  #: the same instant, for the order of the timeline
    key: str  #: id of notify's key
    signature: str  #: Ed25519, base64url


class SignatureRow(Signature, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (SignatureRow,)
