"""A case that goes on from hand to hand: nobody reaches into a transfer between two others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from libs.common.clock import Clock, day_of
from libs.common.permit import Role
from tests.worlds import cast
from tests.worlds.deployment import County, on_embedded

pytestmark = pytest.mark.anyio


@pytest.fixture
async def county(tmp_path: Path) -> AsyncIterator[County]:
    async with on_embedded(tmp_path) as made:
        await cast.register(made)
        yield made


async def test_a_former_holder_cannot_withdraw_or_read_the_next_offer(county: County) -> None:
    """The township hands over to the department, which offers the case to a third agency."""
    township, department = county.ask("cases", cast.TOWNSHIP), county.ask("cases", cast.DEPARTMENT)
    case = await cast.a_case(township)
    await cast.post(department, f"/v1/transfers/{await cast.an_offered(township, case)}/acceptance", {})
    onward = await cast.an_offered(
        department, case, to_agency=cast.WITHOUT, officers=cast.officers(cast.DEPARTMENT), ground="机密"
    )
    for verb in ("withdrawal", "acceptance"):
        refused = await township.post(f"/v1/transfers/{onward}/{verb}", json={})
        assert refused.status_code == 403, verb
    read = (await township.get(f"/v1/transfers/{onward}")).json()
    assert (read["state"], read["ground"], read["package"]) == ("offered", None, None)


async def test_who_declined_reads_its_own_transfer_and_nothing_of_what_follows(county: County) -> None:
    """The API answers as the feed does: the case goes on without those who declined it."""
    township, department = county.ask("cases", cast.TOWNSHIP), county.ask("cases", cast.DEPARTMENT)
    case = await cast.a_case(township)
    transfer = await cast.an_offered(township, case)
    declined = {"reason": "not_competent", "basis": "某条例第三条", "proposed_agency": cast.TOWNSHIP}
    await cast.post(department, f"/v1/transfers/{transfer}/return", declined)
    for path in ("", "/timeline", "/proof", "/transitions"):
        assert (await department.get(f"/v1/cases/{case}{path}")).status_code == 404
    assert (await department.get(f"/v1/transfers/{transfer}")).json()["ground"] is None
    again = await department.post(f"/v1/transfers/{transfer}/acceptance", json={})
    assert again.status_code == 409


async def test_no_act_is_dated_before_the_one_it_follows(county: County) -> None:
    """Else an offer could be accepted on a day before it was made, or before the power was recalled."""
    township, department = county.ask("cases", cast.TOWNSHIP), county.ask("cases", cast.DEPARTMENT)
    today = day_of(Clock().now())
    earlier = today.replace(year=today.year - 1).isoformat()
    case = await cast.a_case(township, registered_on=earlier)
    transfer = await cast.an_offered(township, case)
    refused = await department.post(f"/v1/transfers/{transfer}/acceptance", json={"acted_on": earlier})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:liandong:problem:impossible-day")


async def test_who_handles_a_case_does_not_decide_it(county: County) -> None:
    """basis: 行政处罚法第五十七条第一款"""
    both = county.ask("cases", cast.TOWNSHIP, Role.HANDLER, Role.APPROVER, person="p7")
    case = await cast.a_case(both)
    for move in ("file", "investigate"):
        seen = await cast.etag(both, f"/v1/cases/{case}")
        await cast.post(
            both, f"/v1/cases/{case}/transitions", cast.a_filing(cast.TOWNSHIP, move=move), seen=seen
        )
    decide = {"move": "decide", "decision": "penalty"}
    headers = {"if-match": await cast.etag(both, f"/v1/cases/{case}")}
    refused = await both.post(f"/v1/cases/{case}/transitions", json=decide, headers=headers)
    assert (refused.status_code, refused.json()["basis"]) == (409, "行政处罚法第五十七条第一款")
    other = county.ask("cases", cast.TOWNSHIP, Role.APPROVER, person="p8")
    decided = await other.post(f"/v1/cases/{case}/transitions", json=decide, headers=headers)
    assert decided.status_code == 201


async def test_why_a_write_was_made_is_kept_in_the_private_record_alone(county: County) -> None:
    """Audit-Reason, percent-encoded: proved to who reads the record, and never on the wire."""
    township = county.ask("cases", cast.TOWNSHIP)
    why = quote("群众举报")
    answer = await township.post("/v1/clues", json=cast.a_clue(), headers={"audit-reason": why})
    proof = (await township.get(f"/v1/cases/{answer.json()['id']}/proof")).json()
    (entry,) = proof["entries"]
    assert json.loads(entry["record"]["private"])["audit_reason"] == "群众举报"
    assert "群众举报" not in entry["public"]
