"""What verbs must know of agencies, powers and grants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

from sqlmodel import col, select

from libs.common import errors
from libs.common.change import Head
from libs.common.permit import Actor
from libs.common.store.reading import Reader, table_of
from libs.common.store.schema import Entry
from libs.common.store.seam import Asked, head_of, rows_of
from libs.common.web import paging
from services.cases import access
from services.cases.register.rules import Competence, Standing
from services.cases.register.tables import Agency, AgencyRow, Grant, Power, power_of

E = TypeVar("E", bound=Entry)


async def agency(read: Reader, id_: str) -> Agency | None:
    """An agency of the register."""
    return await read.one(Agency, id=id_)


async def coordinator(read: Reader) -> str:
    """The office of the joint meeting; where several coordinate, the first of them."""
    office = select(AgencyRow.id).where(col(AgencyRow.coordinates).is_(True)).order_by(col(AgencyRow.id))
    return str((await read.rows(office.limit(1)))[0]["id"])  # the first of a register coordinates


async def situation(read: Reader, actor: Actor, relations: frozenset[str] = frozenset()) -> access.Situation:
    """What the actor's agency is to the county, and, as given, to the thing asked for.

    While the register is empty, whoever is appointed registrar enters the first agency.
    """
    own = await agency(read, actor.agency)
    if own is None:
        first = not await read.rows(select(AgencyRow.id).limit(1))
        return access.Situation(is_registry=first)
    return access.Situation(
        is_member=True,
        is_registry=own.coordinates,
        coordinates=own.coordinates,
        relations=relations,
    )


def of_agency(id_: str) -> Asked:
    """What `agency` and `situation` ask."""
    return rows_of(Agency, id=id_)


def of_power(power: str) -> tuple[Asked, ...]:
    """What `competence` asks."""
    return head_of("power", power), rows_of(Power, code=power), rows_of(Grant, power=power)


async def competence(read: Reader, power: str) -> Competence:
    """A power with all its grants and its head, so that a grant that moves shows as a conflict."""
    await read.ahead(*of_power(power))
    return Competence(
        head=await read.head("power", power),
        power=await read.one(Power, code=power),
        grants=tuple(await read.all(Grant, power=power)),
    )


@dataclass(frozen=True, slots=True)
class Recalling:
    """A grant to be recalled, with its power."""

    competence: Competence
    grant: Grant


async def recalling(read: Reader, grant: str) -> Recalling:
    """A grant with its power's stream. Raises NotFound."""
    known = await competence(read, power_of(grant))
    found = [one for one in known.grants if one.id == grant]
    if not found:
        raise errors.NotFound
    return Recalling(known, found[0])


@dataclass(frozen=True, slots=True)
class Registering:
    """The place of an agency in the register, and whether it is the first of all."""

    head: Head
    name: Head  #: of the stream that an agency's name is: no two agencies have one
    is_first: bool


async def registering(read: Reader, id_: str, name: str) -> Registering:
    """What entering an agency depends on."""
    head, of_name = await read.head("agency", id_), await read.head("agency_name", name)
    return Registering(head, of_name, is_first=not await read.rows(select(AgencyRow.id).limit(1)))


async def standings(
    read: Reader, known: Competence, *, agency: str | None, territory: str | None, on: date
) -> list[Standing]:
    """Who may act under a power on a day, at that place, if one is named."""
    holders = {grant.agency for grant in known.grants} | ({known.power.department} if known.power else set())
    asked = holders & {agency} if agency else holders
    agencies = await read.all(
        Agency, select(AgencyRow).where(col(AgencyRow.id).in_(asked)).order_by(col(AgencyRow.id))
    )
    return [known.require(one, on) for one in agencies if not known.refusals(one, on, territory)]


async def listed(
    read: Reader, entry: type[E], filters: Mapping[str, Any], *, limit: int, cursor: str | None
) -> list[E]:
    """Entries in the order of their key, one more than asked for where there is more."""
    table, key = table_of(entry), entry.KEY[0]
    statement = select(table).filter_by(
        **{name: value for name, value in filters.items() if value is not None}
    )
    if cursor is not None:
        statement = statement.where(table.c[key] > paging.key_of(cursor)[0])
    return await read.all(entry, statement.order_by(table.c[key]).limit(limit + 1))
