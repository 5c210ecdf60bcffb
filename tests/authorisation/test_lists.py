"""Lists, searches and counts hold what their reader may see, and no row, page or number more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.authorisation import charter, things
from tests.authorisation.asking import Ask, tell
from tests.authorisation.cells import Cell, Findings, expand
from tests.authorisation.charter import Operation
from tests.authorisation.people import Caller
from tests.authorisation.things import Things
from tests.authorisation.world import Case, World, canaries

pytestmark = pytest.mark.anyio

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """A list: all that could be in it, how its rows are named, and how many stand on a page."""

    operation: Operation
    things: Things
    name: str
    limit: int

    def due(self, world: World, caller: Caller) -> list[Cell]:
        """What this caller may see of it."""
        every = (Cell(world, self.operation, caller, thing) for thing in self.things(world, caller.agency))
        return [cell for cell in every if cell.of(self.operation.lists).answer == "may"]

    def personal(self, cells: list[Cell]) -> set[tuple[str, str]]:
        """The personal data that these rows show."""
        return {
            datum
            for cell in cells
            for datum in cell.thing.personal
            if datum[0] in self.operation.shows - cell.of(self.operation.lists).hides
        }


LISTINGS = [
    Listing(charter.operation("agency.list", "cases"), things.agencies, "id", 10),
    Listing(charter.operation("officer.list", "cases"), things.officers, "id", 50),
    Listing(charter.operation("power.list", "cases"), things.powers, "code", 50),
    Listing(charter.operation("grant.list", "cases"), things.grants, "id", 50),
    # Small, so that what is left out lies between the rows and behind the ends of many pages.
    Listing(charter.operation("case.list", "cases"), things.cases, "id", 5),
    Listing(charter.operation("inbox.read", "notify"), things.notices, "id", 50),
]
CASES = next(one for one in LISTINGS if one.operation.name == "case.list")


def test_every_list_that_the_charter_names_is_tried() -> None:
    others = {"inbox.count", "picture.read"}
    named = {one.name for one in charter.operations() if one.lists}
    assert named == {listing.operation.name for listing in LISTINGS} | others


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda one: one.operation.name)
async def test_a_list_has_the_rows_that_its_reader_may_see(
    each_world: World, callers: list[Caller], listing: Listing
) -> None:
    findings = Findings()
    for caller in callers:
        findings.note(str(caller), await _complaint(each_world, listing, caller, listing.due(each_world, caller)))
    assert not findings.wrong, str(findings)


#: What is searched for, and of which cases it must find some: as far as the reader may know that it is there.
SEARCHES: Mapping[str, tuple[Mapping[str, str], Callable[[Cell], bool]]] = {
    "what the summary says": ({"q": "canary-summary"}, lambda cell: "summary" not in cell.of("case.read").hides),
    "who the party is": ({"q": "canary-party"}, lambda cell: False),
    "the number": ({"q": "立〔"}, lambda cell: cell.thing.stage not in ("registered", "not_filed")),
    "a stage": ({"stage": "closed"}, lambda cell: cell.thing.stage == "closed"),
    "a place": ({"territory": "331221101"}, lambda cell: _case(cell).place == "331221101"),
}


@pytest.mark.parametrize("search", SEARCHES)
async def test_a_search_finds_nothing_that_its_reader_may_not_see(
    each_world: World, callers: list[Caller], search: str
) -> None:
    query, is_due = SEARCHES[search]
    findings = Findings()
    for caller in callers:
        due = [cell for cell in CASES.due(each_world, caller) if is_due(cell)]
        findings.note(str(caller), await _complaint(each_world, CASES, caller, due, query))
    assert not findings.wrong, str(findings)


async def test_a_holder_is_no_way_to_another_agencys_cases(each_world: World, callers: list[Caller]) -> None:
    findings = Findings()
    holder = each_world.qinghe.agencies["县执法局"].id
    for caller in callers:
        due = [cell for cell in CASES.due(each_world, caller) if _case(cell).holder == holder]
        findings.note(str(caller), await _complaint(each_world, CASES, caller, due, {"holder": holder}))
    assert not findings.wrong, str(findings)


async def test_counts_count_what_their_reader_may_see(each_world: World, callers: list[Caller]) -> None:
    findings = Findings()
    listing = Listing(charter.operation("inbox.count", "notify"), things.notices, "", 0)
    for caller in callers:
        told = await tell(each_world.county.apps["notify"], Ask("GET", "/v1/inbox/counts"), caller.authorization)
        stages = Counter(cell.thing.stage for cell in listing.due(each_world, caller))
        counted = {name: told.json[name] for name in ("unread", "received")}
        due = {name: stages[name] for name in counted}
        wrong = counted != due or sum(told.json["unread_by_severity"].values()) != due["unread"]
        findings.note(str(caller), f"counts {told.json} instead of {due}" if wrong else "")
    assert not findings.wrong, str(findings)


async def test_the_picture_has_the_lines_that_its_reader_may_see(each_world: World, callers: list[Caller]) -> None:
    findings = Findings()
    listing = Listing(charter.operation("picture.read", "sharing"), things.lines, "", 0)
    for caller in callers:
        told = await tell(each_world.county.apps["sharing"], Ask("GET", "/v1/picture"), caller.authorization)
        shown = [line["agency"] for kind in ("townships", "departments") for line in told.json[kind]]
        due = sorted(cell.thing.words for cell in listing.due(each_world, caller))
        found = sorted(f"the line of {each_world.qinghe.short(agency)}" for agency in shown)
        findings.note(str(caller), "" if found == due else f"shows {found} instead of {due}")
        empty = not due and (told.json["position"], told.json["as_of"]) != (0, None)
        findings.note(str(caller), "tells where the log is" if empty else "")
    assert not findings.wrong, str(findings)


@pytest.mark.parametrize(
    "operation", [one for one in charter.operations() if one.denied == "empty"], ids=lambda one: one.name
)
async def test_what_is_empty_for_whom_it_is_not_meant(
    each_world: World, callers: list[Caller], operation: Operation
) -> None:
    findings = Findings()
    for cell in expand(each_world, callers, operation):
        told = await tell(each_world.county.apps[operation.service], cell.ask(), cell.caller.authorization)
        rows = told.json["data"] if isinstance(told.json, dict) else told.json
        findings.note(str(cell), "" if bool(rows) == (cell.verdict.answer == "may") else f"got {len(rows)} rows")
    assert not findings.wrong, str(findings)


async def _complaint(
    world: World, listing: Listing, caller: Caller, due: list[Cell], query: Mapping[str, str] | None = None
) -> str:
    """What is wrong with the pages that the caller gets; empty where nothing is."""
    rows: list[str] = []
    shown: set[tuple[str, str]] = set()
    cursor: dict[str, str] = {}
    app = world.county.apps[listing.operation.service]
    while True:
        ask = Ask("GET", listing.operation.path, {**(query or {}), "limit": listing.limit, **cursor})
        told = await tell(app, ask, caller.authorization)
        if told.status != 200:
            return f"{told.status} for {ask}"
        page = told.json
        rows += [row[listing.name] for row in page["data"]]
        shown |= canaries(told.body)
        if page["next"] is None:
            break
        if len(page["data"]) != listing.limit:
            return f"a page of {len(page['data'])}: something was left out of it"
        cursor = {"cursor": page["next"]}
    expected = [cell.thing.key for cell in due]
    if sorted(rows) != sorted(expected):
        return f"{len(rows)} rows instead of {len(expected)}"
    return "" if shown == listing.personal(due) else f"shows {sorted(shown ^ listing.personal(due))[:5]} wrongly"


def _case(cell: Cell) -> Case:
    assert cell.thing.case is not None
    return cell.thing.case
