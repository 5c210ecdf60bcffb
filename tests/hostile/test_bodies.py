"""Bodies that two readers could understand differently, or that are too much, are a clear 4xx in Chinese."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from libs.common import errors
from libs.common.web import body
from tests.hostile.corpus import UNFITTING, UNREADABLE
from tests.worlds import surface


@pytest.fixture
def here(tmp_path: Path) -> surface.Surface:
    return surface.a_surface(tmp_path)


@pytest.mark.parametrize(("raw", "code", "pointer"), UNREADABLE)
def test_an_unreadable_body_is_refused_with_its_place(raw: bytes, code: str, pointer: str) -> None:
    with pytest.raises(errors.Malformed) as refused:
        body.parse(raw)
    (fault,) = refused.value.errors
    assert (fault["code"], fault["pointer"]) == (code, pointer)
    assert not fault["detail"].isascii()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "raw", [pytest.param(*case.values[:1], id=case.id) for case in [*UNREADABLE, *UNFITTING]]
)
async def test_a_hostile_body_is_422_and_changes_nothing(raw: bytes, here: surface.Surface) -> None:
    async with here.client() as caller:
        answer = await caller.post("/v1/things", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == "urn:liandong:problem:malformed"
    assert problem["errors"]
    assert not any(fault["detail"].isascii() for fault in problem["errors"])
    assert len(answer.content) < 2000
    assert here.taken == []


@pytest.mark.anyio
@pytest.mark.parametrize(("raw", "pointer"), UNFITTING)
async def test_an_unfitting_body_names_the_field(raw: bytes, pointer: str, here: surface.Surface) -> None:
    async with here.client() as caller:
        answer = await caller.post("/v1/things", content=raw, headers={"content-type": "application/json"})
    assert pointer in [fault["pointer"] for fault in answer.json()["errors"]]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"content-type": "text/plain"}, id="text"),
        pytest.param({"content-type": "application/x-www-form-urlencoded"}, id="form"),
        pytest.param({"content-type": "application/merge-patch+json"}, id="another json"),
        pytest.param({"content-type": "application/json; charset=gbk"}, id="another charset"),
        pytest.param({"content-type": "application/json", "content-encoding": "gzip"}, id="compressed"),
    ],
)
async def test_another_media_type_is_415(headers: dict[str, str], here: surface.Surface) -> None:
    async with here.client() as caller:
        answer = await caller.post("/v1/things", content=b'{"name":"a"}', headers=headers)
    assert (answer.status_code, here.taken) == (415, [])


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/v1/things", "/v1/uploads"])
async def test_a_body_over_the_limit_is_413_whether_announced_or_in_chunks(
    path: str, here: surface.Surface
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 65536

    headers = {"content-type": "application/json"}
    async with here.client() as caller:
        announced = await caller.post(path, content=b" " * (1 << 20) + b"1", headers=headers)
        chunked = await caller.post(path, content=chunks(), headers=headers)
        lying = await caller.post(path, content=b"1", headers={**headers, "content-length": "9" * 5000})
        just = await caller.post("/v1/uploads", content=b" " * (1 << 20))
    for answer in (announced, chunked, lying):
        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:liandong:problem:too-large"
        assert answer.headers["connection"] == "close"
    assert just.json() == {"size": 1 << 20}


@pytest.mark.anyio
async def test_large_bodies_have_room_for_so_many_and_small_ones_always(here: surface.Surface) -> None:
    """Slow ones keep their room until they end; whoever comes too much is told to come again."""
    reading, ended = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b" " * (1 << 20)
        reading.set()
        await ended.wait()

    headers = {"content-type": "application/json"}
    async with here.client() as caller, asyncio.TaskGroup() as group:
        for _ in range(16):
            reading.clear()
            group.create_task(caller.post("/v1/things", content=slow(), headers=headers))
            await reading.wait()
        large = await caller.post("/v1/things", content=b" " * (1 << 20), headers=headers)
        small = await caller.post("/v1/things", content=b'{"name":"a"}', headers=headers)
        ended.set()
    assert (large.status_code, large.headers["retry-after"]) == (503, "1")
    assert small.status_code == 201
    async with here.client() as caller:
        again = await caller.post("/v1/things", content=b" " * (1 << 20), headers=headers)
    assert again.status_code == 422


@pytest.mark.anyio
async def test_a_stranger_is_refused_before_the_body_is_read(here: surface.Surface) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with here.client(authorization="Bearer x") as caller:
        answer = await caller.post(
            "/v1/things", content=never(), headers={"content-type": "application/json"}
        )
    assert answer.status_code == 401


def test_what_stays_within_the_limits_is_read() -> None:
    assert body.parse(b"[" * 32 + b"]" * 32)
    assert body.parse(b"[" + b"1," * 9_998 + b"1]")
    assert body.parse(b' {"a": [1, -2.5, 1e3, true, null, "\xf0\x9f\x98\x80", "\\ud83d\\ude00"]} ') == {
        "a": [1, -2.5, 1000.0, True, None, "😀", "😀"]
    }
    assert body.parse(b"[9223372036854775807,-9223372036854775808]") == [(1 << 63) - 1, -(1 << 63)]


@given(some.recursive(some.none() | some.booleans() | some.integers(-(1 << 63), (1 << 63) - 1), some.lists))
def test_what_a_careful_writer_writes_is_read_back(value: object) -> None:
    assert body.parse(json.dumps(value).encode()) == value


@given(some.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(errors.Malformed):
        body.parse(raw)
