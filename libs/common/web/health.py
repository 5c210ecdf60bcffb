"""What an operator's machines ask: is it alive, is it ready, how is it doing, which keys are its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import JSONResponse, Response

from libs.common import errors
from libs.common.web import description, problems, routes

#: Returns when all is well; Transient, whose detail says what is not, when it is not.
Check = Callable[[], Awaitable[None]]

#: Paths that answer anybody: they say nothing of cases or people.
OPEN = frozenset({"/healthz", "/readyz", "/metrics", "/.well-known/jwks.json"})

_WELL = "ok"


def router(
    checks: Mapping[str, Check], registry: CollectorRegistry, jwks: Mapping[str, Any], *, seconds: float = 2.0
) -> APIRouter:
    """The routes of OPEN; each check may take so many seconds."""
    found = routes.router(prefix="", tag="运行状况")

    @found.get("/healthz", summary="进程是否存活")
    async def healthz() -> dict[str, str]:
        return {"status": _WELL}

    @found.get("/readyz", summary="是否可以接受请求", responses=description.refusing(503))
    async def readyz() -> Response:
        said = await _ask(checks, seconds)
        if all(answer == _WELL for answer in said.values()):
            return JSONResponse({"status": _WELL, "checks": said})
        failed = "、".join(name for name, answer in said.items() if answer != _WELL)
        return problems.problem(
            503,
            "unready",
            "服务未就绪",
            f"未通过的检查：{failed}",
            facts={"checks": said},
            headers={"Retry-After": "2"},
        )

    @found.get("/metrics", summary="Prometheus 指标", response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @found.get("/.well-known/jwks.json", summary="签名公钥")
    async def keys() -> dict[str, Any]:
        return dict(jwks)

    return found


async def _ask(checks: Mapping[str, Check], seconds: float) -> dict[str, str]:
    said = dict.fromkeys(checks, "超时")

    async def ask(name: str, check: Check) -> None:
        with anyio.move_on_after(seconds):
            try:
                await check()
                said[name] = _WELL
            except errors.Transient as why:
                said[name] = why.detail

    async with anyio.create_task_group() as group:
        for name, check in checks.items():
            group.start_soon(ask, name, check)
    return said
