"""The consumer: it reads a real log, keeps its positions itself, and never skips what it cannot apply."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from libs.common import edge, errors
from libs.common.change import Change
from libs.common.clock import Clock
from libs.common.log.embedded import EmbeddedLog
from libs.common.log.envelope import Heard
from libs.common.log.seam import Log, Outgoing
from libs.common.loops.consumer import Consumer
from libs.common.store.store import Store
from tests.conformance.conftest import PARTITIONS, Database, Logs
from tests.conformance.things import (
    Acting,
    Listener,
    Mood,
    Thing,
    Voice,
    dump,
    effects,
    eventually,
    held,
    interleaved,
    once,
    parked,
    raising,
    running,
    until_applied,
)
from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres

pytestmark = pytest.mark.anyio


def a_consumer(store: Store, log: Log, logs: Logs, listener: Listener | None = None) -> Consumer:
    listener = listener or Listener()
    listener.group, listener.topics = logs.group, (logs.topic,)
    return Consumer(store, log, listener.hears, Clock())


async def published(log: Log, logs: Logs, *said: Outgoing) -> None:
    async def all_of_it() -> bool:
        try:
            return all(await log.publish(logs.topic, said, within=5.0))
        except errors.Transient:
            return False

    await eventually(all_of_it)


async def settled(consumer: Consumer, records: int) -> None:
    """Until the consumer went through so many records, whatever came of them."""
    async with asyncio.timeout(30):
        while consumer.progressed < records:
            await consumer.once(within=0.2)


async def test_a_consumer_goes_on_where_it_stood(database: Database, logs: Logs, log: Log) -> None:
    """The log brings some of it twice; a new process does not begin anew."""
    voice, store = Voice(), database.open()
    streams = [voice.several(f"thing/{n}", 5) for n in range(4)]
    await published(log, logs, *interleaved(*streams), *streams[0])
    first = a_consumer(store, log, logs)
    await settled(first, 25)
    await first.close()
    await published(log, logs, *streams[1], *(voice.say(f"thing/{n}") for n in range(4)))
    second = a_consumer(database.open(), await logs.open(), logs)
    await settled(second, 9)
    assert second.progressed == 9
    await second.close()
    assert await effects(store) == {f"thing/{n}": [1, 2, 3, 4, 5, 6] for n in range(4)}


async def test_two_consumers_share_and_take_over(database: Database, logs: Logs, log: Log) -> None:
    voice, store = Voice(), database.open()
    names = [f"thing/{n}" for n in range(8)]
    first = a_consumer(store, log, logs)
    second = a_consumer(database.open(), await logs.open(), logs)
    said = 0

    async def round_of_events() -> None:
        nonlocal said
        await published(log, logs, *interleaved(*(voice.several(name, 2) for name in names)))
        said += 2 * len(names)
        await until_applied(store, said)

    async def share() -> bool:
        # A claim that comes late robs the rightful one once more: it leaves, and joins again.
        await round_of_events()
        return bool(first.progressed and second.progressed)

    async with running(second.run):
        async with running(first.run):
            await eventually(share)
        await round_of_events()
    assert await effects(store) == {name: list(range(1, said // len(names) + 1)) for name in names}


async def test_a_consumer_that_was_robbed_leaves_and_applies_nothing(
    database: Database, logs: Logs, log: Log
) -> None:
    """Between its reactions and its commit another process claims its partitions."""
    store = database.open()
    said = Voice().several("thing/a", 3)

    async def rob() -> None:
        for number in range(PARTITIONS):
            await store.claim(logs.group, logs.topic, number)

    await published(log, logs, *said)
    robbed = a_consumer(
        database.open(lambda engine: Acting(engine, before=once(lambda change: rob()))), log, logs
    )
    with pytest.raises(edge.Leave):
        await settled(robbed, 3)
    found = await dump(store)
    assert [found[name] for name in ("heads", "t_notes", "t_tallies")] == [[], [], []]
    assert {row["next"] for row in found["positions"]} == {0}
    await robbed.close()
    await settled(robbed, 3)  # it joins again, under an epoch of its own
    await robbed.close()
    assert await effects(store) == {"thing/a": [1, 2, 3]}


def breaks_the_database(event: Heard) -> Change:
    return Change().putting(Thing.model_construct(**{**Thing(id="x").columns, "large": 2**70}))


def breaks_the_text(event: Heard) -> Change:
    return Change().putting(Thing(id="x").but(name="\ud800"))


async def test_a_reaction_that_breaks_is_isolated_and_parked_while_all_else_is_applied(
    store: Store, logs: Logs, log: Log
) -> None:
    voice, listener = Voice(), Listener(moods={"thing/a/2": raising(ZeroDivisionError("ours"))})
    said = interleaved(*(voice.several(f"thing/{name}", 3) for name in "abcdef"))
    await published(log, logs, *said)
    consumer = a_consumer(store, log, logs, listener)
    await settled(consumer, len(said))
    await consumer.close()
    assert await effects(store) == {"thing/a": [1]} | {f"thing/{name}": [1, 2, 3] for name in "bcdef"}
    assert listener.tried.count("thing/a/2") >= 2
    assert await held(store) == [("thing/a", 2), ("thing/a", 3)]
    key = (await parked(store))["thing/a"]
    assert key.seq == 2
    assert "处理失败" in key.reason
    assert "ZeroDivisionError: ours" in key.reason


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        pytest.param(breaks_the_database, "", id="what no database takes"),
        pytest.param(breaks_the_text, "", id="text that is none"),
        pytest.param(raising(RecursionError("\x00")), "RecursionError: �", id="a bug that quotes"),
    ],
)
async def test_whatever_breaks_is_blamed_on_its_own_event(
    store: Store, embedded_logs: Logs, mood: Mood, reason: str
) -> None:
    """The database says of a whole batch that it is no good, and not which of its events."""
    log, voice, listener = await embedded_logs.open(), Voice(), Listener(moods={"thing/a/2": mood})
    said = interleaved(*(voice.several(f"thing/{name}", 3) for name in "abcdef"))
    await published(log, embedded_logs, *said)
    consumer = a_consumer(store, log, embedded_logs, listener)
    await settled(consumer, len(said))
    await consumer.close()
    assert await effects(store) == {"thing/a": [1]} | {f"thing/{name}": [1, 2, 3] for name in "bcdef"}
    assert [key.seq for key in (await parked(store)).values()] == [2]
    assert reason in (await parked(store))["thing/a"].reason


@pytest.mark.parametrize(
    "fault",
    [KeyError("ours"), errors.Conflict("not here"), errors.Poison("not here")],
    ids=["a bug", "a refusal", "poison"],
)
async def test_a_reaction_that_cannot_say_what_it_must_know_is_isolated(
    store: Store, embedded_logs: Logs, fault: Exception
) -> None:
    log, voice, listener = await embedded_logs.open(), Voice(), Listener(cannot_say={"thing/a/1": fault})
    said = interleaved(voice.several("thing/a", 2), voice.several("thing/b", 2))
    await published(log, embedded_logs, *said)
    consumer = a_consumer(store, log, embedded_logs, listener)
    await settled(consumer, 4)
    await consumer.close()
    assert await effects(store) == {"thing/b": [1, 2]}
    assert type(fault).__name__ in (await parked(store))["thing/a"].reason


def refuses_to_park(change: Change) -> None:
    """A database in which parking fails too."""
    if any(row.table == "parked_keys" for row in change.rows):
        raise ValueError("it does not fit")


async def test_an_event_that_not_even_can_be_parked_is_never_skipped(
    database: Database, embedded_logs: Logs
) -> None:
    ill = database.open(lambda engine: Acting(engine, before=refuses_to_park))
    log, voice = await embedded_logs.open(), Voice()
    listener = Listener(moods={"thing/a/1": raising(ZeroDivisionError())})
    await published(log, embedded_logs, voice.say("thing/a"), voice.say("thing/a"))
    consumer = a_consumer(ill, log, embedded_logs, listener)
    for _ in range(2):
        with pytest.raises(edge.Broken):
            await settled(consumer, 2)
        await consumer.close()
    listener.moods.clear()
    await settled(consumer, 2)
    await consumer.close()
    assert await effects(ill) == {"thing/a": [1, 2]}


async def test_a_consumer_outlives_its_database(
    on_postgres: Database, postgres: Postgres, logs: Logs, log: Log
) -> None:
    store, voice = on_postgres.open(), Voice()
    names = [f"thing/{n}" for n in range(4)]
    consumer = a_consumer(store, log, logs)

    async with running(consumer.run):
        await published(log, logs, *(voice.say(name) for name in names))
        await until_applied(store, 4)
        await asyncio.to_thread(postgres.kill)
        await published(log, logs, *interleaved(*(voice.several(name, 5) for name in names)))
        await asyncio.to_thread(postgres.start)
        await until_applied(store, 24)
    assert consumer.stopped is None
    assert await effects(store) == {name: list(range(1, 7)) for name in names}


async def test_an_embedded_log_made_again_stops_the_consumer_with_an_alarm(
    database: Database, tmp_path: Path
) -> None:
    """The same streams and seqs at the same offsets, told anew; fewer of them; and none at all."""
    store, logs = database.open(), Logs(lambda: EmbeddedLog(tmp_path / "first.db", partitions=PARTITIONS))
    names = [f"thing/{n}" for n in range(6)]
    await published(await logs.open(), logs, *(Voice().say(name) for name in names))
    consumer = a_consumer(store, logs.opened[0], logs)
    await settled(consumer, 6)
    await consumer.close()
    for events in (12, 1, 0):
        again = EmbeddedLog(tmp_path / f"with {events}.db", partitions=PARTITIONS)
        logs.opened.append(again)
        await again.prepare([logs.topic])
        await published(again, logs, *(Voice().say(name) for name in (names * 2)[:events]))
        consumer = a_consumer(store, again, logs)
        before = await dump(store)
        async with asyncio.timeout(5):
            await consumer.run()
        assert consumer.stopped
        assert "已不是原来的日志" in consumer.stopped
        assert (await dump(store)) | {"positions": []} == before | {"positions": []}
    await logs.close()


async def test_a_kafka_topic_made_again_stops_the_consumer_with_an_alarm(
    database: Database, kafka_logs: Logs, kafka: Kafka
) -> None:
    """Both the one that runs meanwhile and one that comes later."""
    logs, voice = kafka_logs, Voice()
    store, log = database.open(), await logs.open()
    names = [f"thing/{n}" for n in range(6)]
    running_on = a_consumer(store, log, logs)
    async with running(running_on.run):
        await published(log, logs, *(voice.say(name) for name in names))

        async def has_stopped() -> bool:
            return bool(running_on.stopped)

        await until_applied(store, 6)
        before = await dump(store)
        await _delete(kafka, logs.topic)
        await log.prepare([logs.topic])
        await published(log, logs, *(Voice().say(name) for name in names * 2), *voice.several("thing/0", 2))
        await eventually(has_stopped)
    assert running_on.stopped
    assert "重建" in running_on.stopped
    assert await dump(store) == before
    coming = a_consumer(store, await logs.open(), logs)
    async with asyncio.timeout(20):
        await coming.run()
    assert coming.stopped
    assert "已不是原来的日志" in coming.stopped
    assert (await dump(store)) | {"positions": []} == before | {"positions": []}


async def _delete(kafka: Kafka, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()
