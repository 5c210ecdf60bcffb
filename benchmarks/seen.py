"""P11: from a clue that was acknowledged by `cases` to the reader who sees it on the feed of `sharing`.

Journal, relay, Kafka, consumer, log and long poll lie between; the peer is one hop of Kafka alone, produced
one by one and consumed, at the same pace. The reader sees his own agency's case, as a township's system does.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.machine import Machine
from benchmarks.table import Goal, Row, Table
from libs.common.clock import monotonic
from libs.common.log.kafka import KafkaLog
from libs.common.permit import Role
from libs.common.seal import Keyring
from libs.common.settings import Name, Settings
from libs.common.web import tokens
from tests.stories import deployments
from tests.worlds import cast

#: Clues a second, and seconds of one measurement.
PACE, SECONDS = 200, 5
#: Seconds that the last ones may take.
PATIENCE = 30.0

_keys = itertools.count(1)


async def filed_to_seen(machine: Machine, table: Table, count: int) -> None:
    """P11, as medians and as the ninety-ninth of a hundred."""
    place = machine.directory()
    postgres, kafka = await asyncio.to_thread(lambda: (machine.postgres, machine.kafka))
    with deployments.distributed(place, postgres, kafka, coordinator=cast.OFFICE, twins=1) as addresses:
        settings = Settings(data=place)
        issuer = tokens.Issuer(Keyring.at(settings.key_directory).tokens, settings.issuer, settings.audience)

        def client(service: Name, agency: str, role: Role) -> httpx.AsyncClient:
            token = issuer.issue("p1", agency, (role,), 3600)
            headers = {"authorization": f"Bearer {token}"}
            hooks = {"request": [_with_key]}
            url = addresses[service][0]
            return httpx.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE, event_hooks=hooks)

        async with (
            client("cases", cast.OFFICE, Role.REGISTRAR) as registrar,
            client("cases", cast.TOWNSHIP, Role.HANDLER) as filing,
            client("sharing", cast.TOWNSHIP, Role.HANDLER) as reading,
        ):
            await cast.fill(registrar)
            ours = [await _through_us(filing, reading) for _ in range(count + 1)][1:]
        hop = [await _one_hop(machine) for _ in range(count + 1)][1:]
    for name, at in (("p50", 50), ("p99", 99)):
        figures = [[_percentile(sample, at) * 1000 for sample in samples] for samples in (ours, hop)]
        what = f"filed to seen on the feed, {PACE}/s, {name}"
        goal = Goal(4.0, at_most=True)
        table.rows.append(Row("P11", what, "one hop of Kafka", "ms", figures[0], figures[1], goal))
    promise = f"every one of {PACE * SECONDS} clues was seen, {count} times"
    table.gate("P11", promise, all(len(sample) == PACE * SECONDS for sample in ours))


async def _through_us(filing: httpx.AsyncClient, reading: httpx.AsyncClient) -> list[float]:
    """Seconds from each acknowledgement to its sight."""
    acknowledged: dict[str, float] = {}
    seen: dict[str, float] = {}
    feeds = (await reading.get("/v1/feeds")).json()["data"]
    position = max(feed["position"] for feed in feeds if feed["name"] == "all")

    async def file_one() -> None:
        answer = await filing.post("/v1/clues", json=cast.a_clue())
        assert answer.status_code == 201, answer.text
        acknowledged[f"case/{answer.json()['id']}"] = monotonic()

    async def read_on() -> None:
        last = position
        while len(seen) < PACE * SECONDS:
            wait = {"lastEventId": last, "limit": 200, "timeout": 5000}
            for entry in (await reading.get("/v1/feeds/all", params=wait)).json():
                last = entry["id"]
                if entry["type"] == "liandong.clue.registered.v1":
                    seen[entry["subject"]] = monotonic()

    async with asyncio.timeout(SECONDS + PATIENCE):
        reader = asyncio.create_task(read_on())
        await _paced(file_one)
        await reader
    return [max(at - acknowledged[stream], 0.0) for stream, at in seen.items()]


async def _one_hop(machine: Machine) -> list[float]:
    """Seconds from the start of each send to its record's arrival."""
    topic = f"p11.hop{next(_keys)}"
    log = KafkaLog(machine.kafka.bootstrap, partitions=3)
    await log.prepare([topic])
    await log.close()
    sent: dict[bytes, float] = {}
    seen: list[float] = []
    reader = AIOKafkaConsumer(topic, bootstrap_servers=machine.kafka.bootstrap, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(
        bootstrap_servers=machine.kafka.bootstrap, acks="all", enable_idempotence=True
    )

    async def send_one() -> None:
        key = str(next(_keys)).encode()
        sent[key] = monotonic()
        await producer.send_and_wait(topic, b"x" * 900, key=key)

    async def read_on() -> None:
        while len(seen) < PACE * SECONDS:
            record = await reader.getone()
            seen.append(monotonic() - sent[record.key])

    async with reader, producer, asyncio.timeout(SECONDS + PATIENCE):
        reading = asyncio.create_task(read_on())
        await _paced(send_one)
        await reading
    return seen


async def _paced(act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Each at its time, whether those before have ended or not."""
    acting: list[asyncio.Task[None]] = []
    began = monotonic()
    for n in range(PACE * SECONDS):
        await asyncio.sleep(max(began + n / PACE - monotonic(), 0))
        acting.append(asyncio.create_task(act()))
    await asyncio.gather(*acting)


def _percentile(sample: Sequence[float], at: int) -> float:
    return statistics.quantiles(sample, n=100)[at - 1]


async def _with_key(request: httpx.Request) -> None:
    if request.method == "POST":
        request.headers.setdefault("idempotency-key", f"b{next(_keys)}")
