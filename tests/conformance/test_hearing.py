"""The event edge: each event takes effect once and in the order of its stream, however it arrives."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import pytest

from libs.common import edge, errors
from libs.common.change import Change, Head
from libs.common.clock import Clock
from libs.common.log.envelope import Heard
from libs.common.log.seam import Outgoing, Partition, Record
from libs.common.loops.filler import Filler
from libs.common.store.seam import Committed, Engine, Outcome
from libs.common.store.store import Store
from tests.conformance.conftest import Database
from tests.conformance.things import (
    Acting,
    Counted,
    Crash,
    Hearing,
    Journals,
    Listener,
    Pad,
    Place,
    Saying,
    Voice,
    counted,
    crash,
    dump,
    effects,
    held,
    interleaved,
    muddled,
    once,
    parked,
    raising,
    unreadable,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("seed", range(4))
async def test_effects_happen_once_and_in_order_whatever_the_order_of_arrival(
    store: Store, seed: int
) -> None:
    """They come late, early and twice, in batches of any size; held ones are let in when their turn comes."""
    voice, chance = Voice(), random.Random(seed)
    said = interleaved(*(voice.several(f"thing/{n}", 12) for n in range(6)))
    arriving = muddled(said, chance)
    assert len(arriving) > len(said)
    hearing, reports = Hearing(store, Listener()), []
    while arriving:
        size = chance.choice([1, 2, 5, 30])
        reports.append(await hearing.take(*arriving[:size]))
        arriving = arriving[size:]
    filler = Filler(store, Journals(), hearing.listener.hears, Clock())
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
    with pytest.raises(Crash):
        await dying.take(*said)
    assert listener.tried
    assert (await dump(store)) | {"positions": []} == before
    dying = Hearing(database.open(lambda engine: Acting(engine, after=crash)), listener)
    with pytest.raises(Crash):
        await dying.take(*said)
    expected = {f"thing/{n}": [1, 2] for n in range(count)}
    assert await effects(store) == expected
    again = Hearing(store, listener)
    report = await again.take(*said)  # a log that was read from an older position
    assert again.claim
    assert again.claim.next == len(said)
    assert (len(report.applied), len(report.old)) == (0, len(said))
    assert await effects(store) == expected


class Unfenced(Store):
    """The planted bug: whoever holds a batch applies it."""

    async def commit(self, change: Change) -> Outcome:
        return await super().commit(change._replace(fence=None))


@pytest.mark.parametrize("count", [2, 40])
@pytest.mark.parametrize(("kind", "applies"), [(Store, False), (Unfenced, True)])
async def test_a_zombie_applies_nothing(
    database: Database, count: int, kind: Callable[[Engine], Store], applies: bool
) -> None:
    """It was paused while another process took its partition: not one row of its is stored.

    The second kind is the mutant, which must be seen to apply.
    """
    said = interleaved(*(Voice().several(f"thing/{n}", 2) for n in range(count)))
    zombie, successor = Hearing(database.open(kind), Listener()), Hearing(database.open(), Listener())
    await zombie.take(said[0])
    await successor.take(said[1])
    before = await dump(successor.store)
    with nullcontext() if applies else pytest.raises(edge.Leave):
        await zombie.take(*said[2:])
    assert zombie.listener.tried
    assert (await dump(successor.store) != before) is applies


async def test_a_fence_is_lost_with_the_epoch_and_with_the_position(database: Database) -> None:
    said = Voice().several("thing/a", 4)
    zombie, successor = (Hearing(database.open(), Listener()) for _ in range(2))
    await zombie.take(said[0])
    await successor.take(said[1])
    for epoch in (1, 2):  # its own, and the successor's but from where it stood itself
        with pytest.raises(edge.Leave):
            await zombie.take(said[1], epoch=epoch)
    await successor.take(*said[2:])
    assert await effects(successor.store) == {"thing/a": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(errors.Conflict("办不到"), "办不到", id="a refusal"),
        pytest.param(errors.Poison("读不懂"), "读不懂", id="poison"),
        pytest.param(errors.NotFound(), "未找到", id="not found"),
    ],
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
        pytest.param({"id": b"thing/b/1"}, id="the id of another event"),
        pytest.param({"sequence": b"one"}, id="a sequence that is no number"),
        pytest.param({"sequence": b"0"}, id="a sequence before the first"),
        pytest.param({"sequence": b"3000000000"}, id="a sequence that no column holds"),
        pytest.param({"sequence": "１".encode()}, id="a digit that is not ASCII"),
        pytest.param({"chain": b"00"}, id="a chain that is too short"),
        pytest.param({"recordedtime": b"yesterday"}, id="a time that is none"),
        pytest.param({"correlationid": b"\xff"}, id="text that is not UTF-8"),
        pytest.param({"nothing": b"\x00"}, id="an attribute with NUL"),
        pytest.param({"na\x00me": b"x"}, id="a name with NUL"),
        pytest.param({"source": b"https://elsewhere/things"}, id="a source that is no service"),
        pytest.param({"source": b"/services/" + b"x" * 5000}, id="a source too long for an index"),
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


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff", id="not UTF-8"),
        pytest.param(b"{", id="half"),
        pytest.param(b'{"n":NaN}', id="NaN"),
        pytest.param(b'{"n":"\\ud800"}', id="half a character"),
        pytest.param(b"[" * 3000, id="deep"),
        pytest.param(b'"' + b"x" * 70_000 + b'"', id="too large"),
    ],
)
async def test_a_value_that_is_not_json_is_parked_alone(store: Store, value: bytes) -> None:
    said = Voice().say("thing/a")
    report = await Hearing(store, Listener()).take(Outgoing(said.key, value, said.headers))
    assert report.unreadable == 1
    assert [record.value for record in await unreadable(store)] == [value]


@pytest.mark.parametrize("forged", ["data", "attribute", "chain"])
async def test_what_does_not_follow_is_parked_until_the_true_one_comes(store: Store, forged: str) -> None:
    """Every event is checked to go on where its stream's chain ended, not only the newest one."""
    voice, listener = Voice(), Listener()
    hearing = Hearing(store, listener)
    first, true, later = voice.several("thing/a", 3)
    report = await hearing.take(first, _forged(true, forged), later, voice.say("thing/b"))
    assert [(event.id, "不接续" in reason) for event, reason in report.parked] == [("thing/a/2", True)]
    assert await effects(store) == {"thing/a": [1], "thing/b": [1]}
    await hearing.take(true)
    await edge.drain(store, listener.hears, ("things", "thing/a"), Clock(), retry=True)
    assert (await effects(store))["thing/a"] == [1, 2, 3]
    assert await parked(store) == {}


