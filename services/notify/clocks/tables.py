"""Obligations, and the levels that they reached, as rows."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, ClassVar

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant, json_column


class Obligation(Entry):
    """A running limit (时限): who must do what by when, since when, and who waits for it."""

    TABLE: ClassVar[str] = "obligations"
    id: str = Field(primary_key=True)  #: UUIDv5 of the rule and the fact that opened it
    rule: str  #: of libs/common/law/limits.csv
    terms: dict[str, Any] = json_column()  #: the limit as it counted when the clock began
    agency: str  #: who must act
    awaits: str = ""  #: who waits for it
    about: str = Field(index=True)  #: the stream of what it is about, e.g. case/<id>
    thing: str  #: what of it: a transfer, a letter; facts with the same thing end it
    event: str  #: the id of the fact that opened it
    started_at: datetime = instant()  #: the fact's moment, or the day that it names
    pauses: list[dict[str, Any]] = json_column()  #: since, until, and the facts that did it
    set_due: date | None = None  #: the last day, where a person named one
    set_by: str = ""  #: the id of the fact that did
    begins_at: datetime = instant()
    due_on: date
    due_at: datetime = instant()  #: the first instant that is too late
    yellow_at: datetime = instant()
    black_at: datetime = instant()
    provisional: bool
    leans_on: dict[str, Any] = (
        json_column()
    )  #: years, each with the version of its calendar, None for a guess
    plan: str = Field(index=True)  #: names the calendar and the policies by which all this was computed
    level: int = 0  #: the highest level reached
    next_at: datetime | None = instant(nullable=True)  #: when the next one is
    state: str  #: running, paused, met, late, lapsed
    opened_at: datetime = instant()
    ended_at: datetime | None = instant(nullable=True)
    ended_by: str = ""  #: the id of the fact that did


class ObligationRow(Obligation, table=True):
    __table_args__ = (
        Index("obligations_next", "state", "next_at"),
        Index("obligations_of_agency", "agency", "state", "due_at", "id"),
        Index("obligations_due", "state", "due_at", "id"),
    )


class Reached(Entry):
    """A level of escalation that an obligation reached: once, whatever happens to the clock or to us."""

    TABLE: ClassVar[str] = "reached_levels"
    obligation: str = Field(primary_key=True)
    level: int = Field(primary_key=True)
    name: str
    planned_at: datetime = instant()
    at: datetime = instant()
    late: bool
    told: list[str] = json_column()
    supervision: str = ""  #: the letter that went out with it


class ReachedRow(Reached, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (ObligationRow, ReachedRow)
