"""Clocks as others see them: which run, what their lights are now, who waits for whom, and their due dates.

What `notify` says of a clock that runs is all of it, so the newest event is the row. Its light is no part of
that: it changes with the hour and with no event, and is made from the instants when somebody looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from libs.common.change import Change
from libs.common.clock import SHANGHAI
from libs.common.contracts import notify as said
from libs.common.contracts.event import Event
from libs.common.law import limits
from libs.common.law.limits import Light, Limit
from services.sharing.clocks.tables import RunningClock

#: The events by which a clock begins, moves and ends.
FOLDS = frozenset({said.ObligationOpened.TYPE, said.ObligationAmended.TYPE, said.ObligationDischarged.TYPE})
#: From the best to the worst.
LIGHTS = (Light.GREEN, Light.YELLOW, Light.RED, Light.BLACK)
#: How they are called.
LAMPS: Mapping[Light, str] = dict(zip(LIGHTS, ("绿灯", "黄灯", "红灯", "黑灯"), strict=True))

ICALENDAR = "text/calendar"
#: Bytes of a line of iCalendar, without its end (RFC 5545, 3.1).
_LINE = 75
#: What iCalendar's text cannot hold, escaped or not (3.3.11).
_UNSAYABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
#: A calendar without a component is none (3.6), and there need not be a clock.
_HEADING = """\
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//Liandong//sharing//ZH
CALSCALE:GREGORIAN
X-WR-CALNAME:联动时限
REFRESH-INTERVAL;VALUE=DURATION:PT15M
BEGIN:VTIMEZONE
TZID:Asia/Shanghai
BEGIN:STANDARD
DTSTART:19910915T000000
TZOFFSETFROM:+0800
TZOFFSETTO:+0800
END:STANDARD
END:VTIMEZONE"""

_STATES = {"paused": "paused", "resumed": "running"}


class Tally(NamedTuple):
    """The clocks that one agency runs for another and that show one light."""

    awaits: str  #: who waits, empty for nobody
    agency: str  #: who must act
    light: Light
    n: int
    due_at: datetime  #: of the one that is due first


@dataclass(frozen=True, slots=True)
class Lights:
    """How many clocks show which light, and when the first of them is due."""

    counts: Mapping[Light, int]
    due_at: datetime | None = None

    @property
    def n(self) -> int:
        return sum(self.counts.values())

    @property
    def worst(self) -> Light | None:
        """The worst light that shows; None where no clock runs."""
        return next((light for light in reversed(LIGHTS) if self.counts.get(light)), None)

    def shown(self) -> dict[str, int]:
        """As a member of an answer."""
        return {light.value: self.counts.get(light, 0) for light in LIGHTS}


DARK = Lights({})


@dataclass(frozen=True, slots=True)
class Pair:
    """Who waits for whom, and how that stands."""

    awaits: str
    agency: str
    lights: Lights

    def concerns(self, agency: str) -> bool:
        """Whether it is this agency that waits or must act."""
        return agency in (self.awaits, self.agency)


def keep(before: RunningClock | None, event: Event) -> Change:
    """The row as the event leaves it."""
    if isinstance(event, said.ObligationOpened):
        return Change().putting(_row(event, "running"))
    if isinstance(event, said.ObligationAmended):
        was = before.state if before else "running"
        return Change().putting(_row(event, _STATES.get(event.cause, was)))
    return Change().deleting(before) if before else Change()


def light(clock: RunningClock, now: datetime) -> Light:
    """How a clock stands at an instant."""
    return limits.light_at(now, clock.yellow_at, clock.due_at, clock.black_at)


def together(tallies: Iterable[Tally]) -> Lights:
    """All of these in one."""
    counts: dict[Light, int] = {}
    due_at: datetime | None = None
    for tally in tallies:
        counts[tally.light] = counts.get(tally.light, 0) + tally.n
        due_at = min(due_at or tally.due_at, tally.due_at)
    return Lights(counts, due_at)


def pairs(tallies: Iterable[Tally]) -> list[Pair]:
    """Who waits for whom, the worst light first, then the most clocks."""
    by_pair: dict[tuple[str, str], list[Tally]] = {}
    for tally in tallies:
        by_pair.setdefault((tally.awaits, tally.agency), []).append(tally)
    found = [Pair(awaits, agency, together(some)) for (awaits, agency), some in by_pair.items()]
    return sorted(found, key=_urgency)


def icalendar(
    clocks: Iterable[RunningClock], names: Mapping[str, str], known: Mapping[str, Limit], now: datetime
) -> bytes:
    """Due dates as iCalendar (RFC 5545): a day for each clock that runs, under a UID that never changes."""
    lines = _HEADING.split("\n")
    for clock in clocks:
        if clock.state == "running":
            lines += _vevent(clock, names, known.get(clock.rule), now)
    return b"".join(folded(line) for line in (*lines, "END:VCALENDAR"))


def folded(line: str) -> bytes:
    """A line of iCalendar with its end, folded where it is long, and never within a character."""
    parts, room = [bytearray()], _LINE
    for char in line:
        encoded = char.encode(errors="replace")
        if len(parts[-1]) + len(encoded) > room:
            parts.append(bytearray())
            room = _LINE - 1  # the space at its begin counts
        parts[-1] += encoded
    return b"\r\n ".join(bytes(part) for part in parts) + b"\r\n"


def escaped(text: str) -> str:
    """Text as the value of a property."""
    plain = _UNSAYABLE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))
    for char, written in (("\\", r"\\"), (";", r"\;"), (",", r"\,"), ("\n", r"\n")):
        plain = plain.replace(char, written)
    return plain


def _vevent(
    clock: RunningClock, names: Mapping[str, str], limit: Limit | None, now: datetime
) -> Iterator[str]:
    ends = clock.due_at.astimezone(SHANGHAI)
    hour = f" {ends:%H:%M}前" if ends.time() != ends.time().min else ""
    sure = "（暂定）" if clock.provisional else ""
    what = limit.zh if limit else clock.rule
    told = [f"责任单位：{names.get(clock.agency, clock.agency)}"]
    told += [f"等候单位：{names.get(clock.awaits, clock.awaits)}"] if clock.awaits else []
    told += [f"依据：{limit.basis}"] if limit else []
    told += [f"事项：{clock.about}", f"灯：{LAMPS[light(clock, now)]}"]
    told += ["日期依据尚未公布的节假日安排，可能变动"] if clock.provisional else []
    yield "BEGIN:VEVENT"
    yield f"UID:{escaped(clock.obligation)}@liandong"
    yield f"DTSTAMP:{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    yield f"DTSTART;VALUE=DATE:{clock.due_on:%Y%m%d}"
    yield f"SUMMARY:{escaped(f'{what}到期{hour}{sure}')}"
    yield f"DESCRIPTION:{escaped(chr(10).join(told))}"
    yield f"STATUS:{'TENTATIVE' if clock.provisional else 'CONFIRMED'}"
    yield "TRANSP:TRANSPARENT"
    yield "END:VEVENT"


def _urgency(pair: Pair) -> tuple[Any, ...]:
    worst = [-pair.lights.counts.get(light, 0) for light in reversed(LIGHTS)]
    # By whether the light shows at all, and only then by how often.
    return ([bool(n) for n in worst].index(True), worst, pair.agency, pair.awaits)


def _row(event: said.ObligationOpened | said.ObligationAmended, state: str) -> RunningClock:
    return RunningClock(
        obligation=event.obligation,
        rule=event.rule,
        agency=event.agency,
        awaits=event.awaits,
        about=event.about,
        due_on=event.due_on,
        due_at=datetime.fromisoformat(event.due_at),
        yellow_at=datetime.fromisoformat(event.yellow_at),
        black_at=datetime.fromisoformat(event.black_at),
        provisional=event.provisional,
        state=state,
    )
