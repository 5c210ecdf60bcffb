"""Clues and cases through HTTP: registering, reading, listing, and what a search must not tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.common.permit import Role
from tests.worlds import county
from tests.worlds.county import DEPARTMENT, GRANTED, OFFICE, OTHER, STRANGER, TOWNSHIP, WITHHELD, County

pytestmark = pytest.mark.anyio

PERSONAL = ("party_name", "party_id", "summary")


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[County]:
    async with county.a_county(tmp_path) as here:
        yield here


async def listed(here: County, by: str = TOWNSHIP, *roles: Role, **query: Any) -> list[str]:
    """The ids that a list shows."""
    answer = await here.get("/v1/cases", by, *roles, **query)
    assert answer.status_code == 200, answer.text
    return [case["id"] for case in answer.json()["data"]]


async def test_a_clue_opens_a_case_that_its_receiver_holds(here: County) -> None:
    answer = await here.post("/v1/clues", county.a_clue())
    case = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/cases/{case['id']}"
    assert answer.headers["etag"] == '"1"'
    assert (case["stage"], case["stage_zh"], case["holder"]) == ("registered", "线索登记", TOWNSHIP)
    assert (case["party_name"], case["no"]) == ("张三", None)


async def test_a_case_is_read_as_it_was_registered(here: County) -> None:
    registered = (await here.post("/v1/clues", county.a_clue())).json()
    read = await here.get(f"/v1/cases/{registered['id']}")
    assert read.json() == registered


async def test_a_read_with_its_etag_is_not_modified(here: County) -> None:
    case = await here.a_case()
    async with here.client(TOWNSHIP) as caller:
        answer = await caller.get(f"/v1/cases/{case}", headers={"if-none-match": '"1"'})
    assert answer.status_code == 304


@pytest.mark.parametrize(
    ("but", "pointer"),
    [
        ({"territory": "330726"}, "/territory"),
        ({"power": "12"}, "/power"),
        ({"source": "rumour"}, "/source"),
        ({"summary": ""}, "/summary"),
        ({"urgency": "now"}, "/urgency"),
        ({"registered_on": "2026-02-30"}, "/registered_on"),
        ({"holder": DEPARTMENT}, "/holder"),
    ],
)
async def test_a_clue_that_cannot_be_read_is_malformed(
    here: County, but: dict[str, Any], pointer: str
) -> None:
    answer = await here.post("/v1/clues", county.a_clue(**but))
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


async def test_a_clue_under_an_unknown_power_is_refused(here: County) -> None:
    answer = await here.post("/v1/clues", county.a_clue(power="330217099000"))
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:liandong:problem:not-registered")


async def test_a_clue_of_tomorrow_is_refused_with_the_article(here: County) -> None:
    answer = await here.post("/v1/clues", county.a_clue(registered_on=county.day(1)))
    assert (answer.status_code, answer.json()["basis"]) == (409, "行政处罚法第四十七条")


async def test_a_stranger_registers_nothing(here: County) -> None:
    assert (await here.post("/v1/clues", county.a_clue(), STRANGER)).status_code == 403


async def test_lists_hold_what_the_agency_is_party_to(here: County) -> None:
    own, offered = await here.a_case(), await here.a_case()
    await here.a_transfer(offered)
    assert await listed(here) == [offered, own]
    assert await listed(here, DEPARTMENT) == [offered]
    assert await listed(here, OTHER) == []
    assert await listed(here, OFFICE, Role.COORDINATOR) == [offered, own]
    assert await listed(here, OFFICE, Role.HANDLER) == []
    assert await listed(here, TOWNSHIP, Role.REGISTRAR) == []


async def test_a_list_is_walked_newest_first_while_cases_come_in(here: County) -> None:
    cases = [await here.a_case() for _ in range(5)]
    first = (await here.get("/v1/cases", limit=2)).json()
    await here.a_case()
    second = (await here.get("/v1/cases", limit=2, cursor=first["next"])).json()
    third = (await here.get("/v1/cases", limit=2, cursor=second["next"])).json()
    ids = [case["id"] for page in (first, second, third) for case in page["data"]]
    assert ids == cases[::-1]
    assert third["next"] is None


async def test_lists_are_narrowed(here: County) -> None:
    filed, clue = await here.a_case("filed"), await here.a_case(power=WITHHELD)
    assert await listed(here, stage="filed") == [filed]
    assert await listed(here, power=WITHHELD) == [clue]
    assert await listed(here, holder=TOWNSHIP, power=GRANTED) == [filed]
    assert await listed(here, holder=DEPARTMENT) == []
    assert await listed(here, territory="330726101") == [clue, filed]
    assert await listed(here, territory="330726") == [clue, filed]
    assert await listed(here, territory="330727") == []


@pytest.mark.parametrize("query", [{"stage": "flown"}, {"power": "1"}, {"colour": "red"}, {"q": "\x00"}])
async def test_a_list_narrowed_to_what_cannot_be_is_malformed(here: County, query: dict[str, str]) -> None:
    assert (await here.get("/v1/cases", TOWNSHIP, **query)).status_code == 422


async def test_a_search_finds_numbers_and_summaries(here: County) -> None:
    filed, clue = await here.a_case("filed"), await here.a_case(summary="沿河倾倒100%垃圾")
    assert await listed(here, q="倾倒") == [clue]
    assert await listed(here, q="第1号") == [filed]
    assert await listed(here, q="100%") == [clue]
    assert await listed(here, q="倾_垃") == []
    assert await listed(here, q="无此事") == []


async def test_a_search_does_not_tell_what_is_masked(here: County) -> None:
    """Whoever reads the summary masked cannot find a case by it; who declined the case reads it no more."""
    case = await here.a_case("filed", summary="沿河倾倒垃圾")
    transfer = await here.a_transfer(case)
    assert await listed(here, DEPARTMENT, q="倾倒") == [case]
    await here.must(f"/v1/transfers/{transfer}/return", county.a_return(), DEPARTMENT)
    assert await listed(here, DEPARTMENT, q="倾倒") == []
    assert await listed(here, DEPARTMENT, q="第1号") == []
    assert await listed(here, OFFICE, Role.COORDINATOR, q="倾倒") == []
    assert await listed(here, OFFICE, Role.COORDINATOR, q="第1号") == [case]


async def test_personal_data_are_read_by_who_handles_the_case(here: County) -> None:
    case = await here.a_case()
    transfer = await here.a_transfer(case)

    async def seen(by: str, *roles: Role) -> list[str | None]:
        single = (await here.get(f"/v1/cases/{case}", by, *roles)).json()
        (row,) = (await here.get("/v1/cases", by, *roles)).json()["data"]
        assert row == single
        return [row[name] for name in PERSONAL]

    clear = ["张三", "330726199001010011", "集市占道设摊，拒不改正"]
    assert await seen(TOWNSHIP) == await seen(DEPARTMENT) == clear
    assert await seen(OFFICE, Role.COORDINATOR) == [None, None, None]
    await here.must(f"/v1/transfers/{transfer}/acceptance", {}, DEPARTMENT)
    assert await seen(DEPARTMENT) == clear
    assert await seen(TOWNSHIP) == [None, None, None]


async def test_one_key_from_twenty_callers_has_one_effect_and_equal_answers(here: County) -> None:
    async with here.client(TOWNSHIP) as caller:
        posts = (
            caller.post("/v1/clues", json=county.a_clue(), headers={"idempotency-key": "once"})
            for _ in range(20)
        )
        answers = await asyncio.gather(*posts)
    assert {answer.status_code for answer in answers} == {201}
    assert (
        len({(answer.content, answer.headers["etag"], answer.headers["location"]) for answer in answers}) == 1
    )
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len(await listed(here)) == 1


async def test_a_key_used_again_for_another_body_is_refused(here: County) -> None:
    once = {"idempotency-key": "once"}
    first = await here.post("/v1/clues", county.a_clue(), headers=once)
    other = await here.post("/v1/clues", county.a_clue(summary="另一件事"), headers=once)
    assert (first.status_code, other.status_code) == (201, 422)
    assert other.json()["type"] == "urn:liandong:problem:key-reused"
    assert len(await listed(here)) == 1


async def test_a_key_is_its_persons_own(here: County) -> None:
    once = {"idempotency-key": "once"}
    mine = await here.post("/v1/clues", county.a_clue(), TOWNSHIP, person="t-zhang", headers=once)
    theirs = await here.post("/v1/clues", county.a_clue(), TOWNSHIP, person="t-li", headers=once)
    assert mine.json()["id"] != theirs.json()["id"]


async def test_the_clues_public_fact_names_nobody(here: County) -> None:
    case = await here.a_case()
    (deed,) = (await here.get(f"/v1/cases/{case}/timeline")).json()["data"]
    assert set(deed["data"]) == {"case", "holder", "power", "territory", "clue_source", "urgency"}
