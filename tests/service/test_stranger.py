"""A stranger, with a good token of an agency that is not of this county, learns nothing from any route."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from libs.common.permit import Role
from libs.common.settings import Name
from libs.common.web import health
from services import parts
from tests.worlds import cast, routed
from tests.worlds.deployment import County, on_embedded

pytestmark = pytest.mark.anyio

#: Everything that a token of people may carry but operating the installation, which is no agency's.
ROLES = frozenset(Role) - {Role.SERVICE, Role.OPERATOR}

#: A body that would do something, for every route that takes one.
BODIES: Mapping[str, Any] = {
    "/v1/agencies": {
        "id": cast.STRANGER,
        "name": "外县某局",
        "kind": "department",
        "division": "339902",
        "coordinates": True,
    },
    "/v1/officers": cast.an_officer(cast.STRANGER, 1),
    "/v1/powers": {
        "code": "330217009000",
        "name": "某事项",
        "department": cast.DEPARTMENT,
        "basis": "某条例第一条",
    },
    "/v1/grants": {
        "power": cast.POWER,
        "agency": cast.WITHOUT,
        "mode": "conferred",
        "document": "某号",
        "effective_on": "2021-01-01",
    },
    "/v1/grants/{grant}/recall": {"recalled_on": "2024-01-01", "document": "某号"},
    "/v1/clues": cast.a_clue(),
    "/v1/calendars/{year}": {
        "off": ["2026-01-01", "2026-05-01", "2026-10-01", "2026-10-02", "2026-10-03"],
        "work": [],
        "paper": "某号",
    },
    "/v1/limits/{rule}": {"length": 2, "unit": "working_days", "basis": "某号"},
    "/v1/escalation-policies/{policy}": {
        "name": "某规则",
        "level": [{"name": "某级", "working_days": 0, "tell": ["county"]}],
    },
    "/v1/escalation-policies/{policy}/simulate": {
        "rule": "col.accept",
        "start": "2026-11-02",
        "agency": cast.TOWNSHIP,
    },
    "/v1/supervisions": {
        "kind": "supervision",
        "agency": cast.TOWNSHIP,
        "title": "某事项",
        "items": ["某要求"],
    },
    "/v1/supervisions/{supervision}/reply": {"text": "某反馈"},
    "/v1/supervisions/{supervision}/return": {"remark": "某理由", "due_on": "2099-12-31"},
    "/v1/endpoints": {"name": "业务系统", "url": "https://hook.invalid/"},
    "/v1/endpoints/{endpoint}": {"name": "别的系统"},
    "/v1/endpoints/{endpoint}/verification": {"token": "0" * 43},
    "/v1/endpoints/{endpoint}/recover": {"since": "2026-01-01T00:00:00+08:00"},
    "/v1/cases/{case}/transitions": cast.a_filing(cast.TOWNSHIP),
    "/v1/cases/{case}/transfers": cast.an_offer(),
    "/v1/transfers/{transfer}/return": cast.a_return(),
    "/v1/transfers/{transfer}/dispute": {"ground": "某理由"},
    "/v1/disputes/{dispute}/proposal": {"competent_agency": cast.DEPARTMENT},
    "/v1/disputes/{dispute}/forwarding": {"to_agency": cast.DEPARTMENT, "papers": [{"name": "某材料"}]},
    "/v1/disputes/{dispute}/reply": {"statement": "某意见", "basis": "某条例第一条"},
    "/v1/disputes/{dispute}/lead": {"lead": cast.DEPARTMENT, "danger": "某危险"},
    "/v1/disputes/{dispute}/ruling": cast.a_ruling(),
    "/v1/cases/{case}/assistance": cast.a_letter(),
    "/v1/assistance/{assistance}/reply": {
        "answers": [{"item": 1, "outcome": "provided", "answer": "某答复"}]
    },
    "/v1/assistance/{assistance}/refusal": {"ground": "unlawful", "basis": "某条例第一条"},
    "/v1/assistance/{assistance}/extension": {"until": "2099-12-31", "reason": "某理由"},
    "/v1/inbox/receipts": {"notices": ["00000000-0000-4000-8000-000000000000"]},
    "/v1/routes/check": {"route": []},
    "/v1/redrives": {"dry_run": True},
}
#: Query parameters that a route cannot do without; braces are ids that exist.
QUERIES: Mapping[str, Mapping[str, str]] = {
    "/v1/competence": {"power": cast.POWER},
    "/v1/journal": {"stream": "case/{case}"},
    "/v1/witnesses": {"source": "cases", "stream": "case/{case}"},
    "/v1/limits/{rule}/due": {"from": "2026-09-24"},
    "/v1/explain": {"event": "case/{case}/1", "agency": cast.TOWNSHIP},
}
#: An id of the right form that nothing has.
NOTHING = "00000000-0000-7000-8000-000000000000"


@dataclass
class Scene:
    """A county in which things have happened, and the ids of what exists."""

    county: County
    ids: Mapping[str, str]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with on_embedded(tmp_path) as county:
        grant = await cast.register(county)
        township, department = county.ask("cases", cast.TOWNSHIP), county.ask("notify", cast.DEPARTMENT)
        case = await cast.a_case(township)
        assistance = await cast.post(township, f"/v1/cases/{case}/assistance", cast.a_letter())
        transfer = await cast.an_offered(township, case)
        dispute = await cast.a_dispute(
            township, county.ask("cases", cast.DEPARTMENT), await cast.a_case(township)
        )
        await county.drain()
        inbox = (await department.get("/v1/inbox", params={"limit": 200})).json()["data"]
        notice = next(n["id"] for n in inbox if n["sign"])
        receipt = await cast.post(department, f"/v1/notices/{notice}/receipt", {})
        office = county.ask("notify", cast.OFFICE, Role.COORDINATOR)
        clocks = (await office.get("/v1/obligations")).json()["data"]
        letter = await cast.post(office, "/v1/supervisions", BODIES["/v1/supervisions"])
        ids = {
            "case": case,
            "transfer": transfer,
            "assistance": assistance["id"],
            "dispute": dispute,
            "grant": grant,
            "agency": cast.TOWNSHIP,
            "officer": cast.officer(cast.TOWNSHIP, 1),
            "code": cast.POWER,
            "notice": notice,
            "receipt": receipt["receipt"]["receipt"],
            "year": "2026",
            "rule": "col.sign",
            "policy": "days",
            "obligation": clocks[0]["id"],
            "supervision": letter["id"],
        }
        yield Scene(county, ids)


def _routes(service: Name, county: County) -> list[tuple[str, APIRoute]]:
    return [
        (method, route)
        for route in routed.routes(county.apps[service])
        if isinstance(route, APIRoute) and route.include_in_schema and route.path not in health.OPEN
        for method in sorted(route.methods or ())
    ]


@pytest.mark.parametrize("service", parts.NAMES)
async def test_there_are_routes_to_try(scene: Scene, service: Name) -> None:
    assert len(_routes(service, scene.county)) > 10


def _filled(template: str, ids: Mapping[str, str], otherwise: str) -> str:
    for name in [part.strip("{}") for part in template.split("/") if part.startswith("{")]:
        template = template.replace(f"{{{name}}}", ids.get(name, otherwise))
    return template


async def _answer(scene: Scene, service: Name, method: str, route: APIRoute, ids: Mapping[str, str]) -> Any:
    stranger = scene.county.ask(service, cast.STRANGER, *ROLES)
    query = {k: _braced(v, ids) for k, v in QUERIES.get(route.path, {}).items()}
    body = BODIES.get(route.path, {}) if method not in ("GET", "DELETE") else None
    headers = {"if-match": '"1"'} if method != "GET" else {}
    answer = await stranger.request(
        method, _filled(route.path, ids, NOTHING), params=query, json=body, headers=headers
    )
    told = json.loads(answer.content or b"null")
    if isinstance(told, dict):
        told.pop("trace_id", None)
    return answer.status_code, answer.headers.get("etag"), told


def _braced(value: str, ids: Mapping[str, str]) -> str:
    return value.replace("{case}", ids.get("case", NOTHING))


@pytest.mark.parametrize("service", parts.NAMES)
async def test_what_exists_answers_as_what_does_not(scene: Scene, service: Name) -> None:
    for method, route in _routes(service, scene.county):
        if "{" in route.path or route.path in QUERIES:
            existing = await _answer(scene, service, method, route, scene.ids)
            missing = await _answer(scene, service, method, route, {})
            assert existing == missing, f"{method} {route.path}"
            assert existing[0] in (403, 404) or _is_nothing(existing[2]), f"{method} {route.path}: {existing}"


@pytest.mark.parametrize("service", parts.NAMES)
async def test_lists_are_empty_and_creation_is_forbidden(scene: Scene, service: Name) -> None:
    for method, route in _routes(service, scene.county):
        if "{" in route.path or route.path in QUERIES:
            continue
        status, _, told = await _answer(scene, service, method, route, {})
        if method == "POST":
            assert status == 403, f"POST {route.path}: {status} {told}"
        else:
            assert status == 404 or _is_nothing(told), f"GET {route.path}: {status} {told}"


def _is_nothing(told: Any) -> bool:
    """Whether there is nothing in it but empty lists, noughts and names of what there is none of."""
    return all(map(_is_nothing, told.values())) if isinstance(told, dict) else not told
