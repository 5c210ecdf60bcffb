"""Endpoints and webhooks, as an agency's own system meets them, on sockets of this machine."""

from __future__ import annotations

import asyncio
import base64
import itertools
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from libs.common.contracts import cases as said
from libs.common.contracts import notify
from libs.common.permit import Role
from services.notify.channels import rules
from services.notify.channels.tables import Message
from tests.engines.node import Node
from tests.engines.postgres import Postgres
from tests.worlds import receiver as receivers
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
from tests.worlds.receiver import Receiver, a_receiver, answers

pytestmark = pytest.mark.anyio


POSTGRES = pytest.param("postgres", marks=[pytest.mark.connected, pytest.mark.postgres])
_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", POSTGRES])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    database = None
    if request.param == "postgres":
        postgres: Postgres = request.getfixturevalue("postgres")
        database = postgres.database(f"webhooks_{next(_numbers)}")
    known = [OFFICE, TOWNSHIP, DEPARTMENT, OTHER]
    async with a_desk(tmp_path, known=known, postgres=database, within=1.0) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with a_receiver() as made:
        yield made


@pytest.fixture
def cases() -> Speaker:
    return Speaker(offset=4)


@dataclass(frozen=True)
class Kept:
    """An endpoint, as the one who keeps it knows it."""

    id: str
    secret: str
    agency: str


async def post(desk: Desk, path: str, body: Any = None, *, agency: str = DEPARTMENT, **headers: str) -> Any:
    async with desk.client(agency, Role.INTEGRATOR) as caller:
        return await caller.post(path, json=body, headers={**key(), **headers})


async def register(desk: Desk, url: str, *, agency: str = DEPARTMENT, **wanted: Any) -> Kept:
    answer = await post(
        desk, "/v1/endpoints", {"name": "业务系统", "url": url, "subscription": wanted}, agency=agency
    )
    assert answer.status_code == 201, answer.text
    return Kept(answer.json()["id"], answer.json()["secret"], agency)


async def verified(desk: Desk, at: Receiver, *, agency: str = DEPARTMENT, **wanted: Any) -> Kept:
    """An endpoint whose address was proved; what was sent for that is forgotten."""
    kept = await register(desk, at.url, agency=agency, **wanted)
    await desk.deliver()
    token = at.seen[-1].event["data"]["token"]
    path = f"/v1/endpoints/{kept.id}/verification"
    answer = await post(desk, path, {"token": token}, agency=agency)
    assert answer.status_code == 201, answer.text
    at.seen.clear()
    return kept


async def shown(desk: Desk, kept: Kept) -> dict[str, Any]:
    async with desk.client(kept.agency, Role.INTEGRATOR) as caller:
        found: dict[str, Any] = (await caller.get(f"/v1/endpoints/{kept.id}")).json()
    return found


async def outcomes(desk: Desk, message: str) -> list[str]:
    async with desk.client(DEPARTMENT, Role.INTEGRATOR) as caller:
        answer = await caller.get(f"/v1/messages/{message}/deliveries")
    return [delivery["outcome"] for delivery in answer.json()["data"]]


async def alarms(desk: Desk) -> list[str]:
    await desk.settles("endpoint")
    return [one["title"] for one in await desk.inbox(DEPARTMENT) if one["about"].startswith("endpoint/")]


