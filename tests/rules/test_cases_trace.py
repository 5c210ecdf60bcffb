"""The trace: every fact in words, signatures in their place, and a bundle that others can check."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from libs.common import errors, proof
from libs.common.change import Change, Head, Told
from libs.common.clock import Moment, Trace
from libs.common.contracts import cases as said
from libs.common.contracts.event import CATALOGUE
from libs.common.contracts.notify import NoticeReceived
from libs.common.seal import SEALS, Keyring, Seal, is_genuine
from services.cases.trace import rules
from services.cases.trace.rules import Written
from services.cases.trace.tables import Signature
from tests.worlds import dossier

NINE = datetime(2026, 3, 2, 1, tzinfo=UTC)
NAMES = {dossier.TOWNSHIP.id: "青山镇", dossier.DEPARTMENT.id: "执法局"}
CLUE = said.ClueRegistered(
    case="c1",
    holder=dossier.TOWNSHIP.id,
    power=dossier.POWER.code,
    territory="330726101",
    clue_source="inspection",
    urgency="normal",
)
OFFER = said.TransferOffered(
    case="c1",
    transfer="c1.t1",
    from_agency=dossier.TOWNSHIP.id,
    to_agency=dossier.DEPARTMENT.id,
    power=dossier.POWER.code,
    territory="330726101",
    stage="registered",
    urgency="normal",
)


def a_receipt(**but: Any) -> NoticeReceived:
    """That the department signed for the offer, half an hour after it."""
    usual = {
        "notice": "n1",
        "receipt": "r1",
        "agency": dossier.DEPARTMENT.id,
        "event": "case/c1/2",
        "about": "case/c1",
        "event_chain": "ab" * 32,
        "notice_digest": "cd" * 32,
        "signed_at": "2026-03-02T09:40:00+08:00",
        "key": "k1",
        "signature": "c2ln",
    }
    return NoticeReceived(**{**usual, **but})


def a_trace(*events: Told, signatures: tuple[Signature, ...] = ()) -> rules.Trace:
    """A case in which these things happened, ten minutes apart."""
    head = Head("case", "c1")
    change = Change()
    for n, event in enumerate(events):
        at = Moment(NINE + timedelta(minutes=10 * n), Trace("request-1"), seed=bytes(32))
        change = change.telling(event, on=head, by=dossier.an_actor(), at=at, private={"note": "私密"})
    facts = tuple(
        Written(
            seq=fact.seq,
            type=fact.type,
            public=fact.public,
            private=fact.private,
            salt=fact.salt,
            digest=fact.digest,
            data=json.loads(fact.public)["data"],
            record=json.loads(fact.private),
            recorded_at=fact.recorded_at,
            acted_on=fact.acted_on,
        )
        for fact in change.facts
    )
    return rules.Trace(change.end_of(head), facts, signatures)


@pytest.fixture
def seal(tmp_path: Path) -> Seal:
    return Keyring.at(tmp_path).seal


def test_every_fact_of_a_case_has_a_sentence() -> None:
    of_cases = {type_ for type_, event in CATALOGUE.items() if "case" in event.model_fields}
    assert set(rules.SENTENCES) == of_cases


def test_the_timeline_says_who_did_what_in_order() -> None:
    deeds = rules.timeline(a_trace(CLUE, OFFER), lambda code: NAMES.get(code, code))
    assert [deed.summary for deed in deeds] == [
        "青山镇登记线索，为首接机关",
        "青山镇向执法局移送案件，待接收",
    ]


def test_a_signature_stands_where_it_was_given() -> None:
    signature = rules.sign(a_receipt(signed_at="2026-03-02T09:05:00+08:00", event="case/c1/1")).written(
        Signature
    )
    deeds = rules.timeline(a_trace(CLUE, OFFER, signatures=(signature,)), lambda code: NAMES[code])
    assert [deed.name for deed in deeds] == ["线索登记", "签收", "移送"]
    assert deeds[1].summary == "执法局签收了「线索登记」的通知"


def test_the_order_of_the_stream_stands_whatever_the_clock_says() -> None:
    trace = a_trace(CLUE, OFFER)
    back = rules.Trace(trace.head, trace.facts[::-1], ())
    assert [d.fact.seq for d in rules.timeline(back, str) if d.fact] == [2, 1]


def test_a_signature_changes_no_stream_of_a_case() -> None:
    change = rules.sign(a_receipt())
    assert (change.own, change.relied, change.facts) == ((), (), ())
    assert change.written(Signature).at == datetime(2026, 3, 2, 1, 40, tzinfo=UTC)


def test_a_signature_for_something_else_is_not_ours() -> None:
    assert rules.sign(a_receipt(about="power/330217016000", event="power/330217016000/1")) == Change()


def test_a_signature_for_an_event_of_another_case_is_poison() -> None:
    with pytest.raises(errors.Poison):
        rules.sign(a_receipt(event="case/c2/1"))


def test_a_signature_newer_than_the_head_is_left_for_the_next_reader() -> None:
    signature = rules.sign(a_receipt(event="case/c1/3")).written(Signature)
    assert not rules.within(Head("case", "c1", version=2, seq=2), signature)
    assert rules.within(Head("case", "c1", version=3, seq=3), signature)


@pytest.mark.parametrize("signed_at", ["yesterday", "2026-03-02T09:40:00"])
def test_a_signature_without_an_instant_is_poison(signed_at: str) -> None:
    with pytest.raises(errors.Poison):
        rules.sign(a_receipt(signed_at=signed_at))


def test_the_bundle_holds_the_chain_from_its_beginning_to_the_signed_head(seal: Seal) -> None:
    bundle = rules.bundle(a_trace(CLUE, OFFER), seal, {"keys": [seal.jwk(SEALS)]}, disclosed=True, at=NINE)
    digest = bytes(32)
    for entry in bundle["entries"]:
        record = bytes.fromhex(entry["record"]["salt"]) + entry["record"]["private"].encode()
        assert hashlib.sha256(record).hexdigest() == entry["private_digest"]
        digest = proof.chained(digest, entry["public"].encode(), bytes.fromhex(entry["private_digest"]))
        assert digest.hex() == entry["digest"]
    assert bundle["head"]["digest"] == digest.hex()
    signature = base64.urlsafe_b64decode(bundle["signature"]["value"] + "==")
    assert is_genuine(seal.public, signature, proof.canonical(bundle["head"]))
    assert [key["kid"] for key in bundle["keys"]["keys"]] == [bundle["signature"]["key"]]


def test_private_records_come_only_with_leave(seal: Seal) -> None:
    bundle = rules.bundle(a_trace(CLUE), seal, {"keys": [seal.jwk(SEALS)]}, disclosed=False, at=NINE)
    assert "私密" not in json.dumps(bundle, ensure_ascii=False)
    assert "record" not in bundle["entries"][0]


def test_receipts_are_given_as_they_were_signed(seal: Seal) -> None:
    event = a_receipt()
    trace = a_trace(CLUE, OFFER, signatures=(rules.sign(event).written(Signature),))
    assert rules.bundle(trace, seal, {"keys": [seal.jwk(SEALS)]}, disclosed=True, at=NINE)["receipts"] == [
        event.proof()
    ]
