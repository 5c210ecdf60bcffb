"""A link passes everything on; cut, it swallows one way alone; mended, it resets who was connected."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.engines import server
from tests.faults.links import Link, Links, Way

pytestmark = pytest.mark.anyio

#: Seconds in which nothing comes, for it to count as swallowed.
SILENCE = 0.2


@pytest.fixture
def links() -> Iterator[Links]:
    with Links().running() as running:
        yield running


@pytest.fixture
async def link(links: Links, heard: list[bytes]) -> AsyncIterator[Link]:
    """A link to a server that answers each line with the same line, and keeps what it heard."""

    serving: list[asyncio.Task[None] | None] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.suppress(ConnectionResetError):
            while line := await reader.readline():
                heard.append(line)
                writer.write(line)
        await leave(writer)

    port = server.free_port()
    async with await asyncio.start_server(echo, "127.0.0.1", port):
        link = links.link(port)
        yield link
        links.mend(link)
        await asyncio.gather(*filter(None, serving))


@pytest.fixture
def heard() -> list[bytes]:
    return []


async def say(link: Link, line: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    writer.write(line)
    return reader, writer


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        await writer.wait_closed()


async def test_what_is_said_arrives_and_is_answered(link: Link, heard: list[bytes]) -> None:
    large = b"x" * 60_000 + b"\n"
    reader, writer = await say(link, large)
    assert await reader.readline() == large
    assert heard == [large]
    await leave(writer)


@pytest.mark.parametrize(("way", "arrived"), [("there", []), ("back", [b"second\n"])])
async def test_cut_one_way_it_swallows_and_mended_it_resets(
    links: Links, link: Link, heard: list[bytes], way: Way, arrived: list[bytes]
) -> None:
    reader, writer = await say(link, b"first\n")
    assert await reader.readline() == b"first\n"
    links.cut(link, way)
    writer.write(b"second\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SILENCE):
            await reader.readline()
    assert heard == [b"first\n", *arrived]
    links.mend(link)
    with pytest.raises(ConnectionError):
        await reader.readline()
    await leave(writer)
    reader, writer = await say(link, b"third\n")
    assert await reader.readline() == b"third\n"
    await leave(writer)
