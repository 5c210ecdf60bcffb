"""A small service with one route of each kind, for tests of what the routes of all services share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Depends, Query
from starlette.requests import Request

from libs.common import errors
from libs.common.permit import Actor, Role
from libs.common.seal import Keyring
from libs.common.settings import Settings
from libs.common.telemetry import Metrics
from libs.common.web import application, fields, health, routes, tokens

TOWNSHIP = "11330106MB12345675"

Who = Annotated[Actor, Depends(tokens.actor)]


class Party(fields.In):
    name: Annotated[str, fields.Text(1, 20)]


class Thing(fields.In):
    name: Annotated[str, fields.Text(1, 20)]
    count: int = 0
    on: fields.Day | None = None
    parties: fields.Items[Party] = ()


@dataclass(frozen=True)
class Surface:
    """The composed application and what its callers need."""

    app: application.App
    issuer: tokens.Issuer
    metrics: Metrics
    #: The bodies that reached a route.
    taken: list[Thing]

    def token(self, *roles: Role) -> str:
        return self.issuer.issue("zhang", TOWNSHIP, roles or [Role.HANDLER])

    def client(self, *, raising: bool = True, **headers: str) -> httpx.AsyncClient:
        """A caller with a valid token, unless headers say otherwise."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=raising)
        given = {"authorization": f"Bearer {self.token()}", **headers}
        return httpx.AsyncClient(transport=transport, base_url="http://cases", headers=given)


def a_surface(
    directory: Path,
    *,
    refusing: Callable[[], Exception] = errors.NotFound,
    checks: Mapping[str, health.Check] | None = None,
    verifier: tokens.Verifier | None = None,
    **settings: Any,
) -> Surface:
    """A surface whose /v1/refusals raises what `refusing` makes."""
    chosen = Settings(data=directory, **settings)
    keys = Keyring.at(chosen.key_directory)
    metrics = Metrics("cases")
    taken: list[Thing] = []
    app = application.compose(
        "测试",
        settings=chosen,
        verifier=verifier or tokens.verifier(chosen),
        metrics=metrics,
        jwks=keys.jwks,
        checks=checks or {},
        routers=[_routes(refusing, taken)],
    )
    return Surface(app, tokens.Issuer(keys.tokens, chosen.issuer, chosen.audience), metrics, taken)


def _routes(refusing: Callable[[], Exception], taken: list[Thing]) -> APIRouter:
    router = routes.router()

    @router.post("/things", status_code=201)
    async def create(thing: Thing, who: Who) -> dict[str, str]:
        taken.append(thing)
        return {"by": who.person, "name": thing.name}

    @router.get("/things")
    async def search(
        who: Who, limit: Annotated[int, Query(ge=1, le=200)] = 50, name: str = ""
    ) -> dict[str, Any]:
        return {"limit": limit, "name": name}

    @router.get("/things/{id}")
    async def read(id: str, who: Who) -> dict[str, str]:
        return {"id": id, "agency": who.agency}

    @router.get("/refusals")
    async def refuse() -> None:
        raise refusing()

    @router.post("/uploads")
    async def upload(request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    return router
