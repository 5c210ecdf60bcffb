"""Gaps: what is missing holds back what is behind it, and is fetched from the journal of who said it."""

from __future__ import annotations

import asyncio
import random

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
    Place,
    Voice,
    crash,
    dump,
    effects,
    held,
    interleaved,
    muddled,
    parked,
    raising,
    running,
    until_applied,
)

pytestmark = pytest.mark.anyio


def a_filler(store: Store, journals: Journals, listener: Listener | None = None) -> Filler:
    return Filler(store, journals, (listener or Listener()).hears, Clock())


async def test_what_is_missing_is_fetched_and_applied_with_what_was_held_in_one_change(
    database: Database, store: Store
) -> None:
    journals = Journals()
    said = journals.voice.several("thing/a", 7)
    hearing = Hearing(store, Listener())
    await hearing.take(said[0], said[3], said[5], said[6], *journals.voice.several("thing/b", 2))
    assert await effects(store) == {"thing/a": [1], "thing/b": [1, 2]}
    assert await held(store) == [("thing/a", 4), ("thing/a", 6), ("thing/a", 7)]
    filler = a_filler(store, journals)
    database.told.clear()
    assert await filler.once() == 6
    assert database.told == ["committed"]
    assert journals.asked == [("things", "thing/a", 1)]
    assert await effects(store) == {"thing/a": [1, 2, 3, 4, 5, 6, 7], "thing/b": [1, 2]}
    assert await held(store) == []
    assert await filler.once() == 0
    assert len(journals.asked) == 1
    await hearing.take(*said, journals.voice.say("thing/a"))
    assert (await effects(store))["thing/a"] == list(range(1, 9))


async def test_what_was_held_is_not_overruled_by_a_journal(store: Store) -> None:
    """It came through the log, in its place; a journal that says otherwise has been rewritten since."""
    journals, rewritten = Journals(), Voice()
    said = journals.voice.several("thing/a", 3)
    await Hearing(store, Listener()).take(said[0], said[2])
    forged = rewritten.several("thing/a", 3)
    journals.voice.journal["thing/a"][2] = rewritten.journal["thing/a"][2]
    assert forged[2] != said[2]
    assert await a_filler(store, journals).once() == 2
    assert await effects(store) == {"thing/a": [1, 2, 3]}
    assert await parked(store) == {}


async def test_a_new_listener_of_an_old_log_begins_with_the_journal(store: Store) -> None:
    """Retention has emptied the log up to somewhere in the middle of each stream."""
    journals = Journals()
    streams = [journals.voice.several(f"thing/{n}", 9) for n in range(4)]
    await Hearing(store, Listener()).take(*interleaved(*(said[4 + n :] for n, said in enumerate(streams))))
    assert await effects(store) == {}
    assert await a_filler(store, journals).once() == 36
    assert await effects(store) == {f"thing/{n}": list(range(1, 10)) for n in range(4)}
    assert await held(store) == []


async def test_a_gap_that_closes_through_the_log_needs_no_journal(store: Store) -> None:
    journals = Journals(silent={"things"})
    said = journals.voice.several("thing/a", 4)
    await Hearing(store, Listener()).take(said[2], said[3], said[1], said[0])
    assert await effects(store) == {"thing/a": [1]}
    assert await a_filler(store, journals).once() == 3
    assert journals.asked == []
    assert await effects(store) == {"thing/a": [1, 2, 3, 4]}


async def test_a_journal_that_is_away_is_waited_for_and_keeps_nobody_else_waiting(store: Store) -> None:
    journals = Journals(silent={"things"})
    voice = journals.voice
    missing = [voice.several(f"thing/{n}", 3) for n in range(3)]
    closed = voice.several("thing/closed", 3)
    await Hearing(store, Listener()).take(*(said[2] for said in missing), closed[2], closed[1], closed[0])
    filler = a_filler(store, journals)
    assert await filler.once() == 2
    assert len(journals.asked) == 1  # one that is silent is not asked again in the same round
    assert await effects(store) == {"thing/closed": [1, 2, 3]}
    assert len(await held(store)) == 3
    assert filler.open_gaps == set()
    journals.silent.clear()
    assert await filler.once() == 9
    assert await held(store) == []


async def test_a_gap_that_the_journal_cannot_close_is_told(store: Store) -> None:
    journals = Journals(lost={"thing/a/2"})
    said = journals.voice.several("thing/a", 4)
    await Hearing(store, Listener()).take(said[0], said[2], *journals.voice.several("thing/b", 3)[2:])
    filler = a_filler(store, journals)
    assert await filler.once() == 3
    assert filler.open_gaps == {("things", "thing/a")}
    assert await effects(store) == {"thing/a": [1], "thing/b": [1, 2, 3]}
    # What the journal had to say is kept, for the day when it is whole again.
    assert await held(store) == [("thing/a", 3), ("thing/a", 4)]
    journals.lost.clear()
    assert await filler.once() == 3
    assert filler.open_gaps == set()
    assert (await effects(store))["thing/a"] == [1, 2, 3, 4]


