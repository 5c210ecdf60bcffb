"""Cases as rows, from the clue on."""

from __future__ import annotations

from datetime import date, datetime
from typing import ClassVar

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant


class Case(Entry):
    """One suspected violation being handled (案件). Exactly one agency holds it at every moment."""

    TABLE: ClassVar[str] = "cases"
    id: str = Field(primary_key=True)
    no: str = ""  #: case number, given at filing (立案号)
    stage: str  #: a stage of law/procedure.toml
    holder: str  #: 承办单位
    power: str  #: the power under which it is, or is hoped to be, decided
    territory: str  #: division code of the place, 9 digits
    source: str  #: where the clue came from
    summary: str
    party_name: str  #: 当事人; personal data
    party_id: str  #: identity or credit code of the party; personal data
    urgency: str
    registered_by: str
    registered_on: date
    filed_on: date | None = None
    in_name_of: str = ""  #: whose name stands on the decision
    decided_on: date | None = None
    decision: str = ""
    decision_no: str = ""
    closed_on: date | None = None
    last_acted_on: date | None = None  #: day of the newest act: none may be dated before it
    open_transfer: str = ""  #: the transfer that waits for an answer
    transfer_count: int = 0
    assistance_count: int = 0
    returns: int = 0  #: how often it was returned: the second time is a dispute
    open_dispute: str = ""  #: the dispute that is not settled
    dispute_count: int = 0
    lead: str = ""  #: who may act while it is not, for safety; then the holder
    ruled_to: str = ""  #: whom a binding opinion named
    registered_at: datetime = instant()


class CaseRow(Case, table=True):
    __table_args__ = (Index("cases_of_holder", "holder", "id"),)


class Party(Entry):
    """What an agency is, or was, to a case; whoever became party to it may read it.

    Who was offered it in vain is *returned* and may not, unless it argues whose it is as a *disputant*.
    """

    TABLE: ClassVar[str] = "parties"
    case: str = Field(primary_key=True)
    agency: str = Field(primary_key=True)
    relation: str  #: holder, recipient (offered to), sender (held it before), returned, disputant


class PartyRow(Party, table=True):
    # An agency's own list is read off this, newest first.
    __table_args__ = (Index("cases_of_agency", "agency", "case"),)


class Handler(Entry):
    """An officer who handles a case (承办人员)."""

    TABLE: ClassVar[str] = "handlers"
    case: str = Field(primary_key=True)
    officer: str = Field(primary_key=True)


class HandlerRow(Handler, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (CaseRow, PartyRow, HandlerRow)
