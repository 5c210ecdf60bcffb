"""A right that ends is gone at the next request, and at the next entry for whoever waits at a feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common.permit import Role
from tests.authorisation import feeds
from tests.authorisation.conftest import SERVERS
from tests.worlds import cast
from tests.worlds.deployment import County, on_embedded, on_servers, until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["embedded", SERVERS])
async def county(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[County]:
    """The small county, in which things go on."""
    if request.param == "embedded":
        made = on_embedded(tmp_path)
    else:
        made = on_servers(tmp_path, request.getfixturevalue("postgres"), request.getfixturevalue("own_kafka"))
    async with made as county, county.running():
        await cast.register(county)
        await county.quiet()
        yield county


async def test_who_loses_an_offer_loses_the_case_with_it(county: County) -> None:
    township, department = county.ask("cases", cast.TOWNSHIP), county.ask("cases", cast.DEPARTMENT)
    case = await cast.a_case(township)
    nothing = await department.get(f"/v1/cases/{case}x")
    transfer = await cast.an_offered(township, case)
    paths = [f"/v1/cases/{case}{rest}" for rest in ("", "/timeline", "/proof", "/transitions")]
    assert {(await department.get(path)).status_code for path in paths} == {200}
    await cast.post(township, f"/v1/transfers/{transfer}/withdrawal", {})
    for path in paths:
        answer = await department.get(path)
        assert (answer.status_code, _bare(answer)) == (404, _bare(nothing)), path
    assert (await department.get("/v1/cases")).json() == {"data": [], "next": None}
    assert (await department.get("/v1/cases", params={"q": "占道"})).json()["data"] == []


async def test_who_waits_at_a_feed_gets_a_stub_once_the_offer_is_gone(county: County) -> None:
    township, reader = county.ask("cases", cast.TOWNSHIP), county.ask("sharing", cast.DEPARTMENT)
    case = await cast.a_case(township)
    transfer = await cast.an_offered(township, case)
    await county.quiet()
    waiting = await _waiting(county, reader, "cases")
    await cast.post(township, f"/v1/transfers/{transfer}/withdrawal", {})
    withdrawn, forgotten = await waiting
    assert (withdrawn["type"], withdrawn["data"]["transfer"]) == ("liandong.transfer.withdrawn.v1", transfer)
    assert (forgotten["type"], forgotten["subject"]) == (
        "liandong.entry.withdrawn.v1",
        f"disclosure/{transfer}",
    )
    waiting = await _waiting(county, reader, "cases")
    await _reject(township, case)
    (rejected,) = await waiting
    assert set(rejected) == feeds.STUB


async def test_whose_case_it_is_not_wakes_for_the_position_alone(county: County) -> None:
    """Everybody is woken by everything: when one wakes says nothing of whose case it is."""
    township = county.ask("cases", cast.TOWNSHIP)
    readers = {
        agency: county.ask("sharing", agency, role)
        for agency, role in (
            (cast.TOWNSHIP, Role.HANDLER),
            (cast.WITHOUT, Role.HANDLER),
            (cast.OFFICE, Role.HANDLER),
        )
    }
    waiting = {agency: await _waiting(county, reader, "cases") for agency, reader in readers.items()}
    await cast.a_case(township)
    told = {agency: await wait for agency, wait in waiting.items()}
    assert {agency: len(events) for agency, events in told.items()} == dict.fromkeys(readers, 1)
    ((seen,), (stub,), (other,)) = told.values()
    assert seen["data"]["holder"] == cast.TOWNSHIP
    assert set(stub) == feeds.STUB
    assert stub == other
    assert stub["id"] == seen["id"]


async def test_a_repeated_request_is_judged_by_what_one_may_now(county: County) -> None:
    """The answer is stored; leave to hear it is not."""
    township, department = county.ask("cases", cast.TOWNSHIP), county.ask("cases", cast.DEPARTMENT)
    case = await cast.a_case(township)
    headers = {"if-match": await cast.etag(township, f"/v1/cases/{case}"), "idempotency-key": "once"}

    async def offer() -> httpx.Response:
        return await township.post(f"/v1/cases/{case}/transfers", json=cast.an_offer(), headers=headers)

    made, again = await offer(), await offer()
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    await cast.post(department, f"/v1/transfers/{made.json()['id']}/acceptance", {})
    late = await offer()
    assert (late.status_code, late.json()["type"]) == (403, "urn:liandong:problem:not-permitted")


async def test_the_former_holder_reads_no_personal_data_from_then_on(county: County) -> None:
    township, department = county.ask("cases", cast.TOWNSHIP), county.ask("cases", cast.DEPARTMENT)
    case = await cast.a_case(township)
    assert (await township.get(f"/v1/cases/{case}")).json()["party_name"]
    transfer = await cast.an_offered(township, case)
    await cast.post(department, f"/v1/transfers/{transfer}/acceptance", {})
    after = (await township.get(f"/v1/cases/{case}")).json()
    assert (after["party_name"], after["summary"], after["holder"]) == (None, None, cast.DEPARTMENT)
    assert (await township.get("/v1/cases", params={"q": "占道"})).json()["data"] == []


async def _waiting(
    county: County, reader: httpx.AsyncClient, feed: str
) -> asyncio.Task[list[dict[str, Any]]]:
    """A long poll from the end of the log on, under way."""
    listed = (await reader.get("/v1/feeds")).json()["data"]
    query = {"lastEventId": listed[0]["position"], "timeout": 30_000}

    async def events() -> list[dict[str, Any]]:
        answer = await reader.get(f"/v1/feeds/{feed}", params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    before = _readers(county, feed)

    async def is_open() -> bool:
        return _readers(county, feed) > before

    task = asyncio.create_task(events())
    await until(is_open)
    return task


def _readers(county: County, feed: str) -> float:
    """How many read the feed now, as operators see it."""
    labels = {"service": "sharing", "feed": feed}
    registry = county.parts["sharing"].metrics.registry
    return registry.get_sample_value("liandong_feed_readers", labels) or 0.0


async def _reject(client: httpx.AsyncClient, case: str) -> None:
    seen = await cast.etag(client, f"/v1/cases/{case}")
    body = {"move": "reject", "reason": "违法行为轻微并及时改正"}
    await cast.post(client, f"/v1/cases/{case}/transitions", body, seen=seen)


def _bare(answer: httpx.Response) -> dict[str, Any]:
    return {**answer.json(), "trace_id": ""}
