"""Routes of those who follow the log: a feed from a position on, in three forms, and who follows it."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Annotated

from fastapi import Header, Path, Query, Request, Response

from libs.common import errors
from libs.common.clock import monotonic
from libs.common.web import routes, tokens
from libs.common.web.asked import Asked, Events, asks
from libs.common.web.description import Responses, leading, leads, refusing
from libs.common.web.stream import Say, Stream
from services.sharing import access
from services.sharing.feeds import loads as feeds
from services.sharing.feeds import rules as log
from services.sharing.feeds.api import POSITION, FeedName
from services.sharing.readers import loads, rules
from services.sharing.readers.loads import Arrivals
from services.sharing.readers.rules import Following, Form, Told

router = routes.router(prefix="", tag="订阅源")

#: Longest wait for new entries, milliseconds.
LONGEST = 30_000

_PAGE = r"^[1-9][0-9]{0,15}$"
_TEXT = {"schema": {"type": "string"}}
_TAG = {"ETag": {"required": True, "schema": {"type": "string", "pattern": '^"[0-9a-f]{32}"$'}}}
_READ: Responses = {200: {"headers": _TAG}}
_UNCHANGED: Responses = {304: {"description": "If-None-Match 所指的文档仍是最新的", "headers": _TAG}}
_FOLLOWED: Responses = {
    200: {
        "content": {Stream.media_type: _TEXT, rules.ATOM: _TEXT},
        **leading(leads("read_entry", feed="$request.path.feed", id="/0/id"))[200],
    },
    204: {"description": "事件流：无可读取的记录，不必重连"},
    **_UNCHANGED,
    **refusing(409),
}


class Atom(Response):
    """An answer that is a page of a feed as Atom."""

    media_type = rules.ATOM


After = Annotated[str, Query(alias="lastEventId", pattern=POSITION)]
LastSeen = Annotated[
    str | None,
    Header(alias="Last-Event-ID", pattern=POSITION, description="断开的事件流自此继续，优先于 lastEventId"),
]
PageNumber = Annotated[
    str, Path(description="第几页，每页的位置范围固定", json_schema_extra={"pattern": _PAGE})
]


@router.get(
    "/v1/feeds/{feed}",
    response_class=Events,
    responses=_FOLLOWED,
)
async def follow(
    asked: Annotated[Asked, asks("feed.read")],
    http: Request,
    feed: FeedName,
    after: After = "0",
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    timeout: Annotated[int, Query(ge=0, le=LONGEST, description="毫秒")] = 0,
    last_seen: LastSeen = None,
) -> Response:
    """自某一位置之后的记录，按位置先后；没有新记录的，最多等待 timeout 毫秒，空数组表示已到末尾。

    Accept: text/event-stream 得到事件流（SSE）；Accept: application/atom+xml 得到最新一页（Atom）。
    """
    match rules.chosen(http.headers.get("accept", "")):
        case "stream":
            return await _stream(asked, http, feed, int(last_seen or after))
        case "atom":
            return await _atom(asked, http, feed, page=None)
        case "batch":
            return await _batch(asked, http, feed, int(after), limit, timeout)


@router.get("/v1/feeds/{feed}/archives/{page}", response_class=Atom, responses=_READ | _UNCHANGED)
async def read_archive(
    asked: Annotated[Asked, asks("feed.read")], http: Request, feed: FeedName, page: PageNumber
) -> Response:
    """Atom 的一页：每页 100 个位置，写满之后不再变动（RFC 5005）。"""
    if not re.fullmatch(_PAGE, page, re.ASCII):
        raise errors.NotFound
    return await _atom(asked, http, feed, page=int(page))


@router.get("/v1/feeds/{feed}/readers")
async def readers(asked: Annotated[Asked, asks("readers.read")], feed: FeedName) -> Response:
    """谁在读取这个订阅源，读到哪里，落后多少条（至多数到一万条）；几秒钟更新一次。"""
    async with asked.reading() as read:
        access.permit(asked.actor, asked.action, await feeds.situation(read, asked.actor))
        if feed not in log.FEEDS:
            raise errors.NotFound
        found = await loads.lagging(read, feed=feed)
    shown = [
        {
            "agency": follower.agency,
            "form": follower.form,
            "position": follower.position,
            "lag": lag,
            "seen_at": follower.seen_at.isoformat(timespec="microseconds"),
        }
        for follower, lag in found
    ]
    return asked.show({"data": shown, "next": None})


def _following(asked: Asked, http: Request, feed: str, form: Form) -> AbstractContextManager[Following]:
    follow: Callable[[str, str, Form], AbstractContextManager[Following]] = http.app.state.following
    return follow(feed, asked.actor.agency, form)


async def _batch(asked: Asked, http: Request, feed: str, after: int, limit: int, timeout: int) -> Response:
    arrivals: Arrivals = http.app.state.arrivals
    until = monotonic() + timeout / 1000
    with (
        arrivals.reading(feed if feed in log.FEEDS else "none"),
        _following(asked, http, feed, "batch") as following,
    ):
        while True:
            coming = arrivals.expect()
            async with asked.reading() as read:
                found = await loads.judged(read, asked.actor, await loads.page(read, feed, after, limit))
            following.position = None if found is None else after
            if found or found is None or monotonic() >= until or arrivals.ended:
                break
            while not coming.is_set() and monotonic() < until and not await http.is_disconnected():
                await arrivals.pause(coming, until)
            if not coming.is_set():
                break
    return Response(rules.batch(found or ()), media_type=Events.media_type)


async def _stream(asked: Asked, http: Request, feed: str, after: int) -> Response:
    arrivals: Arrivals = http.app.state.arrivals
    # What is refused is refused before the stream begins; whom it is not for is told not to come again.
    if await arrivals.together(asked.actor, feed, after) is None:
        return Response(status_code=204)

    async def entries(after: int) -> tuple[Told, ...] | None:
        """The next ones as the reader may see them now; None where nothing may be sent to them any more."""
        try:
            return await arrivals.together(await tokens.actor.again(http), feed, after)
        except (errors.Refusal, errors.Transient):
            return None

    async def tell(say: Say) -> None:
        with arrivals.reading(feed), _following(asked, http, feed, "stream") as following:
            await _follow(arrivals, entries, after, following, say, seconds=_life(asked))

    return Stream(tell)


def _life(asked: Asked) -> float:
    """Seconds. Not the same for all, or those who came together would all come again together."""
    return asked.here.settings.stream_seconds * random.uniform(0.8, 1.2)


async def _follow(
    arrivals: Arrivals,
    entries: Callable[[int], Awaitable[tuple[Told, ...] | None]],
    after: int,
    following: Following,
    say: Say,
    *,
    seconds: float,
) -> None:
    """Say what there is and what comes, until the time is up, the right has ended or the process ends."""
    until, quiet_since = monotonic() + seconds, monotonic()
    await say(rules.RETRY)
    while monotonic() < until and not arrivals.ended:
        coming = arrivals.expect()
        found = await entries(after)
        if found is None:
            return
        for piece in rules.pieces(found):
            await say(piece)
        if found:
            after, quiet_since = found[-1].position, monotonic()
        elif monotonic() >= quiet_since + arrivals.ping:
            await say(rules.PING)
            quiet_since = monotonic()
        following.position = after
        if len(found) == loads.STEP:
            continue  # there is more, or may be
        rested_at = min(until, quiet_since + arrivals.ping)
        while not coming.is_set() and monotonic() < rested_at:
            await arrivals.pause(coming, rested_at)


async def _atom(asked: Asked, http: Request, feed: str, *, page: int | None) -> Response:
    async with asked.reading() as read:
        newest = rules.page_of(await feeds.end(read))
        number = page or newest
        if number > newest:
            raise errors.NotFound
        entries = await loads.positions(read, feed, number)
        found = await loads.judged(read, asked.actor, entries)
    if found is None:
        raise errors.NotFound
    if page is None:
        with _following(asked, http, feed, "atom") as following:
            following.position = found[-1].position if found else entries.after
    document = rules.atom(feed, number, newest, found, subscription=page is None)
    tag = rules.tag(document)
    if _has_it(http.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers={"etag": tag})
    return Atom(document, headers={"etag": tag})


def _has_it(if_none_match: str, tag: str) -> bool:
    """Whether a caller says that they have it already (RFC 9110, 13.1.2)."""
    known = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return bool(known & {tag, "*"})
