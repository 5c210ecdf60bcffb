"""What webhooks decide by themselves: ids, delays, secrets, and whose a stream is."""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common import seal as seals
from libs.common.clock import Moment, Trace
from libs.common.contracts import cases as said
from libs.common.contracts import notify
from libs.common.seal import Seal
from libs.common.subscription import Subject, Subscription
from services.notify.channels import rules
from services.notify.channels.rules import Happened
from services.notify.channels.tables import Audience, Endpoint, Message
from services.notify.routing.tables import Addressee
from tests.worlds.desk import DEPARTMENT, OFFICE, OTHER, TOWNSHIP, an_offer

NOW = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
AT = Moment(NOW, Trace("t"))
AGENCIES = {
    code: Addressee(agency=code, name=code, coordinates=code == OFFICE)
    for code in (OFFICE, TOWNSHIP, DEPARTMENT, OTHER)
}
SEAL = Seal(Ed25519PrivateKey.from_private_bytes(bytes(32)))


def an_endpoint(agency: str = DEPARTMENT, **changed: object) -> Endpoint:
    made = Endpoint(
        id="e1",
        agency=agency,
        name="业务系统",
        url="https://hook.example.cn/",
        subscription=Subscription().model_dump(mode="json"),
        state="enabled",
        registered_at=NOW,
    )
    return made.but(**changed)


def an_offer_heard(seq: int = 2) -> Happened:
    event = an_offer()
    before = Audience(stream="case/c1", rights=[])
    return Happened(
        event=event,
        id=f"case/c1/{seq}",
        source=said.SOURCE,
        type=event.TYPE,
        stream="case/c1",
        seq=seq,
        attributes={"type": event.TYPE, "subject": "case/c1", "ours": "not shown"},
        data=event.model_dump(mode="json"),
        audience=rules.learn(before, event, "case/c1", seq),
        about=None,
    )


def written(happened: Happened, *endpoints: Endpoint) -> list[str]:
    change = rules.write(happened, endpoints, AGENCIES, at=AT)
    return [row.values["id"] for row in change.numbered]


def test_writing_a_message_again_is_writing_the_same() -> None:
    once, again = (written(an_offer_heard(), an_endpoint()) for _ in range(2))
    assert len(once) == 1
    assert once == again == [rules.message_id("e1", "case/c1/2")]
    assert rules.message_id("e2", "case/c1/2") != once[0] != rules.message_id("e1", "case/c1/3")


@pytest.mark.parametrize(
    ("state", "waits"), [("unverified", False), ("enabled", True), ("disabled", True), ("removed", False)]
)
def test_a_message_is_written_for_who_is_proved_and_there(state: str, waits: bool) -> None:
    assert bool(written(an_offer_heard(), an_endpoint(state=state))) is waits


@pytest.mark.parametrize(
    ("agency", "why"), [(DEPARTMENT, ""), (OFFICE, ""), (OTHER, "rights"), (TOWNSHIP, "rights")]
)
def test_an_offer_is_for_its_recipient_and_the_office(agency: str, why: str) -> None:
    """The township's right began with the clue, which was not heard here."""
    assert rules.withheld(an_offer_heard(), an_endpoint(agency), AGENCIES[agency]) == why
    assert rules.withheld(an_offer_heard(), an_endpoint(agency), None) == "rights"


def test_a_receipt_is_for_who_signed_and_for_who_sees_what_it_was_given_for() -> None:
    """Events of `notify` itself, as they will be heard: an issued notice is its addressee's alone."""
    case = Audience(stream="case/c1", rights=[])
    clue = said.ClueRegistered(
        case="c1", holder=TOWNSHIP, power="p", territory="330726101", clue_source="x", urgency="normal"
    )
    case = rules.learn(rules.learn(case, clue, "case/c1", 1), an_offer(), "case/c1", 2)
    issued = notify.NoticeIssued(
        notice="n", agency=DEPARTMENT, event="case/c1/2", about="case/c1", severity="info"
    )
    received = notify.NoticeReceived(
        notice="n",
        receipt="r",
        agency=DEPARTMENT,
        event="case/c1/2",
        about="case/c1",
        event_chain="",
        notice_digest="",
        signed_at="",
        key="",
        signature="",
    )
    notice = rules.learn(None, issued, "notice/n", 1)
    for event, seq, theirs in ((issued, 1, {DEPARTMENT}), (received, 2, {DEPARTMENT, TOWNSHIP})):
        heard = Happened(
            event, f"notice/n/{seq}", notify.SOURCE, event.TYPE, "notice/n", seq, {}, {}, notice, case
        )
        seen = {
            agency
            for agency in (TOWNSHIP, DEPARTMENT, OTHER)
            if not rules.withheld(heard, an_endpoint(agency), AGENCIES[agency])
        }
        assert seen == theirs
        narrow = Subscription(territories=("330726",)).model_dump(mode="json")
        assert not rules.withheld(heard, an_endpoint(subscription=narrow), AGENCIES[DEPARTMENT])


