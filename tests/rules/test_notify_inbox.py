"""Telling and signing, as decisions alone."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common import errors, proof, seal
from libs.common.change import Change, Head
from libs.common.clock import Moment, Trace
from libs.common.contracts.event import Event
from libs.common.contracts.notify import NoticeReceived
from libs.common.permit import Actor, Role
from libs.common.seal import Seal
from services.notify.inbox import rules
from services.notify.inbox.rules import Batch, Desk, NoticeFile, Occasion, Question
from services.notify.inbox.tables import Notice, Receipt, WaitingNotice
from services.notify.routing import loads
from services.notify.routing.rules import COORDINATORS, DEFAULT, Directory
from services.notify.routing.tables import Unroutable
from tests.worlds import desk as county

AT = Moment(datetime(2026, 3, 2, 1, 30, tzinfo=UTC), Trace("request-1", "case/c1/3"), b"seed")
SEAL = Seal(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
ZHANG = Actor("zhang", county.DEPARTMENT, frozenset({Role.HANDLER}))


def an_occasion(event: Event, number: int = 3) -> Occasion:
    return Occasion(f"case/c1/{number}", event.TYPE, "case/c1", "ab" * 32)


def a_desk(*known: str, fallback: str | None = None) -> Desk:
    agencies = {code: county.an_addressee(code) for code in known}
    return Desk(loads.table(), Directory(agencies, fallback), Head)


def told(change: Change, entry: type[Any]) -> list[Any]:
    return [row.entry for row in change.rows if isinstance(row.entry, entry)]


def a_notice(**changes: Any) -> NoticeFile:
    event = county.an_offer()
    change = rules.tell(a_desk(county.DEPARTMENT), an_occasion(event), event, at=AT)
    notice = change.written(Notice).but(**changes)
    return NoticeFile(Head("notice", notice.id, 1, 1, change.facts[0].digest), notice)


def test_one_event_is_one_notice_to_one_agency_and_its_id_says_so() -> None:
    notice, again = a_notice().notice, a_notice().notice
    assert notice == again
    assert uuid.UUID(notice.id).version == 5
    assert (notice.agency, notice.event, notice.about) == (county.DEPARTMENT, "case/c1/3", "case/c1")
    assert (notice.title, notice.sign, notice.state) == (
        f"{county.TOWNSHIP}移送案件，请签收",
        True,
        "unread",
    )


def test_a_notice_is_a_fact_on_a_stream_of_its_own_with_its_digest() -> None:
    event = county.an_offer()
    change = rules.tell(a_desk(county.DEPARTMENT), an_occasion(event), event, at=AT)
    notice = change.written(Notice)
    (fact,) = change.facts
    assert (fact.kind, fact.id, fact.seq, fact.type) == ("notice", notice.id, 1, "liandong.notice.issued.v1")
    assert notice.digest.encode() in fact.public
    assert fact.trace.causation == "case/c1/3"


def test_the_digest_covers_what_the_agency_reads() -> None:
    notice = a_notice().notice
    shown = {"id", "agency", "event", "about", "type", "event_chain", "severity", "title", "body", "sign"}
    covered = {name: getattr(notice, name) for name in shown}
    covered["issued_at"] = "2026-03-02T01:30:00.000000+00:00"
    assert hashlib.sha256(proof.canonical(covered)).hexdigest() == notice.digest


def test_what_names_an_unregistered_agency_waits_is_counted_and_alarmed() -> None:
    event = county.an_offer(to=county.OTHER)
    change = rules.tell(a_desk(county.OFFICE), an_occasion(event), event, at=AT)
    assert change.written(WaitingNotice).addressee == county.OTHER
    unplaced = change.written(Unroutable)
    assert (unplaced.event, unplaced.reason, unplaced.unreached) == (
        "case/c1/3",
        "unregistered",
        [county.OTHER],
    )
    (alarm,) = told(change, Notice)
    assert (alarm.agency, alarm.severity, alarm.why, alarm.sign) == (county.OFFICE, "alarm", DEFAULT, True)
    assert Head("addressee", county.OTHER) in change.own


def test_an_event_that_names_nobody_is_alarmed() -> None:
    event = county.an_offer(to="")
    change = rules.tell(a_desk(county.OFFICE), an_occasion(event), event, at=AT)
    assert change.written(Unroutable).reason == "no_recipient"
    assert [notice.severity for notice in told(change, Notice)] == ["alarm"]


def test_with_nobody_registered_even_the_alarm_waits_for_the_default_agency() -> None:
    event = county.an_offer()
    change = rules.tell(a_desk(), an_occasion(event), event, at=AT)
    assert not told(change, Notice)
    assert {notice.addressee for notice in told(change, WaitingNotice)} == {county.DEPARTMENT, DEFAULT}


def test_the_fallback_agency_gets_the_alarm_before_the_coordinators() -> None:
    event = county.an_offer()
    desk = a_desk(county.OFFICE, county.OTHER, fallback=county.OTHER)
    change = rules.tell(desk, an_occasion(event), event, at=AT)
    assert [notice.agency for notice in told(change, Notice)] == [county.OTHER]


def test_an_agency_that_registers_gets_what_waited_for_it_once() -> None:
    event = county.an_offer(to=county.OFFICE)
    waited = rules.tell(a_desk(), an_occasion(event), event, at=AT)
    waiting = told(waited, WaitingNotice)
    # The same event waits for the office under two names: as the one named, and among the coordinators.
    among = {**waiting[0].letter, "why": COORDINATORS}
    waiting.append(waiting[0].but(addressee=COORDINATORS, letter=among))
    registered = county.an_agency(county.OFFICE)
    occasion = Occasion("agency/1/1", registered.TYPE, "agency/1", "cd" * 32)
    change = rules.register(a_desk(), occasion, registered, waiting, at=AT)
    assert sorted((n.event, n.why) for n in told(change, Notice)) == [
        ("agency/1/1", "agency"),
        ("case/c1/3", DEFAULT),
        ("case/c1/3", "to_agency"),
    ]
    assert len({fact.id for fact in change.facts}) == len(change.facts) == 3
    assert {head.id for head in change.own if head.kind == "addressee"} == {
        county.OFFICE,
        COORDINATORS,
        DEFAULT,
    }


def test_an_agency_that_registers_leaves_what_waits_for_others() -> None:
    event = county.an_offer()
    waiting = told(rules.tell(a_desk(), an_occasion(event), event, at=AT), WaitingNotice)
    registered = county.an_agency(county.TOWNSHIP)
    occasion = Occasion("agency/1/1", registered.TYPE, "agency/1", "cd" * 32)
    change = rules.register(a_desk(), occasion, registered, waiting, at=AT)
    assert [notice.about for notice in told(change, Notice)] == ["agency/1"]
    assert not [row for row in change.rows if row.write.value == "delete"]


def test_a_receipt_is_signed_over_the_notice_and_the_events_chain() -> None:
    file = a_notice()
    change = rules.receive(file, by=ZHANG, at=AT, seal=SEAL)
    receipt = change.written(Receipt)
    signed = json.loads(receipt.signed)
    assert signed == {
        "format": "liandong-receipt-1",
        "receipt": receipt.id,
        "notice": file.notice.id,
        "agency": county.DEPARTMENT,
        "event": "case/c1/3",
        "about": "case/c1",
        "event_chain": "ab" * 32,
        "notice_digest": file.notice.digest,
        "signed_at": "2026-03-02T01:30:00.000000+00:00",
    }
    assert receipt.signed.encode() == proof.canonical(signed)
    signature = base64.urlsafe_b64decode(receipt.signature + "==")
    assert seal.is_genuine(SEAL.public, signature, receipt.signed.encode())
    assert not seal.is_genuine(SEAL.public, signature, receipt.signed.replace("c1", "c2").encode())
    assert change.written(Notice).state == "received"


def test_the_event_of_a_receipt_carries_the_receipt_whole_and_no_person() -> None:
    change = rules.receive(a_notice(), by=ZHANG, at=AT, seal=SEAL)
    (fact,) = change.facts
    event = NoticeReceived.model_validate(json.loads(fact.public)["data"])
    receipt = change.written(Receipt)
    assert proof.canonical(event.signed()).decode() == receipt.signed
    assert event.proof()["signature"] == {"key": SEAL.key_id, "value": receipt.signature}
    assert b"zhang" not in fact.public
    assert b"zhang" in fact.private


def test_a_second_signature_is_refused_and_names_the_first() -> None:
    with pytest.raises(rules.AlreadyReceived) as refused:
        rules.receive(a_notice(state="received", receipt="r1"), by=ZHANG, at=AT, seal=SEAL)
    assert refused.value.facts == {"receipt": "r1"}


def test_of_a_batch_all_are_signed() -> None:
    one, two = a_notice(), a_notice(id="n2")
    two = replace(two, head=two.head._replace(id="n2"))
    batch = Batch((one.notice.id, "n2"), {one.notice.id: one, "n2": two})
    change = rules.receive_all(batch, by=ZHANG, at=AT, seal=SEAL)
    receipts = told(change, Receipt)
    assert [receipt.notice for receipt in receipts] == [one.notice.id, "n2"]
    assert len({receipt.id for receipt in receipts}) == 2
    assert len(change.own) == len(change.facts) == 2


def test_of_a_batch_with_bad_ids_none_is_signed_and_each_bad_one_is_named() -> None:
    good, done = a_notice(), a_notice(state="received")
    batch = Batch(("missing", good.notice.id, "done"), {good.notice.id: good, "done": done})
    with pytest.raises(rules.NotAllReceivable) as refused:
        rules.receive_all(batch, by=ZHANG, at=AT, seal=SEAL)
    found = [(fault["pointer"], fault["code"]) for fault in refused.value.facts["errors"]]
    assert found == [("/notices/0", "not-found"), ("/notices/2", "already-received")]


def a_question(**changes: Any) -> Question:
    known: dict[str, Any] = {
        "agency": county.DEPARTMENT,
        "event": "case/c1/3",
        "progress": "applied",
        "type": "liandong.transfer.offered.v1",
        "notice": None,
        "waiting": False,
        "knows": True,
        **changes,
    }
    return Question(**known)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"notice": a_notice().notice}, "told"),
        ({"notice": a_notice(why=DEFAULT).notice}, "told"),
        ({"progress": "parked"}, "parked"),
        ({"progress": "held"}, "held"),
        ({"waiting": True}, "waiting"),
        ({}, "not_addressed"),
        ({"type": None}, "not_addressed"),
    ],
)
def test_why_an_agency_was_told_or_not(changes: dict[str, Any], outcome: str) -> None:
    found = rules.explain(a_question(**changes), loads.table(), oversees=False)
    assert found.outcome == outcome
    assert found.detail


def test_the_row_that_told_gives_its_reason() -> None:
    found = rules.explain(a_question(notice=a_notice().notice), loads.table(), oversees=False)
    assert found.reasons == (loads.table().routes["liandong.transfer.offered.v1"][0].reason,)


@pytest.mark.parametrize(
    ("changes", "oversees"),
    [({"knows": False}, False), ({"progress": None}, False), ({"progress": None}, True)],
)
def test_of_a_strange_stream_and_of_what_never_was_nothing_is_said(
    changes: dict[str, Any], oversees: bool
) -> None:
    with pytest.raises(errors.NotFound):
        rules.explain(a_question(**changes), loads.table(), oversees=oversees)


def test_the_coordinators_may_ask_about_any_stream() -> None:
    assert rules.explain(a_question(knows=False), loads.table(), oversees=True).outcome == "not_addressed"
