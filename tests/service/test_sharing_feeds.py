"""The feeds over HTTP: what each reader gets, resuming, waiting, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from cloudevents.core.formats.json import JSONFormat

from libs.common.clock import monotonic
from libs.common.log import envelope
from libs.common.log.seam import Record
from libs.common.permit import Role
from libs.common.store.seam import Conflict
from services.sharing.feeds import reacts
from services.sharing.feeds.tables import EarlyEntries, LogEntry
from tests.worlds.desk import Speaker
from tests.worlds.reading_room import (
    DEPARTMENT,
    OFFICE,
    OTHER,
    STRANGER,
    TOWNSHIP,
    CaseTold,
    Room,
    an_agency,
    coming,
    following,
    on_engine,
    on_file,
    until,
)

pytestmark = pytest.mark.anyio

COORDINATOR = Role.COORDINATOR
STUB = {"specversion", "id", "source", "type"}


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with on_file(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
async def each_room(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Room]:
    """The same room on each engine."""
    async with on_engine(request, tmp_path) as made:
        yield made


@pytest.fixture
async def case(room: Room) -> CaseTold:
    """A case of the township's, not heard of yet; the county is known, at positions 1 to 4."""
    return await told_of_the_county(room)


async def told_of_the_county(room: Room) -> CaseTold:
    speaker = Speaker()
    known = (OFFICE, TOWNSHIP, DEPARTMENT, OTHER)
    await room.hears(*(speaker.say(an_agency(code), f"agency/{code}") for code in known))
    return CaseTold(speaker)


def crossing(case: CaseTold) -> list[Record]:
    """From the township to the department, declined once, signed for, then accepted: positions 5 to 17.

    What the department did not see stands behind each offer, and what it should forget behind its return.
    """
    return [
        case.clue(),
        case.filed(),
        case.offered(DEPARTMENT),
        case.noticed(DEPARTMENT, 3),
        case.signed(DEPARTMENT, 3),
        case.returned(DEPARTMENT),
        case.offered(DEPARTMENT),
        case.accepted(DEPARTMENT),
    ]


async def test_positions_are_dense_and_in_the_order_of_commits(room: Room, case: CaseTold) -> None:
    for record in crossing(case):
        await room.hears(record)
    events = await room.feed(OFFICE, COORDINATOR)
    assert [event["id"] for event in events] == [str(n) for n in range(1, 18)]
    assert coming(events)[4:] == [
        "case/c1/1",
        "case/c1/2",
        "case/c1/3",
        "disclosure/c1.t1/1",
        "disclosure/c1.t1/2",
        "notice/c1n1/1",
        "notice/c1n1/2",
        "case/c1/4",
        "disclosure/c1.t1/3",
        "case/c1/5",
        "disclosure/c1.t2/1",
        "disclosure/c1.t2/2",
        "case/c1/6",
    ]


async def test_both_agencies_see_each_step_in_order_and_a_third_sees_nothing(
    room: Room, case: CaseTold
) -> None:
    await room.hears(*crossing(case))
    assert coming(await room.feed(TOWNSHIP, lastEventId=4)) == [
        "case/c1/1",
        "case/c1/2",
        "case/c1/3",
        *("-", "-", "-"),
        "notice/c1n1/2",
        "case/c1/4",
        "-",
        "case/c1/5",
        *("-", "-"),
        "case/c1/6",
    ]
    assert coming(await room.feed(DEPARTMENT, lastEventId=4)) == [
        *("-", "-"),
        "case/c1/3",
        "disclosure/c1.t1/1",
        "disclosure/c1.t1/2",
        "notice/c1n1/1",
        "notice/c1n1/2",
        "case/c1/4",
        "disclosure/c1.t1/3",
        "case/c1/5",
        "disclosure/c1.t2/1",
        "disclosure/c1.t2/2",
        "case/c1/6",
    ]
    withheld = await room.feed(OTHER, lastEventId=4)
    assert coming(withheld) == ["-"] * 13
    assert all(set(event) == STUB for event in withheld)
    assert {event["type"] for event in withheld} == {"liandong.entry.withheld.v1"}


