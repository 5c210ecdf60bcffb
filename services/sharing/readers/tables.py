"""Those who follow a feed, as rows."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant


class Follower(Entry):
    """How far an agency is that follows a feed in one form; of several readers, the one furthest behind."""

    TABLE: ClassVar[str] = "followers"
    feed: str = Field(primary_key=True)
    agency: str = Field(primary_key=True)
    form: str = Field(primary_key=True)  #: batch, stream, atom
    position: int = Field(sa_type=BigInteger)
    seen_at: datetime = instant()


class FollowerRow(Follower, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (FollowerRow,)