def _forged(said: Outgoing, part: str) -> Outgoing:
    """The same event with something else in one part of it."""
    if part == "data":
        return replace(said, value=said.value.replace(b'"n":', b'"n": '))
    name, value = {"attribute": ("ce_actedon", b"2020-02-02"), "chain": ("ce_chain", b"00" * 32)}[part]
    return replace(said, headers=tuple((n, value if n == name else v) for n, v in said.headers))


async def test_another_event_under_the_number_heard_last_parks_its_key(store: Store) -> None:
    """Its source was rewritten or set back: what follows would stand on what nobody here has heard."""
    hearing, voice, other = Hearing(store, Listener()), Voice(), Voice()
    said, rewritten = voice.several("thing/a", 2), other.several("thing/a", 3)
    report = await hearing.take(*said, said[1], rewritten[1], rewritten[2], voice.say("thing/b"))
    assert [event.seq for event in report.old] == [2]
    assert [event.seq for event, _ in report.parked] == [2]
    assert "改写" in (await parked(store))["thing/a"].reason
    assert await held(store) == [("thing/a", 2), ("thing/a", 3)]
    assert await effects(store) == {"thing/a": [1, 2], "thing/b": [1]}


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
        heads.append(head._replace(version=head.version + 1))

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
    listener = Listener(moods={"thing/a/1": lambda event: Change().inserting(Place(id="p", number=2))})
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
    racing = database.open(lambda engine: Acting(engine, before=once(lambda change: elsewhere.take(said[0]))))
    report = await Hearing(racing, refusing).take(said[0])
    assert report.old
    assert await parked(racing) == {}
    await elsewhere.take(said[1])
    assert await effects(racing) == {"thing/a": [1, 2]}
