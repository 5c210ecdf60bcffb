"""The simulation itself: time costs nothing, a seed is a run, the dead do nothing, what can happen does."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys

import pytest

from tests.simulation.loop import Loop, Stuck
from tests.simulation.parts import Databases
from tests.simulation.processes import Process
from tests.simulation.seeds import ROOT, SCHEDULE, Played, Seeds

#: Pairs of crashes, each in a schedule of its own.
PAIRS = range(SCHEDULE - 100, SCHEDULE)


@pytest.fixture(scope="module")
def pairs(databases: Databases) -> list[Played]:
    seeds = Seeds(databases)
    return [seeds.play(seed) for seed in PAIRS]


def test_time_passes_only_while_everybody_waits() -> None:
    loop, seen = Loop(random.Random(1)), []

    async def late() -> None:
        await asyncio.sleep(86_400)
        seen.append(loop.time())

    async def soon() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.Event().wait()
        seen.append(loop.time())

    loop.run_until_complete(asyncio.gather(*(loop.create_task(one()) for one in (late, soon))))
    assert seen == [1, 86_400]


def test_who_waits_for_nothing_is_told() -> None:
    loop = Loop(random.Random(1))
    task = loop.create_task(asyncio.Event().wait())
    with pytest.raises(Stuck):
        loop.run_until_complete(task)


def test_one_process_keeps_its_order_and_several_take_turns() -> None:
    """Over a few seeds, whichever began first does not always end first."""
    orders = set()
    for seed in range(20):
        said: list[str] = []
        loop = Loop(random.Random(seed))
        for name in "ab":
            process = Process(name, 1, 0, lambda process, nth, coroutine: None)
            for n in range(3):
                loop.call_soon(said.append, f"{name}{n}", context=process.context)
        loop.run_until_complete(loop.create_task(asyncio.sleep(1)))
        assert [one for one in said if one[0] == "a"] == ["a0", "a1", "a2"]
        orders.add("".join(said))
    assert len(orders) > 4


@pytest.mark.parametrize("seed", [7, SCHEDULE + 9, 2 * SCHEDULE - 1])
def test_a_seed_is_the_same_run_again_and_in_another_process(databases: Databases, seed: int) -> None:
    told = str(Seeds(databases).play(seed))
    assert str(Seeds(databases).play(seed)) == told
    asked = "import sys; from tests.simulation import parts, seeds;"
    asked += "sys.stdout.write(str(seeds.Seeds(parts.Databases()).play(int(sys.argv[1]))))"
    again = subprocess.run(
        [sys.executable, "-c", asked, str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "42", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert again.stdout.decode() == told


def test_the_dead_do_nothing(databases: Databases) -> None:
    """Not one line of the trace is theirs after they were killed."""
    seeds, killed = Seeds(databases), 0
    for seed in range(1, 40):
        played = seeds.play(seed)
        trace = [line.split(maxsplit=2) for line in played.outcome.trace]
        for stop, waited in played.outcome.stopped:
            at = next(n for n, (_, _, what) in enumerate(trace) if what == str(stop))
            dead = trace[at][1]
            assert dead not in [who for _, who, _ in trace[at + 1 :]]
            assert waited
            killed += 1
    assert killed > 30


@pytest.mark.parametrize(
    "what",
    [
        "put out of its group",
        "FenceLost",
        "Conflict",
        "was lost",
        "the answer to",
        "is asked to end",
        "starts",
    ],
)
def test_what_can_happen_does(pairs: list[Played], what: str) -> None:
    assert any(what in line for played in pairs for line in played.outcome.trace)


def test_whoever_fails_says_how_to_have_it_again(pairs: list[Played]) -> None:
    told = str(pairs[5])
    assert f"LIANDONG_SEED={PAIRS[5]} make test ARGS=tests/simulation/test_crash_points.py" in told
    assert "libs/common/" in told or "services/sharing/" in told
