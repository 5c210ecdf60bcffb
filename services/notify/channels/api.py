"""Routes of the endpoints: keep them, prove them, see what became of what was sent; and explain an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Path, Query, Response
from fastapi import Request as Http
from pydantic import Field

from libs.common import errors
from libs.common.change import Change
from libs.common.edge import Loaded, Rendered, Request, Verb
from libs.common.outgoing.client import Outgoing, Unreachable
from libs.common.outgoing.targets import ForbiddenTarget
from libs.common.permit import Permit
from libs.common.seal import Keyring
from libs.common.store.reading import Reader
from libs.common.subscription import Subscription
from libs.common.web import paging, routes
from libs.common.web.asked import Asked, Doing, asks, does, etag
from libs.common.web.description import CONDITIONAL, created, leading, leads, versioned
from libs.common.web.fields import In, Instant, Text, Uscc
from libs.common.web.paging import Cursor, Limit
from services.notify import access
from services.notify.channels import loads, rules
from services.notify.channels.rules import File, Recovery, Registration, Sending, Wanted
from services.notify.channels.tables import Delivery, Endpoint, Message
from services.notify.inbox import loads as inbox
from services.notify.inbox import rules as telling
from services.notify.routing import loads as routing

router = routes.router(prefix="", tag="推送")

EndpointId = Annotated[str, Path(description="推送端点", json_schema_extra={"format": "uuid"})]
MessageId = Annotated[str, Path(description="消息，即 webhook-id", json_schema_extra={"format": "uuid"})]
DeliveryId = Annotated[str, Path(description="一次推送")]
Name = Annotated[str, Text(1, 60)]
#: What it may be is said by `libs.common.outgoing.targets`.
Url = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^https?://[!-~]+$")]


class EndpointIn(In):
    """An endpoint of the caller's agency."""

    name: Name
    url: Url
    subscription: Subscription = Subscription()


class ChangeIn(In):
    """What is to be changed; what is left out stays."""

    name: Name | None = None
    url: Url | None = None
    subscription: Subscription | None = None


class VerificationIn(In):
    """The token that was sent to the address."""

    token: Annotated[str, Text(1, 64)]


class RecoveryIn(In):
    """Events written from `since` on, and before `until`, are sent once more."""

    since: Instant
    until: Instant | None = None


def _shown(endpoint: Endpoint, permit: Permit, keyring: Keyring) -> dict[str, Any]:
    own = "url" not in permit.masked
    return {
        "id": endpoint.id,
        "agency": endpoint.agency,
        "name": endpoint.name,
        "url": endpoint.url if own else None,
        "subscription": endpoint.subscription,
        "state": endpoint.state,
        "why": endpoint.why or None,
        "secret_number": endpoint.secret,
        "former_secret_until": endpoint.former_until.isoformat() if endpoint.former_until else None,
        "public_key": rules.public_key(keyring.webhooks),
        "registered_at": endpoint.registered_at.isoformat(timespec="microseconds"),
    }


def _progress(file: File, first: Message | None) -> dict[str, Any]:
    """How the line goes, and which message is the first in it."""
    since = file.line.failing_since
    return {
        "message": first.id if first else None,
        "failing_since": since.isoformat(timespec="microseconds") if since else None,
        "failed_attempts": file.line.tries,
        "next_attempt_at": file.line.due_at.isoformat(timespec="microseconds"),
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "number": delivery.number,
        "at": delivery.at.isoformat(timespec="microseconds"),
        "outcome": delivery.outcome,
        "detail": rules.OUTCOMES[delivery.outcome],
        "status": delivery.status or None,
        "milliseconds": delivery.milliseconds,
    }


async def _load(read: Reader, request: Request[Any]) -> Loaded[File]:
    file = await loads.file(read, request.path["endpoint"])
    return Loaded(await loads.seen(read, request.actor, file.endpoint), file, file.head.version)


async def _load_registration(read: Reader, request: Request[Wanted]) -> Loaded[Registration]:
    facts = await loads.registration(read, request.actor.agency)
    return Loaded(await routing.situation(read, request.actor), facts)


async def _load_recovery(read: Reader, request: Request[RecoveryIn]) -> Loaded[Recovery]:
    loaded = await _load(read, request)
    body, file = request.body, loaded.facts
    messages = await loads.window(read, file.endpoint.id, body.since, body.until)
    return Loaded(loaded.situation, Recovery(file, messages), loaded.version)


