"""Webhooks: who may be sent what, in which order, how often, and when an endpoint is given up.

What is promised (docs/adr/0029): each event that an agency's endpoint may see and wants is one message; it
arrives at least once, always under the same id; the messages of an endpoint go one after the other. The
secrets are derived from the installation's key, so nothing here holds one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import orjson

from libs.common import audience, errors, subscription
from libs.common.change import Change, Head
from libs.common.clock import Moment
from libs.common.contracts import notify as said
from libs.common.contracts.event import Event
from libs.common.outgoing.targets import ForbiddenTarget
from libs.common.permit import SYSTEM, Actor
from libs.common.seal import Seal
from libs.common.subscription import Subject, Subscription
from services.notify.channels.tables import Audience, Delivery, Endpoint, Line, Message
from services.notify.routing.tables import Addressee

#: The counter of messages: their order to one endpoint is that of their positions.
COUNTER = "messages"
#: Endpoints that an agency may have.
MOST = 20
#: Messages that one recovery puts in line again at most.
RECOVERED = 500

#: Seconds after each failed attempt until the next: times four, then four times a day; three days in all.
SCHEDULE: tuple[int, ...] = (5, 20, 80, 320, 1280, 5120, 20480, *[21600] * 11)
#: Part of a delay by which it is made longer or shorter, so that what failed together is not tried together.
JITTER = 0.1
#: Longest that a receiver's Retry-After is waited for, seconds.
LONGEST_WAIT = 21600
#: Percent of the time until an endpoint is disabled, at which its owner is warned.
WARNINGS: tuple[int, ...] = (50, 90)
#: How long the former secret signs beside the new one.
OVERLAP = timedelta(hours=24)

#: What may come of an attempt.
OUTCOMES: Mapping[str, str] = {
    "delivered": "已送达",
    "refused": "接收方未答复 2xx",
    "limited": "接收方要求稍后再试（429）",
    "gone": "接收方表示不再接收（410）",
    "unreachable": "没有得到完整答复",
    "forbidden": "推送地址不被允许",
}
#: What is sent that is no event: to prove an address, and to try it.
CHALLENGE, TEST = "liandong.endpoint.challenged.v1", "liandong.endpoint.tested.v1"

_GIVEN_UP: Mapping[said.DisabledFor, str] = {
    "gone": "接收方答复 410，表示不再接收",
    "exhausted": "连续三天的各次推送均未成功",
}
_STATES: Mapping[str, str] = {
    "waiting": "排队等候，或等候再次推送",
    "delivered": "已送达",
    "failed": "各次推送均未成功，已放弃；可以补送",
}
_WITHHELD: Mapping[str, str] = {
    "rights": "该机关无权查看该事件",
    "channel": "推送本身的情况只在收件箱中告知，不经推送",
    "types": "订阅未包含这类事件",
    "powers": "订阅未包含该职权事项",
    "territories": "订阅未包含该区域",
    "relations": "订阅未包含该机关与事件的这种关系",
    "unverified": "推送端点尚未验证",
    "later": "事件发生时，该端点尚未启用，或订阅与现在不同",
}
_MESSAGES = uuid.uuid5(uuid.NAMESPACE_URL, "urn:liandong:message")


class NotYetVerified(errors.Conflict):
    """The address has not been proved to be the agency's own."""

    code = "endpoint-not-verified"
    title = "推送端点尚未验证"


class AlreadyVerified(errors.Conflict):
    """The address was proved before."""

    code = "endpoint-already-verified"
    title = "推送端点已验证"


class WrongToken(errors.Conflict):
    """The token is not the one that was sent to the address."""

    code = "wrong-token"
    title = "验证码不正确"


class NotInThatState(errors.Conflict):
    """The endpoint is enabled, or disabled, already; or it must be enabled for this."""

    code = "endpoint-state"
    title = "推送端点当前状态不允许该操作"


class TooManyEndpoints(errors.Conflict):
    """The agency has as many endpoints as it may."""

    code = "too-many-endpoints"
    title = "推送端点数量已达上限"