async def test_an_event_is_whole_and_its_chain_can_be_followed(room: Room, case: CaseTold) -> None:
    record = case.clue()
    await room.hears(record)
    heard = envelope.read(record)
    (event,) = await room.feed(TOWNSHIP, feed="cases")
    assert (event["id"], event["source"]) == ("5", "/services/sharing/feeds/cases")
    assert (event["originid"], event["originsource"]) == ("case/c1/1", "/services/cases")
    assert (event["type"], event["subject"]) == ("liandong.clue.registered.v1", "case/c1")
    assert event["data"] == orjson.loads(record.value)
    assert event["correlationid"] == heard.attributes["correlationid"]
    original = {**event, "id": event["originid"], "source": event["originsource"]}
    again = envelope.read_structured(original)
    assert again.chain == heard.chain
    assert again.public() == heard.public()


async def test_a_batch_is_cloudevents_to_a_reader_who_knows_nothing_of_us(room: Room, case: CaseTold) -> None:
    await room.hears(*crossing(case))
    answer = await room.get("/v1/feeds/all", DEPARTMENT)
    assert answer.headers["content-type"] == "application/cloudevents-batch+json"
    for event in answer.json():
        read = JSONFormat().read(None, orjson.dumps(event))
        assert read.get_id() == event["id"]
        assert read.get_type() == event["type"]


async def test_feeds_are_filters_and_positions_are_global(room: Room, case: CaseTold) -> None:
    await room.hears(*crossing(case))
    positions = {
        feed: [int(event["id"]) for event in await room.feed(OFFICE, COORDINATOR, feed=feed)]
        for feed in ("all", "cases", "notices", "register", "picture")
    }
    assert positions == {
        "all": [*range(1, 18)],
        "cases": [5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17],
        "notices": [10, 11],
        "register": [1, 2, 3, 4],
        "picture": [],
    }


async def test_a_reader_who_was_away_resumes_and_has_missed_nothing(room: Room, case: CaseTold) -> None:
    whole = []
    records = crossing(case)
    last = "0"
    while records:
        await room.hears(*records[:3])
        records = records[3:]
        # Pages of two, until the empty one.
        while page := await room.feed(TOWNSHIP, lastEventId=last, limit=2):
            assert len(page) <= 2
            whole += page
            last = page[-1]["id"]
    assert whole == await room.feed(TOWNSHIP)
    assert [event["id"] for event in whole] == [str(n) for n in range(1, 18)]


async def test_what_a_reader_was_given_is_the_same_whenever_it_is_asked_again(
    room: Room, case: CaseTold
) -> None:
    seen: dict[str, list[dict[str, Any]]] = {agency: [] for agency in (TOWNSHIP, DEPARTMENT, OTHER)}
    for record in crossing(case):
        await room.hears(record)
        for agency, before in seen.items():
            now = await room.feed(agency)
            assert now[: len(before)] == before
            seen[agency] = now


@pytest.mark.parametrize("last", ["", "x", "-1", "+5", "05", "1.0", "٤", "9" * 19, " 1"])
async def test_a_malformed_position_is_422(room: Room, case: CaseTold, last: str) -> None:
    answer = await room.get("/v1/feeds/all", TOWNSHIP, lastEventId=last)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "query:lastEventId"


async def test_a_position_beyond_the_end_is_409_and_not_silence(room: Room, case: CaseTold) -> None:
    assert await room.feed(TOWNSHIP, lastEventId=4) == []
    answer = await room.get("/v1/feeds/all", TOWNSHIP, lastEventId=5, timeout=30_000)
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:liandong:problem:position-ahead"
    assert answer.json()["position"] == 4


@pytest.mark.parametrize(
    ("name", "value"), [("limit", 0), ("limit", 201), ("timeout", -1), ("timeout", 30_001)]
)
async def test_limits_are_bounded(room: Room, case: CaseTold, name: str, value: int) -> None:
    assert (await room.get("/v1/feeds/all", TOWNSHIP, **{name: value})).status_code == 422


async def test_there_is_no_such_feed(room: Room, case: CaseTold) -> None:
    assert (await room.get("/v1/feeds/gossip", TOWNSHIP)).status_code == 404


