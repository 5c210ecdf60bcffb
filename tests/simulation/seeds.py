"""What a seed means: who is stopped at which awaits, and what was seen of it.

Five hundred seeds share a schedule. The first of them runs it undisturbed; then every await of every process
is crashed, in turn; the rest crash pairs of awaits, each in a schedule of its own. In every second schedule
those that are stopped in turn are paused, as zombies, instead of killed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from tests.simulation import world
from tests.simulation.parts import Databases, Parts
from tests.simulation.processes import Place, Stop

#: Seeds that belong to one schedule.
SCHEDULE = 500
#: Awaits after a crash within which the same process is crashed again, in half of the pairs.
SOON = 40

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Played:
    """One seed's run."""

    seed: int
    outcome: world.Outcome
    planned: Sequence[Stop]

    @property
    def places(self) -> Iterator[Place]:
        """Every line that was left waiting by a crash."""
        return (place for _, stopped in self.outcome.stopped for place in stopped)

    def __str__(self) -> str:
        return "\n".join(
            [
                f"seed {self.seed} broke a promise:",
                *(f"  {what}" for what in self.outcome.broken),
                "stopped:",
                *(f"  {stop}, in {_way(waited)}" for stop, waited in self.outcome.stopped),
                *([] if self.outcome.stopped else ["  nobody"]),
                "how it came to that:",
                *(f"  {line}" for line in self.outcome.trace),
                f"again: LIANDONG_SEED={self.seed} make test ARGS=tests/simulation/test_crash_points.py",
            ]
        )


class Seeds:
    """Plays seeds with these parts."""

    def __init__(self, databases: Databases, parts: Parts | None = None) -> None:
        self._databases = databases
        self._parts = parts
        self._awaits: dict[int, Mapping[str, int]] = {}

    def play(self, seed: int) -> Played:
        """The run that this seed means, the same whenever it is asked for."""
        schedule, number = seed - seed % SCHEDULE, seed % SCHEDULE
        stops = self._stops(schedule, number)
        run_seed = schedule if number <= self._points(schedule) else seed
        outcome = world.run(run_seed, self._databases, stops=stops, parts=self._parts)
        return Played(seed, outcome, stops)

    def reaching(self, looked_for: Set[Place], among: range) -> Played | None:
        """The run of the seed that stops a process at one of these lines, in the first schedule with one.

        `among` are the schedules' numbers.
        """
        for schedule in (number * SCHEDULE for number in among):
            outcome = world.run(schedule, self._databases, parts=self._parts, looked_for=looked_for)
            if outcome.found:
                process, nth = outcome.found
                names = list(outcome.awaits)
                number = nth + sum(outcome.awaits[name] for name in names[: names.index(process)])
                if number < SCHEDULE:
                    return self.play(schedule + number)
        return None

    def _stops(self, schedule: int, number: int) -> list[Stop]:
        chance = random.Random(schedule + number)
        if number == 0:
            return []
        if number <= self._points(schedule):
            how = "pause" if schedule // SCHEDULE % 2 else "kill"
            return [_stop(chance, *self._point(schedule, number - 1), how)]
        first, second = self._somewhere(schedule, chance), self._somewhere(schedule, chance)
        if chance.random() < 0.5 or second == first:
            second = first[0], first[1] + 1 + chance.randrange(SOON)
        return [_stop(chance, *place, chance.choice(("kill", "pause"))) for place in (first, second)]

    def _somewhere(self, schedule: int, chance: random.Random) -> tuple[str, int]:
        """Any await; not the latest, which another schedule may not come to."""
        process, nth = self._point(schedule, chance.randrange(self._points(schedule)))
        return process, 1 + nth * 2 // 3

    def _point(self, schedule: int, number: int) -> tuple[str, int]:
        """The process and the await that a number within a schedule means."""
        for process, awaits in self._undisturbed(schedule).items():
            if number < awaits:
                return process, number + 1
            number -= awaits
        raise IndexError(number)

    def _points(self, schedule: int) -> int:
        return min(sum(self._undisturbed(schedule).values()), SCHEDULE - 1)

    def _undisturbed(self, schedule: int) -> Mapping[str, int]:
        if schedule not in self._awaits:
            self._awaits[schedule] = world.run(schedule, self._databases, parts=self._parts).awaits
        return self._awaits[schedule]


def _stop(chance: random.Random, process: str, nth: int, how: str) -> Stop:
    if how == "pause":
        return Stop(process, nth, "pause", chance.uniform(0.1, 3.0))
    return Stop(process, nth, "kill", chance.uniform(0.02, 1.5))


def _way(waited: Sequence[Place]) -> str:
    """From the loop down to where it waited, as far as it is the product's own code."""
    ours = [place.within(ROOT) for place in waited]
    return " > ".join(place for place in ours if place.startswith(("libs/", "services/")))
