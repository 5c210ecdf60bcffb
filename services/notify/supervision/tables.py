"""Letters as rows."""

from __future__ import annotations

from datetime import date, datetime
from typing import ClassVar

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant, json_column


class Supervision(Entry):
    """A letter that asks an agency to act and to answer by a date: issued, replied, closed."""

    TABLE: ClassVar[str] = "supervisions"
    id: str = Field(primary_key=True)
    kind: str  #: a key of rules.KINDS
    number: str  #: 文号, gapless per issuer, year and kind
    issuer: str
    agency: str  #: whom it is addressed to
    about: str = ""  #: the stream of what it is about, e.g. case/<id>; empty for none
    obligation: str = ""  #: the clock whose silence it follows; empty where a person issued it
    title: str
    items: list[str] = json_column()  #: what is asked for, one by one
    state: str  #: issued, replied, closed
    issued_on: date
    issued_at: datetime = instant()
    due_on: date | None = None  #: the day that the letter names, None where the limit of its kind counts
    reply: str = ""
    replied_on: date | None = None
    returned: int = 0  #: how often the answer did not suffice
    remark: str = ""  #: of the issuer: why it did not suffice, or that it did
    closed_on: date | None = None


class SupervisionRow(Supervision, table=True):
    __table_args__ = (Index("supervisions_of_agency", "agency", "id"),)


ROWS: tuple[type[SQLModel], ...] = (SupervisionRow,)