class Right(NamedTuple):
    """An agency sees a stream from one of its events on, up to another; both are counted in."""

    stream: str
    agency: str
    ground: str
    relation: str
    from_seq: int
    until_seq: int | None = None


class Place(NamedTuple):
    """An event at its place in its stream, as `audience` asks of it."""

    stream: str
    seq: int
    about: str
    about_seq: int
    county: bool


@dataclass(frozen=True, slots=True)
class File:
    """An endpoint and its line, with their heads."""

    head: Head
    endpoint: Endpoint
    line_head: Head
    line: Line


@dataclass(frozen=True, slots=True)
class Registration:
    """What registering depends on."""

    #: Endpoints that the agency has.
    count: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A change of an endpoint; what is None stays."""

    name: str | None = None
    url: str | None = None
    subscription: Subscription | None = None
    #: Why the address may not be sent to, as far as that is known.
    forbidden: ForbiddenTarget | None = None


@dataclass(frozen=True, slots=True)
class Sending:
    """The message that is next in a line."""

    file: File
    message: Message


@dataclass(frozen=True, slots=True)
class Recovery:
    """An endpoint, and the messages to it that were done in a time."""

    file: File
    messages: Sequence[Message]


class Fate(NamedTuple):
    """What became of an event at one endpoint."""

    endpoint: str
    name: str
    outcome: str
    detail: str
    message: str | None = None
    delivered_at: str | None = None


class Attempt(NamedTuple):
    """What came of sending a message once."""

    outcome: str
    status: int = 0
    retry_after: str = ""
    milliseconds: int = 0


class Happened(NamedTuple):
    """An event as it was heard, and what is known of its stream and of the one that it tells of."""

    event: Event | None  #: None where its type is not in our catalogue
    id: str
    source: str
    type: str
    stream: str
    seq: int
    attributes: Mapping[str, str]
    data: Any
    audience: Audience
    about: Audience | None  #: of the case that it tells of


def register(s: Registration, wanted: Wanted, *, by: Actor, at: Moment) -> Change:
    """A new endpoint, and the challenge to it. Raises ForbiddenTarget, TooManyEndpoints."""
    if s.count >= MOST:
        raise TooManyEndpoints(f"每个机关最多 {MOST} 个推送端点")
    if wanted.forbidden:
        raise wanted.forbidden
    endpoint = Endpoint(
        id=at.new_id("endpoint"),
        agency=by.agency,
        name=wanted.name or "",
        url=wanted.url or "",
        subscription=(wanted.subscription or Subscription()).model_dump(mode="json"),
        state="unverified",
        registered_at=at.now,
    )
    event = said.EndpointRegistered(endpoint=endpoint.id, agency=endpoint.agency)
    line = Line(endpoint=endpoint.id, due_at=at.now)
    made = Change().owning(Head("line", endpoint.id)).inserting(endpoint, line)
    challenged = made.numbering(COUNTER, _challenge(endpoint, 1, at))
    return challenged.telling(event, on=Head("endpoint", endpoint.id), by=by, at=at)


def change(file: File, wanted: Wanted, *, by: Actor, at: Moment) -> Change:
    """Another name, subscription or address; the address must be proved anew. Raises ForbiddenTarget."""
    if wanted.forbidden:
        raise wanted.forbidden
    named = wanted.subscription.model_dump(mode="json") if wanted.subscription else None
    new: dict[said.Changed, Any] = {"name": wanted.name, "url": wanted.url, "subscription": named}
    changed = {
        name: value
        for name, value in new.items()
        if value is not None and value != getattr(file.endpoint, name)
    }
    endpoint, change = file.endpoint.but(**changed), Change().owning(file.head)
    if "url" in changed:
        endpoint = endpoint.but(state="unverified", why="")
        challenge = _challenge(endpoint, file.head.version + 1, at)
        change = Change.all_of([change, _anew(file, at)]).numbering(COUNTER, challenge)
    for what in changed:
        event = said.EndpointChanged(endpoint=endpoint.id, agency=endpoint.agency, what=what)
        change = change.telling(event, on=file.head, by=by, at=at)
    return change.putting(endpoint)


def rotate(file: File, *, by: Actor, at: Moment) -> Change:
    """A new secret; the one before signs as well for a day."""
    endpoint = file.endpoint
    rotated = endpoint.but(
        secret=endpoint.secret + 1, former=endpoint.secret, former_until=at.now.astimezone(UTC) + OVERLAP
    )
    event = said.EndpointChanged(endpoint=endpoint.id, agency=endpoint.agency, what="secret")
    return Change().putting(rotated).telling(event, on=file.head, by=by, at=at)


def verify(file: File, token: str, seal: Seal, *, by: Actor, at: Moment) -> Change:
    """The address is the agency's own: who keeps the endpoint has read what was sent there.

    Raises AlreadyVerified, WrongToken.
    """
    if file.endpoint.state != "unverified":
        raise AlreadyVerified
    if not hmac.compare_digest(token.encode(), token_of(seal, file.endpoint).encode()):
        raise WrongToken
    return _enabled(file, "verified", by=by, at=at)


def enable(file: File, *, by: Actor, at: Moment) -> Change:
    """Send again, what has waited first. Raises NotYetVerified, NotInThatState."""
    _require(file, "disabled")
    return _enabled(file, "owner", by=by, at=at)


def disable(file: File, *, by: Actor, at: Moment) -> Change:
    """Send nothing more; what is said meanwhile waits. Raises NotYetVerified, NotInThatState."""
    _require(file, "enabled")
    return _disabled(file, "owner", by=by, at=at)


def remove(file: File, *, by: Actor, at: Moment) -> Change:
    """The endpoint is no more: nothing is sent, and nothing waits."""
    event = said.EndpointDisabled(endpoint=file.endpoint.id, agency=file.endpoint.agency, reason="removed")
    removed = file.endpoint.but(state="removed", why="owner")
    return Change().putting(removed).telling(event, on=file.head, by=by, at=at)


def test(file: File, *, by: Actor, at: Moment) -> Change:
    """A message without meaning, behind what waits. Raises NotYetVerified, NotInThatState."""
    _require(file, "enabled")
    name = f"{file.endpoint.id} test {at.new_id('test')}"
    sent = {**_envelope(TEST, file.endpoint, at), "data": {"endpoint": file.endpoint.id}}
    message = Message(
        id=str(uuid.uuid5(_MESSAGES, name)),
        endpoint=file.endpoint.id,
        kind="test",
        type=TEST,
        body=orjson.dumps(sent),
        written_at=at.now,
    )
    return Change().relying_on(file.head).numbering(COUNTER, message)


def recover(file: File, messages: Sequence[Message], *, at: Moment) -> Change:
    """Send these once more, in their old order and before what came later. Raises NotYetVerified."""
    if file.endpoint.state == "unverified":
        raise NotYetVerified
    again = [message.but(state="waiting", done_at=None) for message in messages]
    return Change.all_of([Change().putting(*again), _anew(file, at)])


def retry(s: Sending, *, at: Moment) -> Change:
    """Send one message again, now. Raises NotYetVerified, NotInThatState."""
    if s.message.kind != "challenge":
        _require(s.file, "enabled")
    elif s.file.endpoint.state != "unverified":
        raise AlreadyVerified
    again = Change().putting(s.message.but(state="waiting", done_at=None))
    return Change.all_of([again, _anew(s.file, at)])


def fate(endpoint: Endpoint, message: Message | None, happened: Happened, agency: Addressee | None) -> Fate:
    """Why an endpoint got an event, or did not."""
    if message:
        done = message.done_at.isoformat(timespec="microseconds") if message.done_at else None
        at = done if message.state == "delivered" else None
        return Fate(endpoint.id, endpoint.name, message.state, _STATES[message.state], message.id, at)
    why = withheld(happened, endpoint, agency)
    if endpoint.state == "unverified" and not why:
        why = "unverified"
    return Fate(endpoint.id, endpoint.name, why or "later", _WITHHELD[why or "later"])


def write(
    happened: Happened, endpoints: Iterable[Endpoint], agencies: Mapping[str, Addressee], *, at: Moment
) -> Change:
    """A message to each endpoint that may see the event and wants it."""
    written = [
        _message(happened, endpoint, at)
        for endpoint in endpoints
        if endpoint.state in ("enabled", "disabled")
        and not withheld(happened, endpoint, agencies.get(endpoint.agency))
    ]
    return Change().numbering(COUNTER, *written)


def withheld(happened: Happened, endpoint: Endpoint, agency: Addressee | None) -> str:
    """Why an endpoint does not get the event: `rights`, or the field of its subscription; empty if it does.

    It is told what some official of its agency reads in the feed, and nothing else.
    """
    known = _relations(happened, agency)
    if not audience.reads(audience.OFFICIALS, known):
        return "rights"
    if happened.stream.startswith("endpoint/"):
        return "channel"  # or word of a failure would fail, and of that failure there would be word again
    event, of = happened.event, happened.about or happened.audience
    subject = Subject(
        type=happened.type,
        power=getattr(event, "power", "") or of.power,
        territory=getattr(event, "territory", "") or of.territory,
        relations=subscription.relations(event, endpoint.agency, known),
    )
    return Subscription.model_validate(endpoint.subscription).leaves_out(subject)


def learn(known: Audience | None, event: Event | None, stream: str, seq: int) -> Audience:
    """Who sees a stream, after this event of it."""
    now = known or Audience(stream=stream, rights=[])
    power, territory = getattr(event, "power", ""), getattr(event, "territory", "")
    if territory and not now.territory:
        now = now.but(power=power, territory=territory)
    for moved in audience.moves(event):
        of = [right for right in now.rights if _is_of(right, moved.agency, moved.ground)]
        others = [right for right in now.rights if right not in of]
        if isinstance(moved, audience.Ended):
            now = now.but(rights=[*others, *({**right, "until_seq": seq} for right in of)])
            continue
        right = {"agency": moved.agency, "ground": moved.ground, "relation": moved.relation}
        until = seq if moved.once else None
        kept = now.rights if moved.once else others
        now = now.but(rights=[*kept, {**right, "from_seq": seq, "until_seq": until}])
    return now


def settle(s: Sending, attempt: Attempt, *, at: Moment) -> Change:
    """What follows from an attempt: the message is delivered, tried again later, or given up."""
    message = s.message.but(tries=s.message.tries + 1)
    kept = Change().owning(s.file.line_head).inserting(_delivery(message, attempt, at))
    if attempt.outcome == "delivered":
        delivered = message.but(state="delivered", done_at=at.now)
        return kept.putting(delivered, Line(endpoint=s.file.endpoint.id, due_at=at.now))
    if s.message.kind != "challenge" and s.file.endpoint.state != "enabled":
        return kept.putting(message)  # it was disabled, or moved, while this was under way
    if s.message.kind != "challenge" and attempt.outcome == "gone":
        # The message waits, as does what follows it, for an owner who enables the endpoint again.
        return Change.all_of([kept.putting(message), _disabled(s.file, "gone", by=SYSTEM, at=at)])
    line = s.file.line.but(
        tries=s.file.line.tries + 1, failing_since=s.file.line.failing_since or at.now.astimezone(UTC)
    )
    if attempt.outcome == "gone" or line.tries > len(SCHEDULE):
        return Change.all_of([kept, _failed(s.file, message, at)])
    wait = delay(message.id, line.tries, attempt.retry_after, at.now)
    warned = _warned(s.file, line, at)
    line = line.but(due_at=at.now + timedelta(seconds=wait), warned=line.warned + len(warned))
    return Change.all_of([kept.putting(message, line), *warned])


def outcome(status: int) -> str:
    """What an answer with this status means; a redirect is followed nowhere, and so is a refusal."""
    named = {410: "gone", 429: "limited"}
    return "delivered" if 200 <= status < 300 else named.get(status, "refused")


def delay(message: str, tries: int, retry_after: str, now: datetime) -> float:
    """Seconds until the next attempt, after so many failed ones."""
    chance = int.from_bytes(hashlib.sha256(f"{message} {tries}".encode()).digest()[:4]) / 2**32
    planned = SCHEDULE[tries - 1] * (1 + JITTER * (2 * chance - 1))
    return max(planned, min(_asked(retry_after, now), LONGEST_WAIT))


def headers(
    message: Message, body: bytes, endpoint: Endpoint, seal: Seal, *, sent_at: datetime, now: datetime
) -> dict[str, str]:
    """What Standard Webhooks asks for: id, time, and signatures by each valid secret, and by our key.

    `sent_at` is real time, by which receivers judge; `now` is that of the clock, by which secrets end.
    """
    timestamp = str(int(sent_at.timestamp()))
    signed = b"%b.%b.%b" % (message.id.encode(), timestamp.encode(), body)
    numbers = [endpoint.secret]
    if endpoint.former and endpoint.former_until and now < endpoint.former_until:
        numbers.append(endpoint.former)
    macs = [hmac.digest(_secret(seal, endpoint.id, number), signed, "sha256") for number in numbers]
    signatures = [f"v1,{_base64(mac)}" for mac in macs] + [f"v1a,{_base64(seal.sign(signed))}"]
    return {
        "content-type": "application/cloudevents+json; charset=utf-8",
        "webhook-id": message.id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


def sent(message: Message, endpoint: Endpoint, seal: Seal, at: Moment) -> bytes:
    """The body of a message; that of a challenge is made when it is sent, for its token is kept nowhere."""
    if message.kind != "challenge":
        return message.body
    data = {"endpoint": endpoint.id, "token": token_of(seal, endpoint)}
    return orjson.dumps({**_envelope(CHALLENGE, endpoint, at), "id": message.id, "data": data})


def secret_of(seal: Seal, endpoint: str, number: int) -> str:
    """The secret as its owner is shown it, once."""
    return "whsec_" + _base64(_secret(seal, endpoint, number))


def public_key(seal: Seal) -> str:
    """The key that verifies v1a signatures, as Standard Webhooks writes it."""
    return "whpk_" + _base64(seal.public)


def token_of(seal: Seal, endpoint: Endpoint) -> str:
    """What the owner must read at the address and bring back."""
    derived = seal.derive(f"liandong endpoint token {endpoint.id} {endpoint.url}")
    return base64.b32encode(derived[:20]).decode()


def message_id(endpoint: str, event: str) -> str:
    """UUIDv5 of endpoint and event: writing the message again is writing the same."""
    return str(uuid.uuid5(_MESSAGES, f"{endpoint} {event}"))


def challenge_id(endpoint: str, version: int) -> str:
    """The id of the message that proves the address which an endpoint has since that version."""
    return str(uuid.uuid5(_MESSAGES, f"{endpoint} challenge {version}"))


def _secret(seal: Seal, endpoint: str, number: int) -> bytes:
    return seal.derive(f"liandong endpoint secret {endpoint} {number}")


def _message(happened: Happened, endpoint: Endpoint, at: Moment) -> Message:
    shown = {name: happened.attributes[name] for name in audience.KEPT if name in happened.attributes}
    named = {"specversion": "1.0", "id": happened.id, "source": happened.source}
    body = {**named, **shown, "datacontenttype": "application/json", "data": happened.data}
    return Message(
        id=message_id(endpoint.id, happened.id),
        endpoint=endpoint.id,
        kind="event",
        event=happened.id,
        type=happened.type,
        body=orjson.dumps(body),
        written_at=at.now,
    )


def _challenge(endpoint: Endpoint, version: int, at: Moment) -> Message:
    return Message(
        id=challenge_id(endpoint.id, version),
        endpoint=endpoint.id,
        kind="challenge",
        type=CHALLENGE,
        body=b"",
        written_at=at.now,
    )


def _envelope(type_: str, endpoint: Endpoint, at: Moment) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": at.new_id(type_),
        "source": said.SOURCE,
        "type": type_,
        "subject": f"endpoint/{endpoint.id}",
        "time": at.now.isoformat(timespec="microseconds"),
        "datacontenttype": "application/json",
    }


def _relations(happened: Happened, agency: Addressee | None) -> frozenset[str]:
    if agency is None:
        return frozenset()  # who is not registered with the county is nothing to it
    about = audience.about(happened.event) or ("", 0)
    place = Place(happened.stream, happened.seq, *about, audience.is_of_county(happened.type))
    rights = [
        Right(stream=known.stream, **right)
        for known in (happened.audience, happened.about)
        if known
        for right in known.rights
        if right["agency"] == agency.agency
    ]
    found = audience.relations(place, rights)
    found |= audience.concerning(happened.stream, happened.data, agency.agency)
    return found | {audience.COORDINATING} if agency.coordinates else found


def _is_of(right: Mapping[str, Any], agency: str, ground: str) -> bool:
    return (right["agency"], right["ground"]) == (agency, ground)


def _require(file: File, state: str) -> None:
    if file.endpoint.state == "unverified":
        raise NotYetVerified
    if file.endpoint.state != state:
        raise NotInThatState(state=file.endpoint.state)


def _anew(file: File, at: Moment) -> Change:
    """The line begins again, now."""
    return Change().owning(file.line_head).putting(Line(endpoint=file.endpoint.id, due_at=at.now))


def _enabled(file: File, reason: said.EnabledFor, *, by: Actor, at: Moment) -> Change:
    event = said.EndpointEnabled(endpoint=file.endpoint.id, agency=file.endpoint.agency, reason=reason)
    enabled = Change().putting(file.endpoint.but(state="enabled", why=""))
    return Change.all_of([enabled.telling(event, on=file.head, by=by, at=at), _anew(file, at)])


def _disabled(file: File, reason: said.DisabledFor, *, by: Actor, at: Moment) -> Change:
    event = said.EndpointDisabled(endpoint=file.endpoint.id, agency=file.endpoint.agency, reason=reason)
    disabled = file.endpoint.but(state="disabled", why=reason)
    return Change().putting(disabled).telling(event, on=file.head, by=by, at=at)


def _failed(file: File, message: Message, at: Moment) -> Change:
    """The message is given up, and with it an endpoint that took nothing for so long."""
    failed = Change().putting(message.but(state="failed", done_at=at.now))
    line = Line(endpoint=file.endpoint.id, due_at=at.now)
    if file.endpoint.state != "enabled":
        return failed.putting(line)
    given_up = _disabled(file, "exhausted", by=SYSTEM, at=at)
    event = said.DeliveryFailed(
        endpoint=file.endpoint.id, agency=file.endpoint.agency, message=message.id, event=message.event
    )
    return Change.all_of([failed.putting(line), given_up]).telling(event, on=file.head, by=SYSTEM, at=at)


def _warned(file: File, line: Line, at: Moment) -> list[Change]:
    """The warnings that are due now, each once since it began to fail."""
    if file.endpoint.state != "enabled" or line.failing_since is None:
        return []
    failing = (at.now - line.failing_since).total_seconds()
    due = [percent for percent in WARNINGS[line.warned :] if failing * 100 >= sum(SCHEDULE) * percent]
    if not due:
        return []
    # A clock that leapt over both warnings gives the later one, and counts both.
    return [*[Change()] * (len(due) - 1), _warning(file, due[-1], at)]


def _warning(file: File, percent: int, at: Moment) -> Change:
    event = said.EndpointWarned(endpoint=file.endpoint.id, agency=file.endpoint.agency, percent=percent)
    return Change().telling(event, on=file.head, by=SYSTEM, at=at)


def _delivery(message: Message, attempt: Attempt, at: Moment) -> Delivery:
    return Delivery(
        id=f"{message.id}.{message.tries}",
        message=message.id,
        number=message.tries,
        at=at.now,
        outcome=attempt.outcome,
        status=attempt.status,
        milliseconds=attempt.milliseconds,
    )


def _asked(retry_after: str, now: datetime) -> float:
    """Seconds that a Retry-After asks for: a number of them, or a date (RFC 9110, 10.2.3); 0 for nonsense."""
    if retry_after.isascii() and retry_after.isdecimal() and len(retry_after) <= 9:
        return float(retry_after)
    try:
        return (parsedate_to_datetime(retry_after) - now).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
