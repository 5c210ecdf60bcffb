"""The joint picture over HTTP, and its rebuild while events come in: equal to the last byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from libs.common.change import Change
from libs.common.clock import Clock, Moment, Trace
from libs.common.contracts.sharing import PictureRebuilt
from libs.common.log.seam import Record
from libs.common.permit import Role
from libs.common.store.schema import JournalEntry
from libs.common.store.seam import Committed, Conflict
from services.sharing.app import Counting
from services.sharing.feeds.tables import LogEntry
from services.sharing.picture import loads, rules
from services.sharing.picture.tables import Offer, Picture, PicturedCase, Rebuild
from tests.worlds import reading_room
from tests.worlds.desk import Speaker
from tests.worlds.reading_room import (
    DEPARTMENT,
    DIVISION,
    OFFICE,
    OTHER,
    STRANGER,
    TOWNSHIP,
    CaseTold,
    Room,
    an_agency,
)

pytestmark = pytest.mark.anyio

COORDINATOR, OPERATOR = Role.COORDINATOR, Role.OPERATOR
KEY = {"idempotency-key": "rebuild-1"}


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with reading_room.on_file(tmp_path) as made:
        await register(made)
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
async def each_room(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Room]:
    """The same room on each engine."""
    async with reading_room.on_engine(request, tmp_path) as made:
        await register(made)
        yield made


async def register(room: Room) -> None:
    """The county is known, at positions 1 to 4."""
    speaker = Speaker()
    known = (OFFICE, TOWNSHIP, DEPARTMENT, OTHER)
    await room.hears(*(speaker.say(an_agency(code), f"agency/{code}") for code in known))


def county(speaker: Speaker) -> list[Record]:
    """Five cases: filed and crossed, waiting, withdrawn and returned, closed, rejected."""
    crossed, waiting, back, closed, rejected = (CaseTold(speaker, id=f"c{n}") for n in range(1, 6))
    return [
        *(crossed.clue(), crossed.filed(), crossed.offered(DEPARTMENT), crossed.accepted(DEPARTMENT)),
        *(waiting.clue(), waiting.offered(DEPARTMENT)),
        *(back.clue(), back.filed(), back.offered(OTHER), back.withdrawn(OTHER)),
        *(back.offered(DEPARTMENT), back.returned(DEPARTMENT), back.investigated()),
        *(closed.clue(), closed.filed(), closed.investigated(), closed.decided(), closed.closed()),
        *(rejected.clue(), rejected.rejected()),
    ]


async def test_the_picture_shows_each_agency_and_where_it_stands(room: Room) -> None:
    records = county(Speaker())
    await room.hears(*records)
    body = (await room.get("/v1/picture", OFFICE, COORDINATOR)).json()
    entries = await room.rows(LogEntry)
    disclosed = [row for row in entries if row["stream"].startswith("disclosure/")]
    assert body["position"] == 4 + len(records) + len(disclosed) == len(entries)
    assert body["as_of"] == entries[-1]["recorded_at"].isoformat(timespec="microseconds")
    (township,) = body["townships"]
    assert [line["name"] for line in body["departments"]] == ["联席会议办公室", "县水利局", "县林业局"]
    waiting = next(row for row in await room.rows(Offer) if row["state"] == "waiting")
    assert township == {
        "agency": TOWNSHIP,
        "name": "青山镇",
        "kind": "township",
        "division": DIVISION,
        "held": {"registered": 1, "filed": 0, "investigating": 1, "decided": 0},
        "filed": 3,
        "closed": 1,
        "not_filed": 1,
        "offered_to": nothing(),
        "offered_by": {
            "waiting": 1,
            "waiting_since": waiting["offered_at"].isoformat(timespec="microseconds"),
            "accepted": 1,
            "returned": 1,
            "withdrawn": 1,
        },
        "lights": {"green": 0, "yellow": 0, "red": 0, "black": 0},
    }
    department = body["departments"][1]
    assert department["held"] == {"registered": 0, "filed": 1, "investigating": 0, "decided": 0}
    assert department["offered_to"] == {**township["offered_by"], "withdrawn": 0}
    assert (department["filed"], department["closed"], department["offered_by"]) == (0, 0, nothing())


def nothing() -> dict[str, Any]:
    return {"waiting": 0, "waiting_since": None, "accepted": 0, "returned": 0, "withdrawn": 0}


async def test_operators_see_the_numbers_of_the_picture(each_room: Room) -> None:
    await each_room.hears(*county(Speaker()))
    await counted(each_room, Counting(each_room.metrics, Later()))

    def said(metric: str, agency: str, **labels: str) -> float | None:
        labels |= {"service": "sharing", "agency": agency}
        return each_room.metrics.registry.get_sample_value(f"liandong_{metric}", labels)

    ours, theirs = {"kind": "township"}, {"kind": "department"}
    held = [said("cases_open", TOWNSHIP, **ours, stage=stage) for stage in rules.OPEN]
    assert held == [1, 0, 1, 0]
    assert said("cases_open", DEPARTMENT, **theirs, stage="filed") == 1
    states = ("waiting", "accepted", "returned", "withdrawn")
    assert [said("transfers", TOWNSHIP, **ours, side="by", state=state) for state in states] == [1, 1, 1, 1]
    assert [said("transfers", TOWNSHIP, **ours, side="to", state=state) for state in states] == [0, 0, 0, 0]
    assert [said("transfers", DEPARTMENT, **theirs, side="to", state=state) for state in states] == [
        1,
        1,
        1,
        0,
    ]
    waited = said("transfer_waiting_seconds", DEPARTMENT, **theirs)
    assert waited is not None
    assert 3600 <= waited < 3660
    assert said("transfer_waiting_seconds", TOWNSHIP, **ours) == 0
    assert said("agency_info", DEPARTMENT, **theirs, name="县水利局", division="330799") == 1


class Later(Clock):
    """An hour from now."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=1)


