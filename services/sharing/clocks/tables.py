"""The clocks that run, as rows; one that has ended is no longer here."""

from __future__ import annotations

from datetime import date, datetime
from typing import ClassVar

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant


class RunningClock(Entry):
    """A running limit as the newest event of its own stream has it: its light is made when it is read."""

    TABLE: ClassVar[str] = "running_clocks"
    obligation: str = Field(primary_key=True)
    rule: str  #: of libs/common/law/limits.csv
    agency: str  #: who must act
    awaits: str  #: who waits for it, empty for nobody
    about: str = Field(index=True)  #: the stream of what it is about, e.g. case/<id>
    due_on: date
    due_at: datetime = instant()  #: the first instant that is too late
    yellow_at: datetime = instant()
    black_at: datetime = instant()
    provisional: bool  #: it leans on a calendar that is not announced
    state: str  #: running, paused


class RunningClockRow(RunningClock, table=True):
    __table_args__ = (
        Index("running_clocks_of_agency", "agency", "due_at"),
        Index("running_clocks_awaited", "awaits", "due_at"),
        Index("running_clocks_due", "due_at"),
    )


ROWS: tuple[type[SQLModel], ...] = (RunningClockRow,)
