"""Clocks in the joint picture: who waits for whom, on both engines, for whom it concerns."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import icalendar
import pytest

from libs.common.change import Change
from libs.common.law import limits
from libs.common.permit import Role
from services.sharing.clocks import loads, rules
from services.sharing.clocks.tables import RunningClock
from tests.worlds import clocks_told, reading_room
from tests.worlds.desk import Speaker
from tests.worlds.reading_room import DEPARTMENT, OFFICE, OTHER, STRANGER, TOWNSHIP, Room, an_agency

pytestmark = pytest.mark.anyio

COORDINATOR = Role.COORDINATOR
BOTTLENECKS = "/v1/picture/bottlenecks"


@pytest.fixture(params=["sqlite", "postgres"])
async def room(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Room]:
    async with reading_room.on_engine(request, tmp_path) as made:
        speaker = Speaker()
        known = (OFFICE, TOWNSHIP, DEPARTMENT, OTHER)
        await made.hears(*(speaker.say(an_agency(code), f"agency/{code}") for code in known))
        yield made


async def waiting(room: Room) -> None:
    """The township waits for the department, the department for the other; for one clock nobody waits."""
    speaker = Speaker()
    await room.hears(
        clocks_told.opened(speaker, "green"),
        clocks_told.opened(speaker, "red"),
        clocks_told.opened(speaker, "yellow", about="case/c2"),
        clocks_told.opened(speaker, "black", agency=OTHER, awaits=DEPARTMENT),
        clocks_told.opened(speaker, "green", agency=TOWNSHIP, awaits="", rule="pen.file"),
        clocks_told.opened(speaker, "black", obligation="met"),
        clocks_told.ended(speaker, "met"),
    )


async def test_the_office_sees_who_waits_for_whom_the_worst_first(room: Room) -> None:
    await waiting(room)
    body = (await room.get(BOTTLENECKS, OFFICE, COORDINATOR)).json()
    told = [(row["awaits"], row["agency"], row["running"], row["light"]) for row in body["data"]]
    assert told == [
        (DEPARTMENT, OTHER, 1, "black"),
        (TOWNSHIP, DEPARTMENT, 3, "red"),
        (None, TOWNSHIP, 1, "green"),
    ]
    row = body["data"][1]
    assert (row["awaits_name"], row["agency_name"]) == ("青山镇", "县水利局")
    assert row["lights"] == {"green": 1, "yellow": 1, "red": 1, "black": 0}
    stored = [clock for clock in await room.rows(RunningClock) if clock["agency"] == DEPARTMENT]
    oldest = min(clock["due_at"] for clock in stored)
    assert row["oldest_due_at"] == oldest.isoformat(timespec="microseconds")


async def test_an_agency_sees_what_it_waits_for_and_what_waits_for_it(room: Room) -> None:
    await waiting(room)

    async def seen(agency: str, *roles: Role) -> set[tuple[str, str]]:
        answer = await room.get(BOTTLENECKS, agency, *roles)
        assert answer.status_code == 200
        return {(row["awaits"], row["agency"]) for row in answer.json()["data"]}

    assert await seen(DEPARTMENT) == {(DEPARTMENT, OTHER), (TOWNSHIP, DEPARTMENT)}
    assert await seen(TOWNSHIP) == {(TOWNSHIP, DEPARTMENT), (None, TOWNSHIP)}
    assert (
        await seen(OFFICE)
        == await seen(STRANGER, COORDINATOR)
        == await seen(TOWNSHIP, Role.OPERATOR)
        == set()
    )


async def test_each_line_of_the_picture_has_the_lights_of_what_it_must_do(room: Room) -> None:
    await waiting(room)
    body = (await room.get("/v1/picture", OFFICE, COORDINATOR)).json()
    lights = {line["agency"]: line["lights"] for line in (*body["townships"], *body["departments"])}
    nothing = {"green": 0, "yellow": 0, "red": 0, "black": 0}
    assert lights == {
        OFFICE: nothing,
        TOWNSHIP: {**nothing, "green": 1},
        DEPARTMENT: {**nothing, "green": 1, "yellow": 1, "red": 1},
        OTHER: {**nothing, "black": 1},
    }


async def test_the_calendar_holds_what_an_agency_must_do_and_for_the_office_everything(room: Room) -> None:
    await waiting(room)

    async def due(agency: str, *roles: Role) -> int:
        answer = await room.get("/v1/calendar.ics", agency, *roles)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/calendar; charset=utf-8"
        return len(icalendar.Calendar.from_ical(answer.content).events)

    assert [await due(agency) for agency in (TOWNSHIP, DEPARTMENT, OTHER, OFFICE)] == [1, 3, 1, 0]
    assert await due(OFFICE, COORDINATOR) == 5
    for agency, role in ((STRANGER, COORDINATOR), (TOWNSHIP, Role.OPERATOR), (OFFICE, Role.INTEGRATOR)):
        assert (await room.get("/v1/calendar.ics", agency, role)).status_code == 404


async def test_the_database_counts_lights_as_the_law_does(room: Room) -> None:
    """At the very instants too, and where they stand in no order."""
    chance, start = random.Random(7), datetime(2026, 3, 2, tzinfo=UTC)
    instants = [start + timedelta(hours=hours) for hours in range(6)]
    clocks = [
        RunningClock(
            obligation=f"o{n}",
            rule="col.accept",
            agency=DEPARTMENT,
            awaits="",
            about="case/c1",
            due_on=start.date(),
            **{name: chance.choice(instants) for name in ("due_at", "yellow_at", "black_at")},
            provisional=False,
            state="running",
        )
        for n in range(200)
    ]
    await room.store.commit(Change().putting(*clocks))
    for now in instants:
        async with room.store.reading() as read:
            counted = rules.together(await loads.tallies(read, now)).shown()
        lights = [limits.light_at(now, clock.yellow_at, clock.due_at, clock.black_at) for clock in clocks]
        assert counted == {light.value: lights.count(light) for light in rules.LIGHTS}
