"""The inbox, 签收 and receipts, as people meet them over HTTP."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from libs.common import proof
from libs.common.contracts import notify as said
from libs.common.permit import Role
from tests.worlds.desk import (
    DEPARTMENT,
    OFFICE,
    OTHER,
    STRANGER,
    TOWNSHIP,
    Desk,
    Speaker,
    a_desk,
    an_offer,
    key,
)

pytestmark = pytest.mark.anyio

NONE = "00000000-0000-5000-8000-000000000000"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A desk where seven offers lie in the department's inbox, two of them urgent."""
    async with a_desk(tmp_path, known=[OFFICE, TOWNSHIP, OTHER]) as made:
        cases = Speaker(offset=3)
        await made.hears(*cases.agencies(DEPARTMENT))
        for number in range(7):
            urgency = "urgent" if number in (2, 5) else "normal"
            await made.hears(cases.say(an_offer(f"c{number}", urgency=urgency), f"case/c{number}"))
        yield made


async def offers(desk: Desk) -> list[str]:
    """The ids of the department's notices of offers, newest first."""
    return [notice["id"] for notice in await desk.inbox(DEPARTMENT) if notice["sign"]]


async def sign(desk: Desk, notice: str, *roles: Role, agency: str = DEPARTMENT) -> Any:
    async with desk.client(agency, *roles) as caller:
        return await caller.post(f"/v1/notices/{notice}/receipt", json={}, headers=key())


async def sign_all(desk: Desk, notices: list[str], *roles: Role, agency: str = DEPARTMENT) -> Any:
    async with desk.client(agency, *roles) as caller:
        return await caller.post("/v1/inbox/receipts", json={"notices": notices}, headers=key())


def verify(shown: dict[str, Any]) -> None:
    """As somebody would who has the answer and no system: raises where it was forged."""
    (jwk,) = [jwk for jwk in shown["keys"]["keys"] if jwk["kid"] == shown["signature"]["key"]]
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(jwk["x"] + "=="))
    signature = base64.urlsafe_b64decode(shown["signature"]["value"] + "==")
    public.verify(signature, proof.canonical(shown["receipt"]))


async def test_pages_follow_one_another_newest_first_and_end(desk: Desk) -> None:
    seen: list[str] = []
    cursor: str | None = None
    async with desk.client(DEPARTMENT) as caller:
        for size in (3, 3, 2):
            query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
            page = (await caller.get("/v1/inbox", params=query)).json()
            assert len(page["data"]) == size
            seen += [notice["about"] for notice in page["data"]]
            cursor = page["next"]
    assert cursor is None
    assert seen == [f"case/c{number}" for number in reversed(range(7))] + [f"agency/{DEPARTMENT}"]


@pytest.mark.parametrize(
    "cursor", ["", "x", "!!!!", "eA", "MjAyNi0wMy0wMlQwMTozMDowMCBu", "5Lit5paH", "中文"]
)
async def test_a_cursor_that_we_never_gave_is_422(cursor: str, desk: Desk) -> None:
    async with desk.client(DEPARTMENT) as caller:
        answer = await caller.get("/v1/inbox", params={"cursor": cursor})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "query:cursor"


async def test_a_full_last_page_has_no_next(desk: Desk) -> None:
    async with desk.client(DEPARTMENT) as caller:
        page = (await caller.get("/v1/inbox", params={"limit": 8})).json()
    assert (len(page["data"]), page["next"]) == (8, None)


async def test_the_inbox_filters_by_state_and_severity(desk: Desk) -> None:
    await sign(desk, (await offers(desk))[0])
    assert [notice["about"] for notice in await desk.inbox(DEPARTMENT, state="received")] == ["case/c6"]
    assert [notice["about"] for notice in await desk.inbox(DEPARTMENT, severity="urgent")] == [
        "case/c5",
        "case/c2",
    ]
    assert len(await desk.inbox(DEPARTMENT, state="unread", severity="action")) == 4