async def test_whom_the_county_does_not_know_gets_an_empty_array_at_once(room: Room, case: CaseTold) -> None:
    await room.hears(*crossing(case))
    began = monotonic()
    for feed in ("all", "gossip"):
        answer = await room.get(f"/v1/feeds/{feed}", STRANGER, timeout=30_000)
        assert (answer.status_code, answer.json()) == (200, [])
    assert monotonic() - began < 5
    assert (await room.get("/v1/feeds", STRANGER)).json() == {"data": [], "next": None}


async def test_an_operator_reads_no_case_wherever_he_sits(room: Room, case: CaseTold) -> None:
    await room.hears(*crossing(case))
    assert await room.feed(TOWNSHIP, Role.OPERATOR) == []


async def test_who_keeps_the_register_at_a_party_sees_no_case(room: Room, case: CaseTold) -> None:
    await room.hears(case.clue())
    assert coming(await room.feed(TOWNSHIP, Role.REGISTRAR, lastEventId=4)) == ["-"]
    assert coming(await room.feed(TOWNSHIP, Role.REGISTRAR))[0] == f"agency/{OFFICE}/1"


async def test_a_coordinator_elsewhere_is_no_coordinator_of_the_county(room: Room, case: CaseTold) -> None:
    await room.hears(case.clue())
    assert coming(await room.feed(OTHER, COORDINATOR, lastEventId=4)) == ["-"]
    assert coming(await room.feed(OFFICE, Role.HANDLER, lastEventId=4)) == ["-"]


async def test_the_feeds_are_listed_with_where_the_log_ends(room: Room, case: CaseTold) -> None:
    listed = (await room.get("/v1/feeds", TOWNSHIP)).json()["data"]
    assert [feed["name"] for feed in listed] == [
        "all",
        "cases",
        "notices",
        "clocks",
        "register",
        "picture",
    ]
    assert {feed["position"] for feed in listed} == {4}
    assert (await room.get(listed[0]["href"], TOWNSHIP)).status_code == 200


async def test_one_entry_is_read_by_its_position_or_looks_like_none(room: Room, case: CaseTold) -> None:
    await room.hears(*crossing(case))
    answer = await room.get("/v1/feeds/cases/events/5", TOWNSHIP)
    assert answer.headers["content-type"] == "application/cloudevents+json"
    assert answer.json() == (await room.feed(TOWNSHIP, feed="cases"))[0]
    hidden = await room.get("/v1/feeds/cases/events/5", DEPARTMENT)
    for path in ("cases/events/99", "cases/events/1", "cases/events/x", "cases/events/0", "gossip/events/5"):
        nowhere = await room.get(f"/v1/feeds/{path}", DEPARTMENT)
        assert nowhere.status_code == hidden.status_code == 404
        assert {**nowhere.json(), "trace_id": ""} == {**hidden.json(), "trace_id": ""}
    assert (await room.get("/v1/feeds/cases/events/5", STRANGER)).status_code == 404


async def test_who_waits_is_woken_by_the_next_entry(room: Room, case: CaseTold) -> None:
    waiting = asyncio.create_task(room.feed(TOWNSHIP, lastEventId=4, timeout=30_000))
    await until(lambda: following(room) == 1)
    await room.hears(case.clue())
    assert coming(await asyncio.wait_for(waiting, 5)) == ["case/c1/1"]
    assert following(room) == 0


async def test_who_waits_hears_of_entries_that_another_process_appended(room: Room, case: CaseTold) -> None:
    waiting = asyncio.create_task(room.feed(TOWNSHIP, lastEventId=4, timeout=30_000))
    await until(lambda: following(room) == 1)
    await room.hears(case.clue(), elsewhere=True)
    assert coming(await asyncio.wait_for(waiting, 5)) == ["case/c1/1"]


async def test_who_waits_in_one_feed_goes_on_waiting_when_another_grows(room: Room, case: CaseTold) -> None:
    waiting = asyncio.create_task(room.feed(TOWNSHIP, feed="cases", lastEventId=4, timeout=30_000))
    await until(lambda: following(room, "cases") == 1)
    await room.hears(case.speaker.say(an_agency(OTHER), f"agency/{OTHER}"))
    await room.hears(case.clue())
    assert [event["id"] for event in await asyncio.wait_for(waiting, 5)] == ["6"]


async def test_a_wait_ends_with_an_empty_array(room: Room, case: CaseTold) -> None:
    began = monotonic()
    assert await room.feed(TOWNSHIP, lastEventId=4, timeout=120) == []
    assert 0.1 <= monotonic() - began < 5


