"""What `notify` does with what it hears, through the event edge, on a real store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest

from libs.common.change import Head
from libs.common.clock import Moment, Trace
from libs.common.contracts import cases as said
from libs.common.contracts import notify
from libs.common.permit import Role
from libs.common.store.seam import Committed, Conflict
from services.notify.inbox import rules
from services.notify.inbox.rules import Occasion
from services.notify.inbox.tables import Notice, WaitingNotice
from services.notify.routing import loads
from services.notify.routing.rules import Directory
from services.notify.routing.tables import Unroutable
from tests.worlds.desk import (
    DEPARTMENT,
    OFFICE,
    OTHER,
    STRANGER,
    TOWNSHIP,
    Desk,
    Speaker,
    a_desk,
    an_agency,
    an_offer,
)

pytestmark = pytest.mark.anyio


class Rumour:
    """An event of a type that only somebody newer knows."""

    TYPE: ClassVar[str] = "liandong.rumour.spread.v1"
    SOURCE: ClassVar[str] = said.SOURCE

    def model_dump(self, *, mode: str, exclude_none: bool) -> dict[str, str]:
        return {"case": "c1"}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


@pytest.fixture
async def cases(desk: Desk) -> Speaker:
    """`cases`, which has registered the office, the township and the department."""
    speaker = Speaker()
    await desk.hears(*speaker.agencies(OFFICE, TOWNSHIP, DEPARTMENT))
    return speaker


async def rows(desk: Desk, entry: type[Notice] | type[Unroutable] | type[WaitingNotice]) -> list[object]:
    async with desk.store.reading() as read:
        return list(await read.all(entry))


async def test_an_offer_lies_in_the_inbox_of_the_one_it_is_offered_to(desk: Desk, cases: Speaker) -> None:
    await desk.hears(cases.say(an_offer(urgency="urgent"), "case/c1"))
    first = (await desk.inbox(DEPARTMENT))[0]
    assert (first["event"], first["about"]) == ("case/c1/1", "case/c1")
    assert (first["severity"], first["urgency"], first["sign"]) == ("urgent", "urgent", True)
    assert first["title"] == "青山镇移送案件，请签收"
    assert "紧急" in first["body"]
    assert "县水利局" in first["body"]
    assert not [notice for notice in await desk.inbox(TOWNSHIP) if notice["about"] == "case/c1"]


async def test_five_deliveries_of_one_event_make_one_notice(desk: Desk, cases: Speaker) -> None:
    record = cases.say(an_offer(), "case/c1")
    await desk.hears(record, cases.again(record))
    for _ in range(3):
        await desk.hears(cases.again(record))
    assert len([notice for notice in await desk.inbox(DEPARTMENT) if notice["about"] == "case/c1"]) == 1
    issued = await desk.facts(notify.NoticeIssued.TYPE)
    assert [fact["agency"] for fact in issued if fact["about"] == "case/c1"] == [DEPARTMENT]


async def test_each_event_of_a_case_is_a_notice_to_each_whom_it_concerns(desk: Desk, cases: Speaker) -> None:
    parts = {"case": "c1", "transfer": "c1.t1", "from_agency": TOWNSHIP, "to_agency": DEPARTMENT}
    await desk.hears(
        cases.say(an_offer(), "case/c1"),
        cases.say(
            said.TransferReturned(
                **parts, reason="not_competent", basis="行政处罚法第二十三条", proposed_agency=OTHER
            ),
            "case/c1",
        ),
    )
    returned = (await desk.inbox(TOWNSHIP))[0]
    assert (returned["title"], returned["sign"]) == ("县水利局退回移送的案件", True)
    assert "本机关对该事项无管辖权" in returned["body"]
    async with desk.client(OFFICE, Role.COORDINATOR) as caller:
        answer = await caller.get("/v1/inbox")
    assert answer.json()["data"][0]["title"] == "县水利局退回青山镇移送的案件"
    # It is not party to the case: that somebody proposed it is not told to it.
    assert await desk.inbox(OTHER) == []


async def test_an_unknown_type_is_counted_and_alarmed_to_the_default_agency(
    desk: Desk, cases: Speaker
) -> None:
    report = await desk.hears(cases.say(Rumour(), "case/c1"))
    assert not report.parked
    async with desk.client(OFFICE) as caller:
        alarm = (await caller.get("/v1/inbox", params={"severity": "alarm"})).json()["data"]
    assert [(notice["event"], notice["sign"]) for notice in alarm] == [("case/c1/1", True)]
    assert Rumour.TYPE in alarm[0]["title"]
    async with desk.store.reading() as read:
        assert await loads.unroutable(read) == {"other": 1}


async def test_word_of_a_notice_is_told_to_nobody(desk: Desk, cases: Speaker) -> None:
    """Or a notice of it would be issued, and of that one, without an end."""
    before = await desk.facts(notify.NoticeIssued.TYPE)
    word = notify.NoticeIssued(
        notice="n", agency=TOWNSHIP, event="case/c1/1", about="case/c1", severity="info"
    )
    report = await desk.hears(cases.say(word, "notice/n"))
    assert len(report.applied) == 1
    assert await desk.facts(notify.NoticeIssued.TYPE) == before
    async with desk.store.reading() as read:
        assert await loads.unroutable(read) == {}


async def test_the_fallback_agency_of_the_settings_gets_the_alarm(tmp_path: Path) -> None:
    async with a_desk(tmp_path, fallback=DEPARTMENT, known=[OFFICE, DEPARTMENT]) as desk:
        await desk.hears(Speaker().say(Rumour(), "case/c1"))
        assert [notice["severity"] for notice in await desk.inbox(DEPARTMENT, severity="alarm")] == ["alarm"]
        assert await desk.inbox(OFFICE, severity="alarm") == []


async def test_an_offer_to_an_agency_not_yet_registered_reaches_it_when_it_is(
    desk: Desk, cases: Speaker
) -> None:
    await desk.hears(cases.say(an_offer(to=OTHER), "case/c1"))
    async with desk.client(OFFICE) as caller:
        alarms = (await caller.get("/v1/inbox", params={"severity": "alarm"})).json()["data"]
    assert len(alarms) == 1
    assert await desk.inbox(OTHER) == []
    await desk.hears(cases.say(an_agency(OTHER), f"agency/{OTHER}"))
    assert {notice["event"] for notice in await desk.inbox(OTHER)} == {"case/c1/1", f"agency/{OTHER}/1"}
    assert await rows(desk, WaitingNotice) == []
    assert len(await rows(desk, Unroutable)) == 1


async def test_order_between_streams_does_not_matter_within_a_batch_either(desk: Desk) -> None:
    speaker = Speaker()
    early = speaker.say(an_offer(), "case/c1")
    await desk.hears(early, *speaker.agencies(DEPARTMENT, TOWNSHIP, OFFICE))
    assert "case/c1/1" in {notice["event"] for notice in await desk.inbox(DEPARTMENT)}
    # The alarm waited too, for the office.
    assert len(await desk.inbox(OFFICE, severity="alarm")) == 1
    assert await rows(desk, WaitingNotice) == []


@pytest.mark.parametrize("first", ["waits", "registers"])
async def test_to_wait_for_an_agency_while_it_registers_is_a_conflict(first: str, desk: Desk) -> None:
    """The two lie in partitions of perhaps two processes; neither may miss what the other does."""
    view = rules.Desk(loads.table(), Directory({}), Head)
    offer, registered = an_offer(), an_agency(DEPARTMENT)
    at = Moment(desk.clock.now(), Trace("t"))
    told = rules.tell(view, Occasion("case/c1/1", offer.TYPE, "case/c1", "ab" * 32), offer, at=at)
    occasion = Occasion("agency/d/1", registered.TYPE, "agency/d", "ab" * 32)
    learnt = rules.register(view, occasion, registered, [], at=at)
    changes = [told, learnt] if first == "waits" else [learnt, told]
    assert [type(await desk.store.commit(change)) for change in changes] == [Committed, Conflict]


async def test_an_agency_nobody_registered_has_no_inbox(desk: Desk, cases: Speaker) -> None:
    await desk.hears(cases.say(an_offer(to=STRANGER), "case/c1"))
    assert await desk.inbox(STRANGER) == []
