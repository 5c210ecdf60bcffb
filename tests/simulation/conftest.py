"""The seeds of this run: LIANDONG_SEEDS of them, 5,000 unless told otherwise, or LIANDONG_SEED alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.simulation.parts import Databases
from tests.simulation.processes import Place
from tests.simulation.seeds import Played, Seeds

#: Seeds that one test plays.
CHUNK = 250


@dataclass
class Campaign:
    """Every seed, each played once however many tests ask."""

    seeds: Seeds
    #: Lines that were left waiting by a crash.
    crashed: set[Place] = field(default_factory=set)
    _broken: dict[range, list[Played]] = field(default_factory=dict)

    def broken(self, chunk: range) -> list[Played]:
        """Those of a chunk that broke a promise."""
        if chunk not in self._broken:
            self._broken[chunk] = [played for seed in chunk for played in self._played(seed)]
        return self._broken[chunk]

    def _played(self, seed: int) -> list[Played]:
        played = self.seeds.play(seed)
        self.crashed.update(played.places)
        return [played] if played.outcome.broken else []


def _seeds() -> range:
    alone = int(os.environ.get("LIANDONG_SEED", "-1"))
    return range(int(os.environ.get("LIANDONG_SEEDS", "5000"))) if alone < 0 else range(alone, alone + 1)


# Read before the environment is cleaned.
SEEDS = _seeds()
CHUNKS = [SEEDS[first : first + CHUNK] for first in range(0, len(SEEDS), CHUNK)]


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    made = Databases()
    yield made
    made.close()


@pytest.fixture(scope="session")
def campaign(databases: Databases) -> Campaign:
    return Campaign(Seeds(databases))
