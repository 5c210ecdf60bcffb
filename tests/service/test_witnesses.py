"""What a service has heard of another: the head of one stream, or of all of them page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.change import Change, Head, gate_of
from libs.common.permit import Role
from libs.common.store.seam import Committed
from libs.common.web import operations
from tests.worlds import cast, trail
from tests.worlds.deployment import County, on_embedded

pytestmark = pytest.mark.anyio

#: More than one page holds.
MANY = operations.PAGE + 3


@pytest.fixture
async def county(tmp_path: Path) -> AsyncIterator[County]:
    async with on_embedded(tmp_path) as made:
        yield made


def heard(source: str, stream: str, seq: int = 1) -> Change:
    """The Change of a consumer that has heard a stream so far."""
    return Change().ending(Head(*gate_of(source, stream)), seq=seq, digest=bytes([seq]) * 32)


async def test_every_head_of_a_source_is_given_once_and_no_other(county: County) -> None:
    gates = [heard("cases", f"case/{n}") for n in range(MANY)]
    strange = [heard("sharing", "case/1"), heard("cases2", "case/1"), heard("cases", "case/unheard", seq=0)]
    assert await county.parts["notify"].store.commit(Change.all_of([*gates, *strange])) == Committed()
    found = [head async for head in trail.heard(county, "notify", "cases")]
    assert [head["stream"] for head in found] == sorted(f"case/{n}" for n in range(MANY))
    assert {(head["source"], head["seq"], head["digest"]) for head in found} == {("cases", 1, "01" * 32)}


async def test_one_head_is_the_same_as_among_all(county: County) -> None:
    await county.parts["notify"].store.commit(heard("cases", "case/1", seq=7))
    operator = county.ask("notify", cast.OFFICE, Role.OPERATOR)
    one = (await operator.get("/v1/witnesses", params={"source": "cases", "stream": "case/1"})).json()
    page = (await operator.get("/v1/witnesses", params={"source": "cases"})).json()
    assert page == {"data": [one], "next": None}
    assert one == {"source": "cases", "stream": "case/1", "seq": 7, "digest": "07" * 32}


@pytest.mark.parametrize("source", ["%", "_ases", "case"])
async def test_a_source_is_no_pattern(source: str, county: County) -> None:
    await county.parts["notify"].store.commit(heard("cases", "case/1"))
    operator = county.ask("notify", cast.OFFICE, Role.OPERATOR)
    answer = await operator.get("/v1/witnesses", params={"source": source})
    assert answer.json() == {"data": [], "next": None}


async def test_a_cursor_that_was_not_given_here_is_refused(county: County) -> None:
    operator = county.ask("notify", cast.OFFICE, Role.OPERATOR)
    answer = await operator.get("/v1/witnesses", params={"source": "cases", "cursor": "!"})
    assert answer.status_code == 422


async def test_who_handles_cases_does_not_read_what_was_heard(county: County) -> None:
    await county.parts["notify"].store.commit(heard("cases", "case/1"))
    handler = county.ask("notify", cast.TOWNSHIP)
    both = [
        await handler.get("/v1/witnesses", params={"source": "cases"} | one)
        for one in ({}, {"stream": "case/1"})
    ]
    assert [answer.status_code for answer in both] == [404, 404]
