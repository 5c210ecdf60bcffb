"""The tables that every service has, and the pattern its own tables follow.

A table is a pair: `class Case(Entry)` is the plain typed row that rules read and write, `class
CaseRow(Case, table=True)` its schema, from which migrations and reads are made. Both come from SQLModel;
the commit path writes plain rows only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Self, TypeVar, cast

from sqlalchemy import JSON as GenericJson
from sqlalchemy import (
    BigInteger,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

#: jsonb on PostgreSQL, text on SQLite.
Json = GenericJson().with_variant(JSONB(), "postgresql")
#: SQLite numbers rows by itself only in a column that is exactly INTEGER.
Position = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant in UTC: SQLite drops time zones, so they are put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime is not an instant")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Entry(SQLModel):
    """A plain typed row. A direct subclass names its TABLE; KEY is read off its primary-key fields.

    A `...Row` below it, with `table=True`, is the schema of that table.
    """

    TABLE: ClassVar[str]
    KEY: ClassVar[tuple[str, ...]]

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.__tablename__ = cls.TABLE
        cls.KEY = tuple(
            name for name, field in cls.model_fields.items() if getattr(field, "primary_key", False) is True
        )

    @classmethod
    def stored(cls, row: Mapping[Any, Any]) -> Self:
        """The entry of a row that the database gave, which was checked when it was written."""
        entry = object.__new__(cls)
        object.__setattr__(entry, "__dict__", dict(row))
        object.__setattr__(entry, "__pydantic_fields_set__", set(row))
        object.__setattr__(entry, "__pydantic_extra__", None)
        object.__setattr__(entry, "__pydantic_private__", None)
        return entry

    @property
    def columns(self) -> dict[str, Any]:
        """Column name to value."""
        return dict(self.__dict__)

    def but(self: E, **changes: Any) -> E:
        """The same row with these values changed."""
        return self.model_copy(update=changes)


E = TypeVar("E", bound=Entry)


def instant(*, nullable: bool = False) -> Any:
    """A column of an aware instant."""
    return Field(default=None if nullable else ..., sa_type=UtcDateTime, nullable=nullable)


def json_column(default: Any = ...) -> Any:
    """A column of JSON."""
    return Field(default=default, sa_type=cast(Any, Json), nullable=False)


class HeadRow(SQLModel, table=True):
    """One row per stream: what a commit locks, in the order (kind, id)."""

    __tablename__ = "heads"
    kind: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    version: int
    seq: int
    digest: bytes = Field(sa_type=LargeBinary)


class JournalEntry(Entry):
    """A fact as it stands in the journal: trace and outbox in one."""

    TABLE: ClassVar[str] = "journal"
    position: int = Field(primary_key=True, sa_type=cast(Any, Position))  #: given by the database
    kind: str
    id: str
    seq: int
    type: str
    public: bytes = Field(sa_type=LargeBinary)  #: canonical JSON, published
    private: bytes = Field(sa_type=LargeBinary)  #: canonical JSON, kept here
    salt: bytes = Field(sa_type=LargeBinary)
    digest: bytes = Field(sa_type=LargeBinary)
    recorded_at: datetime = instant()
    acted_on: date
    correlation: str
    causation: str
    traceparent: str
    published_at: datetime | None = instant(nullable=True)  #: all that the relay adds


class JournalRow(JournalEntry, table=True):
    __table_args__ = (
        UniqueConstraint("kind", "id", "seq"),
        Index(
            "journal_unpublished",
            "position",
            postgresql_where=text("published_at IS NULL"),
            sqlite_where=text("published_at IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )


class AnswerRow(SQLModel, table=True):
    """A committed answer under its Idempotency-Key; kept for 90 days."""

    __tablename__ = "answers"
    scope: str = Field(primary_key=True)  #: agency, person and route
    key: str = Field(primary_key=True)
    request: bytes = Field(sa_type=LargeBinary)  #: digest of method, path and canonical body
    status: int
    body: bytes = Field(sa_type=LargeBinary)
    headers: dict[str, str] = json_column()
    at: datetime = instant()


class PositionRow(SQLModel, table=True):
    """Where a consumer stands in a partition; the epoch says which process may move it."""

    __tablename__ = "positions"
    group: str = Field(primary_key=True)
    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    epoch: int
    next: int = Field(sa_type=BigInteger)
    last_id: str  #: id of the record before `next`: a recreated topic shows itself here


class Counter(Entry):
    """A dense series of positions, locked last in a commit."""

    TABLE: ClassVar[str] = "counters"
    name: str = Field(primary_key=True)
    position: int = Field(default=0, sa_type=BigInteger)


class CounterRow(Counter, table=True): ...


class LeaseRow(SQLModel, table=True):
    """A loop that must run once in the whole deployment; time is the database's."""

    __tablename__ = "leases"
    name: str = Field(primary_key=True)
    holder: str
    epoch: int
    until: float  #: seconds since 1970, database time


class HeldEvent(Entry):
    """An event that waits for an earlier one of its stream: behind a gap, or behind a parked key."""

    TABLE: ClassVar[str] = "held_events"
    source: str = Field(primary_key=True)
    stream: str = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    headers: dict[str, str] = json_column()
    value: bytes = Field(sa_type=LargeBinary)
    since: datetime = instant()


class HeldEventRow(HeldEvent, table=True): ...


class ParkedKey(Entry):
    """A stream whose event `seq` cannot be processed; it and its later siblings wait in held_events."""

    TABLE: ClassVar[str] = "parked_keys"
    source: str = Field(primary_key=True)
    stream: str = Field(primary_key=True)
    seq: int
    type: str
    reason: str
    trace: str
    since: datetime = instant()


class ParkedKeyRow(ParkedKey, table=True): ...


class ParkedRecord(Entry):
    """Bytes that could not be read as an event, kept as they came; they block no key."""

    TABLE: ClassVar[str] = "parked_records"
    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    offset: int = Field(primary_key=True, sa_type=BigInteger)
    key: bytes = Field(sa_type=LargeBinary)
    value: bytes = Field(sa_type=LargeBinary)
    headers: dict[str, str] = json_column()
    reason: str
    since: datetime = instant()


class ParkedRecordRow(ParkedRecord, table=True): ...


class Redrive(Entry):
    """The trail of a person who had parked keys tried again."""

    TABLE: ClassVar[str] = "redrives"
    id: str = Field(primary_key=True)
    person: str
    agency: str
    at: datetime = instant()
    dry_run: bool
    reason: str
    chosen: dict[str, str] = json_column()  #: the filter
    results: list[dict[str, Any]] = json_column()


class RedriveRow(Redrive, table=True): ...


#: The tables above, which every service's migrations make.
COMMON = (
    HeadRow,
    JournalRow,
    AnswerRow,
    PositionRow,
    CounterRow,
    LeaseRow,
    HeldEventRow,
    ParkedKeyRow,
    ParkedRecordRow,
    RedriveRow,
)


def service_metadata(*rows: type[SQLModel]) -> MetaData:
    """The tables of one service: the common ones and its own. Services never share a database."""
    metadata = MetaData()
    every: tuple[type[SQLModel], ...] = (*COMMON, *rows)
    for row in every:
        table(row).to_metadata(metadata)
    return metadata


def table(row: type[SQLModel]) -> Table:
    """The SQLAlchemy table behind a `...Row` class."""
    return cast(Table, row.__table__)  # type: ignore[attr-defined]
