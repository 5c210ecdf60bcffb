"""Every way in or out asks the service's one permit(): a route without a rule fails here."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

import services
from libs.common import edge
from libs.common.permit import Role
from libs.common.settings import Name, Settings
from libs.common.web import health, problems, tokens
from libs.common.web.asked import Asks, Does
from services import embedded, parts
from services.sharing.board.api import Looks
from tests.worlds import routed

pytestmark = pytest.mark.anyio

#: What answers anybody, with no rule: it says nothing of cases or people.
OPEN = health.OPEN | {"/openapi.json", "/docs", "/docs/start.js", "/docs/assets"}
#: Pages for people stand under this, are no part of the API, and ask for a session instead of a token.
PAGES = "/board"
#: What a browser has before it has a session.
DOORS = {"/board/enter/{ticket}", "/board/assets/{name}"}

#: What a token of a person may carry.
PEOPLE = tuple(role for role in Role if role is not Role.SERVICE)

#: Methods of routes that write.
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

#: Actions that move a state which the caller must have seen (ADR 0016).
CONDITIONAL = {"case.move", "transfer.offer", "endpoint.change"}


@dataclass(frozen=True)
class Composed:
    """A service as it is served."""

    name: Name
    app: FastAPI
    issuer: tokens.Issuer
    rules: Mapping[str, Any]

    def routes(self) -> Iterator[BaseRoute]:
        """Every route, also those that a router brought."""
        return routed.routes(self.app)

    def guarded(self) -> list[APIRoute]:
        """The routes that are not open to anybody."""
        return [r for r in self.routes() if isinstance(r, APIRoute) and r.path not in OPEN | DOORS]

    def api(self) -> list[APIRoute]:
        """Those of them that are no pages."""
        return [r for r in self.guarded() if not r.path.startswith(PAGES)]

    def client(self, *roles: Role) -> httpx.AsyncClient:
        """A caller with these roles at an agency that nobody knows; without roles one without a token."""
        token = self.issuer.issue("zhang", "11331221000000342U", roles, 600) if roles else ""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers)


@pytest.fixture(scope="module", params=parts.NAMES)
async def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Composed]:
    """Each service, composed as it is when the three run in one process."""
    name: Name = request.param
    settings = Settings(data=tmp_path_factory.mktemp("county"))
    async with parts.embedded(settings) as three:
        issuer = tokens.Issuer(three[name].keyring.tokens, settings.issuer, settings.audience)
        rules = importlib.import_module(f"services.{name}.access").RULES
        yield Composed(name, embedded.CREATE[name](three[name]), issuer, rules)


def declared(dependant: Dependant) -> list[Asks | Does]:
    """What the route says that it is for, itself or through a dependency."""
    found = [dependant.call] if isinstance(dependant.call, Asks | Does) else []
    return found + [action for inner in dependant.dependencies for action in declared(inner)]


async def test_every_route_says_what_it_is_for(service: Composed) -> None:
    silent = [route.path for route in service.guarded() if len(declared(route.dependant)) != 1]
    assert silent == []


async def test_every_action_of_a_route_has_a_rule(service: Composed) -> None:
    lawless = [
        f"{route.path}: {action.action}"
        for route in service.guarded()
        for action in declared(route.dependant)
        if action.action not in service.rules
    ]
    assert lawless == []


async def test_every_rule_is_for_something_that_can_be_done(service: Composed) -> None:
    used = {action.action for route in service.guarded() for action in declared(route.dependant)}
    assert set(service.rules) - used == set()


async def test_what_writes_declares_a_deed_and_what_reads_a_question(service: Composed) -> None:
    kinds = {frozenset({method}): Does for method in WRITES} | {frozenset({"GET"}): Asks}
    odd = [
        f"{route.methods} {route.path}"
        for route in service.guarded()
        for action in declared(route.dependant)
        if not isinstance(action, kinds.get(frozenset(route.methods or ()), ()))
    ]
    assert odd == []


async def test_only_these_paths_are_open_to_anybody(service: Composed) -> None:
    open_to_all = {
        str(getattr(route, "path", ""))
        for route in service.routes()
        if not isinstance(route, APIRoute) or not declared(route.dependant)
    }
    assert open_to_all == OPEN | (DOORS if service.name == "sharing" else set())


async def test_a_stranger_without_a_token_gets_no_further_than_401(service: Composed) -> None:
    async with service.client() as stranger:
        answers = [await stranger.request(*asked(route)) for route in service.guarded()]
    assert {answer.status_code for answer in answers} == {401}


async def test_a_write_without_an_idempotency_key_is_422_before_anything_else(service: Composed) -> None:
    writes = [route for route in service.guarded() if WRITES & (route.methods or set())]
    assert writes
    async with service.client(*PEOPLE) as caller:
        answers = {route.name: await caller.request(*asked(route)) for route in writes}
    assert {answer.status_code for answer in answers.values()} == {422}
    codes = {answer.json()["errors"][0]["code"] for answer in answers.values()}
    assert codes == {"idempotency-key"}


def asked(route: APIRoute) -> tuple[str, str]:
    """The route's method, and its address with something in each place."""
    (method,) = route.methods or ("GET",)
    return method, route.path_format.format_map(dict.fromkeys(route.param_convertors, "x"))