async def test_counts_say_what_waits(desk: Desk) -> None:
    await sign_all(desk, (await offers(desk))[:2])
    async with desk.client(DEPARTMENT) as caller:
        counts = (await caller.get("/v1/inbox/counts")).json()
    assert counts == {
        "unread": 6,
        "received": 2,
        "to_sign": 5,
        "unread_by_severity": {"info": 1, "action": 4, "urgent": 1, "alarm": 0},
    }


async def test_a_receipt_verifies_offline_and_is_shown_again(desk: Desk) -> None:
    notice = (await offers(desk))[0]
    answer = await sign(desk, notice)
    assert answer.status_code == 201
    shown = answer.json()
    verify(shown)
    assert shown["receipt"]["notice"] == notice
    assert shown["receipt"]["agency"] == DEPARTMENT
    async with desk.client(DEPARTMENT) as caller:
        again = (await caller.get(answer.headers["location"])).json()
        read = await caller.get(f"/v1/notices/{notice}")
    assert again == shown
    assert (read.json()["state"], read.json()["receipt"]) == ("received", shown["receipt"]["receipt"])
    assert read.headers["etag"] == answer.headers["etag"] == '"2"'
    assert read.json()["digest"] == shown["receipt"]["notice_digest"]
    assert read.json()["event_chain"] == shown["receipt"]["event_chain"]
    assert all(jwk["use"] == "seal" for jwk in shown["keys"]["keys"])


async def test_what_is_told_of_a_receipt_is_the_receipt(desk: Desk) -> None:
    shown = (await sign(desk, (await offers(desk))[0])).json()
    (told,) = await desk.facts(said.NoticeReceived.TYPE)
    event = said.NoticeReceived.model_validate(told)
    assert event.proof() == {"receipt": shown["receipt"], "signature": shown["signature"]}
    assert event.about == "case/c6"


async def test_a_second_signature_is_409_and_names_the_receipt(desk: Desk) -> None:
    notice = (await offers(desk))[0]
    first = (await sign(desk, notice)).json()
    second = await sign(desk, notice)
    assert second.status_code == 409
    assert second.json()["type"] == "urn:liandong:problem:already-received"
    assert second.json()["receipt"] == first["receipt"]["receipt"]


async def test_twenty_who_sign_at_once_make_one_receipt(desk: Desk) -> None:
    notice = (await offers(desk))[0]
    answers = await asyncio.gather(*(sign(desk, notice) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert len(await desk.facts(said.NoticeReceived.TYPE)) == 1


async def test_the_same_key_gets_the_same_receipt(desk: Desk) -> None:
    notice, same = (await offers(desk))[0], key()
    async with desk.client(DEPARTMENT) as caller:
        one, two = [
            await caller.post(f"/v1/notices/{notice}/receipt", json={}, headers=same) for _ in range(2)
        ]
        without = await caller.post(f"/v1/notices/{notice}/receipt", json={})
    assert (one.status_code, two.status_code, one.json()) == (201, 201, two.json())
    assert two.headers["idempotency-replayed"] == "true"
    assert without.status_code == 422


async def test_a_body_need_not_be_sent(desk: Desk) -> None:
    async with desk.client(DEPARTMENT) as caller:
        answer = await caller.post(f"/v1/notices/{(await offers(desk))[0]}/receipt", headers=key())
    assert answer.status_code == 201


async def test_a_stale_if_match_is_412(desk: Desk) -> None:
    notice = (await offers(desk))[0]
    async with desk.client(DEPARTMENT) as caller:
        answer = await caller.post(
            f"/v1/notices/{notice}/receipt", json={}, headers={**key(), "if-match": '"7"'}
        )
    assert answer.status_code == 412


async def test_a_batch_is_signed_whole_and_every_receipt_verifies(desk: Desk) -> None:
    answer = await sign_all(desk, await offers(desk))
    assert answer.status_code == 201
    receipts = answer.json()["data"]
    assert len({entry["receipt"]["receipt"] for entry in receipts}) == 7
    for entry in receipts:
        verify({**entry, "keys": answer.json()["keys"]})
    assert await desk.inbox(DEPARTMENT, state="unread", severity="action") == []


async def test_a_batch_with_a_bad_id_signs_nothing_and_names_it(desk: Desk) -> None:
    mine = await offers(desk)
    office = (await desk.inbox(OFFICE))[0]["id"]
    await sign(desk, mine[1])
    answer = await sign_all(desk, [mine[0], NONE, office, mine[1]])
    assert answer.status_code == 409
    found = [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]
    # Another agency's notice looks like none.
    assert found == [
        ("/notices/1", "not-found"),
        ("/notices/2", "not-found"),
        ("/notices/3", "already-received"),
    ]
    assert answer.json()["errors"][0]["detail"] == answer.json()["errors"][1]["detail"]
    assert len(await desk.inbox(DEPARTMENT, state="received")) == 1


@pytest.mark.parametrize(
    ("notices", "code"),
    [
        ([], "too-short"),
        ([NONE] * 2, "repeated"),
        ([f"n{n}" for n in range(101)], "too-long"),
        ([7], "string-type"),
    ],
)
async def test_a_malformed_batch_is_422(notices: list[Any], code: str, desk: Desk) -> None:
    answer = await sign_all(desk, notices)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.REGISTRAR, Role.COORDINATOR])
