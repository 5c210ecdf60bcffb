"""Requests for assistance as rows."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar

from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant, json_column


class Assistance(Entry):
    """A request for help (协助): requested, then replied, refused or withdrawn, once."""

    TABLE: ClassVar[str] = "assistances"
    id: str = Field(primary_key=True)  #: <case>.a<number>: the stream is known from the id
    case: str = Field(index=True)
    from_agency: str  #: held the case when it asked
    to_agency: str = Field(index=True)
    state: str  #: requested, replied, refused, withdrawn
    letter_no: str
    form: str  #: papers, action
    power: str = ""  #: the power of the requested agency by which it is asked, if one is named
    items: list[dict[str, Any]] = json_column()  #: kind and what is asked, in the order of their numbers
    ground: str  #: why it is needed
    names_party: bool  #: whether it cannot be answered without the party's name and number
    due: date | None = None  #: until when the answer is asked for
    until: date | None = None  #: until when the requested agency said that it will answer
    extension_reason: str = ""
    answers: list[dict[str, Any]] = json_column()  #: one for each item, once replied
    refusal_ground: str = ""
    refusal_basis: str = ""
    note: str = ""
    requested_on: date
    requested_at: datetime = instant()
    closed_on: date | None = None


class AssistanceRow(Assistance, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (AssistanceRow,)


def case_of(assistance: str) -> str:
    """The case in whose stream a request lives."""
    return assistance.rpartition(".a")[0]