async def counted(room: Room, counting: Counting) -> None:
    async with room.store.reading() as read:
        await counting.measure(read)


async def test_counting_the_picture_takes_a_hundredth_of_the_time(room: Room) -> None:
    time = 0.0

    def monotonic() -> float:
        """Everything takes a second."""
        nonlocal time
        time += 1.0
        return time

    def filed() -> float | None:
        labels = {"service": "sharing", "agency": DEPARTMENT, "kind": "department", "stage": "filed"}
        return room.metrics.registry.get_sample_value("liandong_cases_open", labels)

    counting = Counting(room.metrics, room.clock, monotonic=monotonic)
    await counted(room, counting)
    assert filed() == 0
    await room.hears(*county(Speaker()))
    time = 95.0
    await counted(room, counting)
    assert filed() == 0
    time = 105.0
    await counted(room, counting)
    assert filed() == 1


async def test_no_label_of_the_picture_holds_the_id_of_a_case(room: Room) -> None:
    await room.hears(*county(Speaker()))
    await counted(room, Counting(room.metrics, room.clock))
    values = {
        value
        for family in room.metrics.registry.collect()
        for sample in family.samples
        for value in sample.labels.values()
    }
    assert DEPARTMENT in values
    assert [value for value in values if value.startswith("c") and value[1:2].isdigit()] == []


async def test_the_same_picture_is_the_same_bytes(room: Room) -> None:
    await room.hears(*county(Speaker()))
    first, second = [await room.get("/v1/picture", OFFICE, COORDINATOR) for _ in range(2)]
    assert first.content == second.content


async def test_an_agency_sees_its_own_line_and_others_look_like_none(room: Room) -> None:
    await room.hears(*county(Speaker()))
    body = (await room.get("/v1/picture", TOWNSHIP)).json()
    assert [line["agency"] for line in body["townships"]] == [TOWNSHIP]
    assert body["departments"] == []
    own = await room.get(f"/v1/picture/townships/{DIVISION}", TOWNSHIP)
    assert own.json() == {"position": body["position"], "as_of": body["as_of"], **body["townships"][0]}
    hidden = await room.get(f"/v1/picture/departments/{DEPARTMENT}", TOWNSHIP)
    nowhere = await room.get(f"/v1/picture/departments/{STRANGER}", TOWNSHIP)
    assert (hidden.status_code, nowhere.status_code) == (404, 404)
    assert {**hidden.json(), "trace_id": ""} == {**nowhere.json(), "trace_id": ""}


