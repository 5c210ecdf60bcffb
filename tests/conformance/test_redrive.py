"""Redrives: a parked key is tried again, in order, once it was seen by a dry run what will happen."""

from __future__ import annotations

import pytest

from libs.common import edge, errors
from libs.common.change import Change
from libs.common.clock import Clock
from libs.common.loops.filler import Filler
from libs.common.store.store import Store
from tests.conformance.conftest import Database
from tests.conformance.things import (
    Acting,
    Crash,
    Hearing,
    Journals,
    Listener,
    Mood,
    Place,
    Voice,
    crash,
    dump,
    effects,
    held,
    once,
    parked,
    raising,
)

pytestmark = pytest.mark.anyio

REFUSED = raising(errors.Conflict("办不到"))


def spoils(event: object) -> Change:
    return Change().putting(Place.model_construct(id="p", number=2**70))


async def redriven(
    store: Store, listener: Listener, stream: str = "thing/a", *, dry: bool = False
) -> edge.Report:
    gate = ("things", stream)
    return await edge.drain(store, listener.hears, gate, Clock(), retry=True, dry_run=dry)


async def a_parked_key(store: Store, listener: Listener, voice: Voice | None = None) -> Hearing:
    """Parked at its second event, with three more behind it, beside a key that flows."""
    voice = voice or Voice()
    hearing = Hearing(store, listener)
    listener.moods["thing/a/2"] = REFUSED
    await hearing.take(*voice.several("thing/a", 5), *voice.several("thing/b", 2))
    assert (await effects(store))["thing/a"] == [1]
    listener.tried.clear()
    return hearing


def seqs(report: edge.Report) -> tuple[list[int], list[int], list[int]]:
    """What was applied, parked and held."""
    found = (report.applied, [event for event, _ in report.parked], report.held)
    return tuple([event.seq for event in events] for events in found)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("mood", "expected"),
    [
        pytest.param(None, ([2, 3, 4, 5], [], []), id="it passes"),
        pytest.param(REFUSED, ([], [2], [3, 4, 5]), id="it is refused"),
        pytest.param(raising(ZeroDivisionError()), ([], [2], [3, 4, 5]), id="a bug"),
    ],
)
async def test_a_dry_run_says_what_would_happen_and_changes_nothing(
    store: Store, mood: Mood | None, expected: tuple[list[int], ...]
) -> None:
    listener = Listener()
    await a_parked_key(store, listener)
    listener.moods = {"thing/a/2": mood} if mood else {}
    before = await dump(store)
    assert seqs(await redriven(store, listener, dry=True)) == expected
    assert "thing/a/2" in listener.tried
    assert await dump(store) == before
    assert seqs(await redriven(store, listener)) == expected


async def test_a_redrive_drains_the_key_in_order_in_one_change(database: Database, store: Store) -> None:
    listener, voice = Listener(), Voice()
    hearing = await a_parked_key(store, listener, voice)
    listener.moods.clear()
    database.told.clear()
    assert seqs(await redriven(store, listener)) == ([2, 3, 4, 5], [], [])
    assert database.told == ["committed"]
    assert await effects(store) == {"thing/a": [1, 2, 3, 4, 5], "thing/b": [1, 2]}
    assert await parked(store) == {}
    assert await held(store) == []
    await hearing.take(voice.say("thing/a"))
    assert (await effects(store))["thing/a"] == [1, 2, 3, 4, 5, 6]
    assert seqs(await redriven(store, listener)) == ([], [], [])


