"""Routes of the feeds: which there are, following one from a position, and one entry by its position."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Path, Query, Request, Response

from libs.common import errors
from libs.common.clock import monotonic
from libs.common.store.reading import Reader
from libs.common.web import routes
from libs.common.web.asked import Asked, Event, Events, asks
from libs.common.web.description import leading, leads, refusing
from services.sharing import access
from services.sharing.feeds import loads, rules
from services.sharing.feeds.loads import Arrivals
from services.sharing.feeds.tables import LogEntry

router = routes.router(prefix="", tag="订阅源")

#: Longest wait for new entries, milliseconds.
LONGEST = 30_000

_POSITION = r"^(0|[1-9][0-9]{0,17})$"

FeedName = Annotated[str, Path(description="订阅源", json_schema_extra={"enum": list(rules.FEEDS)})]
Position = Annotated[str, Path(description="在日志中的位置", json_schema_extra={"pattern": _POSITION})]


@router.get("/v1/feeds", responses=leading(leads("follow", feed="/data/0/name")))
async def feeds(asked: Annotated[Asked, asks("feed.list")]) -> Response:
    """全部订阅源：都是同一日志的筛选，位置通用。"""
    async with asked.reading() as read:
        visible = access.permits(asked.actor, asked.action, await loads.situation(read, asked.actor))
        position = await loads.end(read)
    found = [
        {
            "name": name,
            "title": feed.zh,
            "href": f"/v1/feeds/{name}",
            "source": rules.source_of(name),
            "position": position,
        }
        for name, feed in rules.FEEDS.items()
    ]
    return asked.show({"data": found if visible else [], "next": None})


@router.get(
    "/v1/feeds/{feed}",
    response_class=Events,
    responses=leading(leads("read_entry", feed="$request.path.feed", id="/0/id")) | refusing(409),
)
async def follow(
    asked: Annotated[Asked, asks("feed.read")],
    http: Request,
    feed: FeedName,
    after: Annotated[str, Query(alias="lastEventId", pattern=_POSITION)] = "0",
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
    timeout: Annotated[int, Query(ge=0, le=LONGEST, description="毫秒")] = 0,
) -> Response:
    """自某一位置之后的记录，按位置先后；没有新记录的，最多等待 timeout 毫秒，空数组表示已到末尾。"""
    arrivals: Arrivals = http.app.state.arrivals
    until = monotonic() + timeout / 1000
    with arrivals.reading(feed if feed in rules.FEEDS else "none"):
        while True:
            coming = arrivals.expect()
            events = await _events(asked, feed, int(after), limit)
            if events or events is None or monotonic() >= until or arrivals.ended:
                break
            while not coming.is_set() and monotonic() < until and not await http.is_disconnected():
                await arrivals.pause(coming, until)
            if not coming.is_set():
                break
    return asked.show(events or [], media=Events.media_type)


@router.get("/v1/feeds/{feed}/events/{id}", response_class=Event)
async def read_entry(asked: Annotated[Asked, asks("entry.read")], feed: FeedName, id: Position) -> Response:
    """某一位置的记录。"""
    if feed not in rules.FEEDS or not re.fullmatch(_POSITION, id, re.ASCII):
        raise errors.NotFound
    async with asked.reading() as read:
        found = [entry for entry in await loads.page(read, feed, int(id) - 1, 1) if entry.position == int(id)]
        own = await loads.situation(read, asked.actor)
        seen = await loads.seen(read, asked.actor, own, found)
    if not seen:
        raise errors.NotFound
    ((entry, situation),) = seen
    access.permit(asked.actor, asked.action, situation)
    return asked.show(rules.shown(entry, feed), media=Event.media_type)


async def _events(asked: Asked, feed: str, after: int, limit: int) -> list[dict[str, Any]] | None:
    """The next events as this reader may see them now; None for whom the county does not know.

    Such a reader gets the same for a feed that exists as for one that does not.
    """
    async with asked.reading() as read:
        own = await loads.situation(read, asked.actor)
        if not access.permits(asked.actor, asked.action, own):
            return None
        if feed not in rules.FEEDS:
            raise errors.NotFound
        entries = await loads.page(read, feed, after, limit)
        if not entries:
            await _require_place(read, after)
        seen = await loads.seen(read, asked.actor, own, entries)
    return [_shown(asked, feed, entry, situation) for entry, situation in seen]


def _shown(asked: Asked, feed: str, entry: LogEntry, situation: access.Situation) -> dict[str, Any]:
    if access.permits(asked.actor, "entry.read", situation):
        return rules.shown(entry, feed)
    return rules.withheld(entry.position, feed)


async def _require_place(read: Reader, after: int) -> None:
    """A reader who is further than the log must hear of it: waiting for its end would lose what comes."""
    if after > (newest := await loads.end(read)):
        raise rules.PositionAhead(f"日志的最新位置是 {newest}，尚无位置 {after}", position=newest)
