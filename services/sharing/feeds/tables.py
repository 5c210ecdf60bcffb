"""The log, the agencies that may read it, and their rights, as rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, cast

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, Position, instant, json_column


class LogEntry(Entry):
    """An event as it was heard, at its place in the one log that readers see."""

    TABLE: ClassVar[str] = "entries"
    position: int = Field(default=0, primary_key=True, sa_type=cast(Any, Position))  #: given by the commit
    event_id: str
    source: str
    type: str
    stream: str
    seq: int
    feed: str  #: the feed beside "all" in which it stands; empty for none, see rules.FEEDS
    county: bool  #: for every agency of the county, not for those alone that have a right to its stream
    about: str = ""  #: the stream of the event that it tells of; who sees that event sees this too
    about_seq: int = 0
    recorded_at: datetime = instant()
    attributes: dict[str, str] = json_column()  #: of the CloudEvent, as it came
    data: Any = json_column()


class LogEntryRow(LogEntry, table=True):
    __table_args__ = (
        # One event has one place, whatever else fails; and a rebuild reads whole streams.
        UniqueConstraint("stream", "seq", "source"),
        Index("entries_of_feed", "feed", "position"),
    )


class EarlyEntries(Entry):
    """What tells of a case's events that are still on their way here: it enters the log right behind them."""

    TABLE: ClassVar[str] = "early_entries"
    about: str = Field(primary_key=True)  #: the case's stream
    waiting: list[dict[str, Any]] = json_column()  #: log entries, in the order in which they were heard


class EarlyEntriesRow(EarlyEntries, table=True): ...


class Member(Entry):
    """An agency as `cases` registered it: others see nothing."""

    TABLE: ClassVar[str] = "members"
    agency: str = Field(primary_key=True)  #: unified social credit code
    name: str
    kind: str  #: government, department, township, street
    division: str
    coordinates: bool  #: the office of the joint meeting (联席会议办公室)


class MemberRow(Member, table=True): ...


class Right(Entry):
    """An agency sees a stream from one of its events on, up to another; both are counted in."""

    TABLE: ClassVar[str] = "rights"
    stream: str = Field(primary_key=True)
    agency: str = Field(primary_key=True)
    ground: str = Field(primary_key=True)  #: what gave it: the clue, a transfer's id, the notice ...
    relation: str  #: as what the agency came to the stream: holder, recipient, requested, addressee ...
    from_seq: int
    until_seq: int | None = None


class RightRow(Right, table=True):
    __table_args__ = (Index("rights_of_agency", "agency", "stream"),)


ROWS: tuple[type[SQLModel], ...] = (LogEntryRow, EarlyEntriesRow, MemberRow, RightRow)
