"""Lists: all that could stand in them, and what is wrong with the pages that somebody gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import FastAPI

from tests.authorisation import charter, things
from tests.authorisation.asking import Ask, tell
from tests.authorisation.cells import Cell
from tests.authorisation.charter import Operation
from tests.authorisation.people import Caller
from tests.authorisation.things import Things
from tests.authorisation.world import Datum, World, canaries


@dataclass(frozen=True, slots=True)
class Listing:
    """A list: all that could be in it, what its rows are named by, and how many stand on a page."""

    operation: Operation
    things: Things
    name: str = ""
    limit: int = 50

    def due(self, world: World, caller: Caller) -> list[Cell]:
        """What this caller may see of it."""
        every = (Cell(world, self.operation, caller, thing) for thing in self.things(world, caller.agency))
        return [cell for cell in every if cell.of(self.operation.lists).answer == "may"]

    def personal(self, rows: Sequence[Cell]) -> set[Datum]:
        """The personal data that these rows show."""
        return {
            datum
            for row in rows
            for datum in row.thing.personal
            if datum[0] in self.operation.shows - row.of(self.operation.lists).hides
        }

    async def complaint(
        self, app: FastAPI, caller: Caller, due: Sequence[Cell], query: Mapping[str, str] | None = None
    ) -> str:
        """What is wrong with the pages that the caller gets; empty where nothing is."""
        rows: list[str] = []
        shown: set[Datum] = set()
        following: Mapping[str, str] | None = {}
        while following is not None:
            ask = Ask("GET", self.operation.path, {**(query or {}), "limit": self.limit, **following})
            told = await tell(app, ask, caller.authorization)
            if told.status != 200:
                return f"{told.status} for {ask}"
            page, following = told.json["data"], _next(told.json["next"])
            rows += [row[self.name] for row in page]
            shown |= canaries(told.body)
            if following is not None and len(page) != self.limit:
                return f"a page of {len(page)}: something was left out of it"
        if sorted(rows) != sorted(row.thing.key for row in due):
            return f"{len(rows)} rows instead of {len(due)}"
        wrong = shown ^ self.personal(due)
        return f"wrong of personal data: {sorted(wrong)[:5]}" if wrong else ""


def _next(cursor: str | None) -> Mapping[str, str] | None:
    return {"cursor": cursor} if cursor else None


async def miscounted(app: FastAPI, caller: Caller, due: Sequence[Cell]) -> str:
    """What is wrong with the counts of the inbox that the caller gets; empty where nothing is."""
    told = (await tell(app, Ask("GET", COUNTS.operation.path), caller.authorization)).json
    stages = Counter(cell.thing.stage for cell in due)
    counted = told["unread"], told["received"], sum(told["unread_by_severity"].values())
    right = counted == (stages["unread"], stages["received"], stages["unread"])
    return "" if right else f"{told} instead of {dict(stages)}"


LISTINGS = [
    Listing(charter.operation("agency.list", "cases"), things.agencies, "id", limit=10),
    Listing(charter.operation("officer.list", "cases"), things.officers, "id"),
    Listing(charter.operation("power.list", "cases"), things.powers, "code"),
    Listing(charter.operation("grant.list", "cases"), things.grants, "id"),
    # Small, so that what is left out lies between the rows and behind the ends of many pages.
    Listing(charter.operation("case.list", "cases"), things.cases, "id", limit=5),
    Listing(charter.operation("inbox.read", "notify"), things.notices, "id"),
    Listing(charter.operation("obligation.list", "notify"), things.obligations, "id"),
    Listing(charter.operation("supervision.list", "notify"), things.letters, "id", limit=2),
    Listing(charter.operation("endpoint.list", "notify"), things.endpoints, "id", limit=5),
]
CASES = next(one for one in LISTINGS if one.operation.name == "case.list")
COUNTS = Listing(charter.operation("inbox.count", "notify"), things.notices)
#: A row is about two agencies, and for both of them.
BOTTLENECKS = Listing(charter.operation("bottleneck.list", "sharing"), things.lines)
PICTURE = Listing(charter.operation("picture.read", "sharing"), things.lines)
