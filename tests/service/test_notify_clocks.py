"""Clocks in a running `notify`: facts start and end them, silence climbs the ladder, calendars move them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.common.contracts import cases as said
from libs.common.contracts import notify as own
from libs.common.permit import Role
from tests.worlds.desk import (
    COUNTY,
    DEPARTMENT,
    OFFICE,
    OTHER,
    TOWNSHIP,
    Desk,
    Speaker,
    a_desk,
    an_offer,
    key,
)

pytestmark = pytest.mark.anyio

YEAR_2027 = {
    "off": ["2027-01-01", "2027-01-04", "2027-01-05", "2027-05-01", "2027-10-01", "2027-10-02", "2027-10-03"],
    "work": ["2027-01-02"],
    "paper": "国务院办公厅关于2027年部分节假日安排的通知",
}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """It is Monday, 2 November 2026, ten o'clock."""
    async with a_desk(tmp_path) as made:
        made.clock.set("2026-11-02T10:00")
        await made.hears(*Speaker(clock=made.clock).agencies(OFFICE, COUNTY, TOWNSHIP, DEPARTMENT, OTHER))
        await made.settles()
        yield made


@pytest.fixture
def cases(desk: Desk) -> Speaker:
    return Speaker(offset=5, clock=desk.clock)


async def say(desk: Desk, cases: Speaker, *events: said._Ours, case: str = "c1") -> None:
    for event in events:
        await desk.hears(cases.say(event, f"case/{case}"))
    await desk.settles()


