"""Transfers as rows."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar

from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant, json_column


class Transfer(Entry):
    """An offer to hand a case over (移送): offered, then accepted, returned or withdrawn, once."""

    TABLE: ClassVar[str] = "transfers"
    id: str = Field(primary_key=True)  #: <case>.t<number>: the stream is known from the id
    case: str = Field(index=True)
    from_agency: str
    to_agency: str = Field(index=True)
    state: str  #: offered, accepted, returned, withdrawn
    package: dict[str, Any] = json_column()  #: papers, evidence, goods; digests and names
    recipient_was: str = ""  #: what the recipient was to the case before the offer
    officers: list[str] = json_column()  #: the two who sign for the sender
    ground: str  #: why the sender hands it over
    offered_on: date
    offered_at: datetime = instant()
    closed_on: date | None = None
    return_reason: str = ""
    return_basis: str = ""
    proposed_agency: str = ""
    note: str = ""
    new_facts: str = ""  #: why it is offered otherwise than a binding opinion has it
    dispute: str = ""  #: what its return was brought to


class TransferRow(Transfer, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (TransferRow,)


def case_of(transfer: str) -> str:
    """The case in whose stream a transfer lives."""
    return transfer.rpartition(".t")[0]
