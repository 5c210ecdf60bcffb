"""A small county for tests: an office, a department with a power, a township with its grant, one without."""

from __future__ import annotations

from typing import Any

import httpx

from libs.common.law import codes
from libs.common.permit import Role
from tests.worlds.deployment import County

OFFICE = codes.with_check_digit("11339901000000001")
DEPARTMENT = codes.with_check_digit("11339901000000002")
TOWNSHIP = codes.with_check_digit("11339901000000003")
WITHOUT = codes.with_check_digit("11339901000000004")  #: a township that holds no power
STRANGER = codes.with_check_digit("11339901000000009")  #: not of this county

PLACE = "339901101"
POWER = "330217001000"
AGENCIES = (
    (OFFICE, "青禾县人民政府", "government", "339901", True),
    (DEPARTMENT, "青禾县综合执法局", "department", "339901", False),
    (TOWNSHIP, "禾丰镇", "township", PLACE, False),
    (WITHOUT, "清溪镇", "township", "339901102", False),
)


async def register(county: County, *, effective_on: str = "2020-01-01") -> str:
    """Fill the register over HTTP; gives the id of the township's grant."""
    return await fill(county.ask("cases", OFFICE, Role.REGISTRAR), effective_on=effective_on)


async def fill(registrar: httpx.AsyncClient, *, effective_on: str = "2020-01-01") -> str:
    """The same as whoever keeps the register."""
    for id_, name, kind, division, coordinates in AGENCIES:
        body = {"id": id_, "name": name, "kind": kind, "division": division, "coordinates": coordinates}
        await post(registrar, "/v1/agencies", body)
        for n in (1, 2):
            await post(registrar, "/v1/officers", an_officer(id_, n))
    power = {
        "code": POWER,
        "name": "对占道设摊的处罚",
        "department": DEPARTMENT,
        "basis": "某省市容条例第十六条",
    }
    await post(registrar, "/v1/powers", power)
    grant = {
        "power": POWER,
        "agency": TOWNSHIP,
        "mode": "conferred",
        "document": "青政发〔2020〕1号",
        "effective_on": effective_on,
    }
    return str((await post(registrar, "/v1/grants", grant))["id"])


def an_officer(agency: str, number: int) -> dict[str, Any]:
    return {
        "id": officer(agency, number),
        "agency": agency,
        "name": f"虚构人员{number}",
        "certificate": f"ZJ-{agency[-4:]}-{number}",
        "valid_from": "2020-01-01",
        "valid_to": "2099-12-31",
    }


def officer(agency: str, number: int) -> str:
    return f"{agency[-4:]}-{number}".lower()


def officers(agency: str) -> list[str]:
    return [officer(agency, 1), officer(agency, 2)]


def a_clue(**changes: Any) -> dict[str, Any]:
    return {
        "power": POWER,
        "territory": PLACE,
        "source": "inspection",
        "summary": "市场路口占道设摊",
        "party_name": "虚构当事人",
    } | changes


def an_offer(**changes: Any) -> dict[str, Any]:
    return {
        "to_agency": DEPARTMENT,
        "officers": officers(TOWNSHIP),
        "papers": [{"name": "案件移送书"}, {"name": "案源材料"}],
        "evidence": [{"name": "现场照片", "sha256": "0" * 64}],
        "goods": [],
        "ground": "不属于本机关职权",
    } | changes


def a_return(**changes: Any) -> dict[str, Any]:
    return {
        "reason": "not_competent",
        "basis": "某条例第一条",
        "proposed_agency": TOWNSHIP,
    } | changes


def a_ruling(**changes: Any) -> dict[str, Any]:
    return {
        "opinion_no": "青禾协意〔2026〕第1号",
        "competent_agency": DEPARTMENT,
        "basis": "某条例第一条",
        "opinion": "由法定主管部门管辖",
    } | changes


def a_letter(**changes: Any) -> dict[str, Any]:
    return {
        "to_agency": DEPARTMENT,
        "letter_no": "禾丰镇协函〔2026〕第1号",
        "form": "papers",
        "items": [{"kind": "documents", "what": "占道许可"}],
        "ground": "查明有无许可",
    } | changes


def a_filing(agency: str, **changes: Any) -> dict[str, Any]:
    return {"move": "file", "officers": officers(agency)} | changes


async def post(client: httpx.AsyncClient, path: str, body: Any, *, seen: str = "", key: str = "") -> Any:
    """A POST that must succeed; `seen` is the ETag that the caller has read."""
    headers = ({"if-match": seen} if seen else {}) | ({"idempotency-key": key} if key else {})
    answer = await client.post(path, json=body, headers=headers)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def etag(client: httpx.AsyncClient, path: str) -> str:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


async def a_case(client: httpx.AsyncClient, **changes: Any) -> str:
    """The id of a newly registered clue's case."""
    return str((await post(client, "/v1/clues", a_clue(**changes)))["id"])


async def an_offered(client: httpx.AsyncClient, case: str, **changes: Any) -> str:
    """The id of a transfer offered to the department."""
    seen = await etag(client, f"/v1/cases/{case}")
    return str((await post(client, f"/v1/cases/{case}/transfers", an_offer(**changes), seen=seen))["id"])


async def a_dispute(sender: httpx.AsyncClient, recipient: httpx.AsyncClient, case: str) -> str:
    """The id of the dispute over a case that the recipient has declined once."""
    transfer = await an_offered(sender, case)
    await post(recipient, f"/v1/transfers/{transfer}/return", a_return())
    brought = await post(sender, f"/v1/transfers/{transfer}/dispute", {"ground": "不属于本机关职权"})
    return str(brought["dispute"])