async def test_nobody_is_kept_waiting_by_a_process_that_ends(room: Room, case: CaseTold) -> None:
    waiting = asyncio.create_task(room.feed(TOWNSHIP, lastEventId=4, timeout=30_000))
    await until(lambda: following(room) == 1)
    room.arrivals.end()
    assert await asyncio.wait_for(waiting, 5) == []
    assert await room.feed(TOWNSHIP, lastEventId=4, timeout=30_000) == []


async def test_who_has_gone_away_is_waited_for_no_longer(room: Room, case: CaseTold) -> None:
    gone = asyncio.Event()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async with room.client(TOWNSHIP) as caller:
        token = caller.headers["authorization"]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/v1/feeds/all",
        "raw_path": b"/v1/feeds/all",
        "root_path": "",
        "query_string": b"lastEventId=4&timeout=30000",
        "headers": [(b"authorization", token.encode())],
        "server": ("sharing", 80),
        "client": ("reader", 1),
    }
    asking = asyncio.create_task(room.app(scope, receive, send))
    await until(lambda: following(room) == 1)
    gone.set()
    await asyncio.wait_for(asking, 5)
    assert following(room) == 0


async def test_rights_are_those_of_the_moment_of_sending(room: Room, case: CaseTold) -> None:
    """The office is told to coordinate no longer while its coordinator waits."""
    waiting = asyncio.create_task(room.feed(OFFICE, COORDINATOR, lastEventId=4, timeout=30_000))
    await until(lambda: following(room) == 1)
    retired = an_agency(OFFICE).model_copy(update={"coordinates": False})
    await room.hears(case.speaker.say(retired, f"agency/{OFFICE}"), case.clue())
    assert coming(await asyncio.wait_for(waiting, 5)) == [f"agency/{OFFICE}/2", "-"]


async def test_an_agency_registered_later_reads_the_same_positions_as_stubs(
    room: Room, case: CaseTold
) -> None:
    await room.hears(*crossing(case))
    await room.hears(case.speaker.say(an_agency(STRANGER), f"agency/{STRANGER}"))
    events = await room.feed(STRANGER)
    assert coming(events)[4:] == ["-"] * 13 + [f"agency/{STRANGER}/1"]


async def test_word_of_an_event_enters_the_log_behind_it_in_the_same_commit(
    room: Room, case: CaseTold
) -> None:
    clue, offered = case.clue(), case.offered(DEPARTMENT)
    await room.hears(case.noticed(DEPARTMENT, 2), partition=1)
    await room.hears(case.signed(DEPARTMENT, 2), partition=1)
    assert await room.feed(DEPARTMENT, lastEventId=4) == []
    await room.hears(clue)
    await room.hears(offered)
    expected = ["case/c1/1", "case/c1/2", "disclosure/c1.t1/1", "notice/c1n1/1", "notice/c1n1/2"]
    assert coming(await room.feed(OFFICE, COORDINATOR, lastEventId=4)) == expected
    assert await room.rows(EarlyEntries) == []


async def test_word_that_is_to_wait_is_not_left_behind_by_the_event(room: Room, case: CaseTold) -> None:
    clue, issued = case.clue(), case.noticed(TOWNSHIP, 1)
    early = await room.decided(issued)
    await room.hears(clue)
    assert isinstance(await room.store.commit(early), Conflict)


async def test_word_and_event_at_once_leave_neither_behind(each_room: Room) -> None:
    room, case = each_room, await told_of_the_county(each_room)
    cases = [case, *(CaseTold(case.speaker, id=f"d{n}") for n in range(20))]
    told = [[one.clue(), one.offered(DEPARTMENT)] for one in cases]
    words = [[one.noticed(DEPARTMENT, 2), one.signed(DEPARTMENT, 2)] for one in cases]
    await asyncio.gather(
        *(room.hears(*records, partition=n) for n, records in enumerate(told)),
        *(room.hears(*records, partition=100 + n) for n, records in enumerate(words)),
    )
    assert await room.rows(EarlyEntries) == []
    entries = [row["event_id"] for row in await room.rows(LogEntry)]
    assert len(entries) == 4 + 5 * len(cases)
    for one in cases:
        assert entries.index(f"{one.stream}/2") < entries.index(f"notice/{one.id}n1/1")


