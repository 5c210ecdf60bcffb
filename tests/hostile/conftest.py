"""One prepared county for all that is done to it in a module, and no bug in its log afterwards."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.hostile import ground


@pytest.fixture(scope="module")
async def prepared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ground.Ground]:
    async with ground.prepared(tmp_path_factory.mktemp("county")) as found:
        yield found


@pytest.fixture
def no_bug(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
