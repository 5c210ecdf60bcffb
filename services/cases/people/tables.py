"""Officers and their certificates as rows."""

from __future__ import annotations

from datetime import date
from typing import ClassVar

from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry


class Officer(Entry):
    """A person who enforces for an agency (执法人员), with the certificate."""

    TABLE: ClassVar[str] = "officers"
    id: str = Field(primary_key=True)
    agency: str = Field(index=True)
    name: str
    certificate: str = Field(unique=True)  #: number of the enforcement certificate (执法证号)
    valid_from: date
    valid_to: date  #: the last day on which it is valid
    suspended_on: date | None = None
    left_on: date | None = None

    def is_certified_on(self, day: date) -> bool:
        """Certificates are judged on the day of the act, not of the case (行政处罚法 42)."""
        ended = [end for end in (self.suspended_on, self.left_on) if end is not None]
        return self.valid_from <= day <= self.valid_to and all(day < end for end in ended)


class OfficerRow(Officer, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (OfficerRow,)
