"""The edge of requests: what is asked, the verb that answers it, and how it is done once."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import orjson

from libs.common import errors
from libs.common.change import Answer, Change
from libs.common.clock import Moment, monotonic
from libs.common.edge import conflicts
from libs.common.permit import Actor, Permit
from libs.common.store.reading import Reader
from libs.common.store.seam import Committed
from libs.common.store.store import Store

_log = logging.getLogger(__name__)

S = TypeVar("S")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Request(Generic[B]):
    """What a POST asks, read and checked, before anything is known of the state."""

    actor: Actor
    route: str  #: method and path template
    path: Mapping[str, str]
    body: B
    key: str  #: Idempotency-Key
    digest: bytes  #: of method, path and canonical body
    if_match: int | None
    at: Moment

    @property
    def scope(self) -> str:
        """Where the key is unique."""
        return scope(self.actor, self.route)

    def check_if_match(self, version: int | None, *, needed: bool) -> None:
        """The caller must have seen the newest version of the thing itself; other streams may have moved."""
        if self.if_match is None:
            if needed:
                raise errors.Unconditional
        elif self.if_match != version:
            raise errors.Stale(current=version)


def scope(actor: Actor, route: str) -> str:
    """An Idempotency-Key is unique per agency, person and route."""
    return f"{actor.agency} {actor.person} {route}"


@dataclass(frozen=True, slots=True)
class Rendered:
    """An answer before it is stored."""

    body: Any
    status: int = 201
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """What a verb knows: the situation that the permit judges, and the facts that the rule decides on."""

    situation: Any
    facts: S
    #: The version that If-Match is held against; None where nothing exists yet.
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Verb(Generic[S, B]):
    """One thing that can be done: what it locks, what it must know, who may, what follows, what is said."""

    action: str
    names: Callable[[Request[B]], Iterable[str]]
    load: Callable[[Reader, Request[B]], Awaitable[Loaded[S]]]
    permit: Callable[[Actor, str, Any], Permit]
    decide: Callable[[S, Request[B]], Change]
    render: Callable[[Change, Permit], Rendered]
    #: Whether the request must say by If-Match which version it has seen; where it may, it is checked.
    conditional: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """A stored answer, new or replayed."""

    answer: Answer
    replayed: bool


async def command(
    store: Store, verb: Verb[S, B], request: Request[B], *, patience: float = conflicts.PATIENCE
) -> Outcome:
    """Do `verb` once, whoever else tries the same. Raises a Refusal, which commits nothing, or Busy.

    The stored answer is looked up where the verb comes to nothing: a key that was used refuses a second
    commit, and had a twin committed in between, its success must not be told as a refusal.
    """
    until = monotonic() + patience
    attempt = 0
    async with store.streams(verb.names(request)):
        while monotonic() < until:
            async with store.reading() as read:
                loaded = await verb.load(read, request)
            permit = verb.permit(request.actor, verb.action, loaded.situation)
            try:
                request.check_if_match(loaded.version, needed=verb.conditional)
                change = verb.decide(loaded.facts, request)
                answer = _answer(request, verb.render(change, permit))
            except errors.Refusal:
                if old := await _replayed(store, request):
                    return old
                if await read.stands():
                    raise
            else:
                if isinstance(await store.commit(change.answering(answer)), Committed):
                    _log_events(verb.action, change)
                    return Outcome(answer, replayed=False)
                if old := await _replayed(store, request):
                    return old
            attempt += 1
            await conflicts.jitter(attempt)
    raise errors.Busy


async def _replayed(store: Store, request: Request[Any]) -> Outcome | None:
    """The answer that was committed under this key, if there is one. Raises KeyReused."""
    old = await store.answered(request.scope, request.key)
    if old is None:
        return None
    if old.request != request.digest:
        raise errors.KeyReused
    return Outcome(old, replayed=True)


def _log_events(action: str, change: Change) -> None:
    """Which events a request became: its trace is that of the log line."""
    if change.facts:
        events = [f"{fact.kind}/{fact.id}/{fact.seq}" for fact in change.facts]
        _log.info("committed %s", action, extra={"action": "committed", "for": action, "events": events})


def _answer(request: Request[Any], rendered: Rendered) -> Answer:
    return Answer(
        scope=request.scope,
        key=request.key,
        request=request.digest,
        status=rendered.status,
        body=orjson.dumps(rendered.body),
        headers=rendered.headers,
        at=request.at.now,
    )
