"""What a route is given: who asks, what for, and the only two ways to answer.

Every route of ours declares its action with `asks` (reads) or `does` (writes); a house test refuses a route
without one, or with an action that its service has no rule for.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote

import orjson
from fastapi import Depends, Header, Request, Response
from fastapi.params import Depends as DependsParameter
from pydantic import WithJsonSchema
from starlette.responses import JSONResponse

from libs.common import edge, errors, proof, telemetry, wording
from libs.common.change import Answer
from libs.common.clock import Clock, Moment
from libs.common.permit import Actor
from libs.common.seal import Keyring
from libs.common.settings import Settings
from libs.common.store.reading import Reader
from libs.common.store.store import Store
from libs.common.web import tokens

S = TypeVar("S")
B = TypeVar("B")

#: Characters of an Audit-Reason, decoded.
LONGEST_REASON = 200

_NAMES = uuid.uuid5(uuid.NAMESPACE_URL, "urn:liandong:idempotency-key")
_KEY = re.compile(r"[\x21-\x7e]{1,128}")
_ETAG = re.compile(r'"([0-9]{1,18})"')

#: The headers of a write are checked by hand, in an order and with sentences of our own; these describe them.
_IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="同一请求重发时用同一个键"),
    WithJsonSchema({"type": "string", "pattern": f"^{_KEY.pattern}$"}),
]
_IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="所见的版本，即答复中的 ETag"),
    WithJsonSchema({"type": "string", "pattern": f"^{_ETAG.pattern}$"}),
]
_AuditReason = Annotated[
    str | None,
    Header(alias="Audit-Reason", description="为何如此办理，按 URL 编码", max_length=600),
    WithJsonSchema({"type": "string", "maxLength": 600}),
]


@dataclass(frozen=True, slots=True)
class Here:
    """What every service's routes may use; put into `app.state.here` by its composition root."""

    store: Store
    clock: Clock
    settings: Settings
    keyring: Keyring


class Event(JSONResponse):
    """An answer that is one CloudEvent."""

    media_type = "application/cloudevents+json"


class Events(JSONResponse):
    """An answer that is a batch of CloudEvents."""

    media_type = "application/cloudevents-batch+json"


class Asked:
    """One authenticated request for one action."""

    def __init__(self, http: Request, actor: Actor, action: str) -> None:
        self.actor = actor
        self.action = action
        self.here: Here = http.app.state.here
        self._http = http

    @property
    def at(self) -> Moment:
        """The moment of the request."""
        return Moment(self.here.clock.now(), telemetry.current_trace())

    def reading(self) -> AbstractAsyncContextManager[Reader]:
        return self.here.store.reading()

    def show(self, body: Any, *, version: int | None = None, media: str = "application/json") -> Response:
        """Answer a read; `version` becomes the ETag, and If-None-Match is honoured."""
        headers = {} if version is None else {"etag": etag(version)}
        if version is not None and self._http.headers.get("if-none-match") == etag(version):
            return Response(status_code=304, headers=headers)
        return Response(orjson.dumps(body), media_type=media, headers=headers)


