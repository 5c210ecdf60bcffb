"""What every step of a dispute must know."""

from __future__ import annotations

from collections.abc import Iterator

from libs.common import errors
from libs.common.permit import Actor
from libs.common.store.reading import Reader
from libs.common.store.seam import rows_of
from services.cases import access
from services.cases.dispute.rules import OPEN, Disputing
from services.cases.dispute.tables import Dispute, case_of
from services.cases.intake import loads as intake
from services.cases.register import loads as register


async def disputing(read: Reader, dispute: str, *, named: str = "") -> Disputing:
    """A dispute with its case, and the agency that is named, if one is. Raises NotFound."""
    case = case_of(dispute)
    await read.ahead(*intake.of_case(case), rows_of(Dispute, id=dispute))
    file = await intake.case_file(read, case)
    row = await read.one(Dispute, id=dispute)
    if row is None:
        raise errors.NotFound
    return Disputing(
        file=file,
        dispute=row,
        competence=await register.competence(read, file.case.power),
        named=await register.agency(read, named) if named else None,
    )


async def seen(read: Reader, actor: Actor, s: Disputing) -> access.Situation:
    """What the actor's agency is to this dispute; a party of the case alone is a bystander to it."""
    return await register.situation(read, actor, frozenset(_relations(actor.agency, s)))


def _relations(agency: str, s: Disputing) -> Iterator[str]:
    if agency in s.dispute.parties:
        yield access.DISPUTANT if s.dispute.state in OPEN else access.RETURNED
    if agency == s.file.case.holder:
        yield access.HOLDER
    elif s.file.relation_of(agency) in access.READING:
        yield access.BYSTANDER
