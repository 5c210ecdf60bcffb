"""Agencies that can be told, and events that could not be placed, as rows."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant, json_column


class Addressee(Entry):
    """An agency as `cases` registered it: to others nothing is delivered, and they see nothing."""

    TABLE: ClassVar[str] = "addressees"
    agency: str = Field(primary_key=True)  #: unified social credit code
    name: str
    kind: str = ""  #: government, department, township, street
    coordinates: bool  #: the office of the joint meeting (联席会议办公室)


class AddresseeRow(Addressee, table=True): ...


class Unroutable(Entry):
    """An event that reached nobody, or not everybody it should have; kept for ever, so that it counts."""

    TABLE: ClassVar[str] = "unroutables"
    event: str = Field(primary_key=True)
    type: str = Field(index=True)
    about: str
    reason: str  #: a key of routing.rules.UNROUTABLE
    unreached: list[str] = json_column()  #: whom it should have reached
    at: datetime = instant()


class UnroutableRow(Unroutable, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (AddresseeRow, UnroutableRow)