async def test_nothing_is_sent_before_the_address_is_proved(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    kept = await register(desk, receiver.url)
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    (challenge,) = receiver.seen
    assert challenge.event["type"] == rules.CHALLENGE
    path = f"/v1/endpoints/{kept.id}/verification"
    assert (await post(desk, path, {"token": "A" * 32})).json()["type"].endswith("wrong-token")
    assert (await post(desk, path, {"token": challenge.event["data"]["token"]})).status_code == 201
    await desk.hears(cases.say(an_offer("c2"), "case/c2"))
    await desk.deliver()
    assert receiver.events == ["case/c2/1"]


async def test_a_message_is_the_event_as_the_feed_shows_it_and_a_stranger_can_verify_it(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    kept = await verified(desk, receiver)
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    (came,) = receiver.seen
    assert came.headers["content-type"].startswith("application/cloudevents+json")
    event = Webhook(kept.secret).verify(came.body, dict(came.headers))
    assert (event["id"], event["source"], event["subject"]) == ("case/c1/1", "/services/cases", "case/c1")
    assert event["data"]["to_agency"] == DEPARTMENT
    assert {"chain", "privatedigest", "recordedtime", "actedon"} <= set(event)
    with pytest.raises(WebhookVerificationError):
        Webhook(kept.secret).verify(came.body + b" ", dict(came.headers))


async def test_a_javascript_library_verifies_it_too(
    desk: Desk, cases: Speaker, receiver: Receiver, node: Node
) -> None:
    kept = await verified(desk, receiver)
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    (came,) = receiver.seen
    assert node.verified(kept.secret, came.headers, came.body) == came.event
    assert node.verified(kept.secret, came.headers, came.body + b" ") is None


async def test_openssl_verifies_the_signature_by_our_own_key(
    desk: Desk, cases: Speaker, receiver: Receiver, tmp_path: Path
) -> None:
    kept = await verified(desk, receiver)
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    (came,) = receiver.seen
    public = (await shown(desk, kept))["public_key"].removeprefix("whpk_")
    given = came.headers["webhook-signature"].split()
    (signature,) = (one.removeprefix("v1a,") for one in given if one.startswith("v1a,"))
    signed = f"{came.id}.{came.headers['webhook-timestamp']}.".encode() + came.body
    assert openssl_verifies(tmp_path, public, signature, signed)
    assert not openssl_verifies(tmp_path, public, signature, signed + b" ")


def openssl_verifies(directory: Path, public: str, signature: str, signed: bytes) -> bool:
    """SubjectPublicKeyInfo of Ed25519 is a fixed prefix before the key (RFC 8410)."""
    prefix = bytes.fromhex("302a300506032b6570032100")
    (directory / "key.der").write_bytes(prefix + base64.b64decode(public))
    (directory / "signature").write_bytes(base64.b64decode(signature))
    (directory / "signed").write_bytes(signed)
    verify = "openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in signed -sigfile signature"
    return subprocess.run(verify.split(), cwd=directory, capture_output=True, check=False).returncode == 0


async def test_the_secret_is_shown_once_and_stored_nowhere(
    desk: Desk, receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    same = key()
    body = {"name": "业务系统", "url": receiver.url}
    first, again = [await post(desk, "/v1/endpoints", body, **same) for _ in range(2)]
    secret = first.json()["secret"]
    assert secret.startswith("whsec_")
    assert (again.json()["id"], again.json()["secret"]) == (first.json()["id"], None)
    assert again.headers["idempotency-replayed"] == "true"
    rotated = await post(desk, f"/v1/endpoints/{first.json()['id']}/secret/rotate")
    await desk.deliver()
    kept = [secret, rotated.json()["secret"], receiver.seen[0].event["data"]["token"]]
    assert len(set(kept)) == 3
    stored = everything_in(tmp_path)
    logged = caplog.text
    for one in kept:
        bare = one.removeprefix("whsec_")
        assert bare.encode() not in stored
        assert bare not in logged
    assert "canary-url" not in logged


def everything_in(directory: Path) -> bytes:
    """What lies on disk, apart from the keys."""
    return b"".join(file.read_bytes() for file in directory.glob("notify.db*"))


async def test_both_secrets_sign_while_they_overlap_and_then_the_new_one_alone(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    kept = await verified(desk, receiver)
    new = (await post(desk, f"/v1/endpoints/{kept.id}/secret/rotate")).json()["secret"]
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    desk.clock.forward = rules.OVERLAP
    await desk.hears(cases.say(an_offer("c2"), "case/c2"))
    await desk.deliver()
    during, after = receiver.seen
    for secret, message, verifies in (
        (kept.secret, during, True),
        (new, during, True),
        (new, after, True),
        (kept.secret, after, False),
    ):
        assert is_verified(secret, message) is verifies


def is_verified(secret: str, message: receivers.Seen) -> bool:
    try:
        Webhook(secret).verify(message.body, dict(message.headers))
    except WebhookVerificationError:
        return False
    return True


async def test_each_agency_gets_what_its_feed_would_show(desk: Desk, cases: Speaker) -> None:
    """The recipient from the offer to its return, the holder and the office all of it, others nothing."""
    parts = {"case": "c1", "transfer": "c1.t1", "from_agency": TOWNSHIP, "to_agency": DEPARTMENT}
    async with a_receiver() as one, a_receiver() as two, a_receiver() as three, a_receiver() as four:
        at = {TOWNSHIP: one, DEPARTMENT: two, OFFICE: three, OTHER: four}
        for agency, where in at.items():
            await verified(desk, where, agency=agency)
        await desk.hears(
            cases.say(
                said.ClueRegistered(
                    case="c1",
                    holder=TOWNSHIP,
                    power="330215000000",
                    territory="330726101",
                    clue_source="inspection",
                    urgency="normal",
                ),
                "case/c1",
            ),
            cases.say(an_offer(), "case/c1"),
            cases.say(
                said.TransferReturned(
                    **parts, reason="not_competent", basis="行政处罚法第二十三条", proposed_agency=OTHER
                ),
                "case/c1",
            ),
            cases.say(said.InvestigationOpened(case="c1", holder=TOWNSHIP), "case/c1"),
        )
        await desk.deliver()
        every = [f"case/c1/{n}" for n in (1, 2, 3, 4)]
        assert {agency: where.events for agency, where in at.items()} == {
            TOWNSHIP: every,
            DEPARTMENT: every[1:3],
            OFFICE: every,
            OTHER: [],
        }


@pytest.mark.parametrize(
    ("wanted", "comes"),
    [
        ({}, True),
        ({"types": [said.TransferOffered.TYPE]}, True),
        ({"types": [said.CaseFiled.TYPE]}, False),
        ({"powers": ["330215000000"]}, True),
        ({"powers": ["330217002000"]}, False),
        ({"territories": ["330726"]}, True),
        ({"territories": ["330727", "330726101"]}, True),
        ({"territories": ["330727"]}, False),
        ({"relations": ["recipient"]}, True),
        ({"relations": ["holder", "sender"]}, False),
        ({"types": [said.TransferOffered.TYPE], "relations": ["holder"]}, False),
    ],
)
async def test_a_subscription_leaves_out_what_it_does_not_name(
    wanted: dict[str, Any], comes: bool, desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    await verified(desk, receiver, **wanted)
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    assert receiver.events == (["case/c1/1"] if comes else [])


@pytest.mark.parametrize(
    "wanted",
    [
        {"types": ["liandong.case.burnt.v1"]},
        {"powers": ["12"]},
        {"territories": ["3307261"]},
        {"relations": ["owner"]},
        {"types": [said.CaseFiled.TYPE] * 2},
        {"cases": []},
    ],
)
async def test_a_subscription_to_what_does_not_exist_is_422(
    wanted: dict[str, Any], desk: Desk, receiver: Receiver
) -> None:
    body = {"name": "业务系统", "url": receiver.url, "subscription": wanted}
    assert (await post(desk, "/v1/endpoints", body)).status_code == 422


async def test_five_hearings_of_an_event_are_one_message(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    await verified(desk, receiver)
    record = cases.say(an_offer(), "case/c1")
    for _ in range(5):
        await desk.hears(cases.again(record))
    await desk.deliver()
    assert receiver.events == ["case/c1/1"]


async def test_a_message_waits_for_the_one_before_it(desk: Desk, cases: Speaker, receiver: Receiver) -> None:
    await verified(desk, receiver)
    receiver.behaviour = answers(500)
    await desk.hears(*(cases.say(an_offer(f"c{n}"), f"case/c{n}") for n in range(3)))
    await desk.deliver()
    desk.clock.forward += timedelta(seconds=6)
    await desk.deliver()
    assert receiver.events == ["case/c0/1"] * 2
    receiver.behaviour = answers(204)
    desk.clock.forward += timedelta(seconds=25)
    await desk.deliver()
    assert receiver.events == ["case/c0/1"] * 3 + ["case/c1/1", "case/c2/1"]
    assert len({one.id for one in receiver.seen}) == 3


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (answers(200, b"x" * 1000), "delivered"),
        (answers(500), "refused"),
        (answers(301, location="http://169.254.169.254/"), "refused"),
        (answers(429), "limited"),
        (receivers.hangs, "unreachable"),
        (receivers.trickles, "unreachable"),
        (receivers.resets, "unreachable"),
        (receivers.babbles, "unreachable"),
        (receivers.floods, "delivered"),
    ],
    ids=["ok", "500", "redirect", "429", "hangs", "trickles", "resets", "babbles", "floods"],
)
async def test_however_a_receiver_behaves_the_attempt_ends_and_what_failed_comes_again(
    behaviour: receivers.Behaviour, outcome: str, desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    await verified(desk, receiver)
    receiver.behaviour = behaviour
    await desk.hears(cases.say(an_offer(), "case/c1"))
    async with asyncio.timeout(5):
        await desk.deliver()
    (first,) = receiver.seen
    assert await outcomes(desk, first.id) == [outcome]
    receiver.behaviour = answers(204)
    desk.clock.forward += timedelta(seconds=6)
    await desk.deliver()
    again = [] if outcome == "delivered" else [first.id]
    assert [one.id for one in receiver.seen[1:]] == again


async def test_410_disables_at_once_and_what_is_said_meanwhile_waits(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    kept = await verified(desk, receiver)
    receiver.behaviour = answers(410)
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    assert ((await shown(desk, kept))["state"], (await shown(desk, kept))["why"]) == ("disabled", "gone")
    assert await alarms(desk) == ["推送端点已停用"]
    await desk.hears(cases.say(an_offer("c2"), "case/c2"))
    desk.clock.forward += timedelta(days=1)
    await desk.deliver()
    assert len(receiver.seen) == 1
    receiver.behaviour = answers(204)
    assert (await post(desk, f"/v1/endpoints/{kept.id}/enable")).status_code == 201
    await desk.deliver()
    assert receiver.events == ["case/c1/1", "case/c1/1", "case/c2/1"]


async def test_the_schedule_is_kept_for_three_days_with_warnings_and_then_ends(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    kept = await verified(desk, receiver)
    receiver.behaviour = answers(503)
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    tried = 1
    for planned in rules.SCHEDULE:
        state = await shown(desk, kept)
        assert (state["state"], state["failed_attempts"]) == ("enabled", tried)
        early, late = timedelta(seconds=planned * 0.899), timedelta(seconds=planned * 0.202)
        desk.clock.forward += early
        await desk.deliver()
        assert len(receiver.seen) == tried, "sent before its time"
        desk.clock.forward += late
        await desk.deliver()
        tried += 1
        assert len(receiver.seen) == tried, "not sent in its time"
    assert timedelta(days=2.7) < desk.clock.forward < timedelta(days=3.4)
    assert [fact["percent"] for fact in await desk.facts(notify.EndpointWarned.TYPE)] == [50, 90]
    warnings = ["推送端点持续失败，将被停用"] * 2
    assert await alarms(desk) == ["一件推送未能送达", "推送端点已停用", *warnings]
    assert [fact["event"] for fact in await desk.facts(notify.DeliveryFailed.TYPE)] == ["case/c1/1"]
    assert (await shown(desk, kept))["why"] == "exhausted"
    receiver.behaviour = answers(204)
    receiver.seen.clear()
    await post(desk, f"/v1/endpoints/{kept.id}/enable")
    await desk.deliver()
    assert receiver.seen == []
    since = "2026-01-01T00:00:00+08:00"
    answer = await post(desk, f"/v1/endpoints/{kept.id}/recover", {"since": since})
    assert answer.json() == {"messages": 1, "more": False}
    await desk.deliver()
    assert receiver.events == ["case/c1/1"]


@pytest.mark.parametrize(("asked", "waited"), [("60", 60), ("1", 4.5), ("9999999", 21600), ("soon", 4.5)])
async def test_retry_after_is_honoured_within_bounds(
    asked: str, waited: float, desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    await verified(desk, receiver)
    receiver.behaviour = answers(429, retry_after=asked)
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    desk.clock.forward += timedelta(seconds=waited - 1)
    await desk.deliver()
    assert len(receiver.seen) == 1
    desk.clock.forward += timedelta(seconds=2.5)
    await desk.deliver()
    assert len(receiver.seen) == 2


async def test_a_receiver_that_comes_and_goes_gets_all_of_it_in_order(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    await verified(desk, receiver)
    told: list[str] = []

    async def flaps(writer: asyncio.StreamWriter) -> None:
        good = len(receiver.seen) % 3 == 0
        if good:
            told.append(receiver.seen[-1].event["id"])
        await answers(204 if good else 502)(writer)

    receiver.behaviour = flaps
    await desk.hears(*(cases.say(an_offer(f"c{n}"), f"case/c{n}") for n in range(5)))
    for _ in range(12):
        await desk.deliver()
        desk.clock.forward += timedelta(seconds=25)
    assert told == [f"case/c{n}/1" for n in range(5)]


async def test_a_new_address_must_be_proved_again_and_the_old_one_gets_nothing_more(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    kept = await verified(desk, receiver)
    async with a_receiver() as elsewhere, desk.client(DEPARTMENT, Role.INTEGRATOR) as caller:
        version = (await caller.get(f"/v1/endpoints/{kept.id}")).headers["etag"]
        path, body = f"/v1/endpoints/{kept.id}", {"url": elsewhere.url}
        assert (await caller.patch(path, json=body, headers=key())).status_code == 428
        moved = await caller.patch(path, json=body, headers={**key(), "if-match": version})
        assert (moved.status_code, moved.json()["state"]) == (200, "unverified")
        await desk.hears(cases.say(an_offer(), "case/c1"))
        await desk.deliver()
        assert receiver.seen == []
        (challenge,) = elsewhere.seen
        await post(desk, f"{path}/verification", {"token": challenge.event["data"]["token"]})
        await desk.hears(cases.say(an_offer("c2"), "case/c2"))
        await desk.deliver()
        assert elsewhere.events == ["case/c2/1"]


async def test_what_is_removed_is_gone(desk: Desk, cases: Speaker, receiver: Receiver) -> None:
    kept = await verified(desk, receiver)
    async with desk.client(DEPARTMENT, Role.INTEGRATOR) as caller:
        removed = await caller.delete(f"/v1/endpoints/{kept.id}", headers=key())
        assert removed.json() == {"id": kept.id, "state": "removed"}
        assert (await caller.get(f"/v1/endpoints/{kept.id}")).status_code == 404
        assert (await caller.get("/v1/endpoints")).json()["data"] == []
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    assert receiver.seen == []


async def test_a_test_comes_behind_what_waits_and_says_nothing(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    kept = await verified(desk, receiver)
    await desk.hears(cases.say(an_offer(), "case/c1"))
    answer = await post(desk, f"/v1/endpoints/{kept.id}/test")
    await desk.deliver()
    assert [one.event["type"] for one in receiver.seen] == [said.TransferOffered.TYPE, rules.TEST]
    assert receiver.seen[1].id == answer.json()["message"]


async def test_a_delivery_is_sent_once_more_under_the_same_id(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    await verified(desk, receiver)
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    (first,) = receiver.seen
    assert (await post(desk, f"/v1/deliveries/{first.id}.1/retry")).json() == {"message": first.id}
    await desk.deliver()
    assert [one.id for one in receiver.seen] == [first.id] * 2
    assert await outcomes(desk, first.id) == ["delivered"] * 2
    assert (await post(desk, f"/v1/deliveries/{first.id}.3/retry")).status_code == 404


async def test_an_operator_sees_how_it_goes_and_not_where_nor_what(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    kept = await verified(desk, receiver)
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    async with desk.client(STRANGER, Role.OPERATOR) as operator:
        answers_ = [
            await operator.get(path)
            for path in (
                "/v1/endpoints",
                f"/v1/endpoints/{kept.id}",
                f"/v1/messages/{receiver.seen[0].id}/deliveries",
            )
        ]
        assert [answer.status_code for answer in answers_] == [200] * 3
        assert all("canary-url" not in answer.text and "to_agency" not in answer.text for answer in answers_)
        assert answers_[1].json()["url"] is None
        refused = await operator.post(f"/v1/endpoints/{kept.id}/disable", headers=key())
        assert refused.status_code == 403


async def explained(desk: Desk, event: str) -> list[tuple[str, str | None]]:
    async with desk.client(OFFICE, Role.COORDINATOR) as caller:
        answer = await caller.get("/v1/explain", params={"event": event, "agency": DEPARTMENT})
    assert answer.status_code == 200, answer.text
    return [(one["outcome"], one["delivered_at"]) for one in answer.json()["webhooks"]]


async def test_explain_says_what_became_of_the_webhook(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    await verified(desk, receiver, types=[said.TransferOffered.TYPE])
    await desk.hears(
        cases.say(an_offer(), "case/c1"),
        cases.say(
            said.TransferWithdrawn(case="c1", transfer="c1.t1", from_agency=TOWNSHIP, to_agency=DEPARTMENT),
            "case/c1",
        ),
        cases.say(an_offer("c2", to=OTHER), "case/c2"),
    )
    assert await explained(desk, "case/c1/1") == [("waiting", None)]
    await desk.deliver()
    ((outcome, at),) = await explained(desk, "case/c1/1")
    assert (outcome, at is not None) == ("delivered", True)
    assert await explained(desk, "case/c1/2") == [("types", None)]
    assert await explained(desk, "case/c2/1") == [("rights", None)]


async def test_the_sick_keep_no_healthy_one_waiting(tmp_path: Path) -> None:
    """Four times as many hang as there are slots; the healthy one has its event before any of them ends."""
    async with (
        a_desk(tmp_path, known=[OFFICE, TOWNSHIP, DEPARTMENT], within=30.0, slots=4) as desk,
        a_receiver() as healthy,
        a_receiver() as sick,
    ):
        for _ in range(18):
            await verified(desk, sick, agency=OFFICE)
        await verified(desk, healthy, agency=DEPARTMENT)
        sick.behaviour = receivers.hangs
        await desk.hears(Speaker(offset=3).say(an_offer(), "case/c1"))
        loop = asyncio.create_task(desk.courier.run())
        async with asyncio.timeout(10):
            while not healthy.events or len(sick.seen) < 18:  # noqa: ASYNC110 - it runs on its own
                await asyncio.sleep(0.01)
        loop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loop


async def test_an_agency_of_another_county_and_an_official_register_nothing(
    desk: Desk, receiver: Receiver
) -> None:
    body = {"name": "业务系统", "url": receiver.url}
    assert (await post(desk, "/v1/endpoints", body, agency=STRANGER)).status_code == 403
    async with desk.client(DEPARTMENT, Role.HANDLER) as caller:
        assert (await caller.post("/v1/endpoints", json=body, headers=key())).status_code == 403


async def test_a_forbidden_address_is_refused_at_registration_and_at_every_sending(
    desk: Desk, cases: Speaker, receiver: Receiver
) -> None:
    body = {"name": "业务系统", "url": "https://169.254.169.254/latest"}
    refused = await post(desk, "/v1/endpoints", body)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/url")
    await verified(desk, receiver)
    desk.outgoing.policy = replace(desk.outgoing.policy, networks=())
    await desk.hears(cases.say(an_offer(), "case/c1"))
    await desk.deliver()
    assert receiver.seen == []
    async with desk.store.reading() as read:
        (waiting,) = [message for message in await read.all(Message) if message.kind == "event"]
    assert await outcomes(desk, waiting.id) == ["forbidden"]