async def test_a_recipient_is_shown_the_past_of_a_case_and_told_to_forget_it(
    room: Room, case: CaseTold
) -> None:
    clue, filed, offered = case.clue(), case.filed(), case.offered(DEPARTMENT)
    await room.hears(clue, filed, offered)
    events = await room.feed(DEPARTMENT, feed="cases")
    assert coming(events) == ["-", "-", "case/c1/3", "disclosure/c1.t1/1", "disclosure/c1.t1/2"]
    for disclosed, position, record in zip(events[3:], (5, 6), (clue, filed), strict=True):
        assert disclosed["type"] == "liandong.entry.disclosed.v1"
        assert disclosed["data"]["position"] == position
        # The holder's own view of the old position, to the letter: its chain can be followed.
        (old,) = await room.feed(TOWNSHIP, feed="cases", lastEventId=position - 1, limit=1)
        assert disclosed["data"]["event"] == old
        assert old["data"] == orjson.loads(record.value)
        assert JSONFormat().read(None, orjson.dumps(disclosed)).get_type() == disclosed["type"]
    before = await room.feed(DEPARTMENT)
    await room.hears(case.returned(DEPARTMENT), case.investigated())
    returned, forget, stub = await room.feed(DEPARTMENT, lastEventId=9)
    assert returned["type"] == "liandong.transfer.returned.v1"
    assert (forget["type"], forget["originid"]) == ("liandong.entry.withdrawn.v1", "disclosure/c1.t1/3")
    assert forget["data"] == {"subject": "case/c1", "positions": [5, 6]}
    assert set(stub) == STUB
    assert (await room.feed(DEPARTMENT))[: len(before)] == before


async def test_what_is_disclosed_is_the_recipients_alone(room: Room, case: CaseTold) -> None:
    await room.hears(case.clue(), case.offered(DEPARTMENT))
    (shown,) = await room.feed(DEPARTMENT, lastEventId=6)
    for agency in (TOWNSHIP, OTHER):
        (stub,) = await room.feed(agency, lastEventId=6)
        assert stub == {**{name: shown[name] for name in STUB}, "type": "liandong.entry.withheld.v1"}
        assert (await room.get("/v1/feeds/all/events/7", agency)).status_code == 404
    assert (await room.get("/v1/feeds/all/events/7", DEPARTMENT)).json() == shown
    assert await room.feed(DEPARTMENT, Role.REGISTRAR, lastEventId=4) != [shown]
    assert coming(await room.feed(DEPARTMENT, Role.REGISTRAR, lastEventId=4)) == ["-", "-", "-"]


async def test_a_long_past_is_disclosed_in_the_commit_of_the_offer(each_room: Room) -> None:
    """Many pages of it, and each names its own old position."""
    room, case = each_room, await told_of_the_county(each_room)
    await room.hears(case.clue(), *(case.filed() for _ in range(499)))
    await room.hears(case.offered(DEPARTMENT))
    told: list[dict[str, Any]] = []
    while page := await room.feed(DEPARTMENT, lastEventId=505 + len(told), limit=200):
        told += page
    assert [event["data"]["position"] for event in told] == list(range(5, 505))
    await room.hears(case.withdrawn(DEPARTMENT))
    _, forget = await room.feed(DEPARTMENT, lastEventId=505 + len(told))
    assert forget["data"]["positions"] == list(range(5, 505))


async def test_an_event_heard_twice_has_one_place(room: Room, case: CaseTold) -> None:
    clue = case.clue()
    await room.hears(clue)
    report = await room.hears(clue, case.speaker.again(clue))
    assert len(report.old) == 2
    assert len(await room.feed(TOWNSHIP, lastEventId=4)) == 1


async def test_from_filing_to_seeing_is_measured_where_it_is_seen(room: Room, case: CaseTold) -> None:
    report = await room.hears(case.clue(), case.filed())
    now = room.clock.now()
    (seconds,) = reacts.seen_after(report, now)
    assert 0 <= seconds < 60
    assert seconds == (now - report.applied[1].recorded_at).total_seconds()
    assert reacts.seen_after(await room.hears(case.investigated()), now) == []