async def test_every_address_is_versioned_and_its_nouns_are_plain(service: Composed) -> None:
    words = [word for route in service.guarded() for word in route.path.split("/")[1:]]
    assert all(word == word.lower() and "_" not in word for word in words if not word.startswith("{"))
    assert all(route.path.startswith("/v1/") for route in service.api())


def verbs() -> dict[str, edge.Verb[Any, Any]]:
    """Every verb that a chapter's routes declare, by its action."""
    names = [module.name for module in pkgutil.walk_packages(services.__path__, "services.")]
    modules = [importlib.import_module(name) for name in names if name.endswith(".api")]
    found = [value for module in modules for value in vars(module).values() if isinstance(value, edge.Verb)]
    return {verb.action: verb for verb in found}


def test_if_match_is_asked_for_where_a_state_is_moved_and_nowhere_else() -> None:
    assert {action for action, verb in verbs().items() if verb.conditional} == CONDITIONAL


async def test_the_description_of_the_api_has_every_route(service: Composed) -> None:
    async with service.client() as anybody:
        described = (await anybody.get("/openapi.json")).json()
    assert {route.path for route in service.api()} <= set(described["paths"])
    assert [path for path in described["paths"] if path.startswith(PAGES)] == []


async def test_a_page_takes_a_session_and_what_is_no_page_takes_a_token(service: Composed) -> None:
    odd = [
        route.path
        for route in service.guarded()
        for action in declared(route.dependant)
        if isinstance(action, Looks) != route.path.startswith(PAGES)
    ]
    assert odd == []


async def test_if_match_is_described_as_needed_where_it_is_asked_for(service: Composed) -> None:
    needed = {
        name
        for name, operation in described(service).items()
        if {"name": "If-Match", "required": True}.items() <= parameters(operation).get("If-Match", {}).items()
    }
    assert needed == {
        route.name
        for route in service.guarded()
        if CONDITIONAL & {action.action for action in declared(route.dependant)}
    }


async def test_every_link_of_the_description_gives_its_target_what_it_needs(service: Composed) -> None:
    operations = described(service)
    links = [
        link
        for operation in operations.values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    assert links
    for link in links:
        asked = parameters(operations[link["operationId"]])
        places = {f"path.{name}" for name, one in asked.items() if one["in"] == "path"}
        assert set(link["parameters"]) - {"header.If-Match"} == places


async def test_every_refusal_is_described_as_a_problem(service: Composed) -> None:
    media = {
        kind
        for operation in described(service).values()
        for status, answer in operation["responses"].items()
        if status.startswith(("4", "5"))
        for kind in answer["content"]
    }
    assert media == {problems.MEDIA_TYPE}


def described(service: Composed) -> dict[str, Any]:
    """The operations of the description, by the names of their routes."""
    paths = service.app.openapi()["paths"]
    operations = [operation for methods in paths.values() for operation in methods.values()]
    by_name = {operation["operationId"]: operation for operation in operations}
    assert len(by_name) == len(operations)
    return by_name


def parameters(operation: Mapping[str, Any]) -> dict[str, Any]:
    return {parameter["name"]: parameter for parameter in operation.get("parameters", ())}
