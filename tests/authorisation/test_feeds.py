"""Every reader of a feed gets every position, and behind what they may not see nothing but the position."""

from __future__ import annotations

import pytest

from libs.common.permit import Role
from tests.authorisation import feeds
from tests.authorisation.asking import Ask, tell
from tests.authorisation.cells import Findings
from tests.authorisation.conftest import Tally
from tests.authorisation.people import Caller
from tests.authorisation.world import World

pytestmark = pytest.mark.anyio

#: Who reads each feed by itself; all others read the whole log, which is the same entries.
READING = ({Role.AUDITOR}, {Role.REGISTRAR})


@pytest.mark.parametrize("feed", feeds.FEEDS)
async def test_a_feed_shows_its_reader_what_they_may_see(
    each_world: World, callers: list[Caller], tally: Tally, feed: str
) -> None:
    findings = Findings()
    for caller in callers:
        if feed == "all" or caller.roles in READING:
            complaint = await feeds.complaint(each_world.county.apps["sharing"], each_world, caller, feed)
            findings.note(str(caller), complaint)
    read = findings.asked * len(feeds.log_of(each_world, feed))
    tally[each_world.county.settings.engine, "entries of feeds, shown or withheld"] += read
    assert not findings.wrong, str(findings)


async def test_the_feeds_are_those_that_are_tried(each_world: World, callers: list[Caller]) -> None:
    app = each_world.county.apps["sharing"]
    told = await tell(app, Ask("GET", "/v1/feeds"), callers[0].authorization)
    assert {feed["name"] for feed in told.json["data"]} == set(feeds.FEEDS)