async def _load_delivery(read: Reader, request: Request[None]) -> Loaded[Sending]:
    s = await loads.sent(read, request.path["delivery"].rpartition(".")[0])
    known = {delivery.id for delivery in await loads.deliveries(read, s.message.id)}
    if request.path["delivery"] not in known:
        raise errors.NotFound
    return Loaded(await loads.seen(read, request.actor, s.file.endpoint), s)


def _names(request: Request[Any]) -> list[str]:
    return [f"endpoint/{request.path['endpoint']}"]


def _rendered(change: Change, permit: Permit, status: int = 201) -> Rendered:
    """The endpoint as it is now; a secret is never in what is stored."""
    endpoint = change.written(Endpoint)
    body = {"id": endpoint.id, "state": endpoint.state, "secret_number": endpoint.secret, "secret": None}
    place = {"location": f"/v1/endpoints/{endpoint.id}"} if status == 201 else {}
    return Rendered(body, status, {"etag": etag(change.version_of("endpoint")), **place})


def _changed(change: Change, permit: Permit) -> Rendered:
    return _rendered(change, permit, status=200)


def _removed(change: Change, permit: Permit) -> Rendered:
    endpoint = change.written(Endpoint)
    return Rendered({"id": endpoint.id, "state": endpoint.state}, status=200)


def _tried(change: Change, permit: Permit) -> Rendered:
    return Rendered({"message": change.numbered[0].values["id"]})


def _recovered(change: Change, permit: Permit) -> Rendered:
    again = [row.entry.id for row in change.rows if isinstance(row.entry, Message)]
    return Rendered({"messages": len(again), "more": len(again) == rules.RECOVERED})


def _retried(change: Change, permit: Permit) -> Rendered:
    return Rendered({"message": change.written(Message).id})


def _keeping(
    action: str, decide: Callable[..., Change], render: Callable[[Change, Permit], Rendered]
) -> Verb[File, None]:
    """A verb of whoever keeps the endpoint, that needs to be told nothing else."""
    return Verb(
        action=action,
        names=_names,
        load=_load,
        permit=access.permit,
        decide=lambda s, request: decide(s, by=request.actor, at=request.at),
        render=render,
    )


def _verifying(keyring: Keyring) -> Verb[File, VerificationIn]:
    """The verb that compares the token with the one that this installation sends."""

    def decide(s: File, request: Request[VerificationIn]) -> Change:
        return rules.verify(s, request.body.token, keyring.webhooks, by=request.actor, at=request.at)

    return Verb("endpoint.verify", _names, _load, access.permit, decide, _rendered)


REGISTER: Verb[Registration, Wanted] = Verb(
    action="endpoint.register",
    names=lambda request: (),
    load=_load_registration,
    permit=access.permit,
    decide=lambda s, request: rules.register(s, request.body, by=request.actor, at=request.at),
    render=_rendered,
)
CHANGE: Verb[File, Wanted] = Verb(
    action="endpoint.change",
    names=_names,
    load=_load,
    permit=access.permit,
    decide=lambda s, request: rules.change(s, request.body, by=request.actor, at=request.at),
    render=_changed,
    conditional=True,
)
REMOVE = _keeping("endpoint.remove", rules.remove, _removed)
ROTATE = _keeping("endpoint.rotate", rules.rotate, _rendered)
ENABLE = _keeping("endpoint.enable", rules.enable, _rendered)
DISABLE = _keeping("endpoint.disable", rules.disable, _rendered)
TEST = _keeping("endpoint.test", rules.test, _tried)
RECOVER: Verb[Recovery, RecoveryIn] = Verb(
    action="endpoint.recover",
    names=_names,
    load=_load_recovery,
    permit=access.permit,
    decide=lambda s, request: rules.recover(s.file, s.messages[: rules.RECOVERED], at=request.at),
    render=_recovered,
)
RETRY: Verb[Sending, None] = Verb(
    action="delivery.retry",
    names=lambda request: (),
    load=_load_delivery,
    permit=access.permit,
    decide=lambda s, request: rules.retry(s, at=request.at),
    render=_retried,
)


