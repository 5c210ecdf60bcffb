"""The cells, lists and feeds notice a service that lets too much through, or too little."""

from __future__ import annotations

import pytest

from tests.authorisation import cells, charter, feeds, lists, planted
from tests.authorisation.people import Caller
from tests.authorisation.world import World

pytestmark = pytest.mark.anyio

#: Agencies whose people are enough to notice.
FEW = 3


@pytest.fixture
def few(each_world: World, callers: list[Caller]) -> list[Caller]:
    """Everybody at the first agencies of the register."""
    first = {agency.id for agency in each_world.agencies[:FEW]}
    return [caller for caller in callers if caller.agency in first]


@pytest.mark.parametrize("operation", planted.OF_OPERATION)
async def test_a_fault_is_found_by_the_cells_of_its_operation(
    each_world: World, few: list[Caller], operation: str
) -> None:
    fault, words = planted.OF_OPERATION[operation]
    tried = cells.expand(each_world, few, charter.operation(operation, fault.service))
    findings = await cells.judge(fault.planted(each_world), tried)
    assert any(words in wrong for wrong in findings.wrong), str(findings)


async def test_a_page_cut_before_it_is_filtered_is_found(each_world: World, few: list[Caller]) -> None:
    app = planted.CUT_PAGE.planted(each_world)
    said = [await lists.CASES.complaint(app, who, lists.CASES.due(each_world, who)) for who in few]
    assert any("something was left out of it" in complaint for complaint in said), said


async def test_counts_that_are_the_countys_are_found(each_world: World, few: list[Caller]) -> None:
    app = planted.COUNTS.planted(each_world)
    assert all([await lists.miscounted(app, who, lists.COUNTS.due(each_world, who)) for who in few])


async def test_a_stub_that_tells_more_than_a_position_is_found(each_world: World, few: list[Caller]) -> None:
    app = planted.STUBS.planted(each_world)
    said = [await feeds.complaint(app, each_world, who, "cases") for who in few]
    assert any(complaint.startswith("gets case/") for complaint in said), said
