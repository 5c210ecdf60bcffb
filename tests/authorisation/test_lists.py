"""Lists, searches and counts hold what their reader may see, and no row, page or number more."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from services.sharing.clocks.tables import RunningClock
from tests.authorisation import charter
from tests.authorisation.asking import Ask, tell
from tests.authorisation.cells import Cell, Findings, expand
from tests.authorisation.charter import Operation
from tests.authorisation.lists import BOTTLENECKS, CASES, COUNTS, LISTINGS, PICTURE, Listing, miscounted
from tests.authorisation.people import Caller
from tests.authorisation.world import STAGED_AT, STAGED_IN, World

pytestmark = pytest.mark.anyio

#: What is searched for, and which of the cases that the reader may see it must find: none by what is masked.
SEARCHES: Mapping[str, tuple[Mapping[str, str], Callable[[Cell], bool]]] = {
    "summary": ({"q": "canary-summary"}, lambda cell: "summary" not in cell.of("case.read").hides),
    "party": ({"q": "canary-party"}, lambda cell: False),
    "number": ({"q": "立〔"}, lambda cell: cell.thing.stage not in ("registered", "not_filed")),
    "stage": ({"stage": "closed"}, lambda cell: cell.thing.stage == "closed"),
    "place": ({"territory": STAGED_AT}, lambda cell: cell.case.place == STAGED_AT),
    "holder": ({"holder": STAGED_IN}, lambda cell: cell.case.holder == STAGED_IN),
}


def test_every_list_that_the_charter_names_is_tried() -> None:
    named = {one.name for one in charter.operations() if one.lists}
    assert named == {listing.operation.name for listing in (*LISTINGS, COUNTS, BOTTLENECKS, PICTURE)}


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda one: one.operation.name)
async def test_a_list_has_the_rows_that_its_reader_may_see(
    each_world: World, callers: list[Caller], listing: Listing
) -> None:
    app, findings = each_world.county.apps[listing.operation.service], Findings()
    for caller in callers:
        findings.note(str(caller), await listing.complaint(app, caller, listing.due(each_world, caller)))
    assert not findings.wrong, str(findings)


@pytest.mark.parametrize("search", SEARCHES)
async def test_a_search_finds_nothing_that_its_reader_may_not_see(
    each_world: World, callers: list[Caller], search: str
) -> None:
    app, findings = each_world.county.apps["cases"], Findings()
    query, is_due = SEARCHES[search]
    for caller in callers:
        due = list(filter(is_due, CASES.due(each_world, caller)))
        findings.note(str(caller), await CASES.complaint(app, caller, due, query))
    assert not findings.wrong, str(findings)


async def test_counts_count_what_their_reader_may_see(each_world: World, callers: list[Caller]) -> None:
    app, findings = each_world.county.apps["notify"], Findings()
    for caller in callers:
        findings.note(str(caller), await miscounted(app, caller, COUNTS.due(each_world, caller)))
    assert not findings.wrong, str(findings)


async def test_the_picture_has_the_lines_that_its_reader_may_see(
    each_world: World, callers: list[Caller]
) -> None:
    app, findings = each_world.county.apps["sharing"], Findings()
    for caller in callers:
        told = (await tell(app, Ask("GET", PICTURE.operation.path), caller.authorization)).json
        shown = {line["agency"] for kind in ("townships", "departments") for line in told[kind]}
        due = {cell.thing.words for cell in PICTURE.due(each_world, caller)}
        found = {f"the line of {each_world.qinghe.short(agency)}" for agency in shown}
        findings.note(str(caller), "" if found == due else f"shows {found} instead of {due}")
        if not due and (told["position"], told["as_of"]) != (0, None):
            findings.note(str(caller), "is told where the log is")
    assert not findings.wrong, str(findings)


async def test_who_waits_for_whom_is_told_to_both_of_them(each_world: World, callers: list[Caller]) -> None:
    app, findings = each_world.county.apps["sharing"], Findings()
    async with each_world.county.parts["sharing"].store.reading() as read:
        every = {(clock.awaits or None, clock.agency) for clock in await read.all(RunningClock)}
    assert every
    for caller in callers:
        told = (await tell(app, Ask("GET", BOTTLENECKS.operation.path), caller.authorization)).json
        seen = {cell.thing.words for cell in BOTTLENECKS.due(each_world, caller)}
        of_seen = {agency.id for agency in each_world.agencies if f"the line of {agency.short}" in seen}
        found = {(row["awaits"], row["agency"]) for row in told["data"]}
        due = {pair for pair in every if of_seen & {*pair}}
        findings.note(str(caller), "" if found == due else f"shows {found ^ due} wrongly")
    assert not findings.wrong, str(findings)


@pytest.mark.parametrize(
    "operation", [one for one in charter.operations() if one.denied == "empty"], ids=lambda one: one.name
)
async def test_what_is_empty_for_whom_it_is_not_meant(
    each_world: World, callers: list[Caller], operation: Operation
) -> None:
    app, findings = each_world.county.apps[operation.service], Findings()
    for cell in expand(each_world, callers, operation):
        told = (await tell(app, cell.ask(), cell.caller.authorization)).json
        rows = told["data"] if isinstance(told, dict) else told
        right = bool(rows) == (cell.verdict.answer == "may")
        findings.note(str(cell), "" if right else f"got {len(rows)} rows")
    assert not findings.wrong, str(findings)