@pytest.mark.parametrize(
    ("mood", "reason"),
    [
        pytest.param(raising(errors.Conflict("仍然办不到")), "仍然办不到", id="it is refused"),
        pytest.param(raising(ZeroDivisionError("ours")), "处理失败", id="a bug"),
        pytest.param(spoils, "处理失败", id="what no database takes"),
    ],
)
@pytest.mark.parametrize("at", [2, 4], ids=["first", "third"])
async def test_what_fails_again_is_parked_anew_with_its_reason(
    store: Store, mood: Mood, reason: str, at: int
) -> None:
    listener, voice = Listener(), Voice()
    hearing = await a_parked_key(store, listener, voice)
    listener.moods = {f"thing/a/{at}": mood}
    report = await redriven(store, listener)
    assert [event.seq for event in report.applied] == list(range(2, at))
    assert [event.seq for event, _ in report.parked] == [at]
    key = (await parked(store))["thing/a"]
    assert key.seq == at
    assert reason in key.reason
    assert await held(store) == [("thing/a", n) for n in range(at, 6)]
    assert (await effects(store))["thing/a"] == list(range(1, at))
    listener.moods.clear()
    await hearing.take(voice.say("thing/a"))
    await redriven(store, listener)
    assert (await effects(store))["thing/a"] == [1, 2, 3, 4, 5, 6]
    assert await parked(store) == {}


async def test_a_key_with_a_long_queue_is_drained_to_its_end(store: Store) -> None:
    """In parts, since a statement takes only so many parameters; a failure near the end is found there."""
    voice, listener = Voice(), Listener(moods={"thing/a/1": REFUSED})
    said = voice.several("thing/a", 1200)
    hearing = Hearing(store, listener)
    for at in range(0, len(said), 400):
        await hearing.take(*said[at : at + 400])
    listener.moods = {"thing/a/1100": spoils}
    report = await redriven(store, listener)
    assert [event.seq for event in report.applied] == list(range(1, 1100))
    assert (await parked(store))["thing/a"].seq == 1100
    assert len(await held(store)) == 101
    listener.moods.clear()
    await redriven(store, listener)
    assert await effects(store) == {"thing/a": list(range(1, 1201))}


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_redrive_that_dies_may_be_done_again(database: Database, when: str) -> None:
    store, listener = database.open(), Listener()
    await a_parked_key(store, listener)
    listener.moods.clear()
    with pytest.raises(Crash):
        await redriven(database.open(lambda engine: Acting(engine, **{when: crash})), listener)
    assert (await effects(store))["thing/a"] == ([1] if when == "before" else [1, 2, 3, 4, 5])
    await redriven(store, listener)
    assert (await effects(store))["thing/a"] == [1, 2, 3, 4, 5]
    assert await parked(store) == {}


async def test_what_arrives_during_a_redrive_is_not_left_behind(database: Database) -> None:
    """Another process consumes the next event just before the redrive commits: it sees a parked key."""
    listener, voice = Listener(), Voice()
    hearing = await a_parked_key(database.open(), listener, voice)
    listener.moods.clear()
    late = voice.say("thing/a")
    racing = database.open(lambda engine: Acting(engine, before=once(lambda change: hearing.take(late))))
    await redriven(racing, listener)
    assert (await effects(racing))["thing/a"] == [1, 2, 3, 4, 5]
    assert await Filler(racing, Journals(), listener.hears, Clock()).once() == 1
    assert (await effects(racing))["thing/a"] == [1, 2, 3, 4, 5, 6]
    assert await held(racing) == []
    assert await parked(racing) == {}


async def test_two_redrives_at_once_apply_everything_once(database: Database) -> None:
    listener = Listener()
    await a_parked_key(database.open(), listener)
    listener.moods.clear()
    first = database.open()

    async def another(change: Change) -> None:
        await redriven(first, listener)

    racing = database.open(lambda engine: Acting(engine, before=once(another)))
    assert seqs(await redriven(racing, listener))[0] == []
    assert (await effects(first))["thing/a"] == [1, 2, 3, 4, 5]
    assert await parked(first) == {}


async def test_a_redrive_of_a_key_that_is_not_parked_does_nothing(store: Store) -> None:
    listener = Listener()
    await a_parked_key(store, listener)
    before = await dump(store)
    assert seqs(await redriven(store, listener, "thing/b")) == ([], [], [])
    assert seqs(await redriven(store, listener, "thing/unheard of")) == ([], [], [])
    assert await dump(store) == before