async def _wanted(
    doing: Doing, http: Http, body: EndpointIn | ChangeIn, situation: access.Situation
) -> Wanted:
    """What is asked for, the address judged; whoever may not ask has no name resolved.

    A name that does not resolve now may later: what is sent there waits, and is judged again.
    """
    forbidden: ForbiddenTarget | None = None
    if body.url is not None and access.permits(doing.actor, doing.action, situation):
        outgoing: Outgoing = http.app.state.outgoing
        try:
            await outgoing.check(body.url)
        except ForbiddenTarget as why:
            forbidden = why
        except Unreachable:
            forbidden = None
    return Wanted(body.name, body.url, body.subscription, forbidden)


def _revealing(keyring: Keyring) -> Callable[[Any], Any]:
    """Adds the secret to the answer that leaves; the one that is stored has none."""

    def reveal(answer: dict[str, Any]) -> dict[str, Any]:
        secret = rules.secret_of(keyring.webhooks, answer["id"], answer["secret_number"])
        return {**answer, "secret": secret}

    return reveal


@router.get("/v1/endpoints", responses=leading(leads("read_endpoint", endpoint="/data/0/id")))
async def endpoints(
    asked: Annotated[Asked, asks("endpoint.read")], limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """本机关的推送端点；运维人员看全部，但不显示地址。"""
    after = paging.key_of(cursor)[0] if cursor is not None else None
    async with asked.reading() as read:
        own = await routing.situation(read, asked.actor, frozenset({access.OWNER}))
        keeps = access.permits(asked.actor, asked.action, own)
        every = access.permits(asked.actor, asked.action, await routing.situation(read, asked.actor))
        agency = None if every else asked.actor.agency
        found = await loads.page(read, agency, limit, after) if keeps or every else []

    def show(endpoint: Endpoint) -> dict[str, Any] | None:
        permit = keeps if endpoint.agency == asked.actor.agency else every
        return _shown(endpoint, permit, asked.here.keyring) if permit else None

    return asked.show(paging.page(found, limit, show))


@router.post(
    "/v1/endpoints",
    status_code=201,
    responses=created(leads("read_endpoint", "rotate_secret", "remove_endpoint", endpoint="/id")),
)
async def register_endpoint(
    doing: Annotated[Doing, does("endpoint.register")], http: Http, body: EndpointIn
) -> Response:
    """登记推送端点：密钥只在本答复中出现一次；验证码随即推送到该地址，凭以验证。"""
    async with doing.reading() as read:
        situation = await routing.situation(read, doing.actor)
    wanted = await _wanted(doing, http, body, situation)
    return _woken(http, await doing.do(REGISTER, wanted, once=_revealing(doing.here.keyring)))


@router.get(
    "/v1/endpoints/{endpoint}",
    responses=versioned(leads("change_endpoint", endpoint="/id"), leads("deliveries", message="/message")),
)
async def read_endpoint(asked: Annotated[Asked, asks("endpoint.read")], endpoint: EndpointId) -> Response:
    """查看推送端点。"""
    async with asked.reading() as read:
        file = await loads.file(read, endpoint)
        situation = await loads.seen(read, asked.actor, file.endpoint)
        first = await loads.first(read, file.endpoint)
    permit = access.permit(asked.actor, asked.action, situation)
    body = _shown(file.endpoint, permit, asked.here.keyring)
    return asked.show({**body, **_progress(file, first)}, version=file.head.version)


@router.patch("/v1/endpoints/{endpoint}", responses=CONDITIONAL)
async def change_endpoint(
    doing: Annotated[Doing, does("endpoint.change")], http: Http, endpoint: EndpointId, body: ChangeIn
) -> Response:
    """变更名称、地址或订阅；地址变更后须重新验证。"""
    async with doing.reading() as read:
        file = await loads.file(read, endpoint)
        situation = await loads.seen(read, doing.actor, file.endpoint)
    wanted = await _wanted(doing, http, body, situation)
    return _woken(http, await doing.do(CHANGE, wanted))


@router.delete("/v1/endpoints/{endpoint}")
async def remove_endpoint(doing: Annotated[Doing, does("endpoint.remove")], endpoint: EndpointId) -> Response:
    """删除推送端点：不再推送，也不再排队。"""
    return await doing.do(REMOVE, None)


@router.post("/v1/endpoints/{endpoint}/secret/rotate", status_code=201, responses=created())
async def rotate_secret(doing: Annotated[Doing, does("endpoint.rotate")], endpoint: EndpointId) -> Response:
    """更换密钥：新密钥只出现一次；此后一天内新旧两个密钥同时签名。"""
    return await doing.do(ROTATE, None, once=_revealing(doing.here.keyring))


@router.post("/v1/endpoints/{endpoint}/verification", status_code=201, responses=created())
async def verify_endpoint(
    doing: Annotated[Doing, does("endpoint.verify")], http: Http, endpoint: EndpointId, body: VerificationIn
) -> Response:
    """以推送到该地址的验证码证明地址为本机关所有；验证之前不推送任何事件。"""
    return _woken(http, await doing.do(_verifying(doing.here.keyring), body))


@router.post("/v1/endpoints/{endpoint}/test", status_code=201)
async def test_endpoint(
    doing: Annotated[Doing, does("endpoint.test")], http: Http, endpoint: EndpointId
) -> Response:
    """试推送一件没有内容的消息，排在已有消息之后。"""
    return _woken(http, await doing.do(TEST, None))


@router.post("/v1/endpoints/{endpoint}/enable", status_code=201, responses=created())
async def enable_endpoint(
    doing: Annotated[Doing, does("endpoint.enable")], http: Http, endpoint: EndpointId
) -> Response:
    """启用：先依次补送停用期间的消息。"""
    return _woken(http, await doing.do(ENABLE, None))


@router.post("/v1/endpoints/{endpoint}/disable", status_code=201, responses=created())
async def disable_endpoint(
    doing: Annotated[Doing, does("endpoint.disable")], endpoint: EndpointId
) -> Response:
    """停用：不再推送，新的消息排队等候。"""
    return await doing.do(DISABLE, None)


@router.post("/v1/endpoints/{endpoint}/recover", status_code=201)
async def recover_endpoint(
    doing: Annotated[Doing, does("endpoint.recover")], http: Http, endpoint: EndpointId, body: RecoveryIn
) -> Response:
    """补送一段时间内的事件，按原有次序；一次最多五百件，more 为真时请从其后继续。"""
    return _woken(http, await doing.do(RECOVER, body))


@router.get(
    "/v1/messages/{message}/deliveries", responses=leading(leads("retry_delivery", delivery="/data/0/id"))
)
async def deliveries(asked: Annotated[Asked, asks("delivery.read")], message: MessageId) -> Response:
    """一件消息的各次推送及结果，不含内容。"""
    async with asked.reading() as read:
        s = await loads.sent(read, message)
        situation = await loads.seen(read, asked.actor, s.file.endpoint)
        found = await loads.deliveries(read, message)
    access.permit(asked.actor, asked.action, situation)
    body = {"endpoint": s.file.endpoint.id, "event": s.message.event or None, "state": s.message.state}
    return asked.show({**body, "data": [_delivery(delivery) for delivery in found]})


@router.post("/v1/deliveries/{delivery}/retry", status_code=201)
async def retry_delivery(
    doing: Annotated[Doing, does("delivery.retry")], http: Http, delivery: DeliveryId
) -> Response:
    """立即重新推送该消息。"""
    return _woken(http, await doing.do(RETRY, None))


@router.get("/v1/explain")
async def explain(
    asked: Annotated[Asked, asks("explain.read")],
    event: Annotated[str, Query(min_length=5, max_length=200)],
    agency: Uscc | None = None,
) -> Response:
    """某机关为什么收到、或没有收到某个事件，推送端点的情况如何；不写机关的，问本机关。"""
    whose = agency or asked.actor.agency
    async with asked.reading() as read:
        situation = await inbox.seen(read, asked.actor, whose)
        permit = access.permit(asked.actor, asked.action, situation)
        question = await inbox.question(read, event, whose)
        found = telling.explain(question, routing.table(), oversees=access.oversees(permit))
        sent = await loads.fates(read, event, question.type or "", whose)
    return asked.show(
        {
            "event": event,
            "agency": whose,
            "outcome": found.outcome,
            "detail": found.detail,
            "reasons": list(found.reasons),
            "notice": question.notice.id if question.notice else None,
            "webhooks": [fate._asdict() for fate in sent],
        }
    )


def _woken(http: Http, answer: Response) -> Response:
    """The courier looks at once, in this process."""
    http.app.state.courier.wake()
    return answer
