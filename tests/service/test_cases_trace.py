"""Timeline and proof through HTTP, and what `notify` adds to them."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.common import proof
from libs.common.contracts.notify import NoticeIssued, NoticeReceived
from libs.common.permit import Role
from libs.common.seal import encoded, is_genuine
from tests.worlds import county
from tests.worlds.county import DEPARTMENT, OFFICE, TOWNSHIP, County
from tools import verify

pytestmark = pytest.mark.anyio


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[County]:
    async with county.a_county(tmp_path) as here:
        yield here


async def timeline(here: County, case: str, by: str = TOWNSHIP, *roles: Role) -> list[dict[str, Any]]:
    answer = await here.get(f"/v1/cases/{case}/timeline", by, *roles)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])


async def bundle(here: County, case: str, by: str = TOWNSHIP, *roles: Role) -> dict[str, Any]:
    answer = await here.get(f"/v1/cases/{case}/proof", by, *roles)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def a_receipt(here: County, case: str, **but: Any) -> NoticeReceived:
    """That the department signed just now for the second thing that happened to the case."""
    usual = {
        "notice": "n1",
        "receipt": "r1",
        "agency": DEPARTMENT,
        "event": f"case/{case}/2",
        "about": f"case/{case}",
        "event_chain": "ab" * 32,
        "notice_digest": "cd" * 32,
        "signed_at": here.clock.now().isoformat(),
        "key": "k1",
        "signature": "c2ln",
    }
    return NoticeReceived(**{**usual, **but})


async def test_the_timeline_tells_a_case_from_its_clue_to_its_end(here: County) -> None:
    deeds = await timeline(here, await here.a_case("closed"))
    assert [(deed["seq"], deed["name"]) for deed in deeds] == [
        (1, "线索登记"),
        (2, "立案"),
        (3, "调查取证开始"),
        (4, "作出决定"),
        (5, "结案"),
    ]
    assert deeds[3]["summary"].startswith("青山镇作出决定：给予行政处罚")
    assert [deed["person"] for deed in deeds] == ["t-zhang", "t-zhang", "t-zhang", "head", "t-zhang"]
    assert deeds[4]["reason"] == "罚款已缴纳"


async def test_who_acted_is_masked_for_who_does_not_handle_the_case(here: County) -> None:
    deeds = await timeline(here, await here.a_case("closed"), OFFICE, Role.COORDINATOR)
    assert {(deed["person"], deed["reason"]) for deed in deeds} == {(None, None)}
    assert {deed["agency"] for deed in deeds} == {TOWNSHIP}


async def test_a_signature_appears_in_the_timeline_and_leaves_the_case_as_it_is(here: County) -> None:
    case = await here.a_case()
    transfer = await here.a_transfer(case)
    before = await here.etag(case)
    report = await here.hears(a_receipt(here, case), on="notice/n1")
    assert len(report.applied) == 1
    await here.must(f"/v1/transfers/{transfer}/acceptance", {}, DEPARTMENT, headers=before)
    deeds = await timeline(here, case, DEPARTMENT)
    assert [(deed["kind"], deed["name"]) for deed in deeds] == [
        ("fact", "线索登记"),
        ("fact", "移送"),
        ("receipt", "签收"),
        ("fact", "接收移送"),
    ]
    assert deeds[2]["summary"] == "青禾县综合行政执法局签收了「移送」的通知"
    assert deeds[2]["receipt"] == "r1"


async def test_a_signature_that_is_heard_twice_is_kept_once(here: County) -> None:
    case = await here.a_case()
    receipt = a_receipt(here, case, event=f"case/{case}/1")
    await here.hears(receipt, on="notice/n1")
    await here.hears(receipt, on="notice/n1")
    assert [deed["kind"] for deed in await timeline(here, case)] == ["fact", "receipt"]


async def test_what_else_notify_says_is_heard_and_changes_nothing(here: County) -> None:
    case = await here.a_case()
    issued = NoticeIssued(
        notice="n1", agency=DEPARTMENT, event=f"case/{case}/1", about=f"case/{case}", severity="info"
    )
    assert len((await here.hears(issued, on="notice/n1")).applied) == 1
    assert len((await here.hears(a_receipt(here, "", about="power/1"), on="notice/n1")).applied) == 1
    assert len(await timeline(here, case)) == 1


async def test_the_proof_is_a_chain_under_a_signed_head(here: County) -> None:
    case = await here.a_case("filed")
    await here.hears(a_receipt(here, case), on="notice/n1")
    found = await bundle(here, case)
    digest = bytes(32)
    for entry in found["entries"]:
        salt, private = bytes.fromhex(entry["record"]["salt"]), entry["record"]["private"].encode()
        assert proof.private_digest(salt, private).hex() == entry["private_digest"]
        digest = proof.chained(digest, entry["public"].encode(), bytes.fromhex(entry["private_digest"]))
    assert (found["head"]["seq"], found["head"]["digest"]) == (2, digest.hex())
    signature = base64.urlsafe_b64decode(found["signature"]["value"] + "==")
    assert is_genuine(here.keyring.seal.public, signature, proof.canonical(found["head"]))
    assert found["receipts"] == [a_receipt(here, case).model_copy(update=told(found)).proof()]


def told(found: dict[str, Any]) -> dict[str, str]:
    """The only part of a receipt that differs from one made later."""
    return {"signed_at": found["receipts"][0]["receipt"]["signed_at"]}


async def a_signed_receipt(here: County, case: str, seq: int) -> NoticeReceived:
    """A receipt as `notify` signs it, here with the same installation's seal."""
    chain = (await bundle(here, case))["entries"][seq - 1]["digest"]
    draft = a_receipt(here, case, event=f"case/{case}/{seq}", event_chain=chain)
    seal = here.keyring.seal
    value = encoded(seal.sign(proof.canonical(draft.signed())))
    return draft.model_copy(update={"key": seal.key_id, "signature": value})


