"""Disputes as rows."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar

from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant, json_column


class Dispute(Entry):
    """A dispute over whose a case is (管辖争议).

    Opened, then accepted, forwarded and replied to, as far as need be; settled or ruled, once.
    """

    TABLE: ClassVar[str] = "disputes"
    id: str = Field(primary_key=True)  #: <case>.d<number>: the stream is known from the id
    case: str = Field(index=True)
    transfer: str  #: the returned transfer over which they differ
    from_agency: str  #: who offered it
    to_agency: str  #: who declined it
    state: str  #: opened, accepted, forwarded, replied, settled, ruled
    coordinator: str  #: who must accept it; then who did
    opened_by: str = ""  #: empty where the second disagreement opened it by itself
    ground: str = ""  #: why it was brought
    opened_on: date
    opened_at: datetime = instant()
    proposals: dict[str, str] = json_column()  #: whom each party would agree to, by party
    forwarded_to: str = ""
    papers: list[dict[str, Any]] = json_column()  #: what was forwarded, by name and digest
    due: date | None = None  #: until when the reply is asked for
    reply: str = ""
    reply_basis: str = ""
    lead: str = ""  #: who acts meanwhile, for safety
    danger: str = ""  #: for the sake of what
    competent_agency: str = ""  #: to whom the case went
    opinion_no: str = ""
    opinion_basis: str = ""
    opinion: str = ""
    closed_on: date | None = None

    @property
    def parties(self) -> tuple[str, str]:
        """Who differ."""
        return self.from_agency, self.to_agency


class DisputeRow(Dispute, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (DisputeRow,)


def case_of(dispute: str) -> str:
    """The case in whose stream a dispute lives."""
    return dispute.rpartition(".d")[0]
