"""What operators' machines and newcomers read: readiness, metrics, keys, and the API's own description."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

from libs.common import errors, telemetry
from libs.common.web import health
from tests.worlds import surface


async def well() -> None:
    """All is well."""


async def down() -> None:
    raise errors.Transient("数据库连接失败")


@pytest.mark.anyio
async def test_ready_means_that_every_check_passes(tmp_path: Path) -> None:
    here = surface.a_surface(tmp_path, checks={"database": well, "log": well})
    async with here.client() as caller:
        answer = await caller.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "checks": {"database": "ok", "log": "ok"}}


@pytest.mark.anyio
async def test_unready_says_which_check_failed_and_does_not_wait_for_the_slow(tmp_path: Path) -> None:
    checks = {"database": down, "log": anyio.sleep_forever, "migrations": well}
    here = surface.a_surface(tmp_path, checks=checks, ready_seconds=0.05)
    async with here.client() as caller:
        answer = await caller.get("/readyz")
        alive = await caller.get("/healthz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["checks"] == {"database": "数据库连接失败", "log": "超时", "migrations": "ok"}
    assert answer.json()["detail"] == "未通过的检查：database、log"
    assert alive.json() == {"status": "ok"}


@pytest.mark.anyio
async def test_the_open_paths_ask_for_no_token(tmp_path: Path) -> None:
    async with surface.a_surface(tmp_path).client(authorization="") as caller:
        assert {(await caller.get(path)).status_code for path in health.OPEN} == {200}
        keys = (await caller.get("/.well-known/jwks.json")).json()["keys"]
    assert [key["use"] for key in keys] == ["seal", "sig", "webhook"]
    assert not any("d" in key for key in keys)


@pytest.mark.anyio
async def test_metrics_are_prometheus_text_of_this_service_alone(tmp_path: Path) -> None:
    here, other = surface.a_surface(tmp_path), telemetry.Metrics("notify")
    other.parked(3)
    async with here.client() as caller:
        answer = await caller.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'service="notify"' not in answer.text


@pytest.mark.anyio
async def test_the_docs_work_with_no_internet(tmp_path: Path) -> None:
    async with surface.a_surface(tmp_path).client() as caller:
        page = await caller.get("/docs")
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        parts = {link: await caller.get(f"/{link}") for link in [*links, "openapi.json"]}
    assert len(links) == 3
    assert {part.status_code for part in parts.values()} == {200}
    assert not any("://" in link for link in links)
    assert "<script>" not in page.text
    assert "script-src 'self';" in page.headers["content-security-policy"]


@pytest.mark.anyio
async def test_the_description_names_problems_and_the_bearer_token(tmp_path: Path) -> None:
    async with surface.a_surface(tmp_path).client() as caller:
        described = (await caller.get("/openapi.json")).json()
    create = described["paths"]["/v1/things"]["post"]
    assert create["security"] == [{"HTTPBearer": []}]
    for status in ("401", "422"):
        assert set(create["responses"][status]["content"]) == {"application/problem+json"}
    assert {"Problem", "Thing"} <= set(described["components"]["schemas"])
    assert "HTTPValidationError" not in described["components"]["schemas"]
    assert described["components"]["schemas"]["Thing"]["additionalProperties"] is False
