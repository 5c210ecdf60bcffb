"""Every hostile body and value, sent to every operation that reads one: refused or harmless, never a bug."""

from __future__ import annotations

import pytest

from libs.common.settings import Name
from services import parts
from tests.hostile import corpus, sample
from tests.hostile.caller import Caller
from tests.hostile.ground import Call, Ground

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("service", parts.NAMES),
    pytest.mark.usefixtures("no_bug"),
]

#: Hostile bodies that every operation with a body gets at least.
AT_LEAST = 100
#: Refusals of what is wrong with the request itself, and not with what it asks for.
AMISS = {"unauthenticated", "not-permitted", "not-found", "unsupported-media-type", "malformed"}


@pytest.fixture
def reading(prepared: Ground, service: Name) -> list[Call]:
    """The operations of the service that read a body."""
    found = [call for call in prepared.calls(service) if call.body is not None]
    assert found
    return found


async def test_a_body_made_from_the_schema_would_do(
    prepared: Ground, service: Name, reading: list[Call]
) -> None:
    """Else what follows would be refused for want of something else."""
    async with prepared.client(service) as client:
        for call in reading:
            caller = Caller(prepared, client, call)
            whole = sample.body(call, prepared.schemas(service))
            answer = await caller.send("would do", sample.spliced(whole, b""))
            found = "" if answer.is_success else answer.json()["type"].rpartition(":")[2]
            assert found not in AMISS, f"{call.id} {whole} {answer.text}"


async def test_every_hostile_body_is_refused_by_every_operation(
    prepared: Ground, service: Name, reading: list[Call]
) -> None:
    unreadable = {name: (body, None, 422) for name, body in corpus.unreadable().items()}
    mislabelled = {name: (body, headers, 415) for name, (headers, body) in corpus.MISLABELLED.items()}
    readable = {name: (body, None, 0) for name, body in corpus.READABLE.items()}
    everything = {**unreadable, **mislabelled, **readable}
    assert len(everything) >= AT_LEAST
    odd: list[str] = []
    async with prepared.client(service) as client:
        for call in reading:
            caller = Caller(prepared, client, call)
            for name, (body, headers, status) in everything.items():
                answer = await caller.send(name, body, headers=headers)
                if status and answer.status_code != status:
                    odd.append(f"{call.id} {name}: {answer.status_code}, not {status}")
            odd += caller.odd
    assert odd == []


@pytest.mark.slow
async def test_every_hostile_value_in_every_field_does_no_harm(
    prepared: Ground, service: Name, reading: list[Call]
) -> None:
    odd: list[str] = []
    async with prepared.client(service) as client:
        for call in reading:
            caller = Caller(prepared, client, call)
            for path, marked in sample.places(call, prepared.schemas(service)):
                for name, value in corpus.VALUES.items():
                    await caller.send(f"{path} {name}", sample.spliced(marked, value))
            odd += caller.odd
    assert odd == []
