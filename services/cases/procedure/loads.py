"""What a move must know."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from libs.common.change import Head
from libs.common.store.reading import Reader
from libs.common.store.seam import rows_of
from services.cases.intake.rules import CaseFile
from services.cases.intake.tables import Handler
from services.cases.people import loads as people
from services.cases.people.rules import Crew
from services.cases.procedure import rules
from services.cases.procedure.rules import Proceeding
from services.cases.register import loads as register

#: Where nothing is numbered.
_NO_NUMBER = Head("counter", "")


async def proceeding(
    read: Reader, file: CaseFile, named: Sequence[str], *, move: str, day: date
) -> Proceeding:
    """The case with all that `move` on `day` may depend on."""
    counter = rules.counter_of(file.case.holder, move, day)
    number = await read.head(*counter) if counter else _NO_NUMBER
    return await _with_crew(read, file, await people.crew(read, named), number)


async def outlook(read: Reader, file: CaseFile, *, day: date) -> Proceeding:
    """The case with all that any move on `day` may depend on; no officers are named yet."""
    crew = await people.available(read, file.case.holder, day)
    return await _with_crew(read, file, crew, _NO_NUMBER)


async def _with_crew(read: Reader, file: CaseFile, crew: Crew, number: Head) -> Proceeding:
    await read.ahead(
        register.of_agency(file.case.holder),
        rows_of(Handler, case=file.case.id),
        *register.of_power(file.case.power),
    )
    holder = await register.agency(read, file.case.holder)
    assert holder is not None  # an agency is never taken out of the register
    handlers = await read.all(Handler, case=file.case.id)
    return Proceeding(
        file=file,
        agency=holder,
        competence=await register.competence(read, file.case.power),
        crew=crew,
        handlers=tuple(handler.officer for handler in handlers),
        number=number,
    )
