"""Readers in all three forms leave and come again while `sharing` is killed: one sequence for all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import httpx
import orjson
import pytest

from libs.common.permit import Role
from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres
from tests.faults import evidence, fleet, ledger, load
from tests.faults.fleet import Fleet
from tests.faults.links import Links
from tests.faults.load import Act, Callers
from tests.worlds import cast
from tests.worlds.reading_room import until

pytestmark = pytest.mark.anyio

WRITERS, ROUNDS = 16, 3
#: Seconds that readers get to come to the end when everybody is up again.
PATIENCE = 60.0

NS = {"": "http://www.w3.org/2005/Atom"}


@pytest.fixture(params=["embedded", pytest.param("servers", marks=[pytest.mark.slow, pytest.mark.kafka])])
async def running(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        if request.param == "embedded":
            yield await stack.enter_async_context(fleet.embedded(tmp_path))
        else:
            postgres: Postgres = request.getfixturevalue("postgres")
            kafka: Kafka = request.getfixturevalue("own_kafka")
            links = stack.enter_context(Links().running())
            yield await stack.enter_async_context(fleet.distributed(tmp_path, postgres, kafka, links))


@dataclass
class Reader:
    """Follows the whole log in one form, of whichever process answers, and leaves now and then."""

    form: str
    callers: Callers
    addresses: list[str]
    chance: Random
    events: list[dict[str, Any]] = field(default_factory=list)
    returns: int = 0

    async def run(self) -> None:
        """Read until cancelled."""
        once: Callable[[httpx.AsyncClient, str], Coroutine[Any, Any, None]] = getattr(self, f"_{self.form}")
        token = self.callers.token(cast.DEPARTMENT, Role.HANDLER)
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, timeout=5.0) as caller:
            while True:
                try:
                    await once(caller, self.chance.choice(self.addresses))
                except httpx.TransportError:
                    self.returns += 1
                await asyncio.sleep(0.05)

    async def _batch(self, caller: httpx.AsyncClient, address: str) -> None:
        query = {"lastEventId": len(self.events), "limit": self.chance.randint(1, 40), "timeout": 500}
        answer = await caller.get(f"{address}/v1/feeds/all", params=query)
        if answer.status_code == httpx.codes.OK:
            self.events += answer.json()

    async def _stream(self, caller: httpx.AsyncClient, address: str) -> None:
        headers = {"accept": "text/event-stream", "last-event-id": str(len(self.events))}
        leaves_after = self.chance.randint(1, 60)
        async with caller.stream("GET", f"{address}/v1/feeds/all", headers=headers) as answer:
            if answer.status_code != httpx.codes.OK:
                return
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    self.events.append(orjson.loads(line.removeprefix("data: ")))
                    leaves_after -= 1
                if leaves_after == 0:
                    self.returns += 1
                    return

    async def _atom(self, caller: httpx.AsyncClient, address: str) -> None:
        """The newest page, and those before it until one is known: as RFC 5005 has it."""
        path, newer = "/v1/feeds/all", list[dict[str, Any]]()
        while True:
            answer = await caller.get(f"{address}{path}", headers={"accept": "application/atom+xml"})
            if answer.status_code != httpx.codes.OK:
                return
            document = ElementTree.fromstring(answer.content)
            contents = [entry.findtext("content", "", NS) for entry in document.findall("entry", NS)]
            newer += [orjson.loads(content) for content in contents]
            before = document.find("link[@rel='prev-archive']", NS)
            if before is None or (newer and int(newer[-1]["id"]) <= len(self.events) + 1):
                break
            path = before.attrib["href"]
        self.events += [event for event in newer[::-1] if int(event["id"]) > len(self.events)]


async def write(callers: Callers) -> None:
    """Cases that are offered twice at the same time: one of the two is rolled back, or refused."""
    for n in range(ROUNDS):
        made = await callers.do(Act("register", cast.TOWNSHIP, "/v1/clues", cast.a_clue()))
        offer = Act(
            "offer", cast.TOWNSHIP, f"/v1/cases/{made.body['id']}/transfers", cast.an_offer(), seen=made.etag
        )
        offers = await asyncio.gather(callers.do(offer), callers.do(offer))
        (transfer,) = [one.body["id"] for one in offers if one.is_ok]
        if n % 2:
            await callers.do(Act("withdraw", cast.TOWNSHIP, f"/v1/transfers/{transfer}/withdrawal", {}))
        else:
            await callers.do(Act("accept", cast.DEPARTMENT, f"/v1/transfers/{transfer}/acceptance", {}))


async def test_every_form_has_one_sequence_whatever_is_killed(running: Fleet) -> None:
    book = ledger.Ledger(running.place / "ledger.jsonl")
    callers = Callers(running, book, "forms", rate=60)
    async with AsyncExitStack() as stack:
        stack.callback(book.close)
        stack.push_async_callback(callers.close)
        await load.register(running, callers)
        addresses = list(running.addresses["sharing"])
        readers = [
            Reader(form, callers, addresses, Random(f"{form} {n}"))
            for form in ("batch", "stream", "atom")
            for n in range(2)
        ]
        reading = [asyncio.create_task(reader.run()) for reader in readers]
        try:
            writing = asyncio.gather(*(write(callers) for _ in range(WRITERS)))
            for process in ([*running.processes["sharing"]] * 2)[:2]:
                await asyncio.sleep(1.5)
                process.kill()
            await writing
            await running.until_ready()
            await evidence.until_quiet(running.books)
            (row,) = await running.books.rows("sharing", "SELECT count(*) AS n FROM entries")
            with contextlib.suppress(TimeoutError):
                await until(lambda: all(len(r.events) >= row["n"] for r in readers), patience=PATIENCE)
        finally:
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
    first = readers[0].events
    assert [event["id"] for event in first] == [str(n) for n in range(1, row["n"] + 1)]
    assert [(reader.form, reader.events == first) for reader in readers] == [(r.form, True) for r in readers]
    types = {event["type"] for event in first}
    assert {"liandong.entry.withheld.v1", "liandong.entry.disclosed.v1"} <= types
    assert {"liandong.entry.withdrawn.v1", "liandong.transfer.accepted.v1"} <= types
    # They were cut off, or left, and came again.
    assert all(reader.returns for reader in readers if reader.form == "stream")
    assert sum(reader.returns for reader in readers) > 2