async def test_who_may_only_read_does_not_sign(role: Role, desk: Desk) -> None:
    notice = (await offers(desk))[0]
    assert (await sign(desk, notice, role)).status_code == 403
    assert (await sign_all(desk, [notice], role)).status_code == 403
    async with desk.client(DEPARTMENT, role) as caller:
        assert (await caller.get(f"/v1/notices/{notice}")).status_code == 200


async def test_a_notice_of_another_agency_looks_like_none_even_to_the_office(desk: Desk) -> None:
    notice = (await offers(desk))[0]
    for agency, role in ((TOWNSHIP, Role.HANDLER), (OFFICE, Role.COORDINATOR), (STRANGER, Role.HANDLER)):
        async with desk.client(agency, role) as caller:
            there = await caller.get(f"/v1/notices/{notice}")
            nowhere = await caller.get(f"/v1/notices/{NONE}")
        signed = await sign(desk, notice, role, agency=agency)
        assert [there.status_code, nowhere.status_code, signed.status_code] == [404] * 3
        assert without_trace(there.json()) == without_trace(nowhere.json()) == without_trace(signed.json())


async def test_receipts_are_read_by_their_agency_and_the_offices_coordinators(desk: Desk) -> None:
    place = (await sign(desk, (await offers(desk))[0])).headers["location"]
    expected = {
        (DEPARTMENT, Role.AUDITOR): 200,
        (OFFICE, Role.COORDINATOR): 200,
        (OFFICE, Role.AUDITOR): 200,
        (OFFICE, Role.HANDLER): 404,
        (TOWNSHIP, Role.HANDLER): 404,
        (STRANGER, Role.COORDINATOR): 404,
        (DEPARTMENT, Role.OPERATOR): 404,
    }
    for (agency, role), status in expected.items():
        async with desk.client(agency, role) as caller:
            assert (await caller.get(place)).status_code == status, (agency, role)


async def test_a_strangers_lists_are_empty_and_its_creations_403(desk: Desk) -> None:
    async with desk.client(STRANGER) as caller:
        assert (await caller.get("/v1/inbox")).json() == {"data": [], "next": None}
        assert (await caller.get("/v1/inbox/counts")).json()["unread"] == 0
        assert (await caller.get("/v1/routes")).json() == {"data": [], "silent": []}
        assert (await caller.get("/v1/explain", params={"event": "case/c1/1"})).status_code == 404
    assert (await sign_all(desk, [(await offers(desk))[0]], agency=STRANGER)).status_code == 403


def without_trace(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if name != "trace_id"}
