"""What every route does before its own work: who asks, what was asked, and the trace of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi import APIRouter

from libs.common import clock, telemetry
from libs.common.permit import Role
from libs.common.settings import Settings
from libs.common.web import application, tokens, watch
from tests.worlds import surface


@pytest.fixture
def here(tmp_path: Path) -> surface.Surface:
    return surface.a_surface(tmp_path)


@pytest.mark.anyio
async def test_a_good_request_reaches_its_route_in_the_form_that_is_stored(here: surface.Surface) -> None:
    async with here.client() as caller:
        answer = await caller.post("/v1/things", json={"name": " 张三\u3000", "on": "2026-03-02"})
    assert (answer.status_code, answer.json()) == (201, {"by": "zhang", "name": "张三"})
    assert here.taken[0].name == "张三"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limti=5", "unknown-parameter"),
        ("limit=5&access_token=x", "unknown-parameter"),
        ("LIMIT=5", "unknown-parameter"),
        ("%00=5", "unknown-parameter"),
        ("limit=5&limit=6", "repeated-parameter"),
        ("name=a%00b", "unreadable-character"),
        ("name=a%0d%0ab", "unreadable-character"),
        ("limit=0", "greater-than-equal"),
        ("limit=201", "less-than-equal"),
        ("limit=x", "int-parsing"),
        ("limit=1e2", "int-parsing"),
        ("limit=" + "9" * 5000, "int-parsing-size"),
        ("limit=", "int-parsing"),
    ],
)
async def test_an_odd_query_is_422(query: str, code: str, here: surface.Surface) -> None:
    async with here.client() as caller:
        answer = await caller.get(f"/v1/things?{query}")
    assert answer.status_code == 422
    found = answer.json()["errors"]
    assert code in [fault["code"] for fault in found]
    assert all(fault["pointer"].startswith("query:") and not fault["detail"].isascii() for fault in found)


@pytest.mark.anyio
async def test_a_query_that_is_declared_is_read(here: surface.Surface) -> None:
    async with here.client() as caller:
        answer = await caller.get("/v1/things", params={"limit": 200, "name": "张 三"})
    assert answer.json() == {"limit": 200, "name": "张 三"}


def test_a_lax_router_is_refused_at_composition(tmp_path: Path) -> None:
    lax = APIRouter()
    lax.add_api_route("/lax", lambda: None)
    with pytest.raises(TypeError, match="not strict"):
        application.compose(
            "测试",
            settings=Settings(data=tmp_path),
            verifier=tokens.Verifier("x", []),
            metrics=telemetry.Metrics("cases"),
            jwks={},
            checks={},
            routers=[lax],
        )


@pytest.mark.anyio
async def test_every_answer_is_guarded_and_carries_its_trace(here: surface.Surface) -> None:
    async with here.client() as caller:
        answers = [
            await caller.get(path) for path in ("/v1/things", "/v1/nowhere", "/healthz", "/openapi.json")
        ]
    for answer in answers:
        assert {name: answer.headers[name] for name in watch.HEADERS} == watch.HEADERS
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", answer.headers["traceparent"])
    assert len({answer.headers["traceparent"] for answer in answers}) == len(answers)


@pytest.mark.anyio
async def test_a_callers_trace_goes_on_but_does_not_name_the_request(
    here: surface.Surface, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with here.client() as caller:
        answer = await caller.get("/v1/nowhere", headers={"traceparent": theirs, "x-request-id": "mine"})
    assert answer.headers["traceparent"].startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert answer.headers["traceparent"].endswith("-01")
    assert answer.headers["traceparent"] != theirs
    assert answer.json()["trace_id"] not in theirs


@pytest.mark.anyio
async def test_requests_are_counted_by_route_and_logged_without_their_query(
    here: surface.Surface, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with here.client() as caller:
        for id in range(3):
            await caller.get(f"/v1/things/{id}")
        await caller.get("/v1/things?name=secret")
        await caller.request("PROPFIND", "/v1/elsewhere")
        await caller.get("/healthz")
        metrics = (await caller.get("/metrics")).text

    def counted(**labels: str) -> float | None:
        return here.metrics.registry.get_sample_value(
            "liandong_http_requests_total", {"service": "cases", **labels}
        )

    assert counted(route="/v1/things/{id}", method="GET", status="200") == 3
    assert counted(route="unmatched", method="other", status="404") == 1
    assert (
        'liandong_http_request_seconds_count{method="GET",route="/v1/things/{id}",service="cases"}' in metrics
    )
    lines = [record for record in caplog.records if record.name == watch.__name__]
    assert [line.getMessage() for line in lines][:4] == [
        "GET /v1/things/0 200",
        "GET /v1/things/1 200",
        "GET /v1/things/2 200",
        "GET /v1/things 200",
    ]
    assert not any("secret" in str(vars(line)) or "/healthz" in line.getMessage() for line in lines)


@pytest.mark.anyio
async def test_the_token_is_read_from_one_place(here: surface.Surface) -> None:
    token = here.token(Role.HANDLER)
    async with here.client(authorization="") as caller:
        for given in (
            [],
            [("authorization", token)],
            [("authorization", f"Basic {token}")],
            [("authorization", "Bearer")],
            [("authorization", f"Bearer  {token}")],
            [("authorization", f"Bearer {token}"), ("authorization", f"Bearer {token}")],
            [("cookie", f"token={token}")],
            [("x-access-token", token)],
        ):
            caller.headers.pop("authorization", None)
            answer = await caller.get("/v1/things", headers=given)
            assert answer.status_code == 401, given
        in_url = await caller.get("/v1/things", params={"access_token": token})
        good = await caller.get("/v1/things", headers={"authorization": f"bearer {token}"})
    assert (in_url.status_code, good.status_code) == (401, 200)


def test_outside_of_any_request_there_is_a_trace_of_ones_own() -> None:
    assert telemetry.current_trace() != telemetry.current_trace()
    event = clock.Trace("c", "case/1/2", "00-1")
    with telemetry.traced(event):
        assert telemetry.current_trace() == event
