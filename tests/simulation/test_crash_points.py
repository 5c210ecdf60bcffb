"""Every await of relay, consumer, filler and long poll is crashed, singly and in pairs; all promises hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.simulation.conftest import CHUNKS, SEEDS, Campaign
from tests.simulation.processes import Place
from tests.simulation.seeds import ROOT, SCHEDULE

#: The code that is crashed, and what in it belongs to somebody else or waits for nothing, with the reason.
CRASHED: Mapping[str, Mapping[str, str]] = {
    "libs/common/loops/relay.py": {},
    "libs/common/loops/consumer.py": {
        "_in_turn: self._turns": "as many partitions as here go side by side, so none waits for its turn",
        "close": "for those who step a consumer by hand",
    },
    "libs/common/loops/filler.py": {},
    "libs/common/loops/lease.py": {},
    "libs/common/edge/commanding.py": {
        "_replayed": "the edge of requests",
        "command": "the edge of requests",
    },
    "libs/common/edge/conflicts.py": {},
    "libs/common/edge/draining.py": {},
    "libs/common/edge/hearing.py": {},
    "libs/common/store/reading.py": {
        "heads": "the edge of requests",
        "known: await self.all(entry)": "no reaction of the feeds wants a whole table",
        "stands": "the edge of requests",
    },
    "libs/common/store/store.py": {
        "answered": "the edge of requests",
        "close": "nothing is done behind it",
        "commit: await self.grown()": "nothing that hears here tells",
        "forget_answers": "a sweep",
        "grown": "nothing that hears here tells",
        "outbox": "a gauge",
    },
    "services/sharing/feeds/loads.py": {},
    "services/sharing/readers/api.py": {
        "_atom": "no long poll",
        "_follow": "a stream, which is left and resumed in tests/service",
        "_stream": "a stream",
        "entries": "a stream",
        "follow: await _atom(asked, http, feed, page=None)": "no long poll",
        "follow: await _stream(asked, http, feed, int(last_seen or after))": "a stream",
        "read_archive": "no long poll",
        "readers": "no long poll",
        "tell": "a stream",
    },
    "services/sharing/readers/loads.py": {
        "_judged": "a stream",
        "_once": "a stream",
        "_page": "a stream",
        "lagging": "no long poll",
        "positions": "no long poll",
        "together": "a stream",
    },
}
#: So many seeds reach nearly every await.
ENOUGH = 5000
#: Schedules that are looked through for one that they did not reach.
FURTHER = 200


@pytest.mark.slow
@pytest.mark.parametrize("chunk", CHUNKS, ids=lambda chunk: f"{chunk.start}-{chunk.stop - 1}")
def test_no_crash_breaks_a_promise(campaign: Campaign, chunk: range) -> None:
    if broken := campaign.broken(chunk):
        also = ", ".join(str(played.seed) for played in broken[1:])
        pytest.fail(f"{broken[0]}\nso did: {also or 'no other of this part'}", pytrace=False)


@pytest.mark.slow
@pytest.mark.skipif(len(SEEDS) < ENOUGH, reason=f"{ENOUGH} seeds leave few awaits to be looked for")
def test_every_await_is_crashed(campaign: Campaign) -> None:
    """What these seeds did not come to is looked for in further schedules."""
    for chunk in CHUNKS:
        campaign.broken(chunk)
    missed = [point for point in _points() if not campaign.crashed & point.places]
    further = range(len(SEEDS) // SCHEDULE, len(SEEDS) // SCHEDULE + FURTHER)
    looked_for = {str(point): campaign.seeds.reaching(point.places, further) for point in missed}
    assert [point for point, played in looked_for.items() if played is None] == []
    assert [str(played) for played in looked_for.values() if played and played.outcome.broken] == []


@dataclass(frozen=True, slots=True)
class Point:
    """An await, as it stands in the source."""

    file: str
    function: str
    first: int
    last: int
    text: str

    @property
    def names(self) -> set[str]:
        """By which it may be excused."""
        return {self.function, f"{self.function}: {self.text}"}

    @property
    def places(self) -> set[Place]:
        return {Place(str(ROOT / self.file), line) for line in range(self.first, self.last + 1)}

    def __str__(self) -> str:
        return f"{self.file}:{self.first} in {self.function}: {self.text}"


def test_the_points_are_those_of_the_source() -> None:
    """Whoever adds an await has it crashed, whoever removes a function removes its excuse."""
    names = {(point.file, name) for point in _points(excused=True) for name in point.names}
    excused = {(file, name) for file, excuses in CRASHED.items() for name in excuses}
    assert excused <= names
    assert len(list(_points())) > 60


def _points(*, excused: bool = False) -> Iterator[Point]:
    for file, excuses in CRASHED.items():
        for function in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            if isinstance(function, ast.AsyncFunctionDef):
                points = _within(file, function)
                yield from (point for point in points if excused or not point.names & excuses.keys())


def _within(file: str, function: ast.AsyncFunctionDef) -> Iterator[Point]:
    for node in ast.walk(function):
        match node:
            case ast.Await():
                waits: ast.expr = node
            case ast.AsyncWith(items=[ast.withitem(context_expr=waits)]):
                if re.match(r"asyncio\.timeout\(|.*\.reading\(\)$", ast.unparse(waits)):
                    continue  # it is entered and left at once
            case _:
                continue
        yield Point(file, function.name, node.lineno, waits.end_lineno or node.lineno, ast.unparse(waits))
