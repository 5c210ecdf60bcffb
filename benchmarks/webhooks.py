"""P10: signed webhooks to 200 endpoints of which 50 hang, beside httpx alone with one healthy receiver.

The peer sends bodies of the same size, as many at once, and writes nothing down. The gate: every healthy
endpoint has each message, once, in order. How long 99 of 100 of them wait for the first, in a burst of 1,250
messages, stands beside the two seconds that it should take, whatever the sick ones do.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.machine import Machine
from benchmarks.table import Goal, Row, Table, pairs
from libs.common.change import Change, Head
from libs.common.clock import Clock, monotonic
from libs.common.loops.lease import Leased
from libs.common.outgoing.client import Outgoing
from libs.common.outgoing.targets import Policy
from libs.common.seal import Seal
from libs.common.store import migrate
from libs.common.store.seam import Committed
from libs.common.store.sqlite import SqliteEngine
from libs.common.store.store import Store
from libs.common.subscription import Subscription
from services.notify.channels import rules
from services.notify.channels.runs import Courier
from services.notify.channels.tables import Endpoint, Line, Message
from tests.worlds import cast, receiver
from tests.worlds.receiver import Receiver, a_receiver

HEALTHY, SICK = 150, 50
#: Messages to each healthy endpoint in one run.
EACH = 8
#: Requests at once.
IN_FLIGHT = 32
BODY = b'{"specversion":"1.0","data":"' + b"x" * 800 + b'"}'
#: Seconds within which 99 of 100 healthy endpoints should have their message.
PROMPT = 2.0

NEARBY = Policy((ipaddress.ip_network("127.0.0.0/8"),), ports=frozenset(range(1, 65536)), plain=True)
_numbers = itertools.count(1)


async def beside_httpx(machine: Machine, table: Table, count: int) -> None:
    """P10."""
    file = machine.directory() / "notify.db"
    await migrate.upgrade(file, "notify")
    store = Store(SqliteEngine(file))
    waits: list[float] = []
    whole: list[bool] = []
    async with a_receiver() as healthy, a_receiver() as sick:
        sick.behaviour = receiver.hangs
        await _register(store, healthy, sick)

        async def ours() -> float:
            healthy.seen.clear()
            arrived = _watched(healthy)
            began = monotonic()
            await _write(store)
            async with _courier(store), asyncio.timeout(60):
                while len(healthy.seen) < HEALTHY * EACH:  # noqa: ASYNC110 - it runs on its own
                    await asyncio.sleep(0.005)
            waits.append(sorted(at - began for at in arrived.values())[int(HEALTHY * 0.99)])
            whole.append(_is_whole(healthy))
            return HEALTHY * EACH / (monotonic() - began)

        async def peer() -> float:
            healthy.seen.clear()
            healthy.behaviour = receiver.answers(204)
            turns, began = iter(range(HEALTHY * EACH)), monotonic()
            async with httpx.AsyncClient(trust_env=False) as client:

                async def send() -> None:
                    for _ in turns:
                        await client.post(healthy.url, content=BODY)

                await asyncio.gather(*(send() for _ in range(IN_FLIGHT)))
            return HEALTHY * EACH / (monotonic() - began)

        figures = await pairs(count, ours, peer)
    what = f"signed webhooks, {IN_FLIGHT} in flight, {SICK} of {HEALTHY + SICK} endpoints hang"
    table.rows.append(Row("P10", what, "httpx alone, one healthy receiver", "/s", *figures, Goal(0.8)))
    table.gate("P10", "every healthy endpoint has each message once, in order", all(whole))
    first = "99 of 100 healthy endpoints have their first message"
    due = [PROMPT] * count
    table.rows.append(Row("P10", first, "what it should take", "s", waits[1:], due, Goal(1, at_most=True)))
    await store.close()


@asynccontextmanager
async def _courier(store: Store) -> AsyncIterator[None]:
    seal = Seal(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    lease = Leased(store, "courier", "benchmark")
    courier = Courier(store, Clock(), lease, Outgoing(NEARBY), seal, slots=IN_FLIGHT)
    running = asyncio.create_task(courier.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _register(store: Store, healthy: Receiver, sick: Receiver) -> None:
    now = datetime.now(UTC)  # noqa: TID251 - no decision is made on it
    for number in range(HEALTHY + SICK):
        name, where = (f"h{number}", healthy) if number < HEALTHY else (f"s{number}", sick)
        endpoint = Endpoint(
            id=name,
            agency=cast.TOWNSHIP,
            name=name,
            url=f"http://127.0.0.1:{where.port}/{name}",
            subscription=Subscription().model_dump(mode="json"),
            state="enabled",
            registered_at=now,
        )
        change = Change().owning(Head("line", name)).inserting(endpoint, Line(endpoint=name, due_at=now))
        assert isinstance(await store.commit(change), Committed)


async def _write(store: Store) -> None:
    """What an hour's events may bring at once: some to each healthy endpoint, one to each sick."""
    now = datetime.now(UTC)  # noqa: TID251 - no decision is made on it
    due = [f"h{n}" for n in range(HEALTHY)] * EACH + [f"s{n}" for n in range(HEALTHY, HEALTHY + SICK)]
    messages = [
        Message(id=f"m{next(_numbers)}", endpoint=name, kind="event", type="t", body=BODY, written_at=now)
        for name in due
    ]
    assert isinstance(await store.commit(Change().numbering(rules.COUNTER, *messages)), Committed)


def _watched(healthy: Receiver) -> dict[str, float]:
    """When the first message came to each endpoint."""
    arrived: dict[str, float] = {}
    answer = receiver.answers(204)

    async def behave(writer: asyncio.StreamWriter) -> None:
        arrived.setdefault(healthy.seen[-1].target, monotonic())
        await answer(writer)

    healthy.behaviour = behave
    return arrived


def _is_whole(healthy: Receiver) -> bool:
    came: defaultdict[str, list[int]] = defaultdict(list)
    for seen in healthy.seen:
        came[seen.target].append(int(seen.id[1:]))
    right = all(len(ids) == EACH and ids == sorted(set(ids)) for ids in came.values())
    return right and len(came) == HEALTHY
