"""Every agency, in every role, does everything to all that it can be anything to, as the charter says."""

from __future__ import annotations

from itertools import product

import pytest

from tests.authorisation import cells, charter
from tests.authorisation.charter import Operation
from tests.authorisation.conftest import Tally
from tests.authorisation.people import APPOINTMENTS, Caller
from tests.authorisation.world import World

pytestmark = pytest.mark.anyio

#: Lists are judged by their rows, see test_lists.py and test_feeds.py.
JUDGED = [one for one in charter.operations() if one.denied in ("403", "404") or one.seen_by]

#: What an agency of the county can be to a thing, by what stands in its address; else it is nothing to it.
RELATIONS = {
    "/board/agencies/": ("own", ""),
    "/board/cases/": ("party", ""),
    "{case}": ("holder", "offered", "former", "declined", "disputing", ""),
    "{transfer}": ("from", "to", "declined", "party", ""),
    "{dispute}": ("disputant", "parted", "holder", "party", ""),
    "{assistance}": ("holder", "offered", "former", "asked", "answered", ""),
    "{notice}": ("addressee", ""),
    "{receipt}": ("addressee", ""),
    "{officer}": ("own", ""),
    "/events/{id}": ("party", "asked", "addressee", "concerned", "county", ""),
    "/v1/explain": ("told", ""),
    "{obligation}": ("obligor", "awaiting", ""),
    "{endpoint}": ("owner", ""),
    "{message}": ("owner", ""),
    "{delivery}": ("owner", ""),
}


@pytest.mark.parametrize(
    "operation", JUDGED, ids=lambda one: f"{one.service}-{one.name}-{one.path.rpartition('/')[2]}"
)
async def test_every_cell(
    each_world: World, callers: list[Caller], tally: Tally, operation: Operation
) -> None:
    before = await cells.footprint(each_world)
    expanded = list(cells.expand(each_world, callers, operation))
    findings = await cells.judge(each_world.county.apps[operation.service], expanded)
    tally[each_world.county.settings.engine, "cells"] += findings.asked
    assert not findings.wrong, str(findings)
    assert await cells.footprint(each_world) == before


async def test_the_cells_are_as_many_as_is_claimed(each_world: World, callers: list[Caller]) -> None:
    """Every agency x role x operation x relation, and whoever is of no agency of the county."""
    claimed = asked = 0
    for operation in JUDGED:
        expanded = list(cells.expand(each_world, callers, operation))
        found = {(cell.caller.agency, cell.caller.roles, one) for cell in expanded for one in _named(cell)}
        relations = next((all_ for part, all_ in RELATIONS.items() if part in operation.path), ("",))
        due = set(product((agency.id for agency in each_world.agencies), APPOINTMENTS, relations))
        assert due <= found, f"{operation.name}: {len(due - found)} are not tried: {list(due - found)[:5]}"
        assert {caller.agency for caller in callers} == {cell.caller.agency for cell in expanded}
        claimed, asked = claimed + len(due), asked + len(expanded)
    assert asked >= claimed > 10_000


def _named(cell: cells.Cell) -> frozenset[str]:
    return cell.thing.relations or frozenset({""})
