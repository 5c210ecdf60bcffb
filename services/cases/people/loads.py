"""What verbs must know of officers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import starmap

from libs.common.permit import Actor
from libs.common.store.reading import Reader
from libs.common.store.seam import head_of, rows_of
from services.cases import access
from services.cases.people.rules import Crew, Enrolment, certified
from services.cases.people.tables import Officer
from services.cases.register import loads as register


async def crew(read: Reader, named: Sequence[str]) -> Crew:
    """The officers named for an act; those that do not exist are left out."""
    streams = [("officer", officer) for officer in named]
    await read.ahead(*starmap(head_of, streams), *(rows_of(Officer, id=officer) for officer in named))
    heads = await read.heads(streams)
    officers = [await read.one(Officer, id=officer) for officer in named]
    return Crew(tuple(named), tuple(officer for officer in officers if officer), tuple(heads))


async def available(read: Reader, agency: str, day: date) -> Crew:
    """All officers of an agency who may act on `day`, as if an act named them."""
    everyone = await read.all(Officer, agency=agency)
    fit = certified(everyone, day)
    return Crew(tuple(officer.id for officer in fit), tuple(fit), ())


async def enrolment(read: Reader, officer: str, agency: str, certificate: str) -> Enrolment:
    """What entering an officer depends on."""
    return Enrolment(
        head=await read.head("officer", officer),
        agency=await register.agency(read, agency),
        is_certificate_taken=await read.one(Officer, certificate=certificate) is not None,
    )


def relation(actor: Actor, officer: Officer) -> frozenset[str]:
    """What the actor's agency is to an officer."""
    return frozenset({access.OWN} if officer.agency == actor.agency else ())
