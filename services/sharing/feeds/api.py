"""Routes of the log: which feeds of it there are, and one entry by its position."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Path, Response

from libs.common import errors
from libs.common.web import routes
from libs.common.web.asked import Asked, Event, asks
from libs.common.web.description import leading, leads
from services.sharing import access
from services.sharing.feeds import loads, rules

router = routes.router(prefix="", tag="订阅源")

POSITION = r"^(0|[1-9][0-9]{0,17})$"

FeedName = Annotated[str, Path(description="订阅源", json_schema_extra={"enum": list(rules.FEEDS)})]
Position = Annotated[str, Path(description="在日志中的位置", json_schema_extra={"pattern": POSITION})]


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


@router.get("/v1/feeds/{feed}/events/{id}", response_class=Event)
async def read_entry(asked: Annotated[Asked, asks("entry.read")], feed: FeedName, id: Position) -> Response:
    """某一位置的记录。"""
    if feed not in rules.FEEDS or not re.fullmatch(POSITION, id, re.ASCII):
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
