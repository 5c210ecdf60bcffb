"""Assistance through HTTP: who is asked sees the letter, while it must, and never the case."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.permit import Role
from services.cases.assistance.api import LetterIn
from tests.worlds import county
from tests.worlds.county import DEPARTMENT, GRANTED, OFFICE, OTHER, TOWNSHIP, County

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[County]:
    async with county.a_county(tmp_path) as here:
        yield here


async def a_request(here: County, case: str, to: str = OTHER, **but: object) -> str:
    made = await here.must(f"/v1/cases/{case}/assistance", county.a_letter(to, **but), TOWNSHIP)
    return str(made["id"])


async def test_who_is_asked_reads_the_letter_and_not_the_case(here: County) -> None:
    case = await here.a_case()
    asked = await a_request(here, case)
    assert asked == f"{case}.a1"
    read = (await here.get(f"/v1/assistance/{asked}", OTHER)).json()
    assert (read["state"], read["letter_no"], read["masked"]) == (
        "requested",
        "青山镇协函〔2026〕第3号",
        [],
    )
    assert [item["kind_zh"] for item in read["items"]] == ["提供材料", "技术认定"]
    assert (read["party_name"], read["party_id"]) == (None, None)
    for path in ("", "/timeline", "/proof", "/transitions"):
        assert (await here.get(f"/v1/cases/{case}{path}", OTHER)).status_code == 404
    assert (await here.get("/v1/cases", OTHER)).json()["data"] == []


async def test_the_party_is_named_only_where_the_letter_says_that_it_must(here: County) -> None:
    asked = await a_request(here, await here.a_case(), names_party=True)
    read = (await here.get(f"/v1/assistance/{asked}", OTHER)).json()
    assert (read["party_name"], read["party_id"]) == ("张三", "330726199001010011")


async def test_once_it_has_answered_it_sees_that_it_was_asked_and_no_more(here: County) -> None:
    asked = await a_request(here, await here.a_case(), names_party=True)
    replied = await here.must(f"/v1/assistance/{asked}/reply", county.a_reply(), OTHER)
    assert (replied["state"], replied["answers"][1]["outcome"]) == ("replied", "lacking")
    after = (await here.get(f"/v1/assistance/{asked}", OTHER)).json()
    assert (after["state"], after["items"], after["answers"], after["party_name"]) == (
        "replied",
        None,
        None,
        None,
    )
    holder = (await here.get(f"/v1/assistance/{asked}", TOWNSHIP)).json()
    assert (holder["answers"][0]["answer"], holder["masked"]) == ("查明如下", [])
    office = (await here.get(f"/v1/assistance/{asked}", OFFICE, Role.COORDINATOR)).json()
    assert (office["state"], office["answers"], office["ground"]) == ("replied", None, None)


async def test_who_holds_the_power_that_the_letter_names_shall_help(here: County) -> None:
    asked = await a_request(here, await here.a_case(), DEPARTMENT, power=GRANTED)
    body = {"ground": "outside_powers", "basis": "行政处罚法第十七条"}
    answer = await here.post(f"/v1/assistance/{asked}/refusal", body, DEPARTMENT)
    assert (answer.status_code, answer.json()["basis"]) == (409, "行政处罚法第二十六条")
    assert answer.json()["type"] == "urn:liandong:problem:shall-assist"


async def test_a_refusal_names_its_ground_and_comes_once(here: County) -> None:
    asked = await a_request(here, await here.a_case())
    body = {"ground": "outside_powers", "basis": "行政处罚法第十七条", "note": "不归本局"}
    refused = await here.must(f"/v1/assistance/{asked}/refusal", body, OTHER)
    assert refused["refusal"] == {
        "ground": "outside_powers",
        "ground_zh": "协助事项不属于本机关职权范围",
        "basis": "行政处罚法第十七条",
    }
    again = await here.post(f"/v1/assistance/{asked}/refusal", body, OTHER)
    assert (again.status_code, again.json()["state"]) == (409, "refused")


async def test_an_extension_is_given_in_writing_with_a_date(here: County) -> None:
    asked = await a_request(here, await here.a_case(), due=county.day(5))
    body = {"until": county.day(9), "reason": "案卷在途"}
    extended = await here.must(f"/v1/assistance/{asked}/extension", body, OTHER)
    assert (extended["state"], extended["until"]) == ("requested", county.day(9))
    late = await here.post(f"/v1/assistance/{asked}/extension", body, OTHER)
    assert (late.status_code, late.json()["basis"]) == (409, "行政处罚法第二十六条")


async def test_the_answer_goes_to_whoever_holds_the_case_by_then(here: County) -> None:
    case = await here.a_case()
    asked = await a_request(here, case)
    transfer = await here.a_transfer(case)
    await here.must(f"/v1/transfers/{transfer}/acceptance", {}, DEPARTMENT)
    replied = await here.must(f"/v1/assistance/{asked}/reply", county.a_reply(), OTHER)
    assert replied["holder"] == DEPARTMENT
    assert (await here.get(f"/v1/assistance/{asked}", DEPARTMENT)).json()["masked"] == []
    former = (await here.get(f"/v1/assistance/{asked}", TOWNSHIP)).json()
    assert (former["answers"], former["items"]) == (None, None)
    late = await here.post(f"/v1/assistance/{asked}/withdrawal", {}, TOWNSHIP)
    assert late.status_code == 403


async def test_replies_and_withdrawals_at_once_have_one_outcome(here: County) -> None:
    asked = await a_request(here, await here.a_case())
    answers = await asyncio.gather(
        *(
            post
            for _ in range(5)
            for post in (
                here.post(f"/v1/assistance/{asked}/reply", county.a_reply(), OTHER),
                here.post(f"/v1/assistance/{asked}/withdrawal", {}, TOWNSHIP),
            )
        )
    )
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 9}


async def test_a_request_of_another_case_is_as_one_that_does_not_exist(here: County) -> None:
    asked = await a_request(here, await here.a_case())
    hidden = await here.get(f"/v1/assistance/{asked}", DEPARTMENT)
    nowhere = await here.get("/v1/assistance/01a20e8f-0000-7000-8000-000000000000.a1", DEPARTMENT)
    assert hidden.status_code == nowhere.status_code == 404
    assert {**hidden.json(), "trace_id": ""} == {**nowhere.json(), "trace_id": ""}


@pytest.mark.parametrize("number", ["3", "青山镇 张三", "号", ""])
def test_a_letter_has_a_number_that_may_be_published(number: str) -> None:
    with pytest.raises(ValueError, match="letter_no"):
        LetterIn.model_validate(county.a_letter(letter_no=number))
