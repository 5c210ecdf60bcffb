"""Reads a feed as any program would: page after page, from the position that it remembers."""

from __future__ import annotations

from typing import Any

from libs.common.contracts.event import CATALOGUE
from tools.demo.callers import Caller

#: The type of an entry that its reader may not see, and all that it may then hold.
WITHHELD = "liandong.entry.withheld.v1"
STUB = {"specversion", "id", "source", "type"}

MEDIA = "application/cloudevents-batch+json"


def read(caller: Caller, feed: str, *, after: str = "0") -> list[dict[str, Any]]:
    """Everything behind a position, up to the present end."""
    found: list[dict[str, Any]] = []
    while page := _page(caller, feed, after):
        found += page
        after = page[-1]["id"]
    return found


def of_case(events: list[dict[str, Any]], case: str) -> list[int]:
    """The numbers of a case's own events, in the order of the feed."""
    return [int(event["sequence"]) for event in events if event.get("subject") == f"case/{case}"]


def called(event: dict[str, Any]) -> str:
    """What an event's type is called in Chinese; the type itself where it is none of ours."""
    known = CATALOGUE.get(event["type"])
    return (known.__doc__ or "").partition(":")[0].rstrip(".") if known else str(event["type"])


def _page(caller: Caller, feed: str, after: str) -> list[dict[str, Any]]:
    answer = caller.get("sharing", f"/v1/feeds/{feed}", accept=MEDIA, lastEventId=after, limit=200)
    page: list[dict[str, Any]] = answer.need(200)
    return page