async def test_what_arrives_while_the_journal_is_asked_is_applied_once(database: Database) -> None:
    """Another process consumes the missing events from the log, and one more than the journal knew of."""
    journals = Journals()
    said = journals.voice.several("thing/a", 6)
    elsewhere = Hearing(database.open(), Listener())
    await elsewhere.take(said[2], said[3])

    async def arrives() -> None:
        journals.meanwhile = None
        await elsewhere.take(said[0], said[1], said[4])

    journals.meanwhile = arrives
    filler = a_filler(database.open(), journals)
    await filler.once()
    await filler.once()
    assert await effects(elsewhere.store) == {"thing/a": [1, 2, 3, 4, 5, 6]}
    assert await held(elsewhere.store) == []


async def test_two_fillers_and_a_consumer_do_no_harm(database: Database) -> None:
    """Two processes fill, while the log goes on bringing everything late, early and twice."""
    journals, chance = Journals(), random.Random(7)
    names = [f"thing/{n}" for n in range(5)]
    said = interleaved(*(journals.voice.several(name, 20) for name in names))
    arriving = [one for one in muddled(said, chance) if chance.random() < 0.6]
    hearing = Hearing(database.open(), Listener())
    fillers = [a_filler(database.open(), journals) for _ in range(2)]
    async with running(fillers[0].run, fillers[1].run):
        for at in range(0, len(arriving), 10):
            await hearing.take(*arriving[at : at + 10])
            await fillers[at % 2].once()
        await hearing.take(*said[-len(names) :])
        await until_applied(hearing.store, 100)
    assert await effects(hearing.store) == {name: list(range(1, 21)) for name in names}


async def test_a_filler_that_dies_has_changed_nothing(database: Database) -> None:
    journals = Journals()
    said = journals.voice.several("thing/a", 5)
    store = database.open()
    await Hearing(store, Listener()).take(said[4])
    before = await dump(store)
    dying = database.open(lambda engine: Acting(engine, before=crash))
    with pytest.raises(Crash):
        await a_filler(dying, journals).once()
    assert await dump(store) == before
    assert await a_filler(store, journals).once() == 5


async def test_a_parked_key_is_not_filled_but_waits_for_a_person(store: Store) -> None:
    journals, listener = Journals(), Listener(moods={"thing/a/1": raising(errors.Conflict("办不到"))})
    said = journals.voice.several("thing/a", 4)
    await Hearing(store, listener).take(said[0], said[3])
    before = await dump(store)
    assert await a_filler(store, journals).once() == 0
    assert journals.asked == []
    assert await dump(store) == before


@pytest.mark.parametrize(
    "mood",
    [
        pytest.param(raising(errors.Poison("读不懂")), id="a refusal"),
        pytest.param(raising(ZeroDivisionError("ours")), id="a bug"),
        pytest.param(lambda event: _spoilt(), id="what no database takes"),
    ],
)
async def test_what_breaks_while_a_gap_is_filled_is_parked_and_keeps_nobody_else_waiting(
    store: Store, mood: object
) -> None:
    """In the last case the database does not say which of the events it cannot take."""
    journals = Journals()
    listener = Listener(moods={"thing/b/3": mood})  # type: ignore[dict-item]
    streams = {name: journals.voice.several(name, 5) for name in ("thing/a", "thing/b", "thing/c")}
    await Hearing(store, Listener()).take(*(said[1] for said in streams.values()))
    await Hearing(store, listener).take(*(said[4] for said in streams.values()))
    filler = a_filler(store, journals, listener)
    assert await filler.once() == 12
    assert await effects(store) == {
        "thing/a": [1, 2, 3, 4, 5],
        "thing/b": [1, 2],
        "thing/c": [1, 2, 3, 4, 5],
    }
    assert list(await parked(store)) == ["thing/b"]
    assert (await parked(store))["thing/b"].seq == 3
    assert ("thing/b", 3) in await held(store)
    assert ("thing/b", 5) in await held(store)
    assert filler.open_gaps == set()


def _spoilt() -> Change:
    return Change().putting(Place.model_construct(id="p", number=2**70))


async def test_a_journal_that_answers_for_another_stream_is_not_believed(store: Store) -> None:
    journals = Journals()
    said = journals.voice.several("thing/a", 2)
    journals.voice.several("thing/b", 2)
    journals.voice.journal["thing/a"] = journals.voice.journal["thing/b"]
    await Hearing(store, Listener()).take(said[1])
    filler = a_filler(store, journals)
    assert await filler.once() == 0
    assert filler.open_gaps == {("things", "thing/a")}
    assert await effects(store) == {}


async def test_a_gap_longer_than_one_commit_takes_is_filled_and_the_filling_ends(store: Store) -> None:
    """What was fetched is old in the round after: counted as progress, it would be committed for ever."""
    journals = Journals()
    said = journals.voice.several("thing/a", edge.MOST + 5)
    await Hearing(store, Listener()).take(*said[edge.MOST :])
    async with asyncio.timeout(60):
        assert await a_filler(store, journals).once() == len(said)
    assert await effects(store) == {"thing/a": list(range(1, len(said) + 1))}
    assert await held(store) == []
