"""The table in force, and what is known of agencies and of events that could not be placed."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib import resources

from sqlalchemy import func, select

from libs.common.contracts.event import CATALOGUE
from libs.common.permit import Actor
from libs.common.store import schema
from libs.common.store.reading import Reader
from services.notify import access
from services.notify.routing import rules
from services.notify.routing.rules import RouteTable
from services.notify.routing.tables import Addressee, UnroutableRow

_UNROUTABLES = schema.table(UnroutableRow)


@cache
def table() -> RouteTable:
    """The table of this release. Raises BadTable."""
    return rules.read(tomllib.loads(resources.files(__package__).joinpath("routes.toml").read_text("utf-8")))


async def situation(read: Reader, actor: Actor, relations: frozenset[str] = frozenset()) -> access.Situation:
    """What the actor's agency is to the county, and, as given, to the thing asked for."""
    own = await read.one(Addressee, agency=actor.agency)
    if own is None:
        return access.Situation()
    return access.Situation(is_member=True, coordinates=own.coordinates, relations=relations)


async def unroutable(read: Reader) -> Mapping[str, int]:
    """How many events could not be placed so far, by type; types that nobody knows are one."""
    statement = select(_UNROUTABLES.c.type, func.count().label("n")).group_by(_UNROUTABLES.c.type)
    counts: Counter[str] = Counter()
    for row in await read.rows(statement):
        counts[row["type"] if row["type"] in CATALOGUE else "other"] += row["n"]
    return counts
