"""What offering and answering a transfer must know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from libs.common import errors
from libs.common.permit import Actor
from libs.common.store.reading import Reader
from libs.common.store.seam import rows_of
from services.cases import access
from services.cases.dispute.rules import DISAGREEMENTS
from services.cases.handover.rules import Handover, Offering
from services.cases.handover.tables import Transfer, case_of
from services.cases.intake import loads as intake
from services.cases.intake.rules import CaseFile
from services.cases.people import loads as people
from services.cases.register import loads as register


async def offering(read: Reader, file: CaseFile, to_agency: str, officers: Sequence[str]) -> Offering:
    """The case to be offered, both agencies, and the officers who sign."""
    sender = await register.agency(read, file.case.holder)
    assert sender is not None  # an agency is never taken out of the register
    return Offering(
        file=file,
        sender=sender,
        recipient=await register.agency(read, to_agency),
        crew=await people.crew(read, officers),
    )


async def handover(read: Reader, transfer: str, *, proposed: str = "", contested: bool = False) -> Handover:
    """A transfer with its case. Raises NotFound.

    Where it is `contested`, or proposed to another for the second time, who coordinates too.
    """
    case = case_of(transfer)
    await read.ahead(*intake.of_case(case), rows_of(Transfer, id=transfer))
    file = await intake.case_file(read, case)
    row = await read.one(Transfer, id=transfer)
    if row is None:
        raise errors.NotFound
    await read.ahead(register.of_agency(row.to_agency), *register.of_power(file.case.power))
    recipient = await register.agency(read, row.to_agency)
    again = proposed and file.case.returns + 1 >= DISAGREEMENTS
    assert recipient is not None  # an agency is never taken out of the register
    return Handover(
        file=file,
        transfer=row,
        recipient=recipient,
        competence=await register.competence(read, file.case.power),
        proposed=await register.agency(read, proposed) if proposed else None,
        coordinator=await register.coordinator(read) if contested or again else "",
    )


async def seen(read: Reader, actor: Actor, s: Handover) -> access.Situation:
    """What the actor's agency is to this transfer; a party of the case alone is a bystander to it."""
    return await register.situation(read, actor, frozenset(_relations(actor.agency, s)))


def _relations(agency: str, s: Handover) -> Iterator[str]:
    if agency == s.transfer.from_agency:
        yield access.SENDER  # also after it was accepted: then withdrawing is too late, not forbidden
    if agency == s.transfer.to_agency:
        yield access.RETURNED if s.transfer.state in ("returned", "withdrawn") else access.RECIPIENT
    if s.file.relation_of(agency) in access.READING:
        yield access.BYSTANDER
