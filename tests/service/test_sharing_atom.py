"""A feed as Atom: the document that readers come back to, archives that do not change, and what is denied."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import orjson
import pytest

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
    on_file,
)

pytestmark = pytest.mark.anyio

NS = {"": "http://www.w3.org/2005/Atom"}


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    """A county of four, and a log of 256 entries: two archives, and 56 on the newest page."""
    async with on_file(tmp_path) as made:
        speaker = Speaker()
        known = (OFFICE, TOWNSHIP, DEPARTMENT, OTHER)
        await made.hears(*(speaker.say(an_agency(code), f"agency/{code}") for code in known))
        case = CaseTold(speaker)
        await made.hears(*(record for n in range(126) for record in pair(case.speaker, n)))
        yield made


def pair(speaker: Speaker, n: int) -> list[Any]:
    case = CaseTold(speaker, id=f"c{n}", holder=TOWNSHIP if n % 2 else DEPARTMENT)
    return [case.clue(), case.filed()]


async def atom(room: Room, agency: str, path: str = "/v1/feeds/all", **headers: str) -> httpx.Response:
    async with room.client(agency) as caller:
        return await caller.get(path, headers={"accept": "application/atom+xml", **headers})


def links(document: str) -> dict[str, str]:
    found = ElementTree.fromstring(document).findall("link", NS)
    return {link.attrib["rel"]: link.attrib["href"] for link in found}


def events(document: str) -> list[dict[str, Any]]:
    entries = ElementTree.fromstring(document).findall("entry", NS)
    return [orjson.loads(entry.findtext("content", "", NS)) for entry in entries]


async def walked(room: Room, agency: str, feed: str) -> list[dict[str, Any]]:
    """The whole feed, from the newest entry to the oldest."""
    path, found = f"/v1/feeds/{feed}", []
    while True:
        answer = await atom(room, agency, path)
        found += events(answer.text)
        if "prev-archive" not in links(answer.text):
            return found
        path = links(answer.text)["prev-archive"]


async def whole(room: Room, agency: str, feed: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while batch := await room.feed(agency, feed=feed, limit=200, lastEventId=found[-1]["id"] if found else 0):
        found += batch
    return found


@pytest.mark.parametrize("feed", ["all", "cases", "register", "notices"])
async def test_who_walks_through_the_archives_gets_what_the_batches_give(room: Room, feed: str) -> None:
    for agency in (TOWNSHIP, OTHER):
        assert (await walked(room, agency, feed))[::-1] == await whole(room, agency, feed)


async def test_the_newest_page_is_the_document_that_readers_come_back_to(room: Room) -> None:
    answer = await atom(room, TOWNSHIP)
    assert answer.headers["content-type"] == "application/atom+xml"
    assert [int(event["id"]) for event in events(answer.text)] == list(range(256, 200, -1))


async def test_an_archive_does_not_change(room: Room) -> None:
    before = [await atom(room, TOWNSHIP, f"/v1/feeds/cases/archives/{page}") for page in (1, 2)]
    speaker = Speaker()
    await room.hears(*(record for n in range(500, 530) for record in pair(speaker, n)))
    after = [await atom(room, TOWNSHIP, f"/v1/feeds/cases/archives/{page}") for page in (1, 2)]
    assert [answer.content for answer in before] == [answer.content for answer in after]
    assert (await atom(room, TOWNSHIP, "/v1/feeds/cases/archives/4")).status_code == 200


async def test_who_has_a_document_already_is_told_so(room: Room) -> None:
    tag = (await atom(room, TOWNSHIP)).headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = await atom(room, TOWNSHIP, **{"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await atom(room, TOWNSHIP, **{"if-none-match": '"x"'})).status_code == 200
    assert (await atom(room, OTHER)).headers["etag"] != tag
    await room.hears(Speaker().say(an_agency(STRANGER), f"agency/{STRANGER}"))
    assert (await atom(room, TOWNSHIP, **{"if-none-match": tag})).status_code == 200


@pytest.mark.parametrize("page", ["0", "-1", "4", "01", "x", "9" * 16, "9" * 30])
async def test_a_page_that_is_not_there_is_not_found(room: Room, page: str) -> None:
    assert (await atom(room, TOWNSHIP, f"/v1/feeds/all/archives/{page}")).status_code == 404


async def test_who_may_not_read_finds_what_is_not_there(room: Room) -> None:
    for path in ("/v1/feeds/all", "/v1/feeds/all/archives/1", "/v1/feeds/nonesuch"):
        answer = await atom(room, STRANGER, path)
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:liandong:problem:not-found"), path
    assert (await atom(room, TOWNSHIP, "/v1/feeds/nonesuch")).status_code == 404


async def test_an_empty_log_is_an_empty_document(tmp_path: Path) -> None:
    async with on_file(tmp_path) as room:
        await room.hears(Speaker().say(an_agency(TOWNSHIP), f"agency/{TOWNSHIP}"))
        assert events((await atom(room, TOWNSHIP, "/v1/feeds/cases")).text) == []
