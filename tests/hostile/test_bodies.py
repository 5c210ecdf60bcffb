"""Bodies that two readers could understand differently, or that are too much, are a clear 4xx in Chinese."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from libs.common import errors
from libs.common.web import body
from tests import surface

DEEP = 100_000

#: What is sent, the code of its fault and the pointer to it.
UNREADABLE = [
    pytest.param(b" \n", "empty", "", id="blank"),
    pytest.param(b"\xef\xbb\xbf{}", "byte-order-mark", "", id="bom"),
    pytest.param("{}".encode("utf-16"), "not-utf-8", "", id="utf-16"),
    pytest.param("{}".encode("utf-16-le"), "json-invalid", "", id="utf-16 without a mark"),
    pytest.param('{"name":"张"}'.encode("gb18030"), "not-utf-8", "", id="gb18030"),
    pytest.param(b'{"name":"\xff"}', "not-utf-8", "", id="no utf-8"),
    pytest.param(b'{"name":"\xed\xa0\x80"}', "not-utf-8", "", id="encoded surrogate"),
    pytest.param(b'{"name":"\xc0\x80"}', "not-utf-8", "", id="overlong nul"),
    pytest.param(b'{"name":"\xf4\x90\x80\x80"}', "not-utf-8", "", id="beyond unicode"),
    pytest.param(b'{"count":NaN}', "not-a-number", "/count", id="nan"),
    pytest.param(b'{"count":Infinity}', "not-a-number", "/count", id="infinity"),
    pytest.param(b'{"count":-Infinity}', "not-a-number", "/count", id="minus infinity"),
    pytest.param(b"[[1,NaN]]", "not-a-number", "/0/1", id="nan within"),
    pytest.param(b'{"count":1e999}', "number-too-large", "/count", id="infinite float"),
    pytest.param(b'{"count":9223372036854775808}', "integer-too-large", "/count", id="2^63"),
    pytest.param(b'{"count":-9223372036854775809}', "integer-too-large", "/count", id="-2^63-1"),
    pytest.param(b'{"count":%b}' % (b"9" * 100_000), "integer-too-large", "/count", id="huge integer"),
    pytest.param(rb'{"name":"\u0000"}', "unstorable-character", "/name", id="escaped nul"),
    pytest.param(rb'{"a\u0000":1}', "unstorable-character", "", id="nul in a key"),
    pytest.param(rb'{"name":"\ud800"}', "unstorable-character", "/name", id="lone high surrogate"),
    pytest.param(rb'{"name":"\udc00x"}', "unstorable-character", "/name", id="lone low surrogate"),
    pytest.param(rb'{"name":"\udc00\ud800"}', "unstorable-character", "/name", id="surrogates swapped"),
    pytest.param(
        rb'{"parties":[{"\udfff":1}]}', "unstorable-character", "/parties/0", id="surrogate in a key"
    ),
    pytest.param(b'{"name":"a","name":"b"}', "duplicate-key", "", id="duplicate"),
    pytest.param(rb'{"name":"a","n\u0061me":"b"}', "duplicate-key", "", id="duplicate by escape"),
    pytest.param(b'{"parties":[{"name":1,"name":1}]}', "duplicate-key", "/parties/0", id="duplicate within"),
    pytest.param(b'{"a/b":{"~":[{"x":1,"x":2}]}}', "duplicate-key", "/a~1b/~0/0", id="pointer escaped"),
    pytest.param(b'{"__proto__":{},"__proto__":{}}', "duplicate-key", "", id="proto twice"),
    pytest.param(b"[" * 33 + b"]" * 33, "too-deep", "/0" * 32, id="33 arrays"),
    pytest.param(b'{"a":' * 33 + b"1" + b"}" * 33, "too-deep", "/a" * 32, id="33 objects"),
    pytest.param(b"[" * DEEP + b"]" * DEEP, "too-deep", "", id="bomb of arrays"),
    pytest.param(b'{"a":' * DEEP + b"1" + b"}" * DEEP, "too-deep", "", id="bomb of objects"),
    pytest.param(b"[" * DEEP, "too-deep", "", id="unclosed bomb"),
    pytest.param(b"[" + b"1," * 10_000 + b"1]", "too-many-values", "", id="10,001 items"),
    pytest.param(b"[" + b"[]," * 10_000 + b"[]]", "too-many-values", "", id="10,001 arrays"),
    pytest.param(json.dumps({str(n): n for n in range(10_001)}).encode(), "too-many-values", "", id="keys"),
    pytest.param(b"{} {}", "json-invalid", "", id="two values"),
    pytest.param(b"{}x", "json-invalid", "", id="trailing garbage"),
    pytest.param(b"{}\x00", "json-invalid", "", id="trailing nul"),
    pytest.param(b'{"name":"a",}', "json-invalid", "", id="trailing comma"),
    pytest.param(b"[1,]", "json-invalid", "", id="trailing comma in an array"),
    pytest.param(b"{'name':'a'}", "json-invalid", "", id="single quotes"),
    pytest.param(b"{name:1}", "json-invalid", "", id="bare key"),
    pytest.param(b'{"name":"a"/* why */}', "json-invalid", "", id="comment"),
    pytest.param(b'{"name":"a\nb"}', "json-invalid", "", id="raw line feed"),
    pytest.param(b'{"name":"a\x00b"}', "json-invalid", "", id="raw nul"),
    pytest.param(b'{"name":"a\\x41"}', "json-invalid", "", id="unknown escape"),
    pytest.param(rb'{"name":"\u12"}', "json-invalid", "", id="short escape"),
    pytest.param(b'{"name":"a', "json-invalid", "", id="cut off"),
    pytest.param(b'{"count":01}', "json-invalid", "", id="leading zero"),
    pytest.param(b'{"count":+1}', "json-invalid", "", id="plus"),
    pytest.param(b'{"count":.5}', "json-invalid", "", id="no digit before the point"),
    pytest.param(b'{"count":0x10}', "json-invalid", "", id="hexadecimal"),
    pytest.param('{"count":１}'.encode(), "json-invalid", "", id="full-width digit"),
    pytest.param(b"\xc2\xa0{}", "json-invalid", "", id="no-break space"),
    pytest.param(b"undefined", "json-invalid", "", id="a word"),
]

#: Readable JSON that is not what the route asks for.
UNFITTING = [
    pytest.param(b"null", "", id="null"),
    pytest.param(b"[]", "", id="array"),
    pytest.param(b'"name"', "", id="string"),
    pytest.param(b"{}", "/name", id="missing field"),
    pytest.param(b'{"name":"a","admin":true}', "/admin", id="unknown field"),
    pytest.param(b'{"name":"a","%b":1}' % (b"k" * 500_000), "/" + "k" * 99 + "…", id="long key"),
    pytest.param(b'{"name":"a","__class__":"x"}', "/__class__", id="dunder field"),
    pytest.param(b'{"name":"a","count":"1"}', "/count", id="number as string"),
    pytest.param(b'{"name":"a","count":true}', "/count", id="boolean as number"),
    pytest.param(b'{"name":"a","count":1.0}', "/count", id="float as integer"),
    pytest.param(b'{"name":["a"]}', "/name", id="array as string"),
    pytest.param(b'{"name":" \xe3\x80\x80 "}', "/name", id="only blanks"),
    pytest.param(b'{"name":"a\\u202eb"}', "/name", id="text turned round"),
    pytest.param(b'{"name":"a\\u001b[31m"}', "/name", id="terminal escape"),
    pytest.param(b'{"name":"' + b"a" * 500_000 + b'"}', "/name", id="long text"),
    pytest.param(b'{"name":"a","on":"2026-02-30"}', "/on", id="no such day"),
    pytest.param('{"name":"a","on":"２０２６-01-01"}'.encode(), "/on", id="full-width date"),
    pytest.param(b'{"name":"a","on":20260101}', "/on", id="date as number"),
    pytest.param(b'{"name":"a","parties":{}}', "/parties", id="object as array"),
    pytest.param(b'{"name":"a","parties":[{"name":"b"},{"nom":"c"}]}', "/parties/1/name", id="bad item"),
]


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
