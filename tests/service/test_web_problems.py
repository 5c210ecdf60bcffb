"""Every error that leaves a route is a problem: its status, its members, its headers, and nothing more."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import get_args

import httpx
import pytest
from pydantic_core import core_schema

from libs.common import errors, wording
from libs.common.web import body, problems, routes, tokens
from tests.worlds import surface


class Overdue(errors.RuleBroken):
    code = "overdue"
    title = "已超过期限"


CASES: list[tuple[Callable[[], Exception], int, str]] = [
    (tokens.Missing, 401, "unauthenticated"),
    (tokens.Unauthenticated, 401, "unauthenticated"),
    (errors.NotPermitted, 403, "not-permitted"),
    (errors.NotFound, 404, "not-found"),
    (errors.Refusal, 409, "refused"),
    (errors.Conflict, 409, "conflict"),
    (lambda: errors.RuleBroken(basis="行政处罚法第四十二条第一款"), 409, "rule-broken"),
    (lambda: Overdue(basis="行政处罚法第六十条"), 409, "overdue"),
    (errors.Stale, 412, "stale"),
    (body.TooLarge, 413, "too-large"),
    (routes.UnsupportedMediaType, 415, "unsupported-media-type"),
    (errors.Malformed, 422, "malformed"),
    (errors.KeyReused, 422, "key-reused"),
    (errors.Unconditional, 428, "precondition-required"),
    (errors.Transient, 503, "unavailable"),
    (errors.Busy, 503, "busy"),
]


async def refusal(directory: Path, refusing: Callable[[], Exception]) -> httpx.Response:
    here = surface.a_surface(directory, refusing=refusing)
    async with here.client(raising=False) as caller:
        return await caller.get("/v1/refusals")


@pytest.mark.anyio
@pytest.mark.parametrize(("refusing", "status", "code"), CASES)
async def test_each_error_has_its_status_and_type(
    refusing: Callable[[], Exception], status: int, code: str, tmp_path: Path
) -> None:
    answer = await refusal(tmp_path, refusing)
    problem = answer.json()
    assert answer.status_code == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:liandong:problem:{code}"
    assert not problem["title"].isascii()
    assert not problem["detail"].isascii()
    assert re.fullmatch("[0-9a-f]{32}", problem["trace_id"])


def test_every_refusal_of_the_core_is_in_the_table_above() -> None:
    tried = {type(refusing()) for refusing, _, _ in CASES}
    core = {found for found in vars(errors).values() if getattr(found, "__module__", "") == errors.__name__}
    assert core - tried == {errors.Poison}


@pytest.mark.anyio
async def test_a_rule_names_its_article_and_its_facts_but_cannot_replace_a_member(tmp_path: Path) -> None:
    answer = await refusal(
        tmp_path,
        lambda: Overdue("已于 3 月 2 日届满", basis="行政处罚法第六十条", due=date(2026, 3, 2), status=200),
    )
    problem = answer.json()
    assert problem.pop("trace_id")
    assert problem == {
        "type": "urn:liandong:problem:overdue",
        "title": "已超过期限",
        "status": 409,
        "detail": "已于 3 月 2 日届满",
        "basis": "行政处罚法第六十条",
        "due": "2026-03-02",
    }


@pytest.mark.anyio
async def test_what_is_invisible_looks_to_the_last_byte_like_what_does_not_exist(tmp_path: Path) -> None:
    invisible = await refusal(tmp_path, lambda: errors.NotFound("案件 17 对贵单位不可见", id="17"))
    here = surface.a_surface(tmp_path)
    async with here.client() as caller:
        nowhere = await caller.get("/v1/nowhere")
        unprintable = await caller.get("/v1/things/a%00b")

    def blank(answer: httpx.Response) -> tuple[int, bytes, set[str]]:
        text = re.sub(rb"[0-9a-f]{32}", b"", answer.content)
        return answer.status_code, text, {name for name in answer.headers if name != "date"}

    assert blank(invisible) == blank(nowhere) == blank(unprintable)


@pytest.mark.anyio
async def test_headers_say_how_to_go_on(tmp_path: Path) -> None:
    busy = await refusal(tmp_path, errors.Busy)
    down = await refusal(tmp_path, lambda: errors.Transient(retry_after=7))
    stranger = await refusal(tmp_path, tokens.Missing)
    doubtful = await refusal(tmp_path, tokens.Unauthenticated)
    assert (busy.headers["retry-after"], down.headers["retry-after"]) == ("1", "7")
    assert stranger.headers["www-authenticate"] == 'Bearer realm="liandong"'
    assert 'error="invalid_token"' in doubtful.headers["www-authenticate"]


@pytest.mark.anyio
async def test_a_bug_is_a_500_that_shows_its_trace_id_and_nothing_of_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await refusal(tmp_path, lambda: ZeroDivisionError("secret"))
    assert answer.status_code == 500
    assert set(answer.json()) == {"type", "title", "status", "detail", "trace_id"}
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["trace_id"] in answer.headers["traceparent"]
    (bug,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert bug.exc_info


@pytest.mark.anyio
async def test_a_bug_fails_the_test_that_meets_it(tmp_path: Path) -> None:
    here = surface.a_surface(tmp_path, refusing=ZeroDivisionError)
    async with here.client() as caller:
        with pytest.raises(ZeroDivisionError):
            await caller.get("/v1/refusals")


@pytest.mark.anyio
async def test_a_wrong_method_is_told_the_right_ones(tmp_path: Path) -> None:
    async with surface.a_surface(tmp_path).client() as caller:
        answer = await caller.request("DELETE", "/v1/refusals")
        override = await caller.get("/v1/things", headers={"x-http-method-override": "POST"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert answer.json()["type"] == "urn:liandong:problem:method-not-allowed"
    assert override.status_code == 200


def test_the_sentences_are_of_findings_that_pydantic_makes() -> None:
    assert set(wording.SAID) <= set(get_args(core_schema.ErrorType))


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        ({"type": "literal_error", "ctx": {"expected": "'a', 'b' or 'c'"}}, "应为下列之一：'a'、'b'、'c'"),
        (
            {"type": "value_error", "ctx": {"error": ValueError("两名执法人员不得相同")}},
            "两名执法人员不得相同",
        ),
        ({"type": "uscc", "msg": "应为 18 位"}, "应为 18 位"),
        ({"type": "recursion_loop", "msg": "Recursion error"}, "内容不符合要求"),
        ({"type": "too_long", "ctx": {"max_length": 3}}, "不得多于 3 项"),
    ],
)
def test_findings_are_told_in_chinese(finding: dict[str, object], said: str) -> None:
    assert wording.explain(finding) == said


def test_a_body_wrong_in_many_places_gets_a_short_answer() -> None:
    finding = {"type": "missing", "loc": ("body", "x"), "msg": ""}
    assert len(problems.malformed([finding] * 10_000).errors) == 50
