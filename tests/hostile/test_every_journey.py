"""schemathesis over every operation and along every link: what the description says is what is answered.

`LIANDONG_FUZZ_SEED=<seed>` plays other cases, and is printed with what failed;
`LIANDONG_FUZZ_EXAMPLES=<number>` plays more of each operation, for a nightly run.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events
from schemathesis.hooks import HookContext
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common.law import codes
from libs.common.permit import Role
from libs.common.settings import Name
from services import parts
from services.cases.law import procedure
from tests.hostile import ground, sample
from tests.hostile.ground import Ground
from tests.worlds import cast

T = TypeVar("T")

# Read before the environment is cleaned.
SEED = int(os.environ.get("LIANDONG_FUZZ_SEED") or 1)
EXAMPLES = int(os.environ.get("LIANDONG_FUZZ_EXAMPLES") or 60)
#: Cases that every operation gets at least.
AT_LEAST = 60

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)


class Bridge:
    """An application on the loop of the county, for who calls it from another loop."""

    def __init__(self, app: ASGIApp, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        theirs = asyncio.get_running_loop()

        async def receiving() -> Message:
            return await _on(theirs, receive())

        async def sending(message: Message) -> None:
            await _on(theirs, send(message))

        await _on(self._loop, self._app(scope, receiving, sending))


async def _on(loop: asyncio.AbstractEventLoop, work: Awaitable[T]) -> T:
    async def working() -> T:
        return await work

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(working(), loop))


def callers(prepared: Ground) -> type:
    """Mostly the one who gets furthest with an operation; sometimes somebody else, sometimes nobody."""
    issue = prepared.county.issuer.issue
    auditor = issue("a1", cast.OFFICE, [Role.AUDITOR], ground.SECONDS)
    stranger = issue("s1", cast.STRANGER, ground.PEOPLE, ground.SECONDS)
    others = itertools.cycle(("", auditor, stranger))
    numbers = itertools.count(1)

    class Callers:
        def get(self, case: Any, _: Any) -> str:
            if next(numbers) % 8 == 0:
                return next(others)
            return prepared.token(case.operation.definition.raw["operationId"])

        def set(self, case: Any, token: str, _: Any) -> None:
            if token:
                case.headers["Authorization"] = f"Bearer {token}"
            if "If-Match" in case.headers and "428" not in case.operation.definition.raw["responses"]:
                del case.headers["If-Match"]
            # A key of one's own for most of what one does; a repeated one is refused.
            if "Idempotency-Key" in case.headers and next(numbers) % 8:
                case.headers["Idempotency-Key"] = f"journey-{next(numbers)}"

    return Callers


#: What fields of a body hold most of the time: what is made up from a schema is seldom of this county.
FIELDS = {
    "power": [cast.POWER],
    "code": [f"3302170{n:02}000" for n in range(10, 90)],
    "agency": [cast.TOWNSHIP, cast.WITHOUT],
    "id": [codes.with_check_digit(f"11339901MB00{n:05}") for n in range(80)],
    "department": [cast.DEPARTMENT],
    "to_agency": [cast.DEPARTMENT],
    "proposed_agency": [cast.DEPARTMENT],
    "competent_agency": [cast.DEPARTMENT],
    "lead": [cast.DEPARTMENT],
    "opinion_no": ["协意〔2026〕第1号"],
    "letter_no": ["协函〔2026〕第1号"],
    "territory": [cast.PLACE],
    "kind": ["township"],
    "division": ["339901103"],
    "basis": ["某条例第三条"],
    "move": ["file", "investigate", "decide", "close", "reject"],
    "officers[*]": cast.officers(cast.TOWNSHIP),
    "acted_on": [sample.TODAY],
    "registered_on": [sample.TODAY],
    "valid_from": ["2020-01-01"],
    "valid_to": ["2099-12-31"],
}


def configured(prepared: Ground) -> SchemathesisConfig:
    """All phases; known ids and words of the county in most cases, and in the others anything."""
    words = {f"path.{name}": values for name, values in prepared.known.items()}
    words |= {f"body.{name}": values for name, values in FIELDS.items()}
    return SchemathesisConfig.from_dict(
        {
            "seed": SEED,
            "dictionaries": {place: {"values": list(values)} for place, values in words.items()},
            "parameters": {place: {"dictionary": place, "probability": 0.85} for place in words},
            "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
            "generation": {"max-examples": EXAMPLES, "with-security-parameters": False, "no-shrink": True},
            "phases": {"stateful": {"max-steps": 12, "generation": {"mode": "positive"}}},
            # The county's loops have ended, and it says that it is not ready.
            "operations": [
                {"include-path": "/readyz", "checks": {"not_a_server_error": {"enabled": False}}},
            ],
            "continue-on-failure": True,
            "workers": 1,
        }
    )


@pytest.fixture(scope="module")
def prepared_apart(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Ground, asyncio.AbstractEventLoop]]:
    """A county on a loop in a thread of its own: schemathesis calls from this one."""
    with start_blocking_portal() as portal:
        place: Path = tmp_path_factory.mktemp("county")
        with portal.wrap_async_context_manager(ground.prepared(place)) as found:
            yield found, portal.call(_loop)


async def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


@dataclass
class Played:
    """What was sent and what came of it."""

    cases: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def hear(self, event: events.EngineEvent) -> None:
        if isinstance(event, events.NonFatalError | events.FatalError):
            self.failures.append(repr(event))
        if not isinstance(event, events.ScenarioFinished):
            return
        self.cases.update(node.value.operation.label for node in event.recorder.cases.values())
        for checks in event.recorder.checks.values():
            for check in checks:
                if check.failure_info is not None:
                    self.failures.append(f"{check.failure_info.failure}\n{check.failure_info.code_sample}")

    def fault(self) -> str:
        """For people: how to play it again, and what failed first."""
        return "\n".join([f"LIANDONG_FUZZ_SEED={SEED} {len(self.failures)} failures", *self.failures[:10]])


def described(prepared: Ground, loop: asyncio.AbstractEventLoop, service: Name) -> Any:
    """The service's description as schemathesis reads it, with our callers and what they know."""
    app = Bridge(prepared.county.apps[service], loop)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=configured(prepared))
    schema.auth(refresh_interval=None)(callers(prepared))
    schema.hook("map_body")(with_what_the_move_needs())
    return schema


