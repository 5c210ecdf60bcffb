"""What asking for help and answering must know."""

from __future__ import annotations

from collections.abc import Iterator

from libs.common import errors
from libs.common.permit import Actor
from libs.common.store.reading import Reader
from libs.common.store.seam import rows_of
from services.cases import access
from services.cases.assistance.rules import Assisting, Seeking
from services.cases.assistance.tables import Assistance, case_of
from services.cases.intake import loads as intake
from services.cases.intake.rules import CaseFile
from services.cases.register import loads as register


async def seeking(read: Reader, file: CaseFile, requested: str, power: str) -> Seeking:
    """The case, the agency to be asked, and the power by which."""
    of_power = register.of_power(power) if power else ()
    await read.ahead(register.of_agency(requested), *of_power)
    return Seeking(
        file=file,
        requested=await register.agency(read, requested),
        competence=await register.competence(read, power) if power else None,
    )


async def assisting(read: Reader, assistance: str) -> Assisting:
    """A request with its case. Raises NotFound."""
    case = case_of(assistance)
    await read.ahead(*intake.of_case(case), rows_of(Assistance, id=assistance))
    file = await intake.case_file(read, case)
    row = await read.one(Assistance, id=assistance)
    if row is None:
        raise errors.NotFound
    of_power = register.of_power(row.power) if row.power else ()
    await read.ahead(register.of_agency(row.to_agency), *of_power)
    requested = await register.agency(read, row.to_agency)
    assert requested is not None  # an agency is never taken out of the register
    return Assisting(
        file=file,
        assistance=row,
        requested=requested,
        competence=await register.competence(read, row.power) if row.power else None,
    )


async def seen(read: Reader, actor: Actor, s: Assisting) -> access.Situation:
    """What the actor's agency is to this request: as who was asked, and as a party of the case."""
    return await register.situation(read, actor, frozenset(_relations(actor.agency, s)))


def _relations(agency: str, s: Assisting) -> Iterator[str]:
    if agency == s.assistance.to_agency:
        yield access.REQUESTED if s.assistance.state == "requested" else access.ANSWERED
    relation = s.file.relation_of(agency)
    if relation in access.READING:
        yield relation
