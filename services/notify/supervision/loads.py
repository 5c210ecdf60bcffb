"""What issuing a letter and answering it must know."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from libs.common import errors
from libs.common.contracts.notify import LetterKind
from libs.common.permit import Actor
from libs.common.store.reading import Reader
from libs.common.store.seam import head_of, rows_of
from services.notify import access
from services.notify.routing import loads as routing
from services.notify.routing.tables import Addressee
from services.notify.supervision import rules
from services.notify.supervision.rules import File, Issuing
from services.notify.supervision.tables import Supervision


async def issuing(read: Reader, issuer: Addressee, agency: str, kind: LetterKind, day: date) -> Issuing:
    """The counter of the number, and the addressee."""
    number = await read.head(*rules.counter_of(issuer.agency, kind, day))
    return Issuing(issuer, await read.one(Addressee, agency=agency), number)


async def file(read: Reader, supervision: str) -> File:
    """A letter and its head. Raises NotFound."""
    await read.ahead(head_of("supervision", supervision), rows_of(Supervision, id=supervision))
    letter = await read.one(Supervision, id=supervision)
    if letter is None:
        raise errors.NotFound
    return File(await read.head("supervision", supervision), letter)


async def seen(read: Reader, actor: Actor, letter: Supervision) -> access.Situation:
    """What the actor's agency is to a letter."""
    return towards(await routing.situation(read, actor), actor, letter)


def towards(own: access.Situation, actor: Actor, letter: Supervision) -> access.Situation:
    """The same for an agency of which it is known what it is to the county."""
    return replace(own, relations=frozenset({access.ADDRESSEE} if actor.agency == letter.agency else ()))