async def test_the_office_sees_every_line(room: Room) -> None:
    for path in (f"townships/{DIVISION}", f"departments/{DEPARTMENT}", f"departments/{OFFICE}"):
        assert (await room.get(f"/v1/picture/{path}", OFFICE, Role.AUDITOR)).status_code == 200
    # A township is no department, and a department's division is the county's.
    for path in (f"departments/{TOWNSHIP}", "townships/330799"):
        assert (await room.get(f"/v1/picture/{path}", OFFICE, Role.AUDITOR)).status_code == 404


async def test_a_stranger_sees_an_empty_picture(room: Room) -> None:
    await room.hears(*county(Speaker()))
    empty: dict[str, Any] = {"position": 0, "as_of": None, "townships": [], "departments": []}
    assert (await room.get("/v1/picture", STRANGER, COORDINATOR)).json() == empty
    assert (await room.get("/v1/picture", TOWNSHIP, OPERATOR)).json() == empty
    assert (await room.get(f"/v1/picture/townships/{DIVISION}", STRANGER)).status_code == 404


async def test_what_is_disclosed_of_cases_is_no_case_to_a_rebuild(room: Room) -> None:
    """More offers than one step takes stand between two cases, each with what it discloses."""
    speaker = Speaker()
    first, last = CaseTold(speaker, id="first"), CaseTold(speaker, id="last")
    await room.hears(first.clue())
    for _ in range(loads.CASES + 1):
        await room.hears(first.offered(DEPARTMENT), first.withdrawn(DEPARTMENT))
    await room.hears(last.clue(), last.offered(DEPARTMENT))
    before = await tables(room)
    await ask(room)
    await rebuild_all(room)
    assert await tables(room) == before
    assert [row["case"] for row in before[0]] == ["first", "last"]


async def test_a_rebuild_is_asked_for_watched_and_told(room: Room) -> None:
    await room.hears(*county(Speaker()))
    before = await picture(room)
    async with room.client(STRANGER, OPERATOR) as operator:
        asked = await operator.post("/v1/rebuilds", json={}, headers={**KEY, "audit-reason": "check"})
        assert (asked.status_code, asked.json()["state"]) == (202, "running")
        again = await operator.post("/v1/rebuilds", json={}, headers={**KEY, "audit-reason": "check"})
        assert again.headers["idempotency-replayed"] == "true"
        second = await operator.post("/v1/rebuilds", json={}, headers={"idempotency-key": "rebuild-2"})
        assert second.status_code == 409
        assert second.json()["rebuild"] == asked.json()["id"]
        await rebuild_all(room)
        done = (await operator.get(asked.headers["location"])).json()
    assert (done["state"], done["generation"], done["of"]) == ("done", 2, 35)
    assert done["finished_at"] is not None
    assert await picture(room) == before
    (fact,) = await facts(room)
    assert (fact.type, fact.kind, fact.id) == (PictureRebuilt.TYPE, "picture", "current")
    assert b'"reason":"check"' in fact.private


async def test_who_does_not_operate_may_neither_ask_nor_watch(room: Room) -> None:
    rebuild = await ask(room)
    for agency, role in ((OFFICE, COORDINATOR), (TOWNSHIP, Role.HANDLER), (STRANGER, Role.HANDLER)):
        async with room.client(agency, role) as caller:
            assert (await caller.post("/v1/rebuilds", json={}, headers=KEY)).status_code == 403
            there = await caller.get(f"/v1/rebuilds/{rebuild}")
            nowhere = await caller.get("/v1/rebuilds/none")
        assert (there.status_code, nowhere.status_code) == (404, 404)
    assert (await room.get("/v1/rebuilds/none", OFFICE, OPERATOR)).status_code == 404


async def test_a_picture_gone_wrong_is_put_right(room: Room) -> None:
    await room.hears(*county(Speaker()))
    right = await tables(room)
    async with room.store.reading() as read:
        (wrong, *_) = await read.all(PicturedCase)
    await room.store.commit(Change().putting(wrong.but(holder=OTHER, stage="decided")))
    assert await tables(room) != right
    await ask(room)
    await rebuild_all(room)
    assert await tables(room) == right


async def test_of_the_old_generation_nothing_is_left(room: Room) -> None:
    await room.hears(*county(Speaker()))
    for generation in (2, 3):
        await ask(room)
        await rebuild_all(room)
        assert {row["generation"] for row in await room.rows(PicturedCase)} == {generation}
        assert {row["generation"] for row in await room.rows(Offer)} == {generation}


