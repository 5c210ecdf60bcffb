"""The demonstration county at work, once on each engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager

import pytest

from tests import conftest
from tests.authorisation import people, world
from tests.authorisation.people import Caller
from tests.authorisation.world import World
from tests.engines.kafka import Kafka
from tests.worlds.deployment import County, on_embedded, on_servers

#: How much was asked, by engine and kind.
Tally = Counter[tuple[str, str]]
_TALLY = pytest.StashKey[Tally]()

SERVERS = pytest.param("servers", marks=[pytest.mark.connected, pytest.mark.postgres, pytest.mark.kafka])


@pytest.fixture(scope="package")
def package_kafka() -> Iterator[Kafka]:
    """A Kafka for the tests of this folder, whose county needs the topics' fixed names."""
    yield from conftest.engine(lambda: Kafka(conftest.CACHE / "kafka"))


def _on(
    request: pytest.FixtureRequest, factory: pytest.TempPathFactory
) -> AbstractAsyncContextManager[County]:
    if request.param == "embedded":
        return on_embedded(factory.mktemp("embedded"))
    postgres, kafka = (request.getfixturevalue(name) for name in ("postgres", "package_kafka"))
    return on_servers(factory.mktemp("servers"), postgres, kafka)


@pytest.fixture(scope="package", params=["embedded", SERVERS])
async def each_world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """Nobody moves in it any more: tests ask, and are refused, or read."""
    async with _on(request, tmp_path_factory) as county:
        async with county.running():
            built = await world.build(county)
        yield built


@pytest.fixture
def callers(each_world: World) -> list[Caller]:
    """Everybody who may ask, with fresh tokens: a service's does not live for as long as all tests take."""
    return list(people.callers(each_world))


@pytest.fixture(scope="session")
def tally(pytestconfig: pytest.Config) -> Tally:
    """Counts what is asked; the run's last lines say how much it was."""
    return pytestconfig.stash.setdefault(_TALLY, Counter())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how much of who may do what was asked."""
    for (engine, kind), count in sorted(config.stash.get(_TALLY, Counter()).items()):
        terminalreporter.write_line(f"authorisation, {engine}: {count} {kind}")
