"""The fault table, shown when the tests have ended: what was broken, and how long it took to recover."""

from __future__ import annotations

import pytest

_TOLD = pytest.StashKey[list[str]]()


@pytest.fixture
def told(request: pytest.FixtureRequest) -> list[str]:
    """Lines that are shown at the end of the whole run."""
    return request.config.stash.setdefault(_TOLD, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in terminalreporter.config.stash.get(_TOLD, []):
        terminalreporter.write_line(line)
