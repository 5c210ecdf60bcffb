"""The route table over HTTP, and why somebody was told."""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from libs.common.contracts import cases as said
from libs.common.log.seam import Record
from libs.common.permit import Role
from libs.common.store.reading import Reader
from libs.common.store.seam import Asked
from services.notify.inbox import loads
from tests.worlds.desk import (
    DEPARTMENT,
    OFFICE,
    OTHER,
    STRANGER,
    TOWNSHIP,
    Desk,
    Speaker,
    a_desk,
    an_offer,
    key,
)

pytestmark = pytest.mark.anyio


def written() -> dict[str, Any]:
    """The table of this release."""
    return tomllib.loads(
        resources.files("services.notify.routing").joinpath("routes.toml").read_text("utf-8")
    )


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path, known=[OFFICE, TOWNSHIP, DEPARTMENT, OTHER]) as made:
        yield made


@pytest.fixture
def cases() -> Speaker:
    return Speaker(offset=4)


async def check(desk: Desk, table: Any, role: Role = Role.COORDINATOR, agency: str = OFFICE) -> Any:
    async with desk.client(agency, role) as caller:
        return await caller.post("/v1/routes/check", json=table, headers=key())


async def explain(desk: Desk, event: str, agency: str, role: Role = Role.HANDLER, *, of: str = "") -> Any:
    async with desk.client(agency, role) as caller:
        return await caller.get("/v1/explain", params={"event": event} | ({"agency": of} if of else {}))


async def test_the_table_in_force_is_shown_with_its_reasons(desk: Desk) -> None:
    async with desk.client(TOWNSHIP) as caller:
        rows = (await caller.get("/v1/routes")).json()["data"]
    (offered,) = [row for row in rows if row["event"] == said.TransferOffered.TYPE]
    assert (offered["name"], offered["to"], offered["severity"], offered["sign"]) == (
        "移送",
        ["to_agency"],
        "action",
        True,
    )
    assert "第二十二条" in offered["reason"]


async def test_the_table_in_force_passes_its_own_check(desk: Desk) -> None:
    answer = await check(desk, written())
    assert (answer.status_code, answer.json()) == (200, {"usable": True})


async def test_a_table_that_leaves_an_event_with_nobody_is_refused(desk: Desk) -> None:
    table = written()
    table["route"] = [row for row in table["route"] if row["event"] != said.CaseClosed.TYPE]
    answer = await check(desk, table)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:liandong:problem:bad-route-table"
    (fault,) = answer.json()["errors"]
    assert (fault["code"], fault["pointer"]) == ("reaches-nobody", "/route")
    assert said.CaseClosed.TYPE in fault["detail"]


async def test_a_table_of_another_shape_is_422_and_says_where(desk: Desk) -> None:
    table = written()
    table["route"][3]["severity"] = "loud"
    table["route"][4]["color"] = "red"
    answer = await check(desk, table)
    assert answer.status_code == 422
    assert {fault["pointer"] for fault in answer.json()["errors"]} == {"/route/3/severity", "/route/4/color"}


@pytest.mark.parametrize(
    ("agency", "role", "status"),
    [
        (OFFICE, Role.COORDINATOR, 200),
        (OFFICE, Role.OPERATOR, 200),
        (OFFICE, Role.AUDITOR, 403),
        (TOWNSHIP, Role.COORDINATOR, 403),
        (STRANGER, Role.COORDINATOR, 403),
    ],
)
async def test_who_may_check_a_table(agency: str, role: Role, status: int, desk: Desk) -> None:
    assert (await check(desk, written(), role, agency)).status_code == status


async def test_who_was_told_learns_by_which_row(desk: Desk, cases: Speaker) -> None:
    await desk.hears(cases.say(an_offer(), "case/c1"))
    answer = (await explain(desk, "case/c1/1", DEPARTMENT)).json()
    assert (answer["outcome"], answer["agency"]) == ("told", DEPARTMENT)
    assert "接收机关" in answer["detail"]
    assert "签收" in answer["reasons"][0]
    assert answer["notice"] == (await desk.inbox(DEPARTMENT))[0]["id"]


class Interrupted(Reader):
    """Something happens each time that it was answered."""

    def __init__(self, read: Reader, happens: Callable[[], Awaitable[Any]]) -> None:
        vars(self).update(vars(read))
        self._happens = happens

    async def ahead(self, *asked: Asked) -> None:
        await super().ahead(*asked)
        await self._happens()


