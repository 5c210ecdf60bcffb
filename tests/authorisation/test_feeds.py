"""The feeds: every reader gets every position, and behind those that they may not see nothing but the position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from libs.common.permit import Role
from services.sharing.feeds.tables import LogEntry
from tests.authorisation import charter, things
from tests.authorisation.asking import Ask, tell
from tests.authorisation.cells import Cell, Findings
from tests.authorisation.people import Caller
from tests.authorisation.world import World, canaries

pytestmark = pytest.mark.anyio

#: Which streams stand in each feed.
FEEDS = {
    "all": {"agency", "officer", "power", "grant", "case", "notice", "picture", "rebuild"},
    "cases": {"case"},
    "notices": {"notice"},
    "register": {"agency", "officer", "power", "grant"},
    "picture": {"picture"},
}
STUB = {"specversion", "id", "source", "type"}
#: Those who read one feed after the other; all others read the whole log.
READING = (Role.AUDITOR, Role.REGISTRAR)


@pytest.mark.parametrize("feed", FEEDS)
async def test_a_feed_shows_its_reader_what_they_may_see(
    each_world: World, callers: list[Caller], feed: str
) -> None:
    log = [entry for entry in each_world.log if entry.stream.partition("/")[0] in FEEDS[feed]]
    findings = Findings()
    for caller in callers:
        if feed == "all" or caller.roles <= {*READING}:
            findings.note(str(caller), await _complaint(each_world, caller, feed, log))
    assert not findings.wrong, str(findings)


async def test_the_feeds_are_all_that_the_charter_knows(each_world: World, callers: list[Caller]) -> None:
    coordinator = next(caller for caller in callers if caller.roles == {Role.COORDINATOR})
    told = await tell(each_world.county.apps["sharing"], Ask("GET", "/v1/feeds"), coordinator.authorization)
    assert {feed["name"] for feed in told.json["data"]} == set(FEEDS)


async def _complaint(world: World, caller: Caller, feed: str, log: Sequence[LogEntry]) -> str:
    """What is wrong with what this reader gets; empty where nothing is."""
    events, leaked = await _read(world, caller, feed)
    following, reading = charter.operation("feed.follow", "sharing"), charter.operation("entry.read", "sharing")
    if charter.verdict(following.name, caller.roles, caller.standing).answer != "may":
        return f"gets {len(events)} entries" if events else ""
    if leaked or [event["id"] for event in events] != [str(entry.position) for entry in log]:
        return f"{len(events)} entries instead of {len(log)}, {leaked} in them"
    of_entry = {thing.ids["id"]: thing for thing in things.entries(world, caller.agency)}
    for event, entry in zip(events, log, strict=True):
        cell = Cell(world, reading, caller, of_entry[event["id"]])
        if cell.verdict.answer == "may" and (event["type"], event["data"]) != (entry.type, entry.data):
            return f"does not get {cell.thing.words} ({sorted(cell.relations)}), but {event}"
        if cell.verdict.answer != "may" and not _is_stub(event):
            return f"gets {cell.thing.words} ({sorted(cell.relations)}): {event}"
    return ""


def _is_stub(event: dict[str, Any]) -> bool:
    return set(event) == STUB and event["type"] == "liandong.entry.withheld.v1"


async def _read(world: World, caller: Caller, feed: str) -> tuple[list[dict[str, Any]], int]:
    """The whole feed, page by page, and how many personal data are in it."""
    events: list[dict[str, Any]] = []
    leaked = 0
    while True:
        after = events[-1]["id"] if events else "0"
        ask = Ask("GET", f"/v1/feeds/{feed}", {"lastEventId": after, "limit": 200})
        told = await tell(world.county.apps["sharing"], ask, caller.authorization)
        if not told.json:
            return events, leaked
        events += told.json
        leaked += len(canaries(told.body))
