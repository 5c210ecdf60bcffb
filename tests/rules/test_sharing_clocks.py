"""Clocks as others see them: which run, what their lights are, and who waits for whom."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import icalendar
import pytest

from libs.common.contracts import notify as said
from libs.common.contracts.event import Event
from libs.common.law import limits
from libs.common.law.limits import Light
from services.sharing.clocks import rules
from services.sharing.clocks.rules import Tally
from services.sharing.clocks.tables import RunningClock
from tests.worlds.reading_room import DEPARTMENT, OTHER, TOWNSHIP

AT = datetime(2026, 3, 2, 16, 0, tzinfo=UTC)
DATES: dict[str, Any] = {
    "due_on": date(2026, 3, 2),
    "due_at": AT.isoformat(),
    "yellow_at": (AT - timedelta(days=2)).isoformat(),
    "black_at": (AT + timedelta(days=4)).isoformat(),
    "provisional": True,
}
PARTS: dict[str, Any] = {
    "obligation": "o1",
    "rule": "col.accept",
    "agency": DEPARTMENT,
    "awaits": TOWNSHIP,
    "about": "case/c1",
}
OPENED = said.ObligationOpened(**PARTS, **DATES, event="case/c1/3")


def kept(*events: Event) -> RunningClock | None:
    """The row that these events leave."""
    row: RunningClock | None = None
    for event in events:
        for written in rules.keep(row, event).rows:
            row = written.entry if written.write.name == "PUT" else None
    return row


def amended(cause: Any, **but: Any) -> said.ObligationAmended:
    return said.ObligationAmended(**{**PARTS, **DATES, **but}, cause=cause)


def test_a_clock_runs_from_its_opening_to_its_discharge() -> None:
    clock = kept(OPENED)
    assert clock is not None
    assert (clock.agency, clock.awaits, clock.due_at, clock.state) == (DEPARTMENT, TOWNSHIP, AT, "running")
    ended = said.ObligationDischarged(**PARTS, event="case/c1/4", outcome="late")
    assert kept(OPENED, ended) is None


def test_what_moved_a_clock_is_where_it_stands_now() -> None:
    later = (AT + timedelta(days=3)).isoformat()
    clock = kept(OPENED, amended("passed", agency=OTHER, due_at=later, provisional=False))
    assert clock is not None
    assert (clock.agency, clock.due_at.isoformat(), clock.provisional) == (OTHER, later, False)


def test_a_clock_that_stands_still_stays_so_when_the_calendar_moves_it() -> None:
    states = [
        kept(OPENED, amended("paused")),
        kept(OPENED, amended("paused"), amended("calendar")),
        kept(OPENED, amended("paused"), amended("resumed")),
    ]
    assert [clock.state for clock in states if clock] == ["paused", "paused", "running"]


def test_the_end_of_a_clock_that_was_never_heard_of_is_no_row() -> None:
    assert rules.keep(None, said.ObligationDischarged(**PARTS, event="e", outcome="met")).rows == ()


@pytest.mark.parametrize(
    ("hours", "light"),
    [(-49, "green"), (-48, "yellow"), (-1, "yellow"), (0, "red"), (95, "red"), (96, "black")],
)
def test_a_light_changes_at_its_instant_and_with_no_event(hours: int, light: str) -> None:
    clock = kept(OPENED)
    assert clock is not None
    assert rules.light(clock, AT + timedelta(hours=hours)) == light


def tally(awaits: str, agency: str, light: Light, n: int = 1, days: int = 0) -> Tally:
    return Tally(awaits, agency, light, n, AT + timedelta(days=days))


def test_of_each_pair_there_is_one_row_with_its_worst_light_and_its_first_date() -> None:
    found = rules.pairs(
        [
            tally(TOWNSHIP, DEPARTMENT, Light.GREEN, 3, days=5),
            tally(TOWNSHIP, DEPARTMENT, Light.RED, 1, days=-1),
            tally(DEPARTMENT, TOWNSHIP, Light.YELLOW, 2, days=1),
        ]
    )
    told = [(p.awaits, p.agency, p.lights.n, p.lights.worst, p.lights.due_at) for p in found]
    assert told == [
        (TOWNSHIP, DEPARTMENT, 4, Light.RED, AT - timedelta(days=1)),
        (DEPARTMENT, TOWNSHIP, 2, Light.YELLOW, AT + timedelta(days=1)),
    ]


def test_one_black_light_stands_above_many_red_ones() -> None:
    many, one = tally(TOWNSHIP, OTHER, Light.RED, 9), tally(TOWNSHIP, DEPARTMENT, Light.BLACK)
    assert [pair.agency for pair in rules.pairs([many, one])] == [DEPARTMENT, OTHER]
    more = tally(TOWNSHIP, OTHER, Light.BLACK, 2)
    assert [pair.agency for pair in rules.pairs([one, more])] == [OTHER, DEPARTMENT]


def test_where_no_clock_runs_no_light_shows() -> None:
    assert (rules.DARK.worst, rules.DARK.n, rules.DARK.due_at) == (None, 0, None)


HOSTILE = [
    "县局;,\\n",
    "first\r\nBEGIN:VEVENT\r\nUID:planted\r\nEND:VEVENT\r\nrest",
    "\x00\x07\x1b\x7f",
    "END:VCALENDAR",
    "\\",
    "a\\nb",
    "字" * 200,
    "🏮" * 60,
    '<script>alert("1")</script>',
    "\u2028\u202e",
    "x\ud800y",
]


def due_dates(*clocks: RunningClock, **names: str) -> Any:
    """The calendar as another program reads it."""
    return icalendar.Calendar.from_ical(rules.icalendar(clocks, names, limits.table(), AT))


def a_clock(**but: Any) -> RunningClock:
    clock = kept(OPENED)
    assert clock is not None
    return clock.but(**but)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_and_no_id_can_break_out_of_the_calendar(text: str) -> None:
    clock = a_clock(agency="who", awaits=text, about=text, obligation=text, rule=text)
    (event,) = due_dates(clock, who=text).events
    sayable = "".join(
        "\ufffd" if rules.escaped(c) == "\ufffd" else c
        for c in text.replace("\r\n", "\n").encode(errors="replace").decode()
    )
    assert event["DESCRIPTION"] == (
        f"责任单位：{sayable}\n等候单位：{sayable}\n事项：{sayable}\n灯：红灯\n日期依据尚未公布的节假日安排，可能变动"
    )
    assert event["UID"] == f"{sayable}@liandong"
    assert event.errors == []


@pytest.mark.parametrize("text", HOSTILE)
def test_no_line_is_longer_than_75_bytes_and_no_character_is_cut(text: str) -> None:
    written = rules.icalendar([a_clock(about=text)], {}, limits.table(), AT)
    assert written.endswith(b"END:VCALENDAR\r\n")
    for line in written.removesuffix(b"\r\n").split(b"\r\n"):
        assert len(line) <= 75
        assert not {"\r", "\n"} & set(line.decode())


def test_a_due_date_is_a_day_with_the_same_uid_wherever_it_moves() -> None:
    (event,) = due_dates(a_clock()).events
    assert (event["UID"], event["DTSTART"].dt) == ("o1@liandong", date(2026, 3, 2))
    assert event["DTSTART"].params["VALUE"] == "DATE"
    (moved,) = due_dates(a_clock(due_on=date(2026, 3, 9))).events
    assert (moved["UID"], moved["DTSTART"].dt) == ("o1@liandong", date(2026, 3, 9))


def test_a_date_that_may_still_move_says_so() -> None:
    (event,) = due_dates(a_clock()).events
    assert (event["SUMMARY"], event["STATUS"]) == ("移送接收或退回到期（暂定）", "TENTATIVE")
    (sure,) = due_dates(a_clock(provisional=False)).events
    assert (sure["SUMMARY"], sure["STATUS"]) == ("移送接收或退回到期", "CONFIRMED")


def test_what_is_due_within_a_day_says_the_hour() -> None:
    urgent = a_clock(
        rule="col.sign_urgent", due_at=datetime(2026, 3, 2, 6, 30, tzinfo=UTC), provisional=False
    )
    (event,) = due_dates(urgent).events
    assert event["SUMMARY"] == "紧急移送签收到期 14:30前"


def test_a_clock_that_stands_still_has_no_date_and_the_calendar_is_still_one() -> None:
    calendar = due_dates(a_clock(state="paused"))
    assert calendar.events == []
    assert calendar.subcomponents