class Doing(Asked):
    """A request that writes; `do` is the only way to answer it."""

    def __init__(
        self, http: Request, actor: Actor, action: str, key: str, if_match: int | None, reason: str
    ) -> None:
        super().__init__(http, actor, action)
        self._key = key
        self._if_match = if_match
        self.reason = reason

    def id_of(self, noun: str) -> str:
        """An id that is the same for the same Idempotency-Key, for what stands before the answer does."""
        return str(uuid.uuid5(_NAMES, f"{noun} {edge.scope(self.actor, self._route)} {self._key}"))

    async def do(
        self, verb: edge.Verb[S, B], body: B, *, once: Callable[[Any], Any] | None = None
    ) -> Response:
        """Send it through the command edge; the answer is the one that was stored.

        `once` adds to its body what is said once and stored nowhere: who asks again does not get it.
        """
        if verb.action != self.action:
            raise AssertionError(f"the route declares {self.action}, the verb is {verb.action}")
        request = edge.Request(
            actor=replace(self.actor, reason=self.reason),
            route=self._route,
            path=dict(self._http.path_params),
            body=body,
            key=self._key,
            digest=await self._digest(),
            if_match=self._if_match,
            at=self.at,
        )
        patience = self.here.settings.command_seconds
        outcome = await edge.command(self.here.store, verb, request, patience=patience)
        if once and not outcome.replayed:
            body_once = orjson.dumps(once(orjson.loads(outcome.answer.body)))
            return _answered(outcome.answer._replace(body=body_once), replayed=False)
        return _answered(outcome.answer, replayed=outcome.replayed)

    async def replay(self) -> Response | None:
        """The stored answer to this key, for a route that works before it commits.

        Raises KeyReused, and Stale for any If-Match: what such a route creates has no version yet.
        """
        scope = edge.scope(self.actor, self._route)
        old = await self.here.store.answered(scope, self._key)
        if old and old.request != await self._digest():
            raise errors.KeyReused
        if old is None and self._if_match is not None:
            raise errors.Stale(current=None)
        return _answered(old, replayed=True) if old else None

    @property
    def _route(self) -> str:
        return f"{self._http.method} {self._http.scope['route'].path}"

    async def _digest(self) -> bytes:
        """Of method, path and canonical body."""
        sent = orjson.loads(await self._http.body() or b"null")
        place = f"{self._http.method} {self._http.url.path}\n".encode()
        return hashlib.sha256(place + proof.canonical(sent)).digest()


def _answered(answer: Answer, *, replayed: bool) -> Response:
    headers = dict(answer.headers)
    if replayed:
        headers["idempotency-replayed"] = "true"
    return Response(answer.body, status_code=answer.status, media_type="application/json", headers=headers)


@dataclass(frozen=True, slots=True)
class Asks:
    """The dependency behind `asks`: checks the token and remembers the action."""

    action: str

    async def __call__(self, http: Request, actor: Annotated[Actor, Depends(tokens.actor)]) -> Asked:
        return Asked(http, actor, self.action)


@dataclass(frozen=True, slots=True)
class Does:
    """The dependency behind `does`: also reads the headers that every write takes.

    Headers are ASCII: a Chinese Audit-Reason comes percent-encoded, as in a URL.
    """

    action: str

    async def __call__(
        self,
        http: Request,
        actor: Annotated[Actor, Depends(tokens.actor)],
        idempotency_key: _IdempotencyKey = None,
        if_match: _IfMatch = None,
        audit_reason: _AuditReason = None,
    ) -> Doing:
        if idempotency_key is None or not _KEY.fullmatch(idempotency_key):
            raise errors.Malformed(
                "每个写请求都须带 Idempotency-Key 请求头（1 到 128 个可见 ASCII 字符）",
                errors=({"pointer": "", "code": "idempotency-key", "detail": "缺少或不合格式"},),
            )
        return Doing(http, actor, self.action, idempotency_key, _version(if_match), _reason(audit_reason))


def asks(action: str) -> DependsParameter:
    """Declare what a reading route is for: `asked: Annotated[Asked, asks("case.read")]`."""
    return Depends(Asks(action))  # type: ignore[no-any-return]


def does(action: str) -> DependsParameter:
    """Declare what a writing route is for: `doing: Annotated[Doing, does("transfer.accept")]`."""
    return Depends(Does(action))  # type: ignore[no-any-return]


def etag(version: int) -> str:
    """A version as an entity tag."""
    return f'"{version}"'


def _reason(header: str | None) -> str:
    """Why this write, in the caller's words: text of one line, percent-encoded."""
    reason = unquote(header or "").strip()
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        fault = wording.fault("header:audit-reason", "unreadable", "过长，或含有控制字符")
        raise errors.Malformed("Audit-Reason 请求头不合格式", errors=(fault,))
    return reason


def _version(if_match: str | None) -> int | None:
    if if_match is None:
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise errors.Malformed('If-Match 应为一个由本系统给出的 ETag，例如 "3"')
    return int(found[1])
