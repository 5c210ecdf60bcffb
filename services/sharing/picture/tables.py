"""The joint picture as rows, in generations, and the rebuilds of it.

Two generations are kept at most: the one that is read and the one being built. They take turns in two slots,
so that whoever folds an event knows the keys of both before it knows which generation is which.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import BigInteger, Index
from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant


class Picture(Entry):
    """Which generation is read, and which is being built; there is one such row, "current"."""

    TABLE: ClassVar[str] = "pictures"
    name: str = Field(primary_key=True)
    generation: int
    building: int = 0  #: 0 for none


class PictureRow(Picture, table=True): ...


class PicturedCase(Entry):
    """Where a case stands: only events of its own stream change this row."""

    TABLE: ClassVar[str] = "picture_cases"
    case: str = Field(primary_key=True)
    slot: int = Field(primary_key=True)  #: of the generation
    generation: int
    stage: str
    holder: str
    power: str
    territory: str
    filed_by: str = ""
    ended_by: str = ""  #: who closed it, or did not file
    case_no: str = ""  #: once it is filed
    returns: int = 0  #: how often it was returned
    dispute: str = ""  #: the open one, empty for none
    disputants: str = ""  #: who offered it and who declined it, by a space, while it is disputed
    disputed_at: datetime | None = instant(nullable=True)
    opened_at: datetime = instant()
    moved_at: datetime = instant()  #: when its stage or holder changed last


class PicturedCaseRow(PicturedCase, table=True):
    __table_args__ = (
        Index("picture_held", "generation", "holder", "stage"),
        Index("picture_filed", "generation", "filed_by"),
        Index("picture_ended", "generation", "ended_by", "stage"),
        Index("picture_disputed", "generation", "dispute"),
    )


class Offer(Entry):
    """Where a transfer stands: only events of its case's stream change this row."""

    TABLE: ClassVar[str] = "picture_transfers"
    transfer: str = Field(primary_key=True)
    slot: int = Field(primary_key=True)
    generation: int
    case: str
    from_agency: str
    to_agency: str
    state: str  #: waiting, accepted, returned, withdrawn
    offered_at: datetime = instant()
    answered_at: datetime | None = instant(nullable=True)


class OfferRow(Offer, table=True):
    __table_args__ = (
        Index("picture_offered_to", "generation", "to_agency", "state", "offered_at"),
        Index("picture_offered_by", "generation", "from_agency", "state", "offered_at"),
    )


class Rebuild(Entry):
    """A rebuild of the picture that an operator asked for, with how far it is."""

    TABLE: ClassVar[str] = "rebuilds"
    id: str = Field(primary_key=True)
    state: str = Field(index=True)  #: asked, filling, clearing, done
    generation: int = 0  #: the one that it builds, 0 before it has begun
    filled_to: int = Field(default=0, sa_type=BigInteger)  #: cases that began up to this position are built
    newest: int = Field(default=0, sa_type=BigInteger)  #: the log's newest position when it began
    person: str
    agency: str
    reason: str
    trace: str  #: of the request
    asked_at: datetime = instant()
    finished_at: datetime | None = instant(nullable=True)


class RebuildRow(Rebuild, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (PictureRow, PicturedCaseRow, OfferRow, RebuildRow)
