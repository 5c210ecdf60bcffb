"""It holds while things break: processes, servers and connections under load, with a ledger of every request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres
from tests.faults import fleet, nemesis, trial
from tests.faults.links import Links
from tests.faults.trial import Outcome, Size

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

#: Another seed leads through other requests and faults; a failure prints the one that led to it.
SEED = os.environ.get("FAULTS_SEED", "2026")

@pytest.fixture
def links() -> Iterator[Links]:
    with Links().running() as running:
        yield running


def conclude(outcome: Outcome, told: list[str]) -> None:
    """Say how it went, and fail with the proof if something does not hold."""
    told += outcome.table()
    assert not outcome.found, outcome.complaint()


async def test_a_county_on_servers_holds_through_faults(
    tmp_path: Path, postgres: Postgres, own_kafka: Kafka, links: Links, told: list[str]
) -> None:
    size = Size(
        faults=int(os.environ.get("FAULTS", "22")),
        events=int(os.environ.get("FAULTS_EVENTS", "10000")),
        rate=float(os.environ.get("FAULTS_RATE", "25")),
        rest=0.5,
    )
    async with fleet.distributed(tmp_path, postgres, own_kafka, links) as running:
        conclude(await trial.run(running, nemesis.DISTRIBUTED, SEED, size), told)


async def test_a_county_on_one_machine_holds_through_faults(tmp_path: Path, told: list[str]) -> None:
    size = Size(faults=10, events=2_000, rate=25, rest=1.0)
    async with fleet.embedded(tmp_path) as running:
        conclude(await trial.run(running, nemesis.EMBEDDED, SEED, size), told)
