"""What verbs must know of a case."""

from __future__ import annotations

from sqlmodel import col, select

from libs.common import errors
from libs.common.permit import Actor
from libs.common.store.engine import Reader
from services.cases import access
from services.cases.intake.rules import CaseFile
from services.cases.intake.tables import Case, Party, PartyRow
from services.cases.register import loads as register


async def case_file(read: Reader, case: str) -> CaseFile:
    """A case with its parties, its head first. Raises NotFound."""
    head = await read.head("case", case)
    row = await read.one(Case, id=case)
    if row is None:
        raise errors.NotFound
    parties = await read.all(Party, select(PartyRow).where(col(PartyRow.case) == case))
    return CaseFile(head, row, tuple(parties))


async def seen(read: Reader, actor: Actor, case: str) -> tuple[CaseFile, access.Situation]:
    """A case, and what the actor's agency is to it. Raises NotFound."""
    file = await case_file(read, case)
    relation = file.relation_of(actor.agency)
    relations = frozenset({relation}) if relation else frozenset()
    return file, await register.situation(read, actor, relations)
