"""Parked keys and unreadable records over HTTP: listed, tried without effect, redriven with a trail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common.log import envelope
from libs.common.log.seam import Outgoing
from libs.common.permit import Role
from libs.common.store import schema
from services.parts import topic
from tests.worlds import cast
from tests.worlds.deployment import County, on_embedded

pytestmark = pytest.mark.anyio


@pytest.fixture
async def county(tmp_path: Path) -> AsyncIterator[County]:
    async with on_embedded(tmp_path) as made:
        await cast.register(made)
        await made.drain()
        yield made


async def _said(county: County, case: str) -> list[Outgoing]:
    """What `cases` has said of a case, as its relay would publish it."""
    async with county.parts["cases"].store.reading() as read:
        entries = await read.all(schema.JournalEntry)
    return [envelope.outgoing(entry) for entry in entries if entry.id == case]


async def _publish(county: County, *records: Outgoing) -> None:
    await county.parts["cases"].log.publish(topic("cases"), records, within=5.0)
    for service in ("notify", "sharing"):
        while await county.loops(service).consumer.once(within=0.0):
            pass


def _with(record: Outgoing, **attributes: str) -> Outgoing:
    headers = {**dict(record.headers), **{f"ce_{n}": v.encode() for n, v in attributes.items()}}
    return replace(record, headers=tuple(headers.items()))


async def _redrive(operator: httpx.AsyncClient, **body: Any) -> Any:
    return await cast.post(operator, "/v1/redrives", {"dry_run": False, **body})


async def test_a_key_parked_for_its_version_is_listed_tried_and_kept(county: County) -> None:
    township = county.ask("cases", cast.TOWNSHIP)
    case = await cast.a_case(township)
    (clue,) = await _said(county, case)
    await _publish(county, _with(clue, type="liandong.clue.registered.v9"))
    operator = county.ask("sharing", cast.OFFICE, Role.OPERATOR)
    (key,) = (await operator.get("/v1/parked")).json()["data"]
    assert (key["stream"], key["seq"], key["waiting"]) == (f"case/{case}", 1, 1)
    tried = await _redrive(operator, dry_run=True)
    assert tried["data"][0]["parked"][0]["seq"] == 1
    assert (await operator.get("/v1/parked")).json()["data"] == [key]
    assert (await _redrive(operator))["data"][0]["applied"] == 0
    async with county.parts["sharing"].store.reading() as read:
        trail = await read.all(schema.Redrive)
    assert sorted(row.dry_run for row in trail) == [False, True]


async def test_a_forged_record_stays_parked_whatever_the_redrive(county: County) -> None:
    """A record whose key is not its subject was refused when it came, and is refused again."""
    case = await cast.a_case(county.ask("cases", cast.TOWNSHIP))
    (clue,) = await _said(county, case)
    await _publish(county, replace(clue, key="case/other"))
    operator = county.ask("sharing", cast.OFFICE, Role.OPERATOR)
    assert len((await operator.get("/v1/parked")).json()["records"]) == 1
    assert (await _redrive(operator, filter={"source": "cases"}))["data"] == []
    (result,) = (await _redrive(operator))["data"]
    assert (result["applied"], len(result["parked"])) == (0, 1)
    assert len((await operator.get("/v1/parked")).json()["records"]) == 1


async def test_another_record_under_a_known_seq_is_an_alarm_and_not_a_duplicate(county: County) -> None:
    """A history that was rewritten or rolled back parks its key; the witness keeps what it saw."""
    case = await cast.a_case(county.ask("cases", cast.TOWNSHIP))
    await county.drain()
    (clue,) = await _said(county, case)
    witness = county.ask("sharing", cast.OFFICE, Role.COORDINATOR)
    query = {"source": "cases", "stream": f"case/{case}"}
    before = (await witness.get("/v1/witnesses", params=query)).json()
    await _publish(county, clue, _with(clue, chain="ab" * 32))
    operator = county.ask("sharing", cast.OFFICE, Role.OPERATOR)
    (key,) = (await operator.get("/v1/parked")).json()["data"]
    assert key["seq"] == 1
    assert (await witness.get("/v1/witnesses", params=query)).json() == before


async def test_a_reason_that_cannot_be_kept_is_refused_before_anything_is_done(county: County) -> None:
    operator = county.ask("sharing", cast.OFFICE, Role.OPERATOR)
    for reason in ("a%00b", "%E2%80%AEz", "x" * 201):
        answer = await operator.post(
            "/v1/redrives", json={"dry_run": False}, headers={"audit-reason": reason}
        )
        assert answer.status_code == 422, reason


async def test_a_version_that_cannot_be_is_refused_before_anything_is_done(county: County) -> None:
    township = county.ask("cases", cast.TOWNSHIP)
    (clue,) = await _said(county, await cast.a_case(township))
    await _publish(county, _with(clue, type="liandong.clue.registered.v9"))
    operator = county.ask("sharing", cast.OFFICE, Role.OPERATOR)
    refused = await operator.post("/v1/redrives", json={"dry_run": False}, headers={"if-match": '"1"'})
    assert refused.status_code == 412
    async with county.parts["sharing"].store.reading() as read:
        assert await read.all(schema.Redrive) == []
