"""Those who look on while things break: one asks who holds which case, others follow the feed."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from libs.common.permit import Role
from tests.faults.books import Away, Books
from tests.faults.load import Callers, Load
from tests.worlds import cast

#: Seconds between two looks at who holds what.
LOOK = 1.0

#: Seconds that a reader takes over what it has read.
BREATH = 0.4

#: Cases that have no holder among their parties, or several, or another than the case says.
_STRANGE = """
SELECT c.id, c.holder, count(p.agency) AS holders FROM cases c
LEFT JOIN parties p ON p."case" = c.id AND p.relation = 'holder'
GROUP BY c.id, c.holder HAVING count(p.agency) <> 1 OR min(p.agency) <> c.holder
"""
#: What `sharing` takes for the holder, with how far it has heard the case: one statement, one moment.
_PICTURED = """
SELECT p."case", p.holder, h.seq FROM picture_cases p
JOIN pictures now ON now.name = 'current' AND now.generation = p.generation
JOIN heads h ON h.kind = 'heard' AND h.id = 'cases:case/' || p."case"
WHERE p."case" IN ({})
"""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Somebody said who holds a case, as of one of its facts."""

    case: str
    seq: int
    holder: str
    by: str
    #: Whether what was said is of that fact; else it may be of a later one.
    exact: bool = True


@dataclass
class Holders:
    """Asks both processes of `cases`, its database and that of `sharing`, all through the run."""

    callers: Callers
    books: Books
    load: Load
    looks: int = 0
    #: Cases that did not have one holder at some moment, in words.
    strange: list[str] = field(default_factory=list)
    seen: set[Sighting] = field(default_factory=set)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.gather(self._in_the_books(), self._over_http())
            await asyncio.sleep(LOOK)

    async def _in_the_books(self) -> None:
        cases = ", ".join(f"'{case}'" for case in self.load.cases)
        try:
            for row in await self.books.rows("cases", _STRANGE):
                self.strange.append(f"case {row['id']} of {row['holder']} has {row['holders']} holders")
            self.looks += 1
            if cases:
                for row in await self.books.rows("sharing", _PICTURED.format(cases)):
                    self.seen.add(Sighting(row["case"], row["seq"], row["holder"], "picture"))
        except Away:
            return

    async def _over_http(self) -> None:
        """The newest cases, from both processes at the same time."""
        await asyncio.gather(*(self._ask(case, n) for case in self.load.cases[-2:] for n in (0, 1)))

    async def _ask(self, case: str, process: int) -> None:
        told = await self.callers.read(
            "cases", cast.OFFICE, f"/v1/cases/{case}", Role.COORDINATOR, process=process
        )
        if told:
            # The version is read before the case: an ETag may be older than what it comes with.
            seq = int(told["etag"].strip('"'))
            self.seen.add(Sighting(case, seq, told["holder"], f"process {process} of cases", exact=False))


class Entry(NamedTuple):
    """An entry of a feed, as far as it is kept: a night's entries would not fit as they are."""

    position: int
    sha256: str


@dataclass
class Follower:
    """Follows a feed by the last id that it has, whatever becomes of its questions."""

    callers: Callers
    agency: str
    role: Role
    entries: list[Entry] = field(default_factory=list)

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await self.once(wait=2000)
            await asyncio.sleep(BREATH)

    async def once(self, *, wait: int = 0) -> bool:
        """One question; gives whether it brought anything."""
        got = await page(self.callers, self.agency, self.role, self.entries, wait=wait)
        self.entries += got or []
        return bool(got)


async def page(
    callers: Callers, agency: str, role: Role, have: Sequence[Entry], *, wait: int = 0
) -> list[Entry] | None:
    """What comes next behind what a reader has; None where nobody answers."""
    last = have[-1].position if have else 0
    found: list[dict[str, Any]] | None = await callers.read(
        "sharing", agency, "/v1/feeds/all", role, lastEventId=last, limit=200, timeout=wait
    )
    return None if found is None else [_kept(entry) for entry in found]


async def whole(callers: Callers, agency: str, role: Role) -> list[Entry]:
    """The whole feed, read afresh from its beginning."""
    entries: list[Entry] = []
    while True:
        got = await page(callers, agency, role, entries)
        if got == []:
            return entries
        entries += got or []


def _kept(entry: dict[str, Any]) -> Entry:
    whole = json.dumps(entry, sort_keys=True).encode()
    return Entry(int(entry["id"]), hashlib.sha256(whole).hexdigest())
