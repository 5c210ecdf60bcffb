"""The feeds, and what is wrong with what somebody reads in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI

from services.sharing.feeds.tables import LogEntry
from tests.authorisation import charter, things
from tests.authorisation.asking import Ask, tell
from tests.authorisation.cells import Cell
from tests.authorisation.people import Caller
from tests.authorisation.world import World, canaries

#: Which streams stand in each feed; all of them in the first.
FEEDS: Mapping[str, frozenset[str]] = {
    "all": frozenset(),
    "cases": frozenset({"case", "disclosure"}),
    "notices": frozenset({"notice"}),
    "clocks": frozenset({"clock", "supervision"}),
    "register": frozenset({"agency", "officer", "power", "grant", "calendar", "limit", "policy"}),
    "picture": frozenset({"picture"}),
}
#: All that a stub has.
STUB = frozenset({"specversion", "id", "source", "type"})

_FOLLOWS = charter.operation("feed.follow", "sharing")
_READS = charter.operation("entry.read", "sharing")


def log_of(world: World, feed: str) -> list[LogEntry]:
    """The entries that stand in this feed."""
    kinds = FEEDS[feed]
    return [entry for entry in world.log if not kinds or entry.stream.partition("/")[0] in kinds]


async def complaint(app: FastAPI, world: World, caller: Caller, feed: str) -> str:
    """What is wrong with what this reader gets; empty where nothing is."""
    log, (events, leaked) = log_of(world, feed), await _read(app, caller, feed)
    if charter.verdict(_FOLLOWS.name, caller.roles, caller.standing).answer != "may":
        return f"gets {len(events)} entries" if events else ""
    if leaked or [event["id"] for event in events] != [str(entry.position) for entry in log]:
        return f"{len(events)} entries instead of {len(log)}, {leaked} pages with personal data"
    return next(filter(None, map(_complaint, _cells(world, caller, log), log, events)), "")


def _cells(world: World, caller: Caller, log: Sequence[LogEntry]) -> list[Cell]:
    """The reader before each entry."""
    of_entry = {thing.ids["id"]: thing for thing in things.entries(world, caller.agency)}
    return [Cell(world, _READS, caller, of_entry[str(entry.position)]) for entry in log]


def _complaint(cell: Cell, entry: LogEntry, event: Mapping[str, Any]) -> str:
    whole = (event["type"], _said(cell.world, event)) == (entry.type, entry.data)
    if cell.verdict.answer == "may":
        return "" if whole else f"does not get {cell.thing.words} as {sorted(cell.relations)}, but {event}"
    stub = set(event) == STUB and event["type"] == "liandong.entry.withheld.v1"
    return "" if stub else f"gets {cell.thing.words} as {sorted(cell.relations)}: {event}"


def _said(world: World, event: Mapping[str, Any]) -> Any:
    """What it says; of what is disclosed or taken back of a case, which of the case's events these are."""
    data = event.get("data")
    if data is not None and event["type"].startswith("liandong.entry."):
        positions = data["positions"] if "positions" in data else [data["position"]]
        older = [world.log[position - 1] for position in positions]
        if "event" in data:
            (old,) = older
            assert (data["event"]["originid"], data["event"]["data"]) == (old.event_id, old.data)
        (stream,) = {old.stream for old in older}
        return {"stream": stream, "seqs": [old.seq for old in older]}
    return data


async def _read(app: FastAPI, caller: Caller, feed: str) -> tuple[list[dict[str, Any]], int]:
    """The whole feed, page by page, and how many pages have personal data in them."""
    events: list[dict[str, Any]] = []
    leaked = 0
    while True:
        after = events[-1]["id"] if events else "0"
        ask = Ask("GET", f"/v1/feeds/{feed}", {"lastEventId": after, "limit": 200})
        told = await tell(app, ask, caller.authorization)
        if not told.json:
            return events, leaked
        events += told.json
        leaked += bool(canaries(told.body))
