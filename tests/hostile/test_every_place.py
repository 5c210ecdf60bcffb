"""Paths, queries and headers that nobody honest sends, to every operation: refused, never a bug."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from libs.common.settings import Name
from services import parts
from tests.hostile import sample
from tests.hostile.caller import Caller
from tests.hostile.ground import Call, Ground

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("service", parts.NAMES),
    pytest.mark.usefixtures("no_bug"),
]

#: What stands in a path or after a `=`, as it goes over the wire.
PLACES = {
    "nul": "%00",
    "nul behind an id": "1%00",
    "line feed": "a%0d%0ax-a:",
    "escape": "%1b%5b31m",
    "delete": "%7f",
    "overlong slash": "%c0%af",
    "overlong nul": "%c0%80",
    "no utf-8": "%ff%fe",
    "surrogate": "%ed%a0%80",
    "beyond unicode": "%f4%90%80%80",
    "half a percent": "%",
    "a percent of no digits": "%zz",
    "percent of percent": "%2500",
    "utf-16 percent": "%u0000",
    "turned round": "%e2%80%ae",
    "up": "..",
    "up, encoded": "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "up on windows": "..%5c..%5c",
    "a dot": ".",
    "a slash": "%2f",
    "a matrix parameter": "1;a=",
    "a wildcard": "*",
    "like": "%25_%25",
    "sql": quote("' OR '1'='1"),
    "a template": quote("{case}{0}${7*7}"),
    "quotes": quote("\"'`"),
    "minus one": "-1",
    "2^63": "9223372036854775808",
    "5,000 digits": "9" * 5_000,
    "nan": "NaN",
    "infinite": "1e999",
    "digits of arabic": quote("١٢٣"),
    "wide digits": quote("１２"),
    "an underscore in digits": "1_0",
    "a plus": "+1",
    "blank": "%20",
    "30 kB": "a" * 30_000,
    "30 kB of percent": "%61" * 10_000,
    "a uuid of nobody": "00000000-0000-0000-0000-000000000000",
    "a transfer of nobody": ".t1",
    "a grant of nobody": ".g" + "9" * 30,
    "year one": "0001-01-01",
    "the last day": "9999-12-31",
    "no such day": "2026-02-30",
}

#: What a header holds.
HEADERS = {
    "empty": b"",
    "blank": b" ",
    "not latin": "张三".encode(),
    "latin": "é".encode("latin-1"),
    "a tab": b"a\tb",
    "nul, encoded": b"%00",
    "line feed, encoded": b"a%0d%0ab",
    "overlong": b"%c0%af",
    "half a percent": b"%",
    "30 kB": b"a" * 30_000,
    "5,000 digits": b'"' + b"9" * 5_000 + b'"',
    "arabic digits": '"١"'.encode(),
    "a weak tag": b'W/"1"',
    "any tag": b"*",
    "many tags": b'"1","2"',
    "minus one": b'"-1"',
    "quotes": b'"""',
    "a list": b"a,b,c",
    "json": b'{"a":1}',
    "a date": b"Thu, 01 Jan 1970 00:00:00 GMT",
    "a trace": b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-ff",
    "a long trace": b"00-" + b"f" * 5_000 + b"-01",
}
#: Headers that the plumbing, the framework or a proxy reads, besides those that are described.
PLUMBING = (
    "traceparent",
    "tracestate",
    "if-none-match",
    "content-length",
    "accept",
    "host",
    "cookie",
    "range",
)


Spoilt = Iterator[tuple[str, str, dict[str, bytes]]]
#: What may answer an address that has become another one, or none.
ELSEWHERE = frozenset({200, 404, 405})


def paths(ground: Ground, call: Call) -> Spoilt:
    """A name, an address and headers for each place of the path and each thing that may stand there."""
    for place in call.names("path"):
        for name, value in PLACES.items():
            yield f"{place} = {name}", ground.address(call, **{place: value}), {}


def queries(ground: Ground, call: Call) -> Spoilt:
    """The same for the query."""
    address = ground.address(call)
    for name, value in PLACES.items():
        yield f"?{name}", f"{address}?{value}", {}
        for place in (*call.names("query"), "unknown"):
            yield f"?{place} = {name}", f"{address}?{place}={value}", {}
    yield "?5,000 parameters", f"{address}?{'&'.join(f'a{n}=' for n in range(5_000))}", {}
    yield "?5,000 times the same", f"{address}?{'&'.join(['limit=1'] * 5_000)}", {}


def headers(ground: Ground, call: Call) -> Spoilt:
    """The same for the headers that it describes; those of the plumbing once for each way of asking."""
    plumbing = PLUMBING if call.path in ("/v1/journal", "/v1/redrives", "/healthz") else ()
    for place in (*call.names("header"), *plumbing):
        for name, value in HEADERS.items():
            yield f"{place}: {name}", ground.address(call), {place.lower(): value}


@pytest.mark.parametrize("spoil", [paths, queries, headers])
async def test_no_place_of_any_operation_can_be_spoilt(
    prepared: Ground, service: Name, spoil: Callable[[Ground, Call], Spoilt]
) -> None:
    odd: list[str] = []
    async with prepared.client(service) as client:
        for call in prepared.calls(service):
            caller = Caller(prepared, client, call)
            body = b""
            if call.body is not None:
                body = sample.spliced(sample.body(call, prepared.schemas(service)), b"")
            for name, address, spoilt in spoil(prepared, call):
                await caller.send(name, body, target=address.encode(), headers=spoilt, also=ELSEWHERE)
            odd += caller.odd
    assert odd == []