async def test_before_anything_was_folded_there_is_an_empty_picture_to_rebuild(room: Room) -> None:
    await ask(room)
    await rebuild_all(room)
    speaker = Speaker()
    await room.hears(*county(speaker))
    assert {row["generation"] for row in await room.rows(PicturedCase)} == {2}
    assert (await room.get("/v1/picture", TOWNSHIP)).json()["townships"][0]["filed"] == 3


async def test_a_rebuild_that_was_left_undone_is_gone_on_with(room: Room) -> None:
    """Events go on meanwhile; the process that goes on knows only what is stored."""
    speaker = Speaker()
    case, later = CaseTold(speaker, id="a"), CaseTold(speaker, id="b")
    await room.hears(*county(speaker), case.clue())
    await ask(room)
    for _ in range(2):
        await room.rebuilder.once()
    await room.hears(case.filed(), later.clue(), later.offered(OTHER))
    assert [row["state"] for row in await room.rows(Rebuild)] == ["filling"]
    await rebuild_all(room)
    assert await tables(room) == await from_scratch(room)


async def test_reading_goes_on_and_nothing_is_seen_of_the_generation_being_built(room: Room) -> None:
    await room.hears(*county(Speaker()))
    before = await picture(room)
    await ask(room)
    while await room.rebuilder.once():
        assert await picture(room) == before


async def test_an_event_that_comes_between_reading_and_building_makes_it_decide_again(room: Room) -> None:
    speaker = Speaker()
    case = CaseTold(speaker)
    await room.hears(case.clue())
    await ask(room)
    await room.rebuilder.once()
    async with room.store.reading() as read:
        s = await loads.rebuilding(read)
        cases = await loads.next_cases(read, 0)
    assert s is not None
    await room.hears(case.filed())
    assert isinstance(await room.store.commit(rules.fill(s, cases)), Conflict)
    await rebuild_all(room)
    assert await tables(room) == await from_scratch(room)


async def test_a_fold_decided_on_other_generations_is_decided_again(room: Room) -> None:
    """Decided before the new one was begun it would not write it, before the flip not it alone."""
    case = CaseTold(Speaker())
    await room.hears(case.clue())
    filed = case.filed()
    await ask(room)
    early = await room.decided(filed)
    await room.rebuilder.once()
    assert isinstance(await room.store.commit(early), Conflict)
    late = await room.decided(filed)
    await rebuild_all(room)
    assert isinstance(await room.store.commit(late), Conflict)
    await room.hears(filed)
    assert await tables(room) == await from_scratch(room)


async def test_a_case_that_begins_after_the_last_one_was_built_is_not_lost(room: Room) -> None:
    speaker = Speaker()
    await room.hears(*county(speaker))
    await ask(room)
    for _ in range(2):
        await room.rebuilder.once()
    async with room.store.reading() as read:
        s = await loads.rebuilding(read)
    assert s is not None
    assert s.rebuild.state == "filling"
    late = CaseTold(speaker, id="late")
    await room.hears(late.clue(), late.offered(OTHER))
    at = Moment(room.clock.now(), Trace("t"))
    assert isinstance(await room.store.commit(rules.finish(s, newest=25, at=at)), Committed)
    assert await tables(room) == await from_scratch(room)


async def test_built_anew_while_events_come_in_it_is_equal_to_the_last_byte(each_room: Room) -> None:
    """Four partitions are heard at once, with rebuilds one after the other; readers read all the time."""
    room = each_room
    speaker = Speaker()
    lanes = [[CaseTold(speaker, id=f"p{lane}c{n}") for n in range(12)] for lane in range(4)]
    told = [woven(cases) for cases in lanes]
    await ask(room)

    async def hear(lane: int) -> None:
        for n in range(0, len(told[lane]), 7):
            await room.hears(*told[lane][n : n + 7], partition=lane)

    async def rebuild() -> int:
        rebuilt = 0
        while not hearing.done() or rebuilt < 2:
            if not await room.rebuilder.once():
                rebuilt += 1
                await ask(room)
        return rebuilt

    async def read() -> None:
        last = 0
        while not hearing.done():
            body = (await room.get("/v1/picture", OFFICE, COORDINATOR)).json()
            assert body["position"] >= last
            last = body["position"]
            assert_adds_up(body)
            await asyncio.sleep(0)

    hearing = asyncio.gather(*(hear(lane) for lane in range(4)))
    _, rebuilt, _ = await asyncio.gather(hearing, rebuild(), read())
    assert rebuilt >= 2
    live = await tables(room)
    assert len(live[0]) == 48
    assert live == await from_scratch(room)
    before = await picture(room)
    await rebuild_all(room)
    assert await tables(room) == live
    assert await picture(room) == before
    entries = await room.rows(LogEntry)
    assert [row["position"] for row in entries] == list(range(1, len(entries) + 1))