async def test_the_verifier_accepts_the_proof_with_its_receipts(here: County) -> None:
    case = await here.a_case("filed")
    await here.hears(await a_signed_receipt(here, case, 2), on="notice/n1")
    report = verify.check(json.dumps(await bundle(here, case)).encode())
    assert report.holds, verify.told(report)
    assert [finding.check for finding in report.findings] == ["chain", "head", "signature", "receipt"]


async def test_the_verifier_names_the_entry_in_which_one_letter_was_changed(here: County) -> None:
    found = await bundle(here, await here.a_case("filed"))
    entry = found["entries"][1]
    entry["public"] = entry["public"].replace("330726101", "330726102")
    report = verify.check(json.dumps(found).encode())
    assert not report.holds
    assert "第 2 条" in verify.told(report)


async def test_a_signature_that_is_ahead_of_the_case_waits_for_it(here: County) -> None:
    case = await here.a_case()
    await here.hears(a_receipt(here, case), on="notice/n1")
    assert (await bundle(here, case))["receipts"] == []
    await here.a_transfer(case)
    assert len((await bundle(here, case))["receipts"]) == 1


async def test_a_proof_for_who_reads_masked_holds_no_private_record(here: County) -> None:
    case = await here.a_case("filed")
    found = await bundle(here, case, OFFICE, Role.COORDINATOR)
    assert all("record" not in entry for entry in found["entries"])
    text = json.dumps(found, ensure_ascii=False)
    assert all(name not in text for name in ("张三", "330726199001010011", "占道", "t-zhang"))


async def test_the_etag_of_every_answer_is_the_version_that_is_read_next(here: County) -> None:
    case = await here.a_case()
    answer = await here.move(case, {"move": "reject", "reason": "已改正"})
    assert {"if-match": answer.headers["etag"]} == await here.etag(case)


async def test_the_day_of_the_act_and_the_instant_of_the_record_both_stand_in_the_timeline(
    here: County,
) -> None:
    (deed,) = await timeline(here, await here.a_case(registered_on=county.day(-3)))
    assert deed["acted_on"] == county.day(-3)
    assert deed["at"] > county.day(-1)
