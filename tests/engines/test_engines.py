"""Each engine comes up, and what it has acknowledged is still there after it was killed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.engines import server
from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres
from tests.engines.prometheus import Prometheus

pytestmark = pytest.mark.anyio


async def _ask(url: str, *statements: str) -> object:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=5)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        answer: object = await connection.fetchval(statements[-1])
        return answer
    finally:
        await connection.close()


async def test_postgres_makes_an_empty_database_each_time(postgres: Postgres) -> None:
    url = postgres.database("engines_empty")
    await _ask(url, "CREATE TABLE seen (n int)", "SELECT 1")
    url = postgres.database("engines_empty")
    assert await _ask(url, "SELECT to_regclass('seen')") is None


async def test_postgres_is_durable_and_its_role_is_no_superuser(postgres: Postgres) -> None:
    url = postgres.database("engines_role")
    assert await _ask(url, "SHOW fsync") == "on"
    assert await _ask(url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False


async def test_postgres_keeps_its_address_and_data_when_killed(postgres: Postgres) -> None:
    url = postgres.database("engines_kill")
    await _ask(url, "CREATE TABLE kept AS SELECT 7 AS n", "SELECT 1")
    postgres.kill()
    with pytest.raises(ConnectionRefusedError):
        await _ask(url, "SELECT 1")
    postgres.start()
    assert await _ask(url, "SELECT n FROM kept") == 7


async def test_postgres_hangs_while_paused_and_goes_on_after(postgres: Postgres) -> None:
    url = postgres.database("engines_pause")
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    postgres.pause()
    try:
        waiting = asyncio.create_task(connection.fetchval("SELECT 7"))
        done, _ = await asyncio.wait({waiting}, timeout=0.3)
        assert not done
    finally:
        postgres.resume()
    assert await waiting == 7
    await connection.close()


async def _make(kafka: Kafka, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def _read(kafka: Kafka, topic: str, count: int) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    async with consumer, asyncio.timeout(20):
        return [(await consumer.getone()).value for _ in range(count)]


async def test_kafka_keeps_its_address_and_records_when_killed(kafka: Kafka) -> None:
    await _make(kafka, "engines.kill")
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
        await producer.send_and_wait("engines.kill", b"before")
    kafka.kill()
    assert not server.answers(kafka.port)
    kafka.start()
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
        await producer.send_and_wait("engines.kill", b"after")
    assert await _read(kafka, "engines.kill", 2) == [b"before", b"after"]


async def test_kafka_hangs_while_paused_and_goes_on_after(kafka: Kafka) -> None:
    await _make(kafka, "engines.pause")
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
        await producer.send_and_wait("engines.pause", b"before")
        kafka.pause()
        try:
            waiting = asyncio.create_task(producer.send_and_wait("engines.pause", b"during"))
            done, _ = await asyncio.wait({waiting}, timeout=0.3)
            assert not done
        finally:
            kafka.resume()
        async with asyncio.timeout(20):
            await waiting
    assert await _read(kafka, "engines.pause", 2) == [b"before", b"during"]


def test_prometheus_answers_while_it_is_wanted_and_says_what_is_wrong(prometheus: Prometheus) -> None:
    with prometheus.watching("scrape_configs: []\n") as first, prometheus.watching("{}\n") as second:
        assert first.url != second.url
        assert first.ask("vector(7)") == [({}, 7.0)]
        assert second.ask("up") == []
        with pytest.raises(ValueError, match="parse error"):
            first.ask("sum by service (up)")
    assert not first.is_ready()


def test_prometheus_says_why_it_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(server.Unavailable, match="there is no apt-get"):
        Prometheus(tmp_path / "cache")


def test_no_setting_of_the_shell_reaches_a_test() -> None:
    assert not [name for name in os.environ if name.startswith("LIANDONG_")]


def test_a_workplace_of_a_dead_run_is_removed() -> None:
    place = server.workplace("nothing")
    # Process ids end at 4,194,304 on Linux, so nobody has this one.
    left = place.rename(place.with_name("liandong-nothing-4194999-left"))
    fresh = server.workplace("nothing")
    assert not left.exists()
    assert fresh.is_dir()
    Path(fresh).rmdir()
