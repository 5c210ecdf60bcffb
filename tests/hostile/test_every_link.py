"""Walks along the links of the description, a hostile value at every third step: real journeys, no bugs.

A walk begins where no id is needed, or at something that is there, and goes on with what the answers give.
`LIANDONG_FUZZ_SEED=<seed>` takes the same turns, `LIANDONG_FUZZ_WALKS=<number>` takes more of them, for a
nightly run.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from libs.common.settings import Name
from services import parts
from services.cases.law import procedure
from tests.hostile import corpus, sample
from tests.hostile.caller import Caller
from tests.hostile.ground import Call, Ground
from tests.worlds import cast

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("service", parts.NAMES),
    pytest.mark.usefixtures("no_bug"),
]

# Read before the environment is cleaned.
SEED = int(os.environ.get("LIANDONG_FUZZ_SEED") or 1)
WALKS = int(os.environ.get("LIANDONG_FUZZ_WALKS") or 40)
STEPS = 16

Link = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One request of a walk: what is asked, where, and upon which version."""

    call: Call
    places: Mapping[str, str]
    seen: str = ""


class Walk:
    """From link to link through one service; counts the answers of each operation."""

    def __init__(
        self, ground: Ground, service: Name, client: httpx.AsyncClient, chance: random.Random
    ) -> None:
        self._ground = ground
        self._schemas = ground.schemas(service)
        self._calls = {call.name: call for call in ground.calls(service)}
        self._callers = {name: Caller(ground, client, call) for name, call in self._calls.items()}
        self._chance = chance
        self.answers: Counter[tuple[str, int]] = Counter()

    @property
    def odd(self) -> list[str]:
        return [fault for caller in self._callers.values() for fault in caller.odd]

    def beginnings(self) -> list[Step]:
        """Operations that lead on and need no id, and one that reads something which is there."""
        leading = [
            call
            for call in self._calls.values()
            if any(answer.get("links") for answer in call.said["responses"].values())
        ]
        begun = [Step(call, {}) for call in leading if not call.names("path")]
        reading = [call for call in leading if call.method == "GET" and call.names("path")]
        if not reading:
            return begun
        call = self._chance.choice(reading)
        return [*begun, Step(call, {name: self._ground.known[name][0] for name in call.names("path")})]

    def targets(self) -> set[str]:
        """The operations that some link leads to."""
        return {
            operation
            for call in self._calls.values()
            for answer in call.said["responses"].values()
            for operation in answer.get("links", {})
        }

    async def go(self, beginning: Step) -> None:
        """So many steps; where nothing leads on, back to where something did."""
        known = [beginning]
        for _ in range(STEPS):
            step = self._next(known[-8:])
            answer = await self._take(step)
            known += self._following(step, answer)

    def _next(self, steps: Sequence[Step]) -> Step:
        """Every other time one that no walk has made yet: some stand at the end of a long way."""
        new = [step for step in steps if not self._is_reached(step.call.name)]
        return self._chance.choice(new if new and self._chance.random() < 1 / 2 else steps)

    def _is_reached(self, operation: str) -> bool:
        return any(self.answers[operation, status] for status in (200, 201))

    async def _take(self, step: Step) -> httpx.Response:
        answer = await self._callers[step.call.name].send(
            f"{step.places}",
            self._body(step.call),
            target=step.call.path.format_map(step.places).encode(),
            headers={"if-match": step.seen.encode()} if step.seen else {},
        )
        self.answers[step.call.name, answer.status_code] += 1
        return answer

    def _body(self, call: Call) -> bytes:
        if call.body is None:
            return b""
        if self._chance.random() < 1 / 3:
            _, marked = self._chance.choice(list(sample.places(call, self._schemas)))
            return sample.spliced(marked, self._chance.choice(list(corpus.VALUES.values())))
        body = sample.body(call, self._schemas)
        return sample.spliced(self._a_move() if "move" in body else body, b"")

    def _a_move(self) -> dict[str, Any]:
        """What goes with a move stands in the table of law, and in no schema."""
        move = self._chance.choice(list(procedure.load().moves.values()))
        what = {"officers": cast.officers(cast.TOWNSHIP), "reason": "x", "decision": "penalty"}
        return {"move": move.name, **{name: what[name] for name in sorted(move.needs)}}

    def _following(self, step: Step, answer: httpx.Response) -> Iterator[Step]:
        links = step.call.said["responses"].get(str(answer.status_code), {}).get("links", {})
        shuffled = self._chance.sample(sorted(links), k=len(links))
        for operation in sorted(shuffled, key=self._is_reached)[:3]:
            given = {
                name: _evaluated(expression, step, answer)
                for name, expression in links[operation]["parameters"].items()
            }
            if None not in given.values():
                seen = given.pop("header.If-Match", "")
                places = {name.removeprefix("path."): str(value) for name, value in given.items()}
                yield Step(self._calls[operation], places, str(seen))


def _evaluated(expression: str, step: Step, answer: httpx.Response) -> str | None:
    """A runtime expression of OpenAPI; None where the answer has no such thing."""
    kind, _, pointer = expression.partition("#")
    if kind == "$response.body":
        value = answer.json()
        for part in pointer.split("/")[1:]:
            try:
                value = value[int(part)] if isinstance(value, list) else value[part]
            except (IndexError, KeyError):
                return None
        return str(value)
    place, _, name = expression.rpartition(".")
    return {"$request.path": step.places, "$response.header": answer.headers}[place].get(name)


@pytest.mark.slow
async def test_journeys_along_the_links_meet_no_bug(prepared: Ground, service: Name) -> None:
    async with prepared.client(service) as client:
        walk = Walk(prepared, service, client, random.Random(SEED))
        for _ in range(WALKS):
            for beginning in walk.beginnings():
                await walk.go(beginning)
    assert walk.odd == [], f"LIANDONG_FUZZ_SEED={SEED}"
    assert walk.targets() <= {name for name, status in walk.answers if status < 300}
