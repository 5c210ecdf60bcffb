"""Links to the board that nobody has used yet, as rows."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlmodel import Field, SQLModel

from libs.common.store.schema import Entry, instant, json_column


class BoardLink(Entry):
    """A link that opens the board once, for whom it was made; its secret is not stored."""

    TABLE: ClassVar[str] = "board_links"
    id: str = Field(primary_key=True)
    person: str
    agency: str
    roles: list[str] = json_column()
    expires_at: datetime = instant()


class BoardLinkRow(BoardLink, table=True): ...


ROWS: tuple[type[SQLModel], ...] = (BoardLinkRow,)
