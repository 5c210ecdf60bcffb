"""A feed as server-sent events: resuming, what ends a stream, and many readers in one process."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pytest

from libs.common.change import Change
from libs.common.permit import Role
from libs.common.store.reading import Reader
from libs.common.store.store import Store
from services.sharing.feeds.tables import Member
from services.sharing.readers.loads import Arrivals
from tests.worlds.desk import Speaker
from tests.worlds.listening import Listener, served
from tests.worlds.reading_room import (
    DEPARTMENT,
    OFFICE,
    OTHER,
    STRANGER,
    TOWNSHIP,
    CaseTold,
    Room,
    an_agency,
    following,
    on_file,
    until,
)

pytestmark = pytest.mark.anyio

STUB = {"specversion", "id", "source", "type"}


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with on_file(tmp_path, token_leeway_seconds=0, stream_seconds=60) as made:
        yield made


@pytest.fixture
async def case(room: Room) -> CaseTold:
    """A case of the township's, not heard of yet; the county is known, at positions 1 to 4."""
    speaker = Speaker()
    known = (OFFICE, TOWNSHIP, DEPARTMENT, OTHER)
    await room.hears(*(speaker.say(an_agency(code), f"agency/{code}") for code in known))
    return CaseTold(speaker)


async def test_a_stream_is_the_batch_entry_by_entry(room: Room, case: CaseTold) -> None:
    await room.hears(case.clue(), case.offered(DEPARTMENT))
    for agency in (TOWNSHIP, DEPARTMENT, OTHER):
        async with Listener(room, agency) as reader:
            await reader.hears(4)
            await room.hears(case.speaker.say(an_agency(OTHER), f"agency/{OTHER}"))
            batch = await room.feed(agency)
            assert await reader.hears(len(batch)) == batch
            assert reader.heard.startswith(b"retry: 3000\n\nid: 1\ndata: {")


async def test_who_comes_again_goes_on_behind_what_they_have_seen(room: Room, case: CaseTold) -> None:
    await room.hears(case.clue())
    async with Listener(room, TOWNSHIP, lastEventId=3) as reader:
        assert [event["id"] for event in await reader.hears(2)] == ["4", "5"]
    async with Listener(room, TOWNSHIP, lastEventId=1, headers={"last-event-id": "4"}) as reader:
        assert [event["id"] for event in await reader.hears(1)] == ["5"]


@pytest.mark.parametrize("last", ["-1", "x", "1.5", "9999999999999999999"])
async def test_a_position_that_is_none_is_refused(room: Room, case: CaseTold, last: str) -> None:
    async with Listener(room, TOWNSHIP, headers={"last-event-id": last}) as reader:
        assert reader.status == 422


async def test_who_is_further_than_the_log_hears_of_it_before_the_stream_begins(
    room: Room, case: CaseTold
) -> None:
    async with Listener(room, TOWNSHIP, headers={"last-event-id": "5"}) as reader:
        assert reader.status == 409


async def test_whom_the_county_does_not_know_is_told_not_to_come_again(room: Room, case: CaseTold) -> None:
    for feed in ("all", "nonesuch"):
        async with Listener(room, STRANGER, feed=feed) as reader:
            assert (reader.status, bytes(reader.heard)) == (204, b"")
    async with Listener(room, TOWNSHIP, feed="nonesuch") as reader:
        assert reader.status == 404


async def test_a_quiet_stream_is_kept_alive(room: Room, case: CaseTold) -> None:
    room.arrivals.ping = 0.05
    async with Listener(room, TOWNSHIP, lastEventId=4) as reader:
        await until(lambda: reader.heard.count(b": ping\n\n") >= 3)
        await room.hears(case.clue())
        assert [event["id"] for event in await reader.hears(1)] == ["5"]


async def test_who_has_just_read_the_end_is_told_of_what_comes_right_after(
    room: Room, case: CaseTold
) -> None:
    """Nobody looks for them in time: they hear of it, or not."""
    arrivals = Arrivals(room.store, every=60, reading=room.metrics.reading)
    room.app.state.arrivals = room.arrivals = arrivals
    async with Listener(room, TOWNSHIP, lastEventId=4) as reader:
        await room.hears(case.clue())
        assert [event["id"] for event in await reader.hears(1)] == ["5"]


async def test_entries_of_another_process_come_too(room: Room, case: CaseTold) -> None:
    async with Listener(room, TOWNSHIP, lastEventId=4) as reader:
        await room.hears(case.clue(), elsewhere=True)
        assert [event["id"] for event in await reader.hears(1)] == ["5"]


async def test_a_stream_ends_with_the_process(room: Room, case: CaseTold) -> None:
    async with Listener(room, TOWNSHIP) as reader:
        await reader.hears(4)
        room.arrivals.end()
        assert await reader.ends()


async def test_a_stream_lasts_for_a_while(tmp_path: Path) -> None:
    async with on_file(tmp_path, stream_seconds=0.1) as room:
        speaker = Speaker()
        await room.hears(speaker.say(an_agency(TOWNSHIP), f"agency/{TOWNSHIP}"))
        async with Listener(room, TOWNSHIP) as reader:
            assert await reader.ends()
            assert reader.ids == [1]


