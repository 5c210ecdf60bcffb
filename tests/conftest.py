"""What every test may count on: a clean environment, one event loop, and engines that start on demand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.engines import server
from tests.engines.chromium import Chromium
from tests.engines.kafka import Kafka
from tests.engines.node import Node
from tests.engines.postgres import Postgres
from tests.engines.prometheus import Prometheus

# Read before the environment is cleaned.
ENGINES_REQUIRED = os.environ.get("LIANDONG_REQUIRE_ENGINES") == "1"
CACHE = Path(os.environ.get("LIANDONG_CACHE") or Path(__file__).parent.parent / ".cache")

Engine = TypeVar("Engine", Postgres, Kafka, Node, Chromium, Prometheus)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No setting of the developer's shell reaches a test, nor a process that a test starts."""
    with pytest.MonkeyPatch.context() as environment:
        for name in list(os.environ):
            if name.startswith("LIANDONG_"):
                environment.delenv(name)
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL for the whole run; `postgres.database(name)` makes an empty database."""
    yield from engine(Postgres)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A Kafka for the whole run; tests make topics of their own."""
    yield from engine(lambda: Kafka(CACHE / "kafka"))


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """node with the JavaScript library of Standard Webhooks."""
    yield from engine(lambda: Node(CACHE / "node"))


@pytest.fixture
def own_kafka() -> Iterator[Kafka]:
    """A Kafka for one test, which may break it, or needs its topics' fixed names."""
    yield from engine(lambda: Kafka(CACHE / "kafka"))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A browser for the whole run; tests have pages of their own."""
    yield from engine(Chromium)


@pytest.fixture(scope="session")
def prometheus() -> Iterator[Prometheus]:
    """Prometheus and promtool; a test starts a server by giving it something to watch."""
    yield from engine(lambda: Prometheus(CACHE / "prometheus"))


def engine(start: Callable[[], Engine]) -> Iterator[Engine]:
    """An engine while a fixture has it; where this machine has none, the test is skipped."""
    try:
        started = start()
    except server.Unavailable as why:
        if ENGINES_REQUIRED:
            pytest.fail(f"every engine is required here: {why}")
        pytest.skip(str(why))
    try:
        yield started
    finally:
        started.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark whoever asks for an engine, so that `-m "not connected"` is the quick run; leave the night out."""
    if "nightly" not in config.option.markexpr:
        night = [item for item in items if item.get_closest_marker("nightly")]
        items[:] = [item for item in items if item not in night]
        config.hook.pytest_deselected(items=night)
    for item in items:
        for engine in {"postgres", "kafka", "own_kafka", "prometheus"} & set(
            getattr(item, "fixturenames", ())
        ):
            item.add_marker(engine.removeprefix("own_"))
            item.add_marker("connected")
