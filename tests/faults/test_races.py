"""Races over HTTP on real PostgreSQL: many callers at once, one effect, one holder."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.permit import Role
from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres
from tests.worlds import cast
from tests.worlds.deployment import County, on_servers

pytestmark = pytest.mark.anyio


@pytest.fixture
async def county(tmp_path: Path, postgres: Postgres, own_kafka: Kafka) -> AsyncIterator[County]:
    async with on_servers(tmp_path, postgres, own_kafka) as made:
        await cast.register(made)
        yield made


async def test_ten_acceptances_and_ten_withdrawals_at_once_leave_one_holder(county: County) -> None:
    """One of the twenty succeeds; the others are told that the transfer was settled, by 409."""
    township, department = county.ask("cases", cast.TOWNSHIP), county.ask("cases", cast.DEPARTMENT)
    for _ in range(5):
        case = await cast.a_case(township)
        transfer = await cast.an_offered(township, case)
        answers = await asyncio.gather(
            *(department.post(f"/v1/transfers/{transfer}/acceptance", json={}) for _ in range(10)),
            *(township.post(f"/v1/transfers/{transfer}/withdrawal", json={}) for _ in range(10)),
        )
        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 19}
        state = (await township.get(f"/v1/transfers/{transfer}")).json()["state"]
        holder = (await township.get(f"/v1/cases/{case}")).json()["holder"]
        assert (state, holder) in {("accepted", cast.DEPARTMENT), ("withdrawn", cast.TOWNSHIP)}


async def test_rulings_and_agreements_at_once_leave_one_holder(county: County) -> None:
    """The office names the department while the department agrees to the township, and the township to it."""
    township, department = county.ask("cases", cast.TOWNSHIP), county.ask("cases", cast.DEPARTMENT)
    office = county.ask("cases", cast.OFFICE, Role.COORDINATOR)
    for _ in range(5):
        case = await cast.a_case(township)
        path = f"/v1/disputes/{await cast.a_dispute(township, department, case)}"
        await cast.post(office, f"{path}/acceptance", {})
        stays = {"competent_agency": cast.TOWNSHIP}
        await cast.post(township, f"{path}/proposal", stays)
        answers = await asyncio.gather(
            *(office.post(f"{path}/ruling", json=cast.a_ruling()) for _ in range(8)),
            *(department.post(f"{path}/proposal", json=stays) for _ in range(8)),
        )
        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 15}
        state = (await office.get(path)).json()["state"]
        holder = (await office.get(f"/v1/cases/{case}")).json()["holder"]
        assert (state, holder) in {("ruled", cast.DEPARTMENT), ("settled", cast.TOWNSHIP)}


async def test_one_key_from_twenty_callers_is_one_effect_and_equal_answers(county: County) -> None:
    township = county.ask("cases", cast.TOWNSHIP)
    headers = {"idempotency-key": "the-same-for-all"}
    answers = await asyncio.gather(
        *(township.post("/v1/clues", json=cast.a_clue(), headers=headers) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len((await township.get("/v1/cases")).json()["data"]) == 1
    other = await township.post("/v1/clues", json=cast.a_clue(summary="另一件"), headers=headers)
    assert other.status_code == 422


async def test_cases_filed_at_once_are_numbered_without_a_gap(county: County) -> None:
    """The counter is contended by all of them, and every one is filed."""
    township = county.ask("cases", cast.TOWNSHIP)
    cases = [await cast.a_case(township) for _ in range(12)]
    await asyncio.gather(
        *(
            cast.post(township, f"/v1/cases/{case}/transitions", cast.a_filing(cast.TOWNSHIP), seen='"1"')
            for case in cases
        )
    )
    filed = (await township.get("/v1/cases", params={"stage": "filed"})).json()["data"]
    assert sorted(case["no"] for case in filed) == sorted(
        f"禾丰镇立〔{filed[0]['filed_on'][:4]}〕第{n}号" for n in range(1, 13)
    )