async def test_nothing_comes_after_the_token_has_expired(room: Room, case: CaseTold) -> None:
    room.arrivals.ping = 0.1
    async with Listener(room, TOWNSHIP, seconds=2, lastEventId=4) as reader:
        await room.hears(case.clue())
        await reader.hears(1)
        assert await reader.ends(patience=10)
        await room.hears(case.filed())
        assert reader.ids == [5]


async def test_nothing_comes_after_the_membership_has_ended(room: Room, case: CaseTold) -> None:
    async with Listener(room, TOWNSHIP, lastEventId=4) as reader:
        async with room.store.reading() as read:
            member = await read.one(Member, agency=TOWNSHIP)
        assert member is not None
        await room.store.commit(Change().deleting(member))
        await room.hears(case.clue())
        assert await reader.ends()
        assert reader.ids == []


async def test_a_right_that_ends_is_gone_at_the_next_entry(room: Room, case: CaseTold) -> None:
    await room.hears(case.clue(), case.offered(DEPARTMENT))
    async with Listener(room, DEPARTMENT, feed="cases", lastEventId=6) as reader:
        before = len(await room.feed(DEPARTMENT, lastEventId=6))
        await room.hears(case.withdrawn(DEPARTMENT), case.filed())
        batch = await room.feed(DEPARTMENT, feed="cases", lastEventId=6)
        events = await reader.hears(len(batch))
        assert events == batch
        assert events[before]["type"] == "liandong.transfer.withdrawn.v1"
        assert set(events[-1]) == STUB


async def test_a_coordinator_no_longer_reads_stubs_at_once(room: Room, case: CaseTold) -> None:
    async with Listener(room, OFFICE, Role.COORDINATOR, lastEventId=4) as reader:
        await room.hears(case.clue())
        await reader.hears(1)
        retired = an_agency(OFFICE).model_copy(update={"coordinates": False})
        await room.hears(case.speaker.say(retired, f"agency/{OFFICE}"), case.filed())
        clue, _, filed = await reader.hears(3)
        assert (set(clue) > STUB, set(filed)) == (True, STUB)


class Counting:
    """A store that counts how often it is read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.readings = 0

    def reading(self) -> AbstractAsyncContextManager[Reader]:
        self.readings += 1
        return self._store.reading()


async def test_a_thousand_readers_share_what_is_read_and_what_is_encoded(room: Room, case: CaseTold) -> None:
    counting = Counting(room.store)
    arrivals = Arrivals(cast(Store, counting), every=60, reading=room.metrics.reading)
    room.app.state.arrivals = room.arrivals = arrivals
    agencies = (TOWNSHIP, DEPARTMENT, OTHER, OFFICE)
    async with AsyncExitStack() as open_:
        readers = [Listener(room, agencies[n % 4], lastEventId=4) for n in range(1000)]
        for reader in readers:
            await open_.enter_async_context(reader)
        await until(lambda: following(room) == 1000)
        before = counting.readings
        await room.hears(case.clue())
        await until(lambda: all(reader.ids == [5] for reader in readers), patience=20)
        # The page once, and the rights of each audience.
        assert counting.readings - before == 1 + len(agencies)
        shown = [reader.events[0] for reader in readers]
        assert [set(event) == STUB for event in shown] == [agencies[n % 4] != TOWNSHIP for n in range(1000)]
    assert following(room) == 0


async def test_who_takes_nothing_holds_up_nobody_and_is_waited_for_with_one_piece(
    room: Room, case: CaseTold
) -> None:
    async with Listener(room, TOWNSHIP) as slow, Listener(room, TOWNSHIP) as quick:
        await slow.hears(4)
        slow.takes.clear()
        offered = slow.sent
        for n in range(50):
            await room.hears(CaseTold(case.speaker, id=f"s{n}").clue())
        await quick.hears(54)
        assert slow.sent == offered + 1
        slow.takes.set()
        assert await slow.hears(54) == quick.events


async def test_who_leaves_before_the_first_byte_leaves_nothing_behind(room: Room, case: CaseTold) -> None:
    room.app.state.end = room.arrivals.end
    token = room.issuer.issue("zhang", TOWNSHIP, (Role.HANDLER,))
    request = (
        f"GET /v1/feeds/all HTTP/1.1\r\nhost: sharing\r\naccept: text/event-stream\r\n"
        f"authorization: Bearer {token}\r\n\r\n"
    ).encode()
    async with served(room.app) as address:
        where = urlsplit(address)

        async def reset() -> None:
            _, writer = await asyncio.open_connection(where.hostname, where.port)
            reset_at_once = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_at_once)
            writer.write(request)
            await writer.drain()
            writer.transport.abort()

        for _ in range(20):
            await asyncio.gather(*(reset() for _ in range(100)))
        await until(lambda: answered(room) > 1000, patience=20)
        await until(lambda: following(room) == 0)
        await until(lambda: not [task for task in asyncio.all_tasks() if "Stream" in repr(task)])


def answered(room: Room) -> float:
    """How many questions for a feed are done with, however they ended."""
    labels = {"service": "sharing", "route": "/v1/feeds/{feed}", "method": "GET"}
    value = room.metrics.registry.get_sample_value
    counts = [value("liandong_http_requests_total", {**labels, "status": s}) for s in ("200", "499")]
    return sum(filter(None, counts))