async def clocks(desk: Desk, agency: str = OFFICE, role: Role = Role.COORDINATOR, **query: Any) -> Any:
    async with desk.client(agency, role) as caller:
        answer = await caller.get("/v1/obligations", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def clock(desk: Desk, rule: str) -> Any:
    (found,) = await clocks(desk, rule=rule)
    return found


async def explained(desk: Desk, rule: str) -> Any:
    id_ = (await clock(desk, rule))["id"]
    async with desk.client(OFFICE, Role.COORDINATOR) as caller:
        answer = await caller.get(f"/v1/obligations/{id_}/explain")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def sign(desk: Desk, agency: str) -> None:
    for notice in await desk.inbox(agency, state="unread"):
        if notice["sign"]:
            async with desk.client(agency) as caller:
                answer = await caller.post(f"/v1/notices/{notice['id']}/receipt", headers=key())
            assert answer.status_code == 201, answer.text
    await desk.settles()


async def put(desk: Desk, path: str, body: Any, agency: str, role: Role) -> Any:
    async with desk.client(agency, role) as caller:
        return await caller.put(path, json=body, headers=key())


def a_filing(on: str = "2026-11-02", case: str = "c1") -> said.CaseFiled:
    return said.CaseFiled.model_validate(
        {
            "case": case,
            "case_no": "青综执立〔2026〕1号",
            "holder": TOWNSHIP,
            "in_name_of": TOWNSHIP,
            "power": "330215000000",
            "territory": "330726101",
            "filed_on": on,
        }
    )


def an_acceptance(case: str = "c1") -> said.TransferAccepted:
    return said.TransferAccepted(case=case, transfer=f"{case}.t1", from_agency=TOWNSHIP, to_agency=DEPARTMENT)


def a_return(case: str = "c1") -> said.TransferReturned:
    return said.TransferReturned(
        case=case,
        transfer=f"{case}.t1",
        from_agency=TOWNSHIP,
        to_agency=DEPARTMENT,
        reason="not_competent",
        basis="行政处罚法第二十二条",
        proposed_agency=OTHER,
    )


async def test_an_offer_is_signed_for_by_the_end_of_the_next_working_day(desk: Desk, cases: Speaker) -> None:
    await say(desk, cases, an_offer())
    sign_by = await clock(desk, "col.sign")
    assert (sign_by["agency"], sign_by["awaits"], sign_by["due_on"]) == (DEPARTMENT, TOWNSHIP, "2026-11-03")
    assert (sign_by["state"], sign_by["light"], sign_by["about"]) == ("running", "green", "case/c1")


async def test_a_receipt_ends_one_clock_and_starts_the_next(desk: Desk, cases: Speaker) -> None:
    await say(desk, cases, an_offer())
    desk.clock.set("2026-11-03T16:00")
    await sign(desk, DEPARTMENT)
    assert (await clock(desk, "col.sign"))["state"] == "met"
    accept_by = await clock(desk, "col.accept")
    assert (accept_by["state"], accept_by["agency"], accept_by["due_on"]) == (
        "running",
        DEPARTMENT,
        "2026-11-06",
    )


@pytest.mark.parametrize("answer", [an_acceptance(), a_return()], ids=["accepted", "returned"])
async def test_an_answer_ends_both_whether_it_was_signed_for_or_not(
    desk: Desk, cases: Speaker, answer: said._Ours
) -> None:
    await say(desk, cases, an_offer(), answer)
    assert [(c["rule"], c["state"]) for c in await clocks(desk)] == [("col.sign", "met")]
    await sign(desk, DEPARTMENT)
    assert [c["rule"] for c in await clocks(desk)] == ["col.sign"]  # nothing is left to be accepted


async def test_a_withdrawal_lets_the_clock_fall_away(desk: Desk, cases: Speaker) -> None:
    withdrawn = said.TransferWithdrawn(
        case="c1", transfer="c1.t1", from_agency=TOWNSHIP, to_agency=DEPARTMENT
    )
    await say(desk, cases, an_offer(), withdrawn)
    assert (await clock(desk, "col.sign"))["state"] == "lapsed"


async def test_an_urgent_offer_has_two_hours(desk: Desk, cases: Speaker) -> None:
    await say(desk, cases, an_offer(urgency="urgent"))
    assert (await clock(desk, "col.sign_urgent"))["due_at"].startswith("2026-11-02T04:00:00")


async def test_a_case_is_decided_in_ninety_days_whoever_holds_it(desk: Desk, cases: Speaker) -> None:
    await say(desk, cases, a_filing(), an_offer(), an_acceptance())
    decide = await clock(desk, "pen.decide")
    assert (decide["agency"], decide["due_on"], decide["provisional"]) == (DEPARTMENT, "2027-01-31", False)
    (amended,) = await desk.facts(own.ObligationAmended.TYPE)
    assert (amended["cause"], amended["agency"]) == ("passed", DEPARTMENT)


async def test_a_clock_that_nobody_answers_climbs_each_level_once(desk: Desk, cases: Speaker) -> None:
    await say(desk, cases, an_offer())
    await desk.passes("2026-11-02T23:59")
    assert await desk.facts(own.ObligationWarned.TYPE) == []
    await desk.passes("2026-11-03T00:01")
    (warned,) = await desk.facts(own.ObligationWarned.TYPE)
    assert (warned["level"], warned["told"], warned["late"]) == (1, [DEPARTMENT], False)
    await desk.passes("2026-11-03T12:30")
    assert (await clock(desk, "col.sign"))["light"] == "yellow"
    await desk.passes("2026-11-04T00:01")
    (overdue,) = await desk.facts(own.ObligationOverdue.TYPE)
    assert overdue["told"] == [DEPARTMENT, TOWNSHIP]
    assert (await clock(desk, "col.sign"))["light"] == "red"
    await desk.passes("2026-11-05T00:01")
    await desk.passes("2026-11-09T00:01")  # the third working day after is Friday, the 6th
    first, second = await desk.facts(own.ObligationEscalated.TYPE)
    assert (first["level"], first["told"]) == (3, [DEPARTMENT, TOWNSHIP, "coordinators"])
    assert (second["level"], second["told"]) == (4, [DEPARTMENT, "coordinators", "county"])
    told = [notice for notice in await desk.inbox(COUNTY) if notice["severity"] == "alarm"]
    assert [notice["type"] for notice in told] == [own.ObligationEscalated.TYPE]


async def test_a_letter_goes_out_with_the_level_that_says_so_and_has_a_clock_of_its_own(
    desk: Desk, cases: Speaker
) -> None:
    await say(desk, cases, an_offer())
    await desk.passes("2026-11-05T00:01")
    (letter,) = await desk.facts(own.SupervisionIssued.TYPE)
    assert (letter["agency"], letter["issuer"], letter["about"]) == (DEPARTMENT, OFFICE, "case/c1")
    assert letter["number"] == "联席会议办公室督〔2026〕1号"
    (level,) = [one for one in (await explained(desk, "col.sign"))["reached"] if one["supervision"]]
    assert (level["level"], level["supervision"]) == (3, letter["supervision"])
    assert (await clock(desk, "sup.supervise"))["due_on"] == "2026-11-10"
    (notice,) = [n for n in await desk.inbox(DEPARTMENT) if n["type"] == own.SupervisionIssued.TYPE]
    assert (notice["sign"], notice["severity"]) == (True, "urgent")


async def test_after_a_long_night_every_level_is_told_once_and_marked_late(
    desk: Desk, cases: Speaker
) -> None:
    await say(desk, cases, an_offer())
    await desk.passes("2027-12-07T10:00")  # four hundred days
    await desk.passes("2027-12-07T10:01")
    reached = (await explained(desk, "col.sign"))["reached"]
    assert [(level["level"], level["late"]) for level in reached] == [(n, True) for n in (1, 2, 3, 4)]
    (notice,) = [n for n in await desk.inbox(DEPARTMENT) if n["type"] == own.ObligationOverdue.TYPE]
    assert notice["title"].endswith("（系统恢复后补发）")


async def test_a_clock_that_is_turned_back_tells_nothing_twice(desk: Desk, cases: Speaker) -> None:
    await say(desk, cases, an_offer())
    await desk.passes("2026-11-04T00:30")
    before = await desk.facts(own.ObligationOverdue.TYPE)
    await desk.passes("2026-11-03T23:30")
    await desk.passes("2026-11-04T00:31")
    assert await desk.facts(own.ObligationOverdue.TYPE) == before
    assert len(before) == 1


async def test_what_was_done_in_time_and_told_later_is_met(desk: Desk, cases: Speaker) -> None:
    """The day of the act counts, not that of its record."""
    await say(desk, cases, a_filing("2026-08-04"))  # ninety days: 2 November
    await desk.passes("2026-11-03T09:00")
    decided = said.DecisionMade.model_validate(
        {
            "case": "c1",
            "holder": TOWNSHIP,
            "decision_no": "1号",
            "decision": "penalty",
            "decided_on": "2026-11-02",
        }
    )
    cases_after = cases.say(decided, "case/c1", acted_on="2026-11-02")
    await desk.hears(cases_after)
    await desk.settles()
    decide = await clock(desk, "pen.decide")
    assert (decide["state"], decide["light"]) == ("met", "green")


async def test_what_was_done_late_stays_late(desk: Desk, cases: Speaker) -> None:
    await say(desk, cases, an_offer())
    await desk.passes("2026-11-05T09:00")
    await say(desk, cases, an_acceptance())
    sign_by = await clock(desk, "col.sign")
    assert (sign_by["state"], sign_by["light"]) == ("late", "black")
    await desk.passes("2026-12-01T09:00")
    escalated = await desk.facts(own.ObligationEscalated.TYPE)
    assert [one["level"] for one in escalated if one["rule"] == "col.sign"] == [3]


async def test_a_clock_into_a_year_without_a_calendar_is_provisional_and_moves_when_it_comes(
    desk: Desk, cases: Speaker
) -> None:
    desk.clock.set("2026-12-30T10:00")
    await say(desk, cases, an_offer())
    desk.clock.set("2026-12-31T10:00")
    await sign(desk, DEPARTMENT)
    before = await clock(desk, "col.accept")
    assert (before["provisional"], before["due_on"]) == (True, "2027-01-06")
    answer = await put(desk, "/v1/calendars/2027", YEAR_2027, OFFICE, Role.OPERATOR)
    assert answer.status_code == 200, answer.text
    await desk.passes("2026-12-31T11:00")
    after = await explained(desk, "col.accept")
    # Saturday the 2nd is a working day, Monday and Tuesday are off.
    assert (after["provisional"], after["due_on"], after["calendars"]) == (False, "2027-01-07", {"2027": 1})
    (amended,) = await desk.facts(own.ObligationAmended.TYPE)
    assert (amended["cause"], amended["provisional"]) == ("calendar", False)
    titles = [notice["title"] for notice in await desk.inbox(DEPARTMENT)]
    assert "移送接收或退回期限有变：因节假日安排公布而重算" in titles


async def test_a_calendar_that_changes_nothing_tells_nothing(desk: Desk, cases: Speaker) -> None:
    await say(desk, cases, an_offer())
    await put(desk, "/v1/calendars/2027", YEAR_2027, OFFICE, Role.OPERATOR)
    await desk.passes("2026-11-02T10:01")
    assert await desk.facts(own.ObligationAmended.TYPE) == []


async def test_over_the_spring_festival_a_working_saturday_counts(desk: Desk, cases: Speaker) -> None:
    desk.clock.set("2026-02-13T10:00")
    await say(desk, cases, an_offer())
    assert (await clock(desk, "col.sign"))["due_on"] == "2026-02-14"


async def test_a_clock_explains_itself(desk: Desk, cases: Speaker) -> None:
    await say(desk, cases, an_offer())
    why = await explained(desk, "col.sign")
    assert why["limit"] == {
        "length": 1,
        "unit": "working_days",
        "basis": "地方惯例",
        "source": "local",
        "rolls": False,
    }
    assert (why["opened_by"], why["calendars"], why["pauses"]) == ("case/c1/1", {"2026": 0}, [])
    assert [(one["level"], one["at"]) for one in why["coming"]] == [
        (1, "2026-11-03T00:00:00+08:00"),
        (2, "2026-11-04T00:00:00+08:00"),
        (3, "2026-11-05T00:00:00+08:00"),
        (4, "2026-11-07T00:00:00+08:00"),
    ]


async def test_only_who_must_act_who_waits_and_the_office_see_a_clock(desk: Desk, cases: Speaker) -> None:
    await say(desk, cases, an_offer())
    id_ = (await clock(desk, "col.sign"))["id"]
    for agency, status in ((DEPARTMENT, 200), (TOWNSHIP, 200), (OTHER, 404)):
        assert bool(await clocks(desk, agency, Role.HANDLER)) is (status == 200)
        async with desk.client(agency) as caller:
            assert (await caller.get(f"/v1/obligations/{id_}/explain")).status_code == status


async def test_a_local_limit_is_set_by_the_county_and_counts_for_clocks_that_start_later(
    desk: Desk, cases: Speaker
) -> None:
    await say(desk, cases, an_offer())
    body = {"length": 2, "unit": "working_days", "basis": "青禾县案件移送办法（2026）第六条"}
    answer = await put(desk, "/v1/limits/col.sign", body, OFFICE, Role.COORDINATOR)
    assert answer.status_code == 200, answer.text
    await say(desk, cases, an_offer("c2"), case="c2")
    assert [(c["about"], c["due_on"], c["basis"]) for c in await clocks(desk)] == [
        ("case/c1", "2026-11-03", "地方惯例"),
        ("case/c2", "2026-11-04", "青禾县案件移送办法（2026）第六条"),
    ]


async def test_what_a_law_sets_the_county_does_not(desk: Desk) -> None:
    body = {"length": 120, "unit": "calendar_days", "basis": "青禾县规定"}
    answer = await put(desk, "/v1/limits/pen.decide", body, OFFICE, Role.COORDINATOR)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:liandong:problem:not-local")


async def test_a_policy_of_one_rule_counts_for_clocks_that_run(desk: Desk, cases: Speaker) -> None:
    await say(desk, cases, an_offer())
    body = {
        "name": "签收",
        "level": [
            {"name": "提醒", "half": True, "tell": ["agency"]},
            {"name": "报联席会议办公室", "working_days": 0, "tell": ["coordinators"]},
        ],
    }
    answer = await put(desk, "/v1/escalation-policies/col.sign", body, OFFICE, Role.COORDINATOR)
    assert answer.status_code == 200, answer.text
    await desk.passes("2026-11-02T10:05")
    assert [one["name"] for one in (await explained(desk, "col.sign"))["coming"]] == [
        "提醒",
        "报联席会议办公室",
    ]
    await desk.passes("2026-11-04T00:01")
    assert (await desk.facts(own.ObligationOverdue.TYPE))[0]["told"] == ["coordinators"]


@pytest.mark.parametrize(
    ("levels", "complaint"),
    [
        ([{"name": "提醒", "working_days": -1, "tell": ["agency"]}], "无人过问"),
        ([{"name": "一", "tell": ["coordinators"]}], "须写且只写其一"),
        (
            [
                {"name": "一", "working_days": 1, "tell": ["county"]},
                {"name": "二", "working_days": 0, "tell": ["county"]},
            ],
            "须晚于前一级",
        ),
        ([{"name": "一", "working_days": 1, "tell": ["awaits"]}], "未必有等候单位"),
        ([{"name": "一", "working_days": 0, "tell": ["county"], "letter": True}], "不发督办函"),
    ],
)
async def test_a_policy_that_leaves_silence_unheard_is_refused(
    desk: Desk, levels: list[Any], complaint: str
) -> None:
    body = {"name": "规则", "level": levels}
    answer = await put(desk, "/v1/escalation-policies/days", body, OFFICE, Role.COORDINATOR)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:liandong:problem:bad-policy")
    assert complaint in answer.json()["detail"]


async def test_a_policy_is_tried_before_it_counts(desk: Desk) -> None:
    body = {"rule": "col.accept", "start": "2026-12-31", "agency": DEPARTMENT, "awaits": TOWNSHIP}
    async with desk.client(OFFICE, Role.COORDINATOR) as caller:
        answer = await caller.post("/v1/escalation-policies/days/simulate", json=body, headers=key())
    assert answer.status_code == 200, answer.text
    tried = answer.json()
    assert (tried["due_on"], tried["provisional"]) == ("2027-01-06", True)
    assert [(one["at"], [to["name"] for to in one["told"]]) for one in tried["ladder"]] == [
        ("2027-01-06T00:00:00+08:00", ["县水利局"]),
        ("2027-01-07T00:00:00+08:00", ["县水利局", "青山镇"]),
        ("2027-01-08T00:00:00+08:00", ["县水利局", "青山镇", "联席会议办公室"]),
        ("2027-01-12T00:00:00+08:00", ["县水利局", "联席会议办公室", "县政府"]),
    ]


async def test_the_date_of_a_limit_can_be_asked_for(desk: Desk) -> None:
    async with desk.client(TOWNSHIP) as caller:
        answer = await caller.get("/v1/limits/pen.serve/due", params={"from": "2026-09-24"})
    assert (answer.json()["due_on"], answer.json()["calendars"]) == ("2026-10-12", {"2026": 0})


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ({"work": ["2027-01-06"]}, "no-weekend"),
        ({"off": ["2027-01-01"]}, "holiday-by-law"),
        ({"off": [*YEAR_2027["off"], "2027-01-02"]}, "both"),
        ({"off": [*YEAR_2027["off"], "2028-01-01"]}, "another-year"),
    ],
)
async def test_a_calendar_that_contradicts_itself_is_refused(
    desk: Desk, spoil: dict[str, Any], code: str
) -> None:
    answer = await put(desk, "/v1/calendars/2027", {**YEAR_2027, **spoil}, OFFICE, Role.OPERATOR)
    assert answer.status_code == 422
    assert code in {fault["code"] for fault in answer.json()["errors"]}