def with_what_the_move_needs() -> Callable[[HookContext, Any], Any]:
    """Which fields go with a move stands in the table of law, and no schema of JSON says it."""
    moves = procedure.load().moves
    numbers = itertools.count(1)

    def map_body(context: HookContext, body: Any) -> Any:
        move = moves.get(body.get("move", "")) if isinstance(body, dict) else None
        if move is None or next(numbers) % 8 == 0:
            return body
        fitting = {"officers": cast.officers(cast.TOWNSHIP), "reason": "x", "decision": "penalty"} | body
        return {name: value for name, value in fitting.items() if name in {"move", "acted_on", *move.needs}}

    return map_body


@pytest.mark.slow
@pytest.mark.parametrize("service", parts.NAMES)
def test_every_operation_answers_what_its_description_says(
    prepared_apart: tuple[Ground, asyncio.AbstractEventLoop], service: Name
) -> None:
    played = Played()
    for event in engine.from_schema(described(*prepared_apart, service)).execute():
        played.hear(event)
    assert not played.failures, played.fault()
    for call in prepared_apart[0].calls(service):
        # Without parameters there is one way to ask.
        least = min(AT_LEAST, EXAMPLES) if call.said.get("parameters") else 1
        # What was removed is not removed again: schemathesis makes fewer cases of that.
        least = least // 2 if call.method == "DELETE" else least
        assert played.cases[f"{call.method} {call.path}"] >= least, call.id
