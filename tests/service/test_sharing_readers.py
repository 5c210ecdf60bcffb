"""Who follows a feed, in which form, and how far behind they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from libs.common import errors
from libs.common.change import Change
from libs.common.clock import Clock
from libs.common.permit import Role
from libs.common.store.seam import Outcome
from libs.common.store.store import Store
from services.sharing.readers import loads
from services.sharing.readers.reacts import Followers
from services.sharing.readers.tables import Follower
from tests.worlds.desk import Speaker
from tests.worlds.listening import Listener
from tests.worlds.reading_room import (
    DEPARTMENT,
    OFFICE,
    STRANGER,
    TOWNSHIP,
    CaseTold,
    Room,
    an_agency,
    on_engine,
    on_file,
)

pytestmark = pytest.mark.anyio

COORDINATOR, OPERATOR = Role.COORDINATOR, Role.OPERATOR


@pytest.fixture(params=["sqlite", "postgres"])
async def each_room(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Room]:
    async with on_engine(request, tmp_path) as made:
        await register(made)
        yield made


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with on_file(tmp_path) as made:
        await register(made)
        yield made


async def register(room: Room) -> None:
    """Three agencies, at positions 1 to 3, and a case at 4 and 5."""
    speaker = Speaker()
    known = (OFFICE, TOWNSHIP, DEPARTMENT)
    await room.hears(*(speaker.say(an_agency(code), f"agency/{code}") for code in known))
    case = CaseTold(speaker)
    await room.hears(case.clue(), case.filed())


async def following(room: Room, feed: str = "all") -> list[tuple[Any, ...]]:
    """Who follows, as a coordinator is told once it was written down."""
    await room.followers.write()
    answer = await room.get(f"/v1/feeds/{feed}/readers", OFFICE, COORDINATOR)
    return [
        tuple(row[name] for name in ("agency", "form", "position", "lag")) for row in answer.json()["data"]
    ]


async def test_a_reader_is_as_far_as_they_say_themselves(each_room: Room) -> None:
    room = each_room
    await room.feed(TOWNSHIP, lastEventId=2)
    assert await following(room) == [(TOWNSHIP, "batch", 2, 3)]
    await room.feed(TOWNSHIP, lastEventId=5)
    await room.feed(TOWNSHIP, feed="register", lastEventId=1)
    assert await following(room) == [(TOWNSHIP, "batch", 5, 0)]
    # What stands in other feeds is nothing that they have still to read.
    assert await following(room, "register") == [(TOWNSHIP, "batch", 1, 2)]
    assert await following(room, "cases") == []


async def test_each_form_is_told_apart_and_of_several_readers_the_last_one(room: Room) -> None:
    async with (
        Listener(room, DEPARTMENT) as quick,
        Listener(room, DEPARTMENT) as slow,
        room.client(DEPARTMENT) as caller,
    ):
        await quick.hears(5)
        await slow.hears(5)
        await caller.get("/v1/feeds/all", headers={"accept": "application/atom+xml"})
        slow.takes.clear()
        await room.hears(*(CaseTold(Speaker(), id=f"n{n}").clue() for n in range(3)))
        await quick.hears(8)
        found = await following(room)
        slow.takes.set()
    assert found == [(DEPARTMENT, "atom", 5, 3), (DEPARTMENT, "stream", 5, 3)]
    assert await following(room) == [(DEPARTMENT, "atom", 5, 3), (DEPARTMENT, "stream", 8, 0)]


async def test_whom_the_county_does_not_know_follows_nothing(room: Room) -> None:
    await room.feed(STRANGER)
    async with Listener(room, STRANGER):
        pass
    assert await following(room) == []


async def test_who_neither_coordinates_nor_operates_finds_nothing(room: Room) -> None:
    path = "/v1/feeds/all/readers"
    for agency, role in ((TOWNSHIP, Role.HANDLER), (TOWNSHIP, COORDINATOR), (OFFICE, Role.AUDITOR)):
        assert (await room.get(path, agency, role)).status_code == 404
    assert (await room.get(path, STRANGER, OPERATOR)).status_code == 200
    assert (await room.get("/v1/feeds/gossip/readers", STRANGER, OPERATOR)).status_code == 404


async def test_operators_are_told_of_the_longest_lag_of_those_who_still_come(each_room: Room) -> None:
    room = each_room
    await room.feed(TOWNSHIP, lastEventId=1)
    await room.feed(DEPARTMENT, lastEventId=4)
    await room.followers.write()
    old = room.clock.now() - timedelta(days=1)
    gone = Follower(feed="all", agency=OFFICE, form="stream", position=0, seen_at=old)
    await room.store.commit(Change().putting(gone))
    async with room.store.reading() as read:
        await room.followers.measure(read, room.metrics)
    lag = {form: gauge(room, form) for form in ("batch", "stream", "atom")}
    assert lag == {"batch": 4, "stream": 0, "atom": 0}


def gauge(room: Room, form: str) -> float | None:
    labels = {"service": "sharing", "feed": "all", "form": form}
    return room.metrics.registry.get_sample_value("liandong_feed_lag", labels)


class Shaky:
    """A store that is down the first time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_up = False

    async def commit(self, change: Change) -> Outcome:
        if not self._is_up:
            self._is_up = True
            raise errors.Transient("down")
        return await self._store.commit(change)


async def test_what_could_not_be_written_is_written_the_next_time(room: Room) -> None:
    followers = Followers(cast(Store, Shaky(room.store)), Clock())
    with followers.following("all", TOWNSHIP, "batch") as one:
        one.position = 3
    with pytest.raises(errors.Transient):
        await followers.write()
    await followers.write()
    async with room.store.reading() as read:
        ((follower, lag),) = await loads.lagging(read)
    assert (follower.agency, follower.position, lag) == (TOWNSHIP, 3, 2)
