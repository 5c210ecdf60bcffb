"""Every route has its row in the table, and a route answers to its method and to no other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fastapi.routing import APIRoute

from libs.common.permit import Role
from libs.common.web import health
from services import parts
from tests.authorisation import cells, charter
from tests.authorisation.asking import Ask, tell
from tests.authorisation.cells import Findings
from tests.authorisation.people import PEOPLE, Caller
from tests.authorisation.things import NOTHING
from tests.authorisation.world import World
from tests.worlds import routed

pytestmark = pytest.mark.anyio

#: What answers anybody, with no right.
OPEN = health.OPEN | {"/docs", "/docs/start.js", "/board/enter/{ticket}", "/board/assets/{name}"}
METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "QUERY",
    "PROPFIND",
]
#: Headers by which some servers let a caller say another method than they use.
OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override")


def addresses(world: World) -> Iterator[tuple[str, str, str]]:
    """Service, method and address of all routes but those that are open."""
    for service in parts.NAMES:
        for route in routed.routes(world.county.apps[service]):
            if isinstance(route, APIRoute) and route.path not in OPEN:
                yield from ((service, method, route.path) for method in route.methods or ())


async def test_the_table_has_every_route_and_no_other(each_world: World) -> None:
    named = sorted((one.service, one.method, one.path) for one in charter.operations())
    assert sorted(addresses(each_world)) == named


def test_every_right_is_one_to_do_something() -> None:
    done = {one.name for one in charter.operations()}
    assert {right.operation for right in charter.rights()} <= done
    # What somebody may do is said of every operation that is not a list of what else is said.
    lists = {one.name for one in charter.operations() if one.lists}
    assert done - lists == {right.operation for right in charter.rights()}
    assert all(one.seen_by in done | {""} and one.lists in done | {""} for one in charter.operations())


def test_every_right_says_where_it_is_laid_down() -> None:
    assert all(right.basis and right.answer in ("may", "law") for right in charter.rights())
    assert len(charter.rights()) + len(charter.operations()) <= 400


def test_an_auditor_writes_nothing_and_an_operator_reads_no_case() -> None:
    written = {one.name for one in charter.operations() if one.method != "GET"}
    audited = {right.operation for right in charter.rights() if Role.AUDITOR in right.roles}
    assert audited & written == set()
    operated = {
        right.operation.partition(".")[0] for right in charter.rights() if Role.OPERATOR in right.roles
    }
    assert operated & {"case", "transfer", "notice", "inbox", "entry", "feed", "officer"} == set()


async def test_a_route_answers_to_no_other_method(each_world: World, callers: list[Caller]) -> None:
    findings, before = Findings(), await cells.footprint(each_world)
    office = each_world.qinghe.office.id
    (mighty,) = (caller for caller in callers if (caller.agency, caller.roles) == (office, PEOPLE))
    known = {(one.service, one.path): set[str]() for one in charter.operations()}
    for one in charter.operations():
        known[one.service, one.path].add(one.method)
    for (service, path), methods in known.items():
        address = path.format_map({name: NOTHING.get(name, "x") for name in _places(path)})
        for method in (method for method in METHODS if method not in methods):
            for authorization in (mighty.authorization, None):
                ask = Ask(method, address, body={} if method != "GET" else None)
                told = await tell(each_world.county.apps[service], ask, authorization)
                findings.note(f"{method} {path}", "" if told.status in (401, 404, 405) else f"{told.status}")
    assert not findings.wrong, str(findings)
    assert await cells.footprint(each_world) == before


async def test_no_header_makes_a_reading_a_writing(each_world: World, callers: list[Caller]) -> None:
    findings, before = Findings(), await cells.footprint(each_world)
    for operation in (one for one in charter.operations() if one.method == "GET"):
        app = each_world.county.apps[operation.service]
        cell = next(cells.expand(each_world, callers, operation))
        ask, authorization = cell.ask(), cell.caller.authorization
        plain = await tell(app, ask, authorization)
        for header in OVERRIDES:
            told = await tell(app, replace(ask, headers={**ask.headers, header: "POST"}), authorization)
            findings.note(f"{cell} {header}", "" if told.status == plain.status else f"{told.status}")
    assert not findings.wrong, str(findings)
    assert await cells.footprint(each_world) == before


def _places(path: str) -> list[str]:
    return [part.strip("{}") for part in path.split("/") if part.startswith("{")]