async def test_the_snapshot_is_the_same_on_each_engine(each_room: Room) -> None:
    await each_room.hears(*county(Speaker()))
    (township,) = (await each_room.get("/v1/picture", TOWNSHIP)).json()["townships"]
    assert township["held"] == {"registered": 1, "filed": 0, "investigating": 1, "decided": 0}
    assert township["offered_by"]["waiting_since"].endswith("+00:00")
    assert len(await each_room.feed(TOWNSHIP, lastEventId=4)) == 31


def woven(cases: Sequence[CaseTold]) -> list[Record]:
    """What happens to some cases, one step of each after the other."""
    steps: list[Record] = [case.clue() for case in cases]
    steps += [case.filed() for case in cases]
    steps += [case.offered(DEPARTMENT) for case in cases]
    steps += [c.returned(DEPARTMENT) if n % 3 else c.accepted(DEPARTMENT) for n, c in enumerate(cases)]
    steps += [case.offered(OTHER) for case in cases]
    steps += [c.withdrawn(OTHER) if n % 2 else c.accepted(OTHER) for n, c in enumerate(cases)]
    steps += [case.investigated() for case in cases[::2]]
    steps += [case.decided() for case in cases[::4]]
    steps += [case.closed() for case in cases[::4]]
    return steps


def assert_adds_up(body: dict[str, Any]) -> None:
    """What one side offers, the other is offered: so all parts of a picture are of one moment."""
    lines = [*body["townships"], *body["departments"]]
    for state in ("waiting", *rules.ANSWERS):
        by, to = (sum(line[side][state] for line in lines) for side in ("offered_by", "offered_to"))
        assert by == to, state


async def ask(room: Room) -> str:
    async with room.client(OFFICE, OPERATOR) as operator:
        key = {"idempotency-key": f"ask-{len(await room.rows(Rebuild))}"}
        answer = await operator.post("/v1/rebuilds", json={}, headers=key)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def rebuild_all(room: Room) -> None:
    """Step until there is nothing to do."""
    while await room.rebuilder.once():
        pass


async def picture(room: Room) -> bytes:
    """The whole county, to the last byte."""
    return (await room.get("/v1/picture", OFFICE, COORDINATOR)).content


async def tables(room: Room) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of the generation that is read, without what names the generation."""
    (current,) = [row["generation"] for row in await room.rows(Picture)]
    cases, transfers = [
        [
            {name: value for name, value in row.items() if name not in ("slot", "generation")}
            for row in await room.rows(kind)
            if row["generation"] == current
        ]
        for kind in (PicturedCase, Offer)
    ]
    return cases, transfers


async def from_scratch(room: Room) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The same, from the log alone."""
    streams: dict[str, list[LogEntry]] = {}
    async with room.store.reading() as read:
        for entry in sorted(await read.all(LogEntry), key=lambda entry: entry.position):
            if entry.type in rules.FOLDS:
                streams.setdefault(entry.stream, []).append(entry)
    rows = [row for entries in streams.values() for row in rules.replay(1, entries)]
    cases, transfers = [
        sorted((row for row in rows if isinstance(row, kind)), key=lambda row: row.columns[kind.KEY[0]])
        for kind in (PicturedCase, Offer)
    ]
    without = {"slot", "generation"}
    return (
        [{name: value for name, value in row.columns.items() if name not in without} for row in cases],
        [{name: value for name, value in row.columns.items() if name not in without} for row in transfers],
    )


async def facts(room: Room) -> list[JournalEntry]:
    async with room.store.reading() as read:
        return await read.all(JournalEntry)
