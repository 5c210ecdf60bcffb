"""Outages of Kafka and PostgreSQL under commands, on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common import clock
from libs.common.permit import Role
from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres
from tests.worlds import cast
from tests.worlds.deployment import County, on_servers

pytestmark = pytest.mark.anyio

#: Seconds that Kafka stays away while commands go on.
OUTAGE = 60.0


@pytest.fixture
async def county(tmp_path: Path, postgres: Postgres, own_kafka: Kafka) -> AsyncIterator[County]:
    async with on_servers(tmp_path, postgres, own_kafka) as made, made.running():
        await cast.register(made)
        await made.quiet()
        yield made
    await asyncio.to_thread(postgres.start)


@pytest.mark.slow
async def test_kafka_down_for_a_minute_fails_no_command_and_loses_no_word(
    county: County, own_kafka: Kafka
) -> None:
    """architecture: Kafka being down never fails a command; inbox and feed are complete, ordered per case."""
    township = county.ask("cases", cast.TOWNSHIP)
    await asyncio.to_thread(own_kafka.kill)
    until = clock.monotonic() + OUTAGE
    cases = []
    while clock.monotonic() < until:
        case = await cast.a_case(township)
        seen = await cast.etag(township, f"/v1/cases/{case}")
        await cast.post(township, f"/v1/cases/{case}/transitions", cast.a_filing(cast.TOWNSHIP), seen=seen)
        await cast.an_offered(township, case)
        cases.append(case)
        await asyncio.sleep(0.5)
    await asyncio.to_thread(own_kafka.start)
    await county.quiet()

    inbox = await _all(county.ask("notify", cast.DEPARTMENT), "/v1/inbox")
    offered = [n["about"] for n in inbox if n["type"] == "liandong.transfer.offered.v1"]
    assert sorted(offered) == sorted(f"case/{case}" for case in cases)
    entries = await _feed(county.ask("sharing", cast.OFFICE, Role.COORDINATOR))
    for case in cases:
        told = [entry["type"] for entry in entries if entry.get("subject") == f"case/{case}"]
        assert told == [
            "liandong.clue.registered.v1",
            "liandong.case.filed.v1",
            "liandong.transfer.offered.v1",
        ]


async def test_postgres_down_is_503_with_retry_after_and_serves_again(
    county: County, postgres: Postgres
) -> None:
    """reliability 13: 503 and Retry-After during the outage, never 500; the pool heals by itself."""
    township = county.ask("cases", cast.TOWNSHIP)
    case = await cast.a_case(township)
    await asyncio.to_thread(postgres.kill)
    headers = {"idempotency-key": "during-the-outage"}
    down = await township.post("/v1/clues", json=cast.a_clue(), headers=headers)
    assert (down.status_code, down.headers["content-type"]) == (503, "application/problem+json")
    assert int(down.headers["retry-after"]) >= 1
    assert (await township.get(f"/v1/cases/{case}")).status_code == 503

    await asyncio.to_thread(postgres.start)
    answers = [await township.post("/v1/clues", json=cast.a_clue(), headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert (await township.get(f"/v1/cases/{case}")).status_code == 200


async def _all(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get(path, params={"limit": 200, **cursor})).json()
        found += page["data"]
        if not page["next"]:
            return found
        cursor = {"cursor": page["next"]}


async def _feed(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    while True:
        last = {"lastEventId": entries[-1]["id"]} if entries else {}
        batch = (await client.get("/v1/feeds/all", params=last)).json()
        if not batch:
            return entries
        entries += batch
