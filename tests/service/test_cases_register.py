"""The register through HTTP: who enters what, who reads it, and who may act."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.common.permit import Role
from tests.worlds import county
from tests.worlds.county import (
    DEPARTMENT,
    GRANTED,
    NEIGHBOUR,
    OFFICE,
    OTHER,
    STRANGER,
    TOWNSHIP,
    WITHHELD,
    County,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[County]:
    async with county.a_county(tmp_path) as here:
        yield here


@pytest.fixture
async def nobody_yet(tmp_path: Path) -> AsyncIterator[County]:
    async with county.an_empty_county(tmp_path) as here:
        yield here


def an_agency(code: str = OTHER, **but: Any) -> dict[str, Any]:
    name, kind, division, coordinates = county.AGENCIES[code]
    usual = {"id": code, "name": name, "kind": kind, "division": division, "coordinates": coordinates}
    return {**usual, **but}


async def test_the_first_registrar_enters_the_office_and_nothing_else(nobody_yet: County) -> None:
    refused = await nobody_yet.post("/v1/agencies", an_agency(OTHER), OFFICE, Role.REGISTRAR)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:liandong:problem:first-coordinates")
    entered = await nobody_yet.post("/v1/agencies", an_agency(OFFICE), OFFICE, Role.REGISTRAR)
    assert entered.status_code == 201
    assert entered.headers["location"] == f"/v1/agencies/{OFFICE}"
    second = await nobody_yet.post("/v1/agencies", an_agency(OTHER), OTHER, Role.REGISTRAR)
    assert second.status_code == 403


async def test_what_is_registered_is_read_with_its_version(here: County) -> None:
    read = await here.get(f"/v1/agencies/{TOWNSHIP}")
    assert read.json() == an_agency(TOWNSHIP)
    assert read.headers["etag"] == '"1"'


async def test_an_agency_is_registered_once(here: County) -> None:
    again = await here.post("/v1/agencies", an_agency(OTHER), OFFICE, Role.REGISTRAR)
    assert (again.status_code, again.json()["type"]) == (409, "urn:liandong:problem:already-registered")


@pytest.mark.parametrize(
    ("but", "pointer"),
    [
        ({"id": TOWNSHIP[:-1] + "0"}, "/id"),
        ({"division": "330726101"}, ""),
        ({"kind": "bureau"}, "/kind"),
        ({"name": "  "}, "/name"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_an_agency_that_cannot_be_is_malformed(here: County, but: dict[str, Any], pointer: str) -> None:
    answer = await here.post("/v1/agencies", an_agency(**but), OFFICE, Role.REGISTRAR)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize("path", ["/v1/agencies", "/v1/powers", "/v1/grants", "/v1/officers", "/v1/cases"])
async def test_a_stranger_sees_empty_lists(here: County, path: str) -> None:
    await here.a_case()
    for role in Role:
        if role is not Role.SERVICE:
            answer = await here.get(path, STRANGER, role)
            assert (answer.status_code, answer.json()) == (200, {"data": [], "next": None})


async def test_lists_are_walked_page_by_page(here: County) -> None:
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await here.get("/v1/agencies", TOWNSHIP, limit=2, **cursor)).json()
        seen += [agency["id"] for agency in page["data"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert seen == sorted(county.AGENCIES)


@pytest.mark.parametrize("cursor", ["x", "AA==", "%E4%BD%A0", ""])
async def test_a_cursor_of_somebody_elses_is_malformed(here: County, cursor: str) -> None:
    answer = await here.get("/v1/agencies", TOWNSHIP, cursor=cursor)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "query:cursor"


@pytest.mark.parametrize("limit", [0, 201, "many"])
async def test_a_page_has_one_to_two_hundred_entries(here: County, limit: object) -> None:
    assert (await here.get("/v1/agencies", TOWNSHIP, limit=limit)).status_code == 422


async def test_agencies_are_found_by_kind(here: County) -> None:
    page = (await here.get("/v1/agencies", TOWNSHIP, kind="township")).json()
    assert [agency["id"] for agency in page["data"]] == [TOWNSHIP]


async def test_officers_are_named_to_their_own_agency_and_the_registrar_only(here: County) -> None:
    async def named(agency: str, *roles: Role) -> list[tuple[str | None, str | None]]:
        page = (await here.get("/v1/officers", agency, *roles)).json()
        read = (await here.get("/v1/officers/t-zhang", agency, *roles)).json()
        (listed,) = [one for one in page["data"] if one["id"] == "t-zhang"]
        return [(one["name"], one["certificate"]) for one in (listed, read)]

    clear = [("姓名t-zhang", "证t-zhang")] * 2
    assert await named(TOWNSHIP) == clear
    assert await named(OFFICE, Role.REGISTRAR) == clear
    for other in ((DEPARTMENT, Role.HANDLER), (OFFICE, Role.COORDINATOR)):
        assert await named(*other) == [(None, None)] * 2


async def test_a_certificate_belongs_to_one_officer(here: County) -> None:
    officer = {
        "id": "t-new",
        "agency": TOWNSHIP,
        "name": "新人",
        "certificate": "证t-zhang",
        "valid_from": "2026-01-01",
        "valid_to": "2027-01-01",
    }
    answer = await here.post("/v1/officers", officer, OFFICE, Role.REGISTRAR)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:liandong:problem:already-registered")


async def test_a_certificate_that_ends_before_it_begins_is_malformed(here: County) -> None:
    officer = {
        "id": "t-new",
        "agency": TOWNSHIP,
        "name": "新人",
        "certificate": "证t-new",
        "valid_from": "2026-01-02",
        "valid_to": "2026-01-01",
    }
    assert (await here.post("/v1/officers", officer, OFFICE, Role.REGISTRAR)).status_code == 422


async def test_a_power_cites_the_article_that_penalises(here: County) -> None:
    power = {"code": "330217099000", "name": "某事", "department": DEPARTMENT, "basis": "按惯例"}
    answer = await here.post("/v1/powers", power, OFFICE, Role.REGISTRAR)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "no-article")


async def test_a_grant_is_addressed_by_its_power_and_number(here: County) -> None:
    (grant,) = (await here.get("/v1/grants", TOWNSHIP, power=GRANTED)).json()["data"]
    assert grant["id"] == f"{GRANTED}.g1"
    assert (await here.get(f"/v1/grants/{grant['id']}")).json() == grant
    assert grant["department"] == DEPARTMENT


async def test_a_grant_is_recalled_once(here: County) -> None:
    recall = {"recalled_on": county.day(), "document": "青政发〔2026〕9号"}
    first = await here.post(f"/v1/grants/{GRANTED}.g1/recall", recall, OFFICE, Role.REGISTRAR)
    assert (first.status_code, first.json()["recalled_on"]) == (201, county.day())
    again = await here.post(f"/v1/grants/{GRANTED}.g1/recall", recall, OFFICE, Role.REGISTRAR)
    assert (again.status_code, again.json()["type"]) == (409, "urn:liandong:problem:already-recalled")


async def test_members_see_a_grant_and_may_not_recall_it(here: County) -> None:
    recall = {"recalled_on": county.day(), "document": "青政发〔2026〕9号"}
    path = f"/v1/grants/{GRANTED}.g1/recall"
    assert (await here.post(path, recall, TOWNSHIP)).status_code == 403
    assert (await here.post(path, recall, STRANGER, Role.REGISTRAR)).status_code == 404


@pytest.mark.parametrize("grant", [f"{GRANTED}.g9", "330299000000.g1", "g1", ".g1", GRANTED])
async def test_a_grant_that_does_not_exist_is_not_found(here: County, grant: str) -> None:
    assert (await here.get(f"/v1/grants/{grant}")).status_code == 404


async def test_competence_says_who_may_act_in_whose_name_on_what_basis(here: County) -> None:
    page = (await here.get("/v1/competence", TOWNSHIP, power=GRANTED, territory="330726101")).json()
    by_agency = {standing.pop("agency"): standing for standing in page["data"]}
    assert by_agency == {
        DEPARTMENT: {
            "in_name_of": DEPARTMENT,
            "basis": "行政处罚法第十七条、行政处罚法第二十三条",
            "grant": None,
        },
        TOWNSHIP: {
            "in_name_of": TOWNSHIP,
            "basis": "行政处罚法第二十四条第一款",
            "grant": f"{GRANTED}.g1",
        },
    }


async def test_competence_is_a_places_and_a_days(here: County) -> None:
    async def who(**query: str) -> set[str]:
        page = (await here.get("/v1/competence", TOWNSHIP, power=GRANTED, **query)).json()
        return {standing["agency"] for standing in page["data"]}

    assert await who() == {DEPARTMENT, TOWNSHIP}
    assert await who(territory="330726102") == {DEPARTMENT}
    assert await who(on="2019-12-31") == {DEPARTMENT}
    assert await who(territory="330727101") == set()


async def test_competence_says_why_an_agency_may_not_act(here: County) -> None:
    query = {"power": WITHHELD, "agency": NEIGHBOUR, "territory": "330726101"}
    page = (await here.get("/v1/competence", TOWNSHIP, **query)).json()
    assert page["data"] == []
    assert [(block["code"], block["basis"]) for block in page["blocks"]] == [
        ("beyond-power", "行政处罚法第二十四条第一款"),
        ("outside-territory", "行政处罚法第二十二条"),
    ]


async def test_a_stranger_learns_nothing_of_competence(here: County) -> None:
    answer = await here.get("/v1/competence", STRANGER, power=GRANTED)
    assert answer.status_code == 404
