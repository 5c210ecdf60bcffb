"""The consumer: each event takes effect once and in the order of its stream, whatever the world does to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection
from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from libs.common import edge, errors
from libs.common.change import Change, Head
from libs.common.clock import Clock
from libs.common.log.embedded import EmbeddedLog
from libs.common.log.envelope import Heard
from libs.common.log.seam import Log, Outgoing, Partition, Record
from libs.common.loops.consumer import Consumer, Replaced
from libs.common.loops.filler import Filler
from libs.common.store.engine import Committed, Engine
from libs.common.store.schema import HeldEvent, ParkedKey, ParkedRecord
from libs.common.store.store import Store
from tests.conformance.conftest import PARTITIONS, Database, Logs
from tests.conformance.things import (
    Acting,
    Counted,
    Crash,
    Hearing,
    Listener,
    Mood,
    Pad,
    Place,
    Saying,
    Thing,
    Voice,
    counted,
    crash,
    dump,
    effects,
    eventually,
    heard,
    interleaved,
    muddled,
    once,
    raising,
)
from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres

pytestmark = pytest.mark.anyio


class NoJournals:
    """Sources of which nothing is to be had."""

    async def after(self, source: str, stream: str, seq: int) -> list[Heard]:
        return []


async def parked(store: Store) -> dict[str, ParkedKey]:
    async with store.reading() as read:
        return {key.stream: key for key in await read.all(ParkedKey)}


async def held(store: Store) -> list[tuple[str, int]]:
    async with store.reading() as read:
        return sorted((event.stream, event.seq) for event in await read.all(HeldEvent))


async def unreadable(store: Store) -> list[ParkedRecord]:
    async with store.reading() as read:
        return await read.all(ParkedRecord)


# One batch after the other, through the event edge.


@pytest.mark.parametrize("seed", range(4))
async def test_effects_happen_once_and_in_order_whatever_the_order_of_arrival(
    store: Store, seed: int
) -> None:
    """Events come late, early and twice, in batches of any size; held ones are let in when it is their turn."""
    voice, chance = Voice(), random.Random(seed)
    said = interleaved(*(voice.several(f"thing/{n}", 12) for n in range(6)))
    arriving = muddled(said, chance)
    assert len(arriving) > len(said)
    hearing, reports = Hearing(store, Listener()), []
    while arriving:
        size = chance.choice([1, 2, 5, 30])
        reports.append(await hearing.take(*arriving[:size]))
        arriving = arriving[size:]
    filler = Filler(store, NoJournals(), hearing.listener.hears, Clock())
    while await filler.once():
        pass
    assert any(report.held for report in reports)
    assert any(report.old for report in reports)
    assert await effects(store) == {f"thing/{n}": list(range(1, 13)) for n in range(6)}
    assert await held(store) == []


async def test_a_batch_may_have_hundreds_of_streams(store: Store) -> None:
    voice = Voice()
    said = [voice.say(f"thing/{n}") for n in range(500)] + [voice.say(f"thing/{n}") for n in range(100)]
    report = await Hearing(store, Listener()).take(*said)
    assert len(report.applied) == 600
    assert {len(seqs) for seqs in (await effects(store)).values()} == {1, 2}


@pytest.mark.parametrize("count", [2, 40])
async def test_effects_and_position_come_together_or_not_at_all(database: Database, count: int) -> None:
    """It dies between the reaction and the commit, or between the commit and hearing of it."""
    said = interleaved(*(Voice().several(f"thing/{n}", 2) for n in range(count)))
    store, listener = database.open(), Listener()
    dying = Hearing(database.open(lambda engine: Acting(engine, before=crash)), listener)
    before = await dump(store)
    with pytest.raises(edge.Broken) as broken:
        await dying.take(*said)
    assert isinstance(broken.value.__cause__, Crash)
    assert listener.tried
    assert (await dump(store)) | {"positions": []} == before
    dying = Hearing(database.open(lambda engine: Acting(engine, after=crash)), listener)
    with pytest.raises(edge.Broken):
        await dying.take(*said)
    expected = {f"thing/{n}": [1, 2] for n in range(count)}
    assert await effects(store) == expected
    again = Hearing(store, listener)
    report = await again.take(*said)  # a log that was read from an older position
    assert again.claim
    assert again.claim.next == len(said)
    assert (len(report.applied), len(report.old)) == (0, len(said))
    assert await effects(store) == expected


@pytest.mark.parametrize("count", [2, 40])
async def test_a_zombie_applies_nothing(database: Database, count: int) -> None:
    """It was paused while another process took its partition: not one row of its is stored."""
    said = interleaved(*(Voice().several(f"thing/{n}", 2) for n in range(count)))
    zombie, successor = (Hearing(database.open(), Listener()) for _ in range(2))
    await zombie.take(said[0])
    await successor.take(said[1])
    before = await dump(successor.store)
    with pytest.raises(edge.Leave):
        await zombie.take(*said[2:])
    assert zombie.listener.tried
    assert await dump(successor.store) == before
    await successor.take(*said[2:])
    assert await effects(successor.store) == {f"thing/{n}": [1, 2] for n in range(count)}
    with pytest.raises(edge.Leave):  # with the epoch of the day, but from where it stood
        await zombie.take(said[0], epoch=2)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(errors.Conflict("办不到"), "办不到"), (errors.Poison("读不懂"), "读不懂"), (errors.NotFound(), "未找到")],
)
async def test_a_refused_event_parks_its_key_and_later_siblings_queue_behind(
    store: Store, error: Exception, reason: str
) -> None:
    voice, listener = Voice(), Listener(moods={"thing/a/2": raising(error)})
    said = interleaved(voice.several("thing/a", 4), voice.several("thing/b", 4))
    hearing = Hearing(store, listener)
    report = await hearing.take(*said)
    assert [(event.id, why) for event, why in report.parked] == [("thing/a/2", str(error))]
    listener.moods.clear()
    await hearing.take(voice.say("thing/a"), voice.say("thing/b"), said[2])
    assert await effects(store) == {"thing/a": [1], "thing/b": [1, 2, 3, 4, 5]}
    assert await held(store) == [("thing/a", 2), ("thing/a", 3), ("thing/a", 4), ("thing/a", 5)]
    key = (await parked(store))["thing/a"]
    assert (key.source, key.seq, key.type, key.trace) == ("things", 2, Counted.TYPE, "request-1")
    assert reason in key.reason


async def test_what_cannot_be_understood_is_parked_and_what_is_new_is_not(store: Store) -> None:
    voice = Voice()
    report = await Hearing(store, Listener()).take(
        voice.say("thing/a", Saying("liandong.thing.counted.v2", {"n": 1})),
        voice.say("thing/b", Saying(Counted.TYPE, {"n": "many"})),
        voice.say("thing/c", Saying(Counted.TYPE, {"n": 1, "colour": "red"})),
        voice.say("thing/d", Saying("liandong.thing.sung.v1", {"n": 1})),
        voice.say("thing/e", Saying(Counted.TYPE, {})),
    )
    assert [event.stream for event, _ in report.parked] == ["thing/a", "thing/b", "thing/e"]
    reasons = {stream: key.reason for stream, key in (await parked(store)).items()}
    assert "未知的事件主版本" in reasons["thing/a"]
    assert "n: int_parsing" in reasons["thing/b"]
    assert "n: missing" in reasons["thing/e"]
    assert await effects(store) == {"thing/c": [1]}
    async with store.reading() as read:
        assert await read.all(Pad) == [Pad(id="liandong.thing.sung.v1 1")]


def spoilt(said: Outgoing, **headers: bytes | None) -> Record:
    """The same record with other headers."""
    kept = [(name, value) for name, value in said.headers if name[3:] not in headers]
    kept += [(f"ce_{name}", value) for name, value in headers.items() if value is not None]
    return Record(Partition("t", 0), 0, said.key.encode(), said.value, tuple(kept))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param({"id": None}, id="an attribute is missing"),
        pytest.param({"sequence": b"one"}, id="a sequence that is no number"),
        pytest.param({"sequence": b"0"}, id="a sequence before the first"),
        pytest.param({"sequence": b"3000000000"}, id="a sequence that no column holds"),
        pytest.param({"sequence": "１".encode()}, id="a digit that is not ASCII"),
        pytest.param({"chain": b"00"}, id="a chain that is too short"),
        pytest.param({"recordedtime": b"yesterday"}, id="a time that is none"),
        pytest.param({"correlationid": b"\xff"}, id="text that is not UTF-8"),
        pytest.param({"nothing": b"\x00"}, id="an attribute with NUL"),
        pytest.param({"na\x00me": b"x"}, id="a name with NUL"),
        pytest.param({"subject": b"thing/other"}, id="a key that is not the subject"),
        pytest.param({"subject": b"thing/" + b"x" * 5000}, id="a subject too long for an index"),
    ],
)
async def test_bytes_that_are_no_event_are_parked_alone_as_they_came(
    store: Store, spoil: dict[str, bytes | None]
) -> None:
    voice = Voice()
    said = voice.several("thing/a", 2)
    bad = spoilt(said[0], **spoil)
    if spoil.get("subject", b"") == b"thing/" + b"x" * 5000:
        bad = replace(bad, key=b"thing/" + b"x" * 5000)
    hearing = Hearing(store, Listener())
    report = await hearing.take(bad, *voice.several("thing/b", 2))
    assert report.unreadable == 1
    assert await effects(store) == {"thing/b": [1, 2]}
    (record,) = await unreadable(store)
    assert (record.topic, record.partition, record.offset) == ("t", 0, 0)
    assert (record.key, record.value) == (bad.key, bad.value)
    assert record.reason
    await hearing.take(said[1])  # the next of its stream shows that something is missing
    assert await held(store) == [("thing/a", 2)]


@pytest.mark.parametrize("value", [b"", b"\xff", b"{", b'{"n":NaN}', b'{"n":"\\ud800"}', b"[" * 3000, b"x" * 70_000])
async def test_a_value_that_is_not_json_is_parked_alone(store: Store, value: bytes) -> None:
    said = Voice().say("thing/a")
    report = await Hearing(store, Listener()).take(Outgoing(said.key, value, said.headers))
    assert report.unreadable == 1
    assert [record.value for record in await unreadable(store)] == [value]


async def test_a_reason_may_quote_what_no_database_takes(store: Store) -> None:
    mood = raising(errors.Poison("half a \ud800 and \x00" + "x" * 100_000))
    await Hearing(store, Listener(moods={"thing/a/1": mood})).take(Voice().say("thing/a"))
    assert (await parked(store))["thing/a"].reason.startswith("half a ? and �x")


async def test_a_reaction_that_lost_a_race_reacts_again(database: Database) -> None:
    """Another process moves the stream that the reaction relies on, and knows nothing of the partition."""
    store = database.open()
    shared = Head("thing", "shared")

    def mood(event: Heard) -> Change:
        return Change().relying_on(heads[-1])

    async def move() -> None:
        async with store.reading() as read:
            head = await read.head("thing", "shared")
        assert await store.commit(counted(head)) == Committed()
        heads.append(replace(head, version=head.version + 1))

    heads = [shared]
    await move()
    listener = Listener(moods={"thing/a/1": mood})
    racing = database.open(lambda engine: Acting(engine, before=once(lambda change: move())))
    report = await Hearing(racing, listener).take(Voice().say("thing/a"))
    assert len(report.applied) == 1
    assert listener.tried == ["thing/a/1", "thing/a/1"]
    assert await effects(store) == {"thing/a": [1]}


async def test_conflicts_without_end_are_told_from_a_race(store: Store) -> None:
    """A reaction that inserts what exists would be tried for ever, with nobody the wiser."""
    await store.commit(Change().putting(Place(id="p", number=1)))
    mood: Mood = lambda event: Change().inserting(Place(id="p", number=2))  # noqa: E731
    listener = Listener(moods={"thing/a/1": mood})
    hearing = Hearing(store, listener, patience=0.2)
    with pytest.raises(edge.Broken):
        await hearing.take(Voice().say("thing/a"))
    assert len(listener.tried) > 2


async def test_parking_does_not_stand_where_another_process_has_applied_the_event(database: Database) -> None:
    """Else the key would wait for a person, parked on an event that took effect."""
    voice = Voice()
    said = voice.several("thing/a", 2)
    elsewhere = Hearing(database.open(), Listener(group="others"))
    refusing = Listener(moods={"thing/a/1": raising(errors.Conflict("办不到"))})
    racing = database.open(
        lambda engine: Acting(engine, before=once(lambda change: elsewhere.take(said[0])))
    )
    report = await Hearing(racing, refusing).take(said[0])
    assert report.old
    assert await parked(racing) == {}
    await elsewhere.take(said[1])
    assert await effects(racing) == {"thing/a": [1, 2]}


# The loop, over a real log.


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


async def consumed(consumers: Collection[Consumer], store: Store, count: int) -> None:
    """Let the consumers take turns until so many events took effect."""
    async with asyncio.timeout(30):
        while sum(map(len, (await effects(store)).values())) < count:
            await asyncio.gather(*(consumer.once(within=0.2) for consumer in consumers))


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

    async def round_of_events(*consumers: Consumer) -> None:
        nonlocal said
        await published(log, logs, *interleaved(*(voice.several(name, 4) for name in names)))
        said += 32
        await consumed(consumers, store, said)

    said = 0
    first = a_consumer(store, log, logs)
    await round_of_events(first)
    second = a_consumer(database.open(), await logs.open(), logs)
    async with asyncio.timeout(30):
        while not second.lag():
            await asyncio.gather(first.once(within=0.2), second.once(within=0.2), return_exceptions=True)
    await round_of_events(first, second)
    await first.close()
    await round_of_events(second)
    await second.close()
    assert await effects(store) == {name: list(range(1, 13)) for name in names}


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
        await consumed([robbed], store, 3)
    found = await dump(store)
    assert [found[name] for name in ("heads", "t_notes", "t_tallies")] == [[], [], []]
    assert {row["next"] for row in found["positions"]} == {0}
    await robbed.close()
    await consumed([robbed], store, 3)  # it joins again, under an epoch of its own
    await robbed.close()
    assert await effects(store) == {"thing/a": [1, 2, 3]}


def breaks_the_database(event: Heard) -> Change:
    return Change().putting(Thing.model_construct(**{**Thing(id="x").columns, "large": 2**70}))


def collides(event: Heard) -> Change:
    return Change().putting(Place(id=event.id, number=7))


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        pytest.param(raising(ZeroDivisionError("ours")), "ZeroDivisionError: ours", id="a bug"),
        pytest.param(breaks_the_database, "", id="what no database takes"),
        pytest.param(raising(RecursionError("\x00")), "RecursionError: �", id="a bug that quotes"),
    ],
)
async def test_a_reaction_that_breaks_is_isolated_and_parked_while_all_else_is_applied(
    store: Store, logs: Logs, log: Log, mood: Mood, reason: str
) -> None:
    voice, listener = Voice(), Listener(moods={"thing/a/2": mood})
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
    assert reason in key.reason


async def test_a_reaction_that_cannot_say_what_it_must_know_is_isolated(
    store: Store, logs: Logs, log: Log
) -> None:
    voice, listener = Voice(), Listener(cannot_say={"thing/a/1": KeyError("ours")})
    await published(log, logs, *interleaved(voice.several("thing/a", 2), voice.several("thing/b", 2)))
    consumer = a_consumer(store, log, logs, listener)
    await settled(consumer, 4)
    await consumer.close()
    assert await effects(store) == {"thing/b": [1, 2]}
    assert "KeyError" in (await parked(store))["thing/a"].reason


class NeverParks(Store):
    """A database in which parking fails too."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.is_ill = True

    async def commit(self, change: Change) -> object:  # type: ignore[override]
        if self.is_ill and any(row.table == "parked_keys" for row in change.rows):
            raise ValueError("it does not fit")
        return await super().commit(change)


async def test_an_event_that_not_even_can_be_parked_is_never_skipped(
    database: Database, logs: Logs, log: Log
) -> None:
    ill = NeverParks(database.open()._engine)
    voice, listener = Voice(), Listener(moods={"thing/a/1": raising(ZeroDivisionError())})
    await published(log, logs, voice.say("thing/a"), voice.say("thing/a"))
    consumer = a_consumer(ill, log, logs, listener)
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
    running = asyncio.create_task(consumer.run())

    async def has(count: int) -> bool:
        return sum(map(len, (await effects(store)).values())) == count

    await published(log, logs, *(voice.say(name) for name in names))
    await eventually(lambda: has(4))
    await asyncio.to_thread(postgres.kill)
    await published(log, logs, *interleaved(*(voice.several(name, 5) for name in names)))
    await asyncio.to_thread(postgres.start)
    await eventually(lambda: has(24))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert consumer.stopped is None
    assert await effects(store) == {name: list(range(1, 7)) for name in names}


# A log that was lost and made again: its offsets mean other events.


async def test_an_embedded_log_made_again_stops_the_consumer(database: Database, tmp_path: object) -> None:
    ...