def test_an_attribute_that_no_feed_shows_is_not_sent_either() -> None:
    (row,) = rules.write(an_offer_heard(), [an_endpoint()], AGENCIES, at=AT).numbered
    assert b"not shown" not in row.values["body"]


def test_delays_grow_for_three_days_and_differ_from_message_to_message() -> None:
    planned = [rules.delay("m", n, "", NOW) for n in range(1, len(rules.SCHEDULE) + 1)]
    assert planned[:7] == sorted(planned[:7])
    assert timedelta(days=2.8) < timedelta(seconds=sum(rules.SCHEDULE)) < timedelta(days=3.2)
    assert all(abs(got / due - 1) <= rules.JITTER for got, due in zip(planned, rules.SCHEDULE, strict=True))
    assert rules.delay("m", 3, "", NOW) == planned[2] != rules.delay("n", 3, "", NOW)


@pytest.mark.parametrize(
    ("said_", "seconds"),
    [
        ("120", 120),
        ("Mon, 02 Mar 2026 01:35:00 GMT", 300),
        ("86400", 21600),
        ("-5", 0),
        ("1e9", 0),
        ("９９", 0),
        ("Mon, 99 Mar 2026 01:35:00 GMT", 0),
        ("Mon, 02 Mar 2026 01:35:00", 0),
        ("", 0),
    ],
)
def test_retry_after_is_a_number_or_a_date_and_bounded(said_: str, seconds: float) -> None:
    assert rules.delay("m", 1, said_, NOW) == max(seconds, rules.delay("m", 1, "", NOW))


def test_the_signatures_are_over_id_time_and_body() -> None:
    endpoint = an_endpoint(secret=2, former=1, former_until=NOW + timedelta(seconds=1))
    message = Message(id="m1", endpoint="e1", kind="event", type="t", body=b"{}", written_at=NOW)
    given = rules.headers(message, b"{}", endpoint, SEAL, sent_at=NOW, now=NOW)
    assert (given["webhook-id"], given["webhook-timestamp"]) == ("m1", "1772415000")
    new, old, ours = (one.partition(",")[2] for one in given["webhook-signature"].split())
    for number, signature in ((2, new), (1, old)):
        key = base64.b64decode(rules.secret_of(SEAL, "e1", number).removeprefix("whsec_"))
        assert len(key) == 32
        assert base64.b64decode(signature) == hmac.digest(key, b"m1.1772415000.{}", "sha256")
    assert seals.is_genuine(SEAL.public, base64.b64decode(ours), b"m1.1772415000.{}")


def test_a_subscription_that_names_nothing_leaves_nothing_out() -> None:
    subject = Subject(said.CaseFiled.TYPE, "330215000000", "330726101", frozenset({"holder"}))
    assert Subscription().leaves_out(subject) == ""
    assert Subscription(territories=("33",)).leaves_out(subject) == ""
    assert Subscription(territories=("3307",), relations=("recipient",)).leaves_out(subject) == "relations"
    assert Subscription(powers=("330217002000",)).leaves_out(subject._replace(power="")) == "powers"


def test_a_right_that_ended_stays_as_it_was() -> None:
    offered = an_offer_heard().audience
    ended = said.TransferWithdrawn(case="c1", transfer="c1.t1", from_agency=TOWNSHIP, to_agency=DEPARTMENT)
    after = rules.learn(offered, ended, "case/c1", 3)
    assert [(right["from_seq"], right["until_seq"]) for right in after.rights] == [(2, 3)]
    later = an_offer_heard()._replace(audience=after, seq=4, event=None)
    assert rules.withheld(later, an_endpoint(), AGENCIES[DEPARTMENT]) == "rights"
