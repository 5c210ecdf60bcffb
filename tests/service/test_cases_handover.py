"""Transfers through HTTP: one holder, whoever races whom, and nothing told to who may not know."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common.permit import Role
from tests.worlds import county
from tests.worlds.county import (
    DEPARTMENT,
    GRANTED,
    NEIGHBOUR,
    OFFICE,
    OFFICERS,
    OTHER,
    STRANGER,
    TOWNSHIP,
    County,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[County]:
    async with county.a_county(tmp_path) as here:
        yield here


async def holder(here: County, case: str) -> str:
    return str((await here.get(f"/v1/cases/{case}", OFFICE, Role.COORDINATOR)).json()["holder"])


async def test_an_offer_leaves_the_case_with_its_sender(here: County) -> None:
    case = await here.a_case()
    answer = await here.post(f"/v1/cases/{case}/transfers", county.an_offer(), headers=await here.etag(case))
    assert (answer.status_code, answer.json()["state"]) == (201, "offered")
    assert answer.headers["location"] == f"/v1/transfers/{case}.t1"
    assert await holder(here, case) == TOWNSHIP


async def test_an_acceptance_gives_the_case_to_the_recipient(here: County) -> None:
    case = await here.a_case("filed")
    transfer = await here.a_transfer(case)
    accepted = await here.must(f"/v1/transfers/{transfer}/acceptance", {}, DEPARTMENT)
    assert accepted["state"] == "accepted"
    read = (await here.get(f"/v1/cases/{case}", DEPARTMENT)).json()
    assert (read["holder"], read["in_name_of"], read["open_transfer"]) == (DEPARTMENT, DEPARTMENT, None)


async def test_a_return_says_why_and_whose_it_should_be(here: County) -> None:
    transfer = await here.a_transfer(await here.a_case())
    await here.must(f"/v1/transfers/{transfer}/return", county.a_return(), DEPARTMENT)
    read = (await here.get(f"/v1/transfers/{transfer}")).json()
    assert read["return"] == {
        "reason": "not_competent",
        "reason_zh": "本机关对该事项无管辖权",
        "basis": "行政处罚法第二十二条",
        "proposed_agency": OTHER,
    }


async def test_a_return_without_an_article_is_refused_with_one(here: County) -> None:
    transfer = await here.a_transfer(await here.a_case())
    answer = await here.post(
        f"/v1/transfers/{transfer}/return", county.a_return(basis="不归我们管"), DEPARTMENT
    )
    assert (answer.status_code, answer.json()["basis"]) == (409, "行政处罚法第二十五条第二款")


async def test_accepted_and_withdrawn_ten_times_each_at_once_has_one_outcome(here: County) -> None:
    case = await here.a_case()
    transfer = await here.a_transfer(case)
    answers = await asyncio.gather(
        *(
            post
            for _ in range(10)
            for post in (
                here.post(f"/v1/transfers/{transfer}/acceptance", {}, DEPARTMENT),
                here.post(f"/v1/transfers/{transfer}/withdrawal", {}, TOWNSHIP),
            )
        )
    )
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 19}
    (won,) = [answer.json()["state"] for answer in answers if answer.status_code == 201]
    assert {a.json()["type"] for a in answers if a.status_code == 409} == {"urn:liandong:problem:not-offered"}
    assert await holder(here, case) == (DEPARTMENT if won == "accepted" else TOWNSHIP)
    timeline = (await here.get(f"/v1/cases/{case}/timeline", OFFICE, Role.COORDINATOR)).json()["data"]
    assert [deed["type"] for deed in timeline][2:] == [f"liandong.transfer.{won}.v1"]


async def test_who_withdraws_after_the_acceptance_is_told_that_it_was_answered(here: County) -> None:
    transfer = await here.a_transfer(await here.a_case())
    await here.must(f"/v1/transfers/{transfer}/acceptance", {}, DEPARTMENT)
    answer = await here.post(f"/v1/transfers/{transfer}/withdrawal", {}, TOWNSHIP)
    assert (answer.status_code, answer.json()["state"]) == (409, "accepted")


async def test_a_case_goes_to_and_fro_and_is_always_somebodys(here: County) -> None:
    case = await here.a_case()
    answers = (("return", DEPARTMENT), ("withdrawal", TOWNSHIP), ("acceptance", DEPARTMENT))
    for number, (answer, by) in enumerate(answers, 1):
        assert await holder(here, case) == TOWNSHIP
        transfer = await here.a_transfer(case)
        assert transfer == f"{case}.t{number}"
        body = county.a_return() if answer == "return" else {}
        await here.must(f"/v1/transfers/{transfer}/{answer}", body, by)
    assert await holder(here, case) == DEPARTMENT


async def test_a_recipient_is_not_offered_what_it_may_not_take(here: County) -> None:
    """A grant recalled on a day lets nothing be accepted from that day on, not even what waits."""
    case = await here.a_case(power=GRANTED, territory="330726102", registered_on=county.day(-2))
    grant = {
        "power": GRANTED,
        "agency": NEIGHBOUR,
        "mode": "conferred",
        "document": "1号",
        "effective_on": "2020-01-01",
    }
    given = await here.must("/v1/grants", grant, OFFICE, Role.REGISTRAR)
    transfer = await here.a_transfer(case, NEIGHBOUR, acted_on=county.day(-1))
    recall = {"recalled_on": county.day(), "document": "2号"}
    await here.must(f"/v1/grants/{given['id']}/recall", recall, OFFICE, Role.REGISTRAR)
    refused = await here.post(f"/v1/transfers/{transfer}/acceptance", {}, NEIGHBOUR)
    assert (refused.status_code, refused.json()["basis"]) == (409, "行政处罚法第二十四条第一款")
    assert await holder(here, case) == TOWNSHIP
    accepted = await here.post(
        f"/v1/transfers/{transfer}/acceptance", {"acted_on": county.day(-1)}, NEIGHBOUR
    )
    assert accepted.status_code == 201


async def test_a_case_on_offer_does_not_move(here: County) -> None:
    case = await here.a_case()
    await here.a_transfer(case)
    answer = await here.move(case, {"move": "file", "officers": list(OFFICERS[TOWNSHIP])})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:liandong:problem:open-transfer")


async def test_an_answer_repeated_with_its_key_is_the_same_answer(here: County) -> None:
    transfer = await here.a_transfer(await here.a_case())
    once = {"idempotency-key": "once"}
    path = f"/v1/transfers/{transfer}/acceptance"
    first = await here.post(path, {}, DEPARTMENT, headers=once)
    again = await here.post(path, {}, DEPARTMENT, headers=once)
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")


async def test_the_package_is_read_by_sender_and_recipient_and_masked_for_the_office(here: County) -> None:
    transfer = await here.a_transfer(await here.a_case())
    for by in (TOWNSHIP, DEPARTMENT):
        assert (await here.get(f"/v1/transfers/{transfer}", by)).json()["package"]["goods"] == []
    masked = (await here.get(f"/v1/transfers/{transfer}", OFFICE, Role.COORDINATOR)).json()
    assert (masked["package"], masked["ground"]) == (None, None)
    assert masked["masked"] == ["ground", "new_facts", "note", "package"]


ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/v1/cases/{case}", None),
    ("GET", "/v1/cases/{case}/transitions", None),
    ("GET", "/v1/cases/{case}/timeline", None),
    ("GET", "/v1/cases/{case}/proof", None),
    ("POST", "/v1/cases/{case}/transitions", {"move": "reject", "reason": "无"}),
    ("POST", "/v1/cases/{case}/transfers", county.an_offer()),
    ("GET", "/v1/transfers/{case}.t1", None),
    ("POST", "/v1/transfers/{case}.t1/acceptance", {}),
    ("POST", "/v1/transfers/{case}.t1/return", county.a_return()),
    ("POST", "/v1/transfers/{case}.t1/withdrawal", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
@pytest.mark.parametrize("agency", [STRANGER, OTHER], ids=["stranger", "agency without part in it"])
async def test_what_one_may_not_know_of_answers_as_what_does_not_exist(
    here: County, method: str, path: str, body: Any, agency: str
) -> None:
    case = await here.a_case()
    await here.a_transfer(case)

    async def ask(id_: str) -> tuple[int, dict[str, Any]]:
        async with here.client(agency, Role.HANDLER, Role.APPROVER, Role.COORDINATOR) as caller:
            headers = {**county.key(), "if-match": '"2"'}
            answer: httpx.Response = await caller.request(
                method, path.format(case=id_), json=body, headers=headers if body is not None else None
            )
        problem = answer.json()
        problem.pop("trace_id")
        return answer.status_code, problem

    hidden = await ask(case)
    assert hidden == await ask("01a20e8f-0000-7000-8000-000000000000")
    assert hidden[0] == 404


async def test_a_race_of_offers_leaves_one(here: County) -> None:
    case = await here.a_case()
    headers = await here.etag(case)
    answers = await asyncio.gather(
        *(
            here.post(f"/v1/cases/{case}/transfers", county.an_offer(to), headers=headers)
            for to in (DEPARTMENT, OTHER) * 5
        )
    )
    assert Counter(answer.status_code for answer in answers) == {201: 1, 412: 9}
