"""The composition of a service's HTTP surface: what all three share, around the routes of one."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from libs.common.settings import Settings
from libs.common.telemetry import Metrics
from libs.common.web import body, description, health, problems, routes, watch
from libs.common.web.tokens import Verifier

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

#: Bodies of the largest size that are read at the same time.
_LARGEST = 16

_PAGE = """<!doctype html>
<html lang="zh-CN">
<meta charset="utf-8">
<title>{title}</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<div id="docs"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#docs", deepLinking: true});\n'
#: The page styles itself inline and draws its icons from data; nothing comes from elsewhere.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'"
)


class App(FastAPI):
    """FastAPI with the watch outside of everything, even of what answers for our bugs."""

    def __init__(self, metrics: Metrics, **options: Any) -> None:
        super().__init__(**options)
        self._metrics = metrics

    def build_middleware_stack(self) -> ASGIApp:
        """Starlette's stack within the watch."""
        return watch.Watch(super().build_middleware_stack(), self._metrics)

    def openapi(self) -> dict[str, Any]:
        """The description of the API, completed; made once."""
        if self.openapi_schema is None:
            description.complete(super().openapi())
        return super().openapi()


def compose(
    title: str,
    *,
    settings: Settings,
    verifier: Verifier,
    metrics: Metrics,
    jwks: Mapping[str, Any],
    checks: Mapping[str, health.Check],
    routers: Iterable[APIRouter],
    lifespan: Lifespan | None = None,
) -> App:
    """A service's application. What its routes need more, its composition root puts on `app.state`."""
    app = App(
        metrics,
        title=title,
        version="1",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=_operation_id,
    )
    app.router.route_class = routes.StrictRoute
    app.state.verifier = verifier
    app.state.limits = body.Limits(settings.body_bytes, settings.json_depth, settings.json_nodes)
    app.add_middleware(body.Cap, size=settings.body_bytes, room=_LARGEST * settings.body_bytes)
    problems.install(app)
    for router in (health.router(checks, metrics.registry, jwks, seconds=settings.ready_seconds), *routers):
        _require_strict(router)
        app.include_router(router)
    _add_docs(app)
    return app


def _operation_id(route: APIRoute) -> str:
    """The name of its function: what generated clients call it, and what links lead to."""
    return route.name


def _require_strict(router: APIRouter) -> None:
    lax = [route for route in router.routes if not isinstance(route, routes.StrictRoute)]
    if lax:
        raise TypeError(f"not strict: {lax}; make the router with routes.router()")


def _add_docs(app: FastAPI) -> None:
    """/docs from a package's files, so that it works with no internet."""
    page = _PAGE.format(title=html.escape(app.title))
    headers = {"Content-Security-Policy": _PAGE_POLICY}

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page, headers=headers)

    @app.get("/docs/start.js", include_in_schema=False)
    async def start() -> Response:
        return Response(_START, media_type="text/javascript")

    assets = StaticFiles(directory=str(resources.files("fastapi_offline") / "static"))
    app.mount("/docs/assets", assets, name="docs-assets")
