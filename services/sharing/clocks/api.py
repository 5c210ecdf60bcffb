"""Routes of the clocks: their dates, for the calendars that people carry with them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Response

from libs.common.audience import COORDINATING
from libs.common.law import limits
from libs.common.web import routes
from libs.common.web.asked import Asked, asks
from services.sharing import access
from services.sharing.clocks import loads, rules
from services.sharing.feeds import loads as feeds
from services.sharing.feeds.tables import Member

router = routes.router(prefix="", tag="协同态势")

#: Clocks that a calendar holds at most, those due first.
MOST = 10_000


class Calendar(Response):
    """An answer that is an iCalendar."""

    media_type = rules.ICALENDAR


@router.get("/v1/calendar.ics", response_class=Calendar)
async def due_dates(asked: Annotated[Asked, asks("dates.read")]) -> Response:
    """到期日历（iCalendar）：本机关须办的时限各占一天，协调机关可看全县；日期依据尚未公布的节假日安排的，注明暂定。"""
    async with asked.reading() as read:
        permit = access.permit(asked.actor, asked.action, await feeds.situation(read, asked.actor))
        of = None if COORDINATING in permit.relations else asked.actor.agency
        running = await loads.running(read, of=of, limit=MOST)
        names = {member.agency: member.name for member in await read.all(Member)}
    return Calendar(rules.icalendar(running, names, limits.table(), asked.at.now))
