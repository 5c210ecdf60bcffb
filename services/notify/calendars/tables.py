"""Calendars and limits that were put in place here, as rows; those of the release are files."""

from __future__ import annotations

from typing import ClassVar

from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, json_column


class AnnouncedYear(Entry):
    """The calendar of a year as an operator put it in place; it counts over the one of the release."""

    TABLE: ClassVar[str] = "announced_years"
    year: int = Field(primary_key=True)
    off: list[str] = json_column()  #: days off, YYYY-MM-DD
    work: list[str] = json_column()  #: make-up workdays
    paper: str  #: the announcement
    version: int


class AnnouncedYearRow(AnnouncedYear, table=True): ...


class CountyLimit(Entry):
    """A local limit as the county set it."""

    TABLE: ClassVar[str] = "county_limits"
    rule: str = Field(primary_key=True)  #: of libs/common/law/limits.csv
    length: int
    unit: str
    basis: str  #: the county's document
    version: int


class CountyLimitRow(CountyLimit, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (AnnouncedYearRow, CountyLimitRow)
