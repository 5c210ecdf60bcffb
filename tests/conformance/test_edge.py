"""The command edge: done once whoever asks how often, and told truly who did it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from libs.common import edge, errors
from libs.common.change import Change, Head
from libs.common.clock import Moment
from libs.common.log import envelope
from libs.common.log.seam import Partition, Record
from libs.common.permit import Actor, Permit
from libs.common.store import schema
from libs.common.store.reading import Reader
from libs.common.store.schema import JournalRow
from libs.common.store.seam import Committed, Engine, Outcome
from libs.common.store.store import Store
from tests.conformance.conftest import Database
from tests.conformance.things import (
    ACTOR,
    Acting,
    Counted,
    Crash,
    Saying,
    Thing,
    counted,
    crash,
    dump,
    now,
    once,
)

pytestmark = pytest.mark.anyio

OTHER = Actor("li", ACTOR.agency)


class Full(errors.RuleBroken):
    """The thing holds no more."""

    code = "full"


@dataclass(frozen=True)
class Add:
    """The body of a request."""

    thing: str = "a"
    by: int = 1


@dataclass(frozen=True)
class Known:
    head: Head
    thing: Thing


@dataclass
class Adding:
    """The verb under test: a thing counts up to its limit. It remembers what it was asked."""

    limit: int = 1000
    strangers: set[str] = field(default_factory=set)
    conditional: bool = False
    decided: list[str] = field(default_factory=list)
    permitted: list[str] = field(default_factory=list)
    #: Whether callers queue in their process, or meet in the database.
    queue: bool = True
    #: What another process does just before each load.
    before_load: list[Callable[[], Awaitable[Any]]] = field(default_factory=list)
    #: What another process does after the head was read, and before the row is.
    amid_load: list[Callable[[], Awaitable[Any]]] = field(default_factory=list)

    @property
    def verb(self) -> edge.Verb[Known, Add]:
        return edge.Verb(
            action="thing.add",
            names=lambda request: [f"thing/{request.body.thing}"] if self.queue else (),
            load=self._load,
            permit=self._permit,
            decide=self._decide,
            render=lambda change, permit: edge.Rendered(_shown(change), headers={"etag": _etag(change)}),
            conditional=self.conditional,
        )

    async def _load(self, read: Reader, request: edge.Request[Add]) -> edge.Loaded[Known]:
        while self.before_load:
            await self.before_load.pop()()
        head = await read.head("thing", request.body.thing)
        while self.amid_load:
            await self.amid_load.pop()()
        thing = await read.one(Thing, id=request.body.thing) or Thing(id=request.body.thing)
        return edge.Loaded(thing, Known(head, thing), version=head.version or None)

    def _permit(self, actor: Actor, action: str, situation: Thing) -> Permit:
        self.permitted.append(actor.person)
        if actor.person in self.strangers:
            raise errors.NotFound
        return Permit(action)

    def _decide(self, known: Known, request: edge.Request[Add]) -> Change:
        self.decided.append(request.key)
        count = known.thing.count + request.body.by
        if count > self.limit:
            raise Full(f"{known.thing.count}", basis="行政处罚法第四十二条")
        change = Change().telling(Counted(n=count), on=known.head, by=request.actor, at=request.at)
        return change.putting(known.thing.but(count=count))


def _shown(change: Change) -> dict[str, Any]:
    return {"count": change.written(Thing).count}


def _etag(change: Change) -> str:
    return f'"{change.version_of("thing")}"'


def asking(
    key: str = "k",
    body: Add | None = None,
    *,
    actor: Actor = ACTOR,
    if_match: int | None = None,
    at: Moment | None = None,
) -> edge.Request[Add]:
    body = body or Add()
    digest = hashlib.sha256(repr(body).encode()).digest()
    return edge.Request(actor, "POST /v1/things/{id}", {}, body, key, digest, if_match, at or now())


def body_of(outcome: edge.Outcome) -> Any:
    return orjson.loads(outcome.answer.body)


async def thing(store: Store) -> Thing | None:
    async with store.reading() as read:
        return await read.one(Thing, id="a")


async def test_an_answer_says_what_was_stored(store: Store) -> None:
    outcome = await edge.command(store, Adding().verb, asking())
    assert not outcome.replayed
    assert (body_of(outcome), outcome.answer.status) == ({"count": 1}, 201)
    assert outcome.answer.headers == {"etag": '"1"'}
    found = await thing(store)
    assert found
    assert found.count == 1
    assert len(await store.unpublished(10)) == 1


@pytest.mark.parametrize("queue", [True, False])
async def test_of_many_who_send_the_same_one_does_it_and_all_hear_so(database: Database, queue: bool) -> None:
    """Twenty at once in two processes; they all get the first answer, byte for byte."""
    stores, adding = [database.open(), database.open()], Adding(queue=queue)
    sending = [edge.command(stores[n % 2], adding.verb, asking()) for n in range(20)]
    outcomes = await asyncio.gather(*sending)
    assert [outcome.replayed for outcome in outcomes].count(False) == 1
    assert {(o.answer.body, o.answer.headers["etag"]) for o in outcomes} == {(b'{"count":1}', '"1"')}
    found = await dump(stores[0])
    assert [row["count"] for row in found["t_things"]] == [1]
    assert (len(found["journal"]), len(found["answers"])) == (1, 1)


@pytest.mark.parametrize("queue", [True, False])
async def test_those_who_mean_different_things_are_all_served(database: Database, queue: bool) -> None:
    stores, adding = [database.open(), database.open()], Adding(queue=queue)
    sending = [edge.command(stores[n % 2], adding.verb, asking(f"{n}")) for n in range(20)]
    outcomes = await asyncio.gather(*sending)
    assert sorted(body_of(outcome)["count"] for outcome in outcomes) == list(range(1, 21))
    found = await thing(stores[0])
    assert found
    assert found.count == 20


async def test_a_key_belongs_to_one_person_and_one_request(store: Store) -> None:
    adding = Adding()
    await edge.command(store, adding.verb, asking())
    before = await dump(store)
    with pytest.raises(errors.KeyReused):
        await edge.command(store, adding.verb, asking(body=Add(by=2)))
    assert await dump(store) == before
    again = await edge.command(store, adding.verb, asking())
    assert again.replayed
    another = await edge.command(store, adding.verb, asking(actor=OTHER))
    assert (another.replayed, body_of(another)) == (False, {"count": 2})


async def test_an_answer_is_stored_with_what_it_answers(database: Database) -> None:
    """The process ends right behind its first commit: whoever asks again must hear of it."""
    dying = database.open(lambda engine: Acting(engine, after=crash))
    with pytest.raises(Crash):
        await edge.command(dying, Adding().verb, asking())
    again = await edge.command(database.open(), Adding().verb, asking())
    assert again.replayed
    assert body_of(again) == {"count": 1}


async def test_a_reused_key_is_told_before_any_rule(store: Store) -> None:
    adding = Adding(limit=1)
    await edge.command(store, adding.verb, asking())
    with pytest.raises(errors.KeyReused):
        await edge.command(store, adding.verb, asking(body=Add(by=2)))


async def test_a_refusal_stores_nothing_and_may_be_tried_again(store: Store) -> None:
    adding = Adding(limit=0)
    before = await dump(store)
    for _ in range(2):
        with pytest.raises(Full):
            await edge.command(store, adding.verb, asking())
    assert await dump(store) == before
    adding.limit = 1
    assert not (await edge.command(store, adding.verb, asking())).replayed


async def test_a_replay_asks_whether_the_caller_still_may(store: Store) -> None:
    adding = Adding()
    await edge.command(store, adding.verb, asking())
    adding.strangers = {ACTOR.person}
    with pytest.raises(errors.NotFound):
        await edge.command(store, adding.verb, asking())
    adding.strangers = set()
    assert (await edge.command(store, adding.verb, asking())).replayed
    assert len(adding.permitted) == 3
    async with store.reading() as read:
        assert (await read.head("thing", "a")).version == 1


async def test_no_refusal_is_told_of_what_was_never_so(database: Database) -> None:
    """The row was read while it was full, the head before and after: together they never were."""
    store, adding = database.open(), Adding(limit=1)

    async def full_for_a_moment() -> None:
        other, head = database.open(), Head("thing", "a")
        await other.commit(counted(head, thing=Thing(id="a", count=1)))

    async def empty_again() -> None:
        async with store.reading() as read:
            head = await read.head("thing", "a")
        await database.open().commit(counted(head, thing=Thing(id="a", count=0)))

    adding.amid_load = [full_for_a_moment]
    deciding = adding.verb.decide

    def decide(known: Known, request: edge.Request[Add]) -> Change:
        if len(adding.decided) == 0:
            adding.before_load = [empty_again]
        return deciding(known, request)

    outcome = await edge.command(store, replace(adding.verb, decide=decide), asking())
    assert (outcome.replayed, body_of(outcome)) == (False, {"count": 1})
    assert adding.decided == ["k", "k"]


async def test_one_who_may_not_learns_nothing_of_the_state(store: Store) -> None:
    adding = Adding(limit=0, strangers={ACTOR.person}, conditional=True)
    for request in (asking(), asking(if_match=7)):
        with pytest.raises(errors.NotFound):
            await edge.command(store, adding.verb, request)
    assert adding.decided == []


async def test_if_match_names_the_version_that_was_seen(store: Store) -> None:
    adding = Adding(conditional=True)
    await store.commit(counted(Head("thing", "a"), thing=Thing(id="a")))
    with pytest.raises(errors.Unconditional):
        await edge.command(store, adding.verb, asking())
    for wrong in (0, 2, 10**17):
        with pytest.raises(errors.Stale) as stale:
            await edge.command(store, adding.verb, asking(if_match=wrong))
        assert stale.value.facts == {"current": 1}
    assert body_of(await edge.command(store, adding.verb, asking(if_match=1))) == {"count": 1}
    with pytest.raises(errors.Stale):
        await edge.command(store, adding.verb, asking("other", if_match=1))
    # The version has moved by this very request, which is no reason to refuse its repetition.
    assert (await edge.command(store, adding.verb, asking(if_match=1))).replayed


async def test_of_many_who_saw_the_same_version_one_is_served(database: Database) -> None:
    stores, adding = [database.open(), database.open()], Adding(conditional=True, queue=False)
    await stores[0].commit(counted(Head("thing", "a"), thing=Thing(id="a")))
    sending = [edge.command(stores[n % 2], adding.verb, asking(f"{n}", if_match=1)) for n in range(12)]
    outcomes = await asyncio.gather(*sending, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(edge.Outcome) == 1
    assert [type(outcome) for outcome in outcomes].count(errors.Stale) == 11


async def test_if_match_is_checked_where_it_may_be_left_out(store: Store) -> None:
    adding = Adding()
    with pytest.raises(errors.Stale):
        await edge.command(store, adding.verb, asking(if_match=1))
    assert body_of(await edge.command(store, adding.verb, asking())) == {"count": 1}
    assert body_of(await edge.command(store, adding.verb, asking("other", if_match=1))) == {"count": 2}


async def test_after_a_conflict_the_rule_decides_again_on_the_new_state(database: Database) -> None:
    """Another process got in between; what was possible may not be any more."""
    other, adding = database.open(), Adding(limit=2)

    async def meanwhile(by: int) -> None:
        await edge.command(other, Adding().verb, asking(f"meanwhile {by}", Add(by=by)))

    racing = database.open(lambda engine: Acting(engine, before=once(lambda change: meanwhile(1))))
    assert body_of(await edge.command(racing, adding.verb, asking())) == {"count": 2}
    assert adding.decided == ["k", "k"]
    adding.limit = 10
    racing = database.open(lambda engine: Acting(engine, before=once(lambda change: meanwhile(8))))
    with pytest.raises(Full) as refused:
        await edge.command(racing, adding.verb, asking("later"))
    assert refused.value.detail == "10"


async def test_one_who_decides_again_keeps_its_moment(database: Database) -> None:
    """So ids and salts are the same, however often it has to decide."""
    other, at = database.open(), now()

    async def meanwhile() -> None:
        await edge.command(other, Adding().verb, asking("meanwhile"))

    racing = database.open(lambda engine: Acting(engine, before=once(lambda change: meanwhile())))
    await edge.command(racing, Adding().verb, asking(at=at))
    async with other.reading() as read:
        rows = await read.rows(select(schema.table(JournalRow)).order_by("seq"))
    assert rows[1]["recorded_at"] == at.now
    assert rows[1]["salt"] == at.salt("thing/a", 2)


@pytest.mark.parametrize("limit", [1, 1000])
async def test_a_twins_success_is_never_told_as_a_refusal(database: Database, limit: int) -> None:
    """The same request, sent twice, crosses itself: with one place left, the second must not hear "full"."""
    other, adding = database.open(), Adding(limit=limit)

    async def twin() -> None:
        await edge.command(other, Adding().verb, asking())

    racing = database.open(lambda engine: Acting(engine, before=once(lambda change: twin())))
    outcome = await edge.command(racing, adding.verb, asking())
    assert outcome.replayed
    assert body_of(outcome) == {"count": 1}


class TooEarly(Store):
    """The planted bug: the answer as it was before the state was loaded."""

    async def answered(self, scope: str, key: str) -> None:
        return None


@pytest.mark.parametrize(("kind", "is_told"), [(Store, True), (TooEarly, False)])
async def test_a_twin_that_commits_before_the_load_is_seen_after_it(
    database: Database, kind: Callable[[Engine], Store], is_told: bool
) -> None:
    """The second is the mutant: it must be seen to tell a success as a refusal."""
    other, adding = database.open(), Adding(limit=1)
    adding.before_load.append(lambda: edge.command(other, Adding().verb, asking()))
    sending = edge.command(database.open(kind), adding.verb, asking())
    if is_told:
        assert (await sending).replayed
    else:
        with pytest.raises(Full):
            await sending


class Contended(Store):
    """Somebody else is always faster."""

    async def commit(self, change: Change) -> Outcome:
        async with self.reading() as read:
            current = await read.head(change.own[0].kind, change.own[0].id)
        assert await super().commit(counted(current)) == Committed()
        return await super().commit(change)


async def test_one_who_never_gets_in_is_told_that_the_system_is_busy(database: Database) -> None:
    adding = Adding()
    began = time.monotonic()
    with pytest.raises(errors.Busy) as busy:
        await edge.command(database.open(Contended), adding.verb, asking(), patience=0.3)
    assert 0.3 <= time.monotonic() - began < 2.0
    assert busy.value.retry_after
    assert len(adding.decided) > 2
    found = await dump(database.open())
    assert (found["t_things"], found["answers"]) == ([], [])


async def test_one_who_waits_in_the_queue_for_too_long_is_told_so(store: Store) -> None:
    adding = Adding()
    async with store.streams(["thing/a"]):
        waiting = asyncio.create_task(edge.command(store, adding.verb, asking(), patience=0.1))
        assert not (await asyncio.wait({waiting}, timeout=0.2))[0]
    with pytest.raises(errors.Busy):
        await waiting
    assert adding.decided == []


async def test_a_bug_in_a_rule_stores_nothing_and_is_no_refusal(store: Store) -> None:
    adding = Adding()
    before = await dump(store)
    with pytest.raises(TypeError):
        await edge.command(store, adding.verb, asking(body=Add(by="two")))  # type: ignore[arg-type]
    assert await dump(store) == before
    assert body_of(await edge.command(store, adding.verb, asking())) == {"count": 1}


async def test_a_fact_too_large_to_travel_is_never_stored(store: Store) -> None:
    """Nobody could hear of it, and its stream would stand still behind it."""
    told = Saying("liandong.thing.described.v1", {"text": "x" * 64_000})
    change = Change().telling(told, on=Head("thing", "a"), by=ACTOR, at=now())  # type: ignore[arg-type]
    assert await store.commit(change) == Committed()
    (entry,) = await store.unpublished(1)
    out = envelope.outgoing(entry)
    record = Record(Partition("t", 0), 0, out.key.encode(), out.value, out.headers)
    assert envelope.read(record).chain == entry.digest
    told = Saying("liandong.thing.described.v1", {"text": "案" * 22_000})
    with pytest.raises(ValueError, match="too large to travel"):
        Change().telling(told, on=Head("thing", "a"), by=ACTOR, at=now())  # type: ignore[arg-type]


async def test_committing_wakes_the_relay(store: Store) -> None:
    woken: list[int] = []
    store.on_growth(lambda: woken.append(1))
    await edge.command(store, Adding().verb, asking())
    assert len(woken) == 1
    await edge.command(store, Adding().verb, asking())
    assert len(woken) == 1
