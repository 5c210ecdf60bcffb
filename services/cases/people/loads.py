"""What verbs must know of officers."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import col, select

from libs.common.store.engine import Reader
from services.cases.people.rules import Crew
from services.cases.people.tables import Officer, OfficerRow


async def crew(read: Reader, named: Sequence[str]) -> Crew:
    """The officers named for an act; those that do not exist are left out."""
    heads = await read.heads([("officer", officer) for officer in named])
    known = select(OfficerRow).where(col(OfficerRow.id).in_(named))
    officers = await read.all(Officer, known) if named else []
    return Crew(tuple(named), tuple(officers), tuple(heads))


async def officers_of(read: Reader, agency: str) -> list[Officer]:
    """All officers of an agency."""
    return await read.all(Officer, select(OfficerRow).where(col(OfficerRow.agency) == agency))
