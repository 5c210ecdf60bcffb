"""Disputes through HTTP: one holder, whoever races whom, and a ladder that ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.permit import Role
from tests.worlds import county
from tests.worlds.county import DEPARTMENT, OFFICE, OFFICERS, OTHER, TOWNSHIP, County

pytestmark = pytest.mark.anyio

ARTICLE = "行政处罚法第二十五条第二款"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[County]:
    async with county.a_county(tmp_path) as here:
        yield here


async def office(here: County, path: str, body: object) -> dict[str, object]:
    return await here.must(path, body, OFFICE, Role.COORDINATOR)


async def case_now(here: County, case: str) -> dict[str, object]:
    read: dict[str, object] = (await here.get(f"/v1/cases/{case}", OFFICE, Role.COORDINATOR)).json()
    return read


async def test_a_second_return_opens_the_dispute_in_the_same_commit(here: County) -> None:
    case = await here.a_case()
    before = int((await here.etag(case))["if-match"].strip('"'))
    dispute = await here.a_dispute(case)
    assert dispute == f"{case}.d1"
    now = await case_now(here, case)
    assert (now["returns"], now["open_dispute"], now["holder"]) == (2, dispute, TOWNSHIP)
    # Two offers and two returns: the dispute came with the last of them.
    assert int((await here.etag(case))["if-match"].strip('"')) == before + 4
    timeline = (await here.get(f"/v1/cases/{case}/timeline", OFFICE, Role.COORDINATOR)).json()["data"]
    assert [deed["type"] for deed in timeline][-2:] == [
        "liandong.transfer.returned.v1",
        "liandong.dispute.opened.v1",
    ]
    read = (await here.get(f"/v1/disputes/{dispute}", DEPARTMENT)).json()
    assert (read["state"], read["parties"], read["coordinator"]) == ("opened", [TOWNSHIP, DEPARTMENT], OFFICE)


async def test_while_it_is_open_nobody_acts_alone(here: County) -> None:
    case = await here.a_case()
    await here.a_dispute(case)
    moved = await here.move(case, {"move": "file", "officers": list(OFFICERS[TOWNSHIP])})
    offered = await here.post(
        f"/v1/cases/{case}/transfers", county.an_offer(OTHER), headers=await here.etag(case)
    )
    for answer in (moved, offered):
        assert (answer.status_code, answer.json()["basis"]) == (409, ARTICLE)
        assert answer.json()["type"] == "urn:liandong:problem:dispute-open"
    options = (await here.get(f"/v1/cases/{case}/transitions")).json()["data"]
    assert {block["code"] for option in options for block in option["blocks"]} >= {"dispute-open"}


async def test_the_whole_ladder_ends_with_a_binding_opinion(here: County) -> None:
    case = await here.a_case("filed")
    dispute = await here.a_dispute(case)
    path = f"/v1/disputes/{dispute}"
    await office(here, f"{path}/acceptance", {})
    papers = [{"name": "移送材料"}]
    sent = await office(
        here, f"{path}/forwarding", {"to_agency": DEPARTMENT, "papers": papers, "due": county.day(7)}
    )
    assert (sent["state"], sent["due"]) == ("forwarded", county.day(7))
    statement = {"statement": "本局无此职权", "basis": "某条例第三条"}
    await here.must(f"{path}/reply", statement, DEPARTMENT)
    ruled = await office(here, f"{path}/ruling", county.a_ruling())
    assert (ruled["state"], ruled["competent_agency"]) == ("ruled", DEPARTMENT)
    now = await case_now(here, case)
    assert (now["holder"], now["in_name_of"], now["open_dispute"]) == (DEPARTMENT, DEPARTMENT, None)
    late = await here.move(case, {"move": "investigate", "officers": list(OFFICERS[TOWNSHIP])})
    assert late.status_code == 403
    # And it is no victim of the next to and fro: the opinion binds until there are new facts.
    body = county.an_offer(TOWNSHIP, officers=list(OFFICERS[DEPARTMENT]))
    seen = await here.etag(case, DEPARTMENT)
    again = await here.post(f"/v1/cases/{case}/transfers", body, DEPARTMENT, headers=seen)
    assert (again.status_code, again.json()["type"]) == (409, "urn:liandong:problem:ruling-binds")
    new = body | {"new_facts": "行为发生在集镇之内"}
    transfer = await here.must(f"/v1/cases/{case}/transfers", new, DEPARTMENT, headers=seen)
    back = county.a_return(proposed_agency=DEPARTMENT)
    returned = await here.must(f"/v1/transfers/{transfer['id']}/return", back, TOWNSHIP)
    assert returned["dispute"] == f"{case}.d2"


async def test_they_agree_and_the_case_goes_there(here: County) -> None:
    case = await here.a_case()
    path = f"/v1/disputes/{await here.a_dispute(case)}"
    first = await here.must(f"{path}/proposal", {"competent_agency": DEPARTMENT}, TOWNSHIP)
    assert (first["state"], first["proposals"]) == ("opened", {TOWNSHIP: DEPARTMENT})
    second = await here.must(f"{path}/proposal", {"competent_agency": DEPARTMENT}, DEPARTMENT)
    assert (second["state"], second["competent_agency"]) == ("settled", DEPARTMENT)
    assert (await case_now(here, case))["holder"] == DEPARTMENT


async def test_who_is_named_to_lead_holds_the_case_and_acts_until_it_is_settled(here: County) -> None:
    case = await here.a_case()
    path = f"/v1/disputes/{await here.a_dispute(case)}"
    led = await office(here, f"{path}/lead", {"lead": DEPARTMENT, "danger": "棚架将倒"})
    assert (led["state"], led["lead"]) == ("opened", DEPARTMENT)
    now = await case_now(here, case)
    assert (now["holder"], now["lead"]) == (DEPARTMENT, DEPARTMENT)
    filed = await here.move(case, {"move": "file", "officers": list(OFFICERS[DEPARTMENT])}, DEPARTMENT)
    assert filed.status_code == 201
    rejected = await here.move(case, {"move": "reject", "reason": "无"}, TOWNSHIP)
    assert rejected.status_code == 403
    await office(here, f"{path}/acceptance", {})
    await office(here, f"{path}/ruling", county.a_ruling(TOWNSHIP))
    now = await case_now(here, case)
    assert (now["holder"], now["lead"], now["in_name_of"]) == (TOWNSHIP, None, TOWNSHIP)


async def test_who_declined_argues_with_the_case_before_it_and_loses_sight_of_it_with_the_dispute(
    here: County,
) -> None:
    case = await here.a_case()
    first = await here.a_transfer(case)
    await here.must(f"/v1/transfers/{first}/return", county.a_return(), DEPARTMENT)
    assert (await here.get(f"/v1/cases/{case}", DEPARTMENT)).status_code == 404
    brought = await here.must(f"/v1/transfers/{first}/dispute", {"ground": "该归执法局"}, TOWNSHIP)
    seen = (await here.get(f"/v1/cases/{case}", DEPARTMENT)).json()
    assert (seen["open_dispute"], seen["party_name"]) == (brought["dispute"], None)
    path = f"/v1/disputes/{brought['dispute']}"
    assert (await here.get(path, DEPARTMENT)).json()["ground"] == "该归执法局"
    await office(here, f"{path}/acceptance", {})
    await office(here, f"{path}/ruling", county.a_ruling(TOWNSHIP))
    assert (await here.get(f"/v1/cases/{case}", DEPARTMENT)).status_code == 404
    parted = (await here.get(path, DEPARTMENT)).json()
    assert (parted["state"], parted["ground"], parted["opinion"]) == ("ruled", None, None)


async def test_rulings_agreements_and_leads_at_once_leave_one_holder(here: County) -> None:
    for _ in range(3):
        case = await here.a_case()
        path = f"/v1/disputes/{await here.a_dispute(case)}"
        await office(here, f"{path}/acceptance", {})
        await here.must(f"{path}/proposal", {"competent_agency": DEPARTMENT}, TOWNSHIP)
        answers = await asyncio.gather(
            *(
                post
                for _ in range(4)
                for post in (
                    here.post(f"{path}/ruling", county.a_ruling(TOWNSHIP), OFFICE, Role.COORDINATOR),
                    here.post(f"{path}/proposal", {"competent_agency": DEPARTMENT}, DEPARTMENT),
                )
            )
        )
        assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 7}
        (won,) = [answer.json() for answer in answers if answer.status_code == 201]
        now = await case_now(here, case)
        assert (now["holder"], now["open_dispute"]) == (won["competent_agency"], None)
        assert won["state"] == ("ruled" if now["holder"] == TOWNSHIP else "settled")


async def test_a_coordinator_of_the_county_brings_nothing_about_that_is_not_disputed(here: County) -> None:
    case = await here.a_case()
    transfer = await here.a_transfer(case)
    early = await here.post(f"/v1/transfers/{transfer}/dispute", {"ground": "无"}, TOWNSHIP)
    assert (early.status_code, early.json()["type"]) == (409, "urn:liandong:problem:not-disputable")
    nobody = await here.get(f"/v1/disputes/{case}.d1", OFFICE, Role.COORDINATOR)
    assert nobody.status_code == 404
