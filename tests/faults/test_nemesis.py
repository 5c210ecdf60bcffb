"""It holds while processes, servers and connections break under load: a ledger of every request says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres
from tests.faults import fleet, nemesis, trial
from tests.faults.links import Links
from tests.faults.nemesis import Kinds
from tests.faults.trial import Outcome, Size

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

#: Another seed leads through other requests and faults; a failure prints the one that led to it.
SEED = os.environ.get("FAULTS_SEED", "2026")
#: Only faults whose name has this in it: to look at one kind closely.
KIND = os.environ.get("FAULTS_KIND", "")


@pytest.fixture
def links() -> Iterator[Links]:
    with Links().running() as running:
        yield running


def chosen(kinds: Kinds) -> Kinds:
    return {name: kind for name, kind in kinds.items() if KIND in name}


def size(*, faults: int, events: int) -> Size:
    """As large as that, unless the environment wants another."""
    return Size(
        faults=int(os.environ.get("FAULTS", faults)),
        events=int(os.environ.get("FAULTS_EVENTS", events)),
        rate=float(os.environ.get("FAULTS_RATE", "18")),
    )


def conclude(outcome: Outcome, told: list[str]) -> None:
    """Say how it went, and fail with the proof if something does not hold."""
    told += outcome.table()
    if outcome.found:
        pytest.fail(outcome.complaint(), pytrace=False)


async def test_a_county_on_servers_holds_through_faults(
    tmp_path: Path, postgres: Postgres, own_kafka: Kafka, links: Links, told: list[str]
) -> None:
    async with fleet.distributed(tmp_path, postgres, own_kafka, links) as running:
        large = size(faults=22, events=10_000)
        conclude(await trial.run(running, chosen(nemesis.DISTRIBUTED), SEED, large), told)


async def test_a_county_on_one_machine_holds_through_faults(tmp_path: Path, told: list[str]) -> None:
    async with fleet.embedded(tmp_path) as running:
        small = size(faults=10, events=2_000)
        conclude(await trial.run(running, chosen(nemesis.EMBEDDED), SEED, small), told)


@pytest.mark.nightly
async def test_a_county_on_servers_holds_through_a_night(
    tmp_path: Path, postgres: Postgres, own_kafka: Kafka, links: Links, told: list[str]
) -> None:
    async with fleet.distributed(tmp_path, postgres, own_kafka, links) as running:
        night = size(faults=300, events=300_000)
        conclude(await trial.run(running, chosen(nemesis.DISTRIBUTED), SEED, night), told)
