"""Letters in a running `notify`: issued by the office, answered by the agency, closed by the office."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.common.contracts import notify as own
from libs.common.permit import Role
from tests.worlds.desk import COUNTY, DEPARTMENT, OFFICE, OTHER, TOWNSHIP, Desk, Speaker, a_desk, key

pytestmark = pytest.mark.anyio

LETTER = {
    "kind": "opinion",
    "agency": DEPARTMENT,
    "title": "请纠正送达不及时",
    "items": ["补送决定书", "说明原因"],
}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        made.clock.set("2026-11-02T10:00")
        await made.hears(*Speaker(clock=made.clock).agencies(OFFICE, COUNTY, TOWNSHIP, DEPARTMENT, OTHER))
        await made.settles()
        yield made


async def issue(desk: Desk, **changes: Any) -> Any:
    return await act(desk, "/v1/supervisions", {**LETTER, **changes}, OFFICE, Role.COORDINATOR)


async def act(desk: Desk, path: str, body: Any, agency: str, role: Role = Role.HANDLER) -> Any:
    async with desk.client(agency, role) as caller:
        answer = await caller.post(path, json=body, headers=key())
    await desk.settles()
    return answer


async def the_clocks(desk: Desk) -> list[tuple[str, str, str]]:
    async with desk.client(OFFICE, Role.COORDINATOR) as caller:
        found = (await caller.get("/v1/obligations")).json()["data"]
    return [(one["rule"], one["state"], one["due_on"]) for one in found]


@pytest.mark.parametrize(
    ("kind", "number", "rule", "due_on"),
    [
        ("supervision", "联席会议办公室督〔2026〕1号", "sup.supervise", "2026-11-05"),
        ("opinion", "联席会议办公室监意〔2026〕1号", "sup.opinion", "2026-12-02"),
        ("decision", "联席会议办公室监决〔2026〕1号", "sup.decision", "2026-12-02"),
    ],
)
async def test_each_kind_has_its_number_and_its_limit(
    desk: Desk, kind: str, number: str, rule: str, due_on: str
) -> None:
    answer = await issue(desk, kind=kind)
    assert (answer.status_code, answer.json()["number"]) == (201, number)
    assert await the_clocks(desk) == [(rule, "running", due_on)]
    (notice,) = [n for n in await desk.inbox(DEPARTMENT) if n["type"] == own.SupervisionIssued.TYPE]
    assert notice["sign"]


async def test_a_letter_may_name_its_own_day(desk: Desk) -> None:
    await issue(desk, due_on="2026-11-20")
    assert await the_clocks(desk) == [("sup.opinion", "running", "2026-11-20")]


async def test_numbers_have_no_gap(desk: Desk) -> None:
    await issue(desk)
    await issue(desk, agency="")  # malformed: takes no number
    assert (await issue(desk)).json()["number"] == "联席会议办公室监意〔2026〕2号"


async def test_a_letter_is_answered_sent_back_answered_again_and_closed(desk: Desk) -> None:
    path = f"/v1/supervisions/{(await issue(desk)).json()['id']}"
    answered = await act(desk, f"{path}/reply", {"text": "已补送"}, DEPARTMENT)
    assert (answered.status_code, answered.json()["state"]) == (201, "replied")
    assert await the_clocks(desk) == [("sup.opinion", "met", "2026-12-02")]
    back = {"remark": "未说明原因", "due_on": "2026-11-10"}
    returned = await act(desk, f"{path}/return", back, OFFICE, Role.COORDINATOR)
    assert (returned.json()["state"], returned.json()["returned"]) == ("issued", 1)
    assert await the_clocks(desk) == [
        ("sup.opinion", "running", "2026-11-10"),
        ("sup.opinion", "met", "2026-12-02"),
    ]
    await act(desk, f"{path}/reply", {"text": "原因是……"}, DEPARTMENT)
    closed = await act(desk, f"{path}/closure", {"remark": "属实"}, OFFICE, Role.COORDINATOR)
    assert closed.json()["state"] == "closed"
    assert {state for _, state, _ in await the_clocks(desk)} == {"met"}


async def test_its_addressee_does_not_close_it_and_the_office_does_not_answer_it(desk: Desk) -> None:
    path = f"/v1/supervisions/{(await issue(desk)).json()['id']}"
    assert (await act(desk, f"{path}/closure", {}, DEPARTMENT)).status_code == 403
    assert (await act(desk, f"{path}/reply", {"text": "好"}, OFFICE, Role.COORDINATOR)).status_code == 403


async def test_nothing_is_closed_that_was_not_answered(desk: Desk) -> None:
    path = f"/v1/supervisions/{(await issue(desk)).json()['id']}"
    early = await act(desk, f"{path}/closure", {}, OFFICE, Role.COORDINATOR)
    assert (early.status_code, early.json()["type"]) == (409, "urn:liandong:problem:not-replied")
    await act(desk, f"{path}/reply", {"text": "已补送"}, DEPARTMENT)
    twice = await act(desk, f"{path}/reply", {"text": "又及"}, DEPARTMENT)
    assert (twice.status_code, twice.json()["type"]) == (409, "urn:liandong:problem:reply-not-awaited")


async def test_a_third_agency_knows_nothing_of_it(desk: Desk) -> None:
    id_ = (await issue(desk)).json()["id"]
    async with desk.client(OTHER) as caller:
        assert (await caller.get(f"/v1/supervisions/{id_}")).status_code == 404
        assert (await caller.get("/v1/supervisions")).json()["data"] == []
    async with desk.client(DEPARTMENT) as caller:
        assert [one["id"] for one in (await caller.get("/v1/supervisions")).json()["data"]] == [id_]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"agency": OFFICE}, "no-addressee"),
        ({"due_on": "2026-11-02"}, "past-day"),
    ],
)
async def test_a_letter_that_nobody_could_answer_is_not_issued(
    desk: Desk, changes: dict[str, Any], problem: str
) -> None:
    answer = await issue(desk, **changes)
    assert (answer.status_code, answer.json()["type"]) == (422, f"urn:liandong:problem:{problem}")