async def test_an_event_heard_meanwhile_is_explained_as_before_it_or_as_after(
    desk: Desk, cases: Speaker
) -> None:
    """Not as one that was applied and told nobody."""
    coming = [cases.say(an_offer(), "case/c1")]

    async def hear() -> None:
        while coming:
            await desk.hears(coming.pop())

    async with desk.store.reading() as read:
        before = await loads.question(Interrupted(read, hear), "case/c1/1", DEPARTMENT)
    assert (before.progress, before.notice) == (None, None)
    async with desk.store.reading() as read:
        after = await loads.question(read, "case/c1/1", DEPARTMENT)
    assert after.progress == "applied"
    assert after.notice


async def test_who_knows_the_case_learns_that_it_was_not_told_and_no_more(desk: Desk, cases: Speaker) -> None:
    parts = {"case": "c1", "transfer": "c1.t1", "from_agency": TOWNSHIP, "to_agency": DEPARTMENT}
    await desk.hears(
        cases.say(an_offer(), "case/c1"),
        cases.say(said.TransferAccepted(**parts), "case/c1"),
        cases.say(said.InvestigationOpened(case="c1", holder=DEPARTMENT), "case/c1"),
    )
    answer = (await explain(desk, "case/c1/3", TOWNSHIP)).json()
    assert answer["outcome"] == "not_addressed"
    assert (answer["reasons"], answer["notice"]) == ([], None)
    office = (await explain(desk, "case/c1/3", OFFICE, Role.COORDINATOR, of=TOWNSHIP)).json()
    assert "承办单位" in office["detail"]


async def test_who_knows_nothing_of_the_case_learns_nothing(desk: Desk, cases: Speaker) -> None:
    await desk.hears(cases.say(an_offer(), "case/c1"))
    for event in ("case/c1/1", "case/c1/2", "case/none/1", "case", "case/c1/x", "case/c1/0"):
        assert (await explain(desk, event, OTHER)).status_code in (404, 422), event
    there = (await explain(desk, "case/c1/1", OTHER)).json()
    nowhere = (await explain(desk, "case/none/1", OTHER)).json()
    assert {**there, "trace_id": ""} == {**nowhere, "trace_id": ""}
    # Nor about somebody else, whatever it knows itself.
    assert (await explain(desk, "case/c1/1", DEPARTMENT, of=OTHER)).status_code == 404


async def test_the_offices_coordinators_ask_for_anybody(desk: Desk, cases: Speaker) -> None:
    await desk.hears(cases.say(an_offer(), "case/c1"))
    other = await explain(desk, "case/c1/1", OFFICE, Role.COORDINATOR, of=OTHER)
    assert other.json()["outcome"] == "not_addressed"
    told = await explain(desk, "case/c1/1", OFFICE, Role.COORDINATOR, of=DEPARTMENT)
    assert told.json()["outcome"] == "told"
    assert (await explain(desk, "case/c1/2", OFFICE, Role.COORDINATOR, of=OTHER)).status_code == 404
    assert (await explain(desk, "case/c1/1", OFFICE, Role.HANDLER, of=OTHER)).status_code == 404


async def test_an_event_that_waits_or_is_parked_says_so(desk: Desk, cases: Speaker) -> None:
    first = cases.say(an_offer(), "case/c1")
    second = cases.say(said.InvestigationOpened(case="c1", holder=TOWNSHIP), "case/c1")
    await desk.hears(second)
    held = await explain(desk, "case/c1/2", OFFICE, Role.COORDINATOR, of=TOWNSHIP)
    assert held.json()["outcome"] == "held"
    await desk.hears(spoilt(first))
    parked = await explain(desk, "case/c1/1", OFFICE, Role.COORDINATOR, of=DEPARTMENT)
    assert parked.json()["outcome"] == "parked"


async def test_who_is_not_registered_yet_waits(desk: Desk, cases: Speaker) -> None:
    await desk.hears(cases.say(an_offer(to=STRANGER), "case/c1"))
    waiting = await explain(desk, "case/c1/1", OFFICE, Role.COORDINATOR, of=STRANGER)
    assert waiting.json()["outcome"] == "waiting"


def spoilt(record: Record) -> Record:
    """The same event with data that nobody understands."""
    return Record(record.partition, record.offset, record.key, b"{}", record.headers)
