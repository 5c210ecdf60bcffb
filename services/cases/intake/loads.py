"""What verbs must know of a case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, and_, or_
from sqlalchemy import select as select_columns

from libs.common import errors
from libs.common.permit import Actor, Permit
from libs.common.store.reading import Reader, table_of
from libs.common.store.seam import Asked, head_of, rows_of
from libs.common.web import paging
from services.cases import access
from services.cases.intake.rules import CaseFile
from services.cases.intake.tables import Case, Party
from services.cases.register import loads as register


async def case_file(read: Reader, case: str) -> CaseFile:
    """A case with its parties and its head. Raises NotFound."""
    await read.ahead(*of_case(case))
    row = await read.one(Case, id=case)
    if row is None:
        raise errors.NotFound
    parties = await read.all(Party, case=case)
    return CaseFile(await read.head("case", case), row, tuple(parties))


def of_case(case: str) -> tuple[Asked, ...]:
    """What `case_file` asks."""
    return head_of("case", case), rows_of(Case, id=case), rows_of(Party, case=case)


async def seen(read: Reader, actor: Actor, case: str) -> tuple[CaseFile, access.Situation]:
    """A case, and what the actor's agency is to it. Raises NotFound."""
    file = await case_file(read, case)
    relation = file.relation_of(actor.agency)
    relations = frozenset({relation}) if relation else frozenset()
    return file, await register.situation(read, actor, relations)


@dataclass(frozen=True, slots=True)
class Search:
    """What a list of cases is narrowed to; None matches all."""

    stage: str | None = None
    holder: str | None = None
    power: str | None = None
    #: A division code: six digits stand for all of their townships.
    territory: str | None = None
    #: Part of the number, or of the summary where the reader may read it.
    q: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A case of a list, with the permit under which its reader sees it."""

    case: Case
    permit: Permit


async def listed(
    read: Reader, actor: Actor, search: Search, *, limit: int, cursor: str | None
) -> list[Listed]:
    """The cases that the actor may read, newest first, one more than asked for where there is more."""
    situation = await register.situation(read, actor)
    everything = access.permits(actor, "case.read", situation)
    as_party = {
        relation: permit
        for relation in access.READING
        if (permit := access.permits(actor, "case.read", replace(situation, relations=frozenset({relation}))))
    }
    if not (everything or as_party):
        return []
    cases, parties = table_of(Case), table_of(Party)
    own = and_(parties.c.case == cases.c.id, parties.c.agency == actor.agency)
    joined = cases.join(parties, own, isouter=everything is not None)
    # The order is read off an index: of all cases, or of the agency's own.
    key = cases.c.id if everything else parties.c.case
    statement = (
        select_columns(cases, parties.c.relation).select_from(joined).where(*_narrowed(search, as_party))
    )
    if everything is None:
        statement = statement.where(parties.c.relation.in_(list(as_party)))
    if cursor is not None:
        statement = statement.where(key < paging.key_of(cursor)[0])
    found = []
    for row in await read.rows(statement.order_by(key.desc()).limit(limit + 1)):
        values = dict(row)
        permit = as_party.get(values.pop("relation")) or everything
        if permit is not None:
            found.append(Listed(Case.stored(values), permit))
    return found


def _narrowed(search: Search, as_party: Mapping[str, Permit]) -> list[ColumnElement[bool]]:
    cases, parties = table_of(Case), table_of(Party)
    equal = {"stage": search.stage, "holder": search.holder, "power": search.power}
    narrowed = [cases.c[name] == value for name, value in equal.items() if value is not None]
    if search.territory is not None:
        narrowed.append(cases.c.territory.startswith(search.territory, autoescape=True))
    if search.q is not None:
        # Whoever reads the summary masked must not find out by searching what it says.
        clear = [relation for relation, permit in as_party.items() if "summary" not in permit.masked]
        in_summary = cases.c.summary.icontains(search.q, autoescape=True)
        in_number = cases.c.no.icontains(search.q, autoescape=True)
        narrowed.append(or_(in_number, and_(parties.c.relation.in_(clear), in_summary)))
    return narrowed
