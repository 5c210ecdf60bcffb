"""What `notify` says of clocks, for a `sharing` of one test."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

from libs.common.clock import day_of
from libs.common.contracts import notify as said
from libs.common.law import limits
from libs.common.log.seam import Record
from tests.worlds.desk import Speaker
from tests.worlds.reading_room import DEPARTMENT, TOWNSHIP

_numbers = itertools.count(1)

#: For each light, how many days after today's begin a clock is due that shows it, and where more days lead.
DUE = {"green": (2, 1), "yellow": (1, 0), "red": (0, -1), "black": (-3, -1)}


def parts(obligation: str, **but: Any) -> dict[str, Any]:
    """Who owes what to whom."""
    owed = {"rule": "col.accept", "agency": DEPARTMENT, "awaits": TOWNSHIP, "about": "case/c1"}
    return {"obligation": obligation, **owed, **but}


def dates(due: datetime) -> dict[str, Any]:
    """Yellow a day before it is due, black three days after."""
    day = timedelta(days=1)
    return {
        "due_on": day_of(due - timedelta(microseconds=1)),
        "due_at": due.isoformat(),
        "yellow_at": (due - day).isoformat(),
        "black_at": (due + 3 * day).isoformat(),
        "provisional": False,
    }


def opened(speaker: Speaker, light: str = "green", *, days: int = 0, **but: Any) -> Record:
    """That a clock runs which shows this light now, for so many days (two at most for red).

    Each has an id of its own, but for one that is given.
    """
    owed = parts(but.pop("obligation", f"o{next(_numbers)}"), **but)
    least, more = DUE[light]
    today = day_of(speaker.clock.now()) - timedelta(days=1)
    when = dates(limits.end_of(today + timedelta(days=least + more * days)))
    event = said.ObligationOpened(**owed, **when, event=f"{owed['about']}/1")
    return speaker.say(event, f"clock/{owed['about']}")


def ended(speaker: Speaker, obligation: str, **but: Any) -> Record:
    """That it was met."""
    owed = parts(obligation, **but)
    event = said.ObligationDischarged(**owed, event=f"{owed['about']}/2", outcome="met")
    return speaker.say(event, f"clock/{owed['about']}")
