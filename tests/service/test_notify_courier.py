"""The courier dies at each of its awaits, once and twice: each message still arrives, in order, under its id.

What it waits for is the database and the network. A death before an answer is one where nothing was done; one
after it is one where it was done and nobody knows.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from libs.common.loops.lease import Leased
from libs.common.outgoing.client import Outgoing, Reply
from libs.common.permit import Role
from libs.common.store.seam import Asked, Engine, Lookup, Outcome, Rows
from libs.common.store.sqlite import SqliteEngine
from libs.common.store.store import Store
from services.notify.channels.runs import Courier
from services.notify.channels.tables import Delivery, Message
from tests.worlds.desk import (
    DEPARTMENT,
    NEARBY,
    OFFICE,
    TOWNSHIP,
    Desk,
    Speaker,
    a_desk,
    an_offer,
    key,
)
from tests.worlds.receiver import Receiver, a_receiver, answers

pytestmark = pytest.mark.anyio


class Killed(BaseException):
    """The process is no more."""


class Life:
    """How long a courier lives, counted in what it waits for."""

    def __init__(self, ends_at: int = 0) -> None:
        self._ends_at = ends_at
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps == self._ends_at:
            raise Killed


class MortalEngine:
    """The engine, before and after whose every answer its user may die."""

    def __init__(self, engine: Engine, life: Life) -> None:
        self._engine = engine
        self._life = life
        self.NOW, self.NUMBERS = engine.NOW, engine.NUMBERS

    async def _lived(self, work: Callable[[], Any]) -> Any:
        self._life.step()
        found = await work()
        self._life.step()
        return found

    async def commit(self, change: Any) -> Outcome:
        return await self._lived(lambda: self._engine.commit(change))  # type: ignore[no-any-return]

    async def run(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Rows:
        return await self._lived(lambda: self._engine.run(statement, parameters))  # type: ignore[no-any-return]

    async def find(self, asked: Sequence[Asked]) -> Sequence[Rows]:
        return await self._lived(lambda: self._engine.find(asked))  # type: ignore[no-any-return]

    async def scan(self, lookup: Lookup, clause: str) -> Rows:
        return await self._lived(lambda: self._engine.scan(lookup, clause))  # type: ignore[no-any-return]

    async def fetch(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Rows:
        return await self._lived(lambda: self._engine.fetch(statement, parameters))  # type: ignore[no-any-return]

    async def announce(self) -> None:
        await self._engine.announce()

    async def listen(self, heard: Callable[[], None]) -> None:
        await self._engine.listen(heard)

    async def close(self) -> None:
        """The engine is the desk's."""


class MortalOutgoing(Outgoing):
    """The network, likewise."""

    def __init__(self, life: Life) -> None:
        super().__init__(NEARBY)
        self._life = life

    async def post(self, url: str, content: bytes, headers: Mapping[str, str], *, within: float) -> Reply:
        self._life.step()
        reply = await super().post(url, content, headers, within=within)
        self._life.step()
        return reply


async def deliver(desk: Desk, engine: Engine, life: Life) -> bool:
    """A courier's life; whether it was killed."""
    store = Store(MortalEngine(engine, life))
    lease = Leased(store, "courier", "desk")
    courier = Courier(store, desk.clock, lease, MortalOutgoing(life), desk.keyring.webhooks, within=2.0)
    try:
        while await courier.once():
            under_way = list(courier._under_way.values())
            await courier.settled()
            if any(isinstance(task.exception(), Killed) for task in under_way):
                return True
    except Killed:
        return True
    return False


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path, known=[OFFICE, TOWNSHIP, DEPARTMENT]) as made:
        yield made


@pytest.fixture
async def engine(desk: Desk, tmp_path: Path) -> AsyncIterator[Engine]:
    """A second one on the desk's database, as another process would have."""
    made = SqliteEngine(tmp_path / "notify.db")
    yield made
    await made.close()


@pytest.fixture
async def receiver(desk: Desk) -> AsyncIterator[Receiver]:
    """One whose address is proved."""
    async with a_receiver() as made, desk.client(DEPARTMENT, Role.INTEGRATOR) as caller:
        body = {"name": "业务系统", "url": made.url}
        endpoint = (await caller.post("/v1/endpoints", json=body, headers=key())).json()["id"]
        await desk.deliver()
        token = {"token": made.seen[0].event["data"]["token"]}
        await caller.post(f"/v1/endpoints/{endpoint}/verification", json=token, headers=key())
        made.seen.clear()
        yield made


async def test_a_courier_that_dies_anywhere_loses_nothing(
    desk: Desk, engine: Engine, receiver: Receiver
) -> None:
    cases, numbers = Speaker(offset=3), itertools.count()
    two = [next(numbers), next(numbers)]
    life = Life()
    await desk.hears(*(cases.say(an_offer(f"c{n}"), f"case/c{n}") for n in two))
    assert not await deliver(desk, engine, life)
    assert life.steps > 20
    told = [f"case/c{n}/1" for n in two]
    for first in range(1, life.steps + 1):
        two = [next(numbers), next(numbers)]
        await desk.hears(*(cases.say(an_offer(f"c{n}"), f"case/c{n}") for n in two))
        told += [f"case/c{n}/1" for n in two]
        assert await deliver(desk, engine, Life(first)), f"lived beyond step {first}"
        await deliver(desk, engine, Life(1 + first % 7))
        await deliver(desk, engine, Life())
        assert list(dict.fromkeys(receiver.events)) == told, f"died at step {first}"
    ids = {(one.event["id"], one.id) for one in receiver.seen}
    assert len(ids) == len(told)
    async with desk.store.reading() as read:
        messages = [message for message in await read.all(Message) if message.kind == "event"]
        recorded = await read.all(Delivery)
    assert {message.state for message in messages} == {"delivered"}
    # What was sent twice is what the death before the commit made; nothing else was.
    assert len(told) < len(receiver.seen) <= len(told) + 2 * life.steps
    assert len(recorded) <= len(receiver.seen) + 1


async def test_a_courier_that_dies_over_a_failure_tries_again(
    desk: Desk, engine: Engine, receiver: Receiver
) -> None:
    cases, life = Speaker(offset=3), Life()
    receiver.behaviour = answers(500)
    await desk.hears(cases.say(an_offer("c0"), "case/c0"))
    assert not await deliver(desk, engine, life)
    told = ["case/c0/1"]
    for first in range(1, life.steps + 1):
        receiver.behaviour = answers(204)
        desk.clock.forward += timedelta(minutes=10)
        await deliver(desk, engine, Life())
        assert list(dict.fromkeys(receiver.events)) == told
        receiver.behaviour = answers(500)
        told.append(f"case/c{first}/1")
        await desk.hears(cases.say(an_offer(f"c{first}"), f"case/c{first}"))
        assert await deliver(desk, engine, Life(first)), f"lived beyond step {first}"
