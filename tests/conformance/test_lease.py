"""Leases: one holder at a time, on the database's clock, and an epoch that shuts out those before it."""

from __future__ import annotations

import asyncio

import pytest

from libs.common.change import Head
from libs.common.clock import Clock, monotonic
from libs.common.loops.lease import Leased
from libs.common.store.store import Lease, Store
from tests.conformance.conftest import Database
from tests.conformance.things import counted, eventually

pytestmark = pytest.mark.anyio

#: Far beyond the end of a test.
LONG = 60.0


async def test_of_many_who_ask_at_once_one_has_the_lease(database: Database) -> None:
    stores = [database.open(), database.open()]
    asking = [stores[n % 2].lease("relay", f"holder {n}", LONG) for n in range(12)]
    answers = await asyncio.gather(*asking)
    held = [lease for lease in answers if lease]
    assert len(held) == 1
    assert held[0].epoch == 1
    assert [bool(lease) for lease in answers].index(True) == int(held[0].holder.split()[1])
    assert await stores[0].lease("another", "somebody", LONG) == Lease("another", "somebody", 1)


async def test_renewing_keeps_the_epoch_and_the_others_out(store: Store) -> None:
    first = await store.lease("relay", "a", 0.3)
    assert await store.lease("relay", "a", LONG) == first
    await asyncio.sleep(0.5)
    assert await store.lease("relay", "b", LONG) is None
    assert await store.lease("relay", "a", LONG) == first


async def test_one_that_has_run_out_is_taken_over_with_a_higher_epoch(store: Store) -> None:
    assert await store.lease("relay", "a", 0.1) == Lease("relay", "a", 1)
    assert await eventually(lambda: store.lease("relay", "b", LONG)) == Lease("relay", "b", 2)
    assert await store.lease("relay", "a", LONG) is None


async def test_one_that_has_run_out_and_nobody_wanted_is_renewed(store: Store) -> None:
    assert await store.lease("relay", "a", -1.0)
    assert await store.lease("relay", "a", LONG) == Lease("relay", "a", 1)


async def test_a_lease_given_back_is_free_at_once(store: Store) -> None:
    lease = await store.lease("relay", "a", LONG)
    assert lease
    await store.release(lease)
    assert await store.lease("relay", "b", LONG) == Lease("relay", "b", 2)


async def test_one_who_was_robbed_cannot_give_it_back(store: Store) -> None:
    robbed = await store.lease("relay", "a", -1.0)
    assert await store.lease("relay", "b", -1.0)
    again = await store.lease("relay", "a", LONG)
    assert robbed
    assert again == Lease("relay", "a", 3)
    await store.release(robbed)
    assert await store.lease("relay", "b", LONG) is None


async def test_only_the_holder_marks_what_was_published(store: Store) -> None:
    await store.commit(counted(Head("thing", "a")))
    (entry,) = await store.unpublished(10)
    robbed = await store.lease("relay", "a", -1.0)
    assert robbed
    taken = await store.lease("relay", "b", LONG)
    assert taken
    for lease in (robbed, Lease("relay", "b", 1), Lease("relay", "c", 2), Lease("other", "b", 2)):
        assert not await store.mark_published([entry.position], at=Clock().now(), lease=lease)
        assert await store.unpublished(10) == [entry]
    assert await store.mark_published([entry.position], at=Clock().now(), lease=taken)
    assert await store.unpublished(10) == []


async def test_a_loop_renews_well_before_the_end_and_knows_when_it_has_lost(database: Database) -> None:
    one, other = (Leased(database.open(), "relay", name, seconds=2.0) for name in "ab")
    assert one.deadline < 1.0
    assert not one.leads
    first = await one.held()
    assert first
    assert one.leads
    began = monotonic()
    while monotonic() - began < 2.5:
        assert await one.held() == first
        assert await other.held() is None
        await asyncio.sleep(0.02)
    taken = await eventually(other.held)
    assert taken
    assert taken.epoch == first.epoch + 1
    await eventually(lambda: _without(one))
    assert (one.leads, other.leads) == (False, True)
    await other.release()
    assert await eventually(one.held) == Lease("relay", "a", 3)
    await one.release()


async def test_a_lease_that_nobody_renews_runs_out_for_its_holder_too(database: Database) -> None:
    leased = Leased(database.open(), "relay", "a", seconds=0.3)
    assert await leased.held()
    assert leased.leads

    async def ended() -> bool:
        return not leased.leads

    await eventually(ended)


async def _without(leased: Leased) -> bool:
    return await leased.held() is None


async def test_a_lease_said_to_be_lost_is_asked_for_anew(database: Database) -> None:
    store = database.open()
    leased = Leased(store, "relay", "a", seconds=LONG)
    assert await leased.held()
    mine = await store.lease("relay", "a", -1.0)
    assert mine
    assert await store.lease("relay", "b", LONG)
    assert await leased.held()  # it need not ask each time: the epoch is what protects
    leased.lost()
    assert await leased.held() is None
    await leased.release()
    assert await store.lease("relay", "c", LONG) is None
