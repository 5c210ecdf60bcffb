"""Working days, as the announcements of days off and make-up workdays have them."""

from __future__ import annotations

from datetime import date

import pytest

from libs.common.law.calendar import Calendar, Year

D = date.fromisoformat

#: What the announcement for 2026 says of the days that these tests use.
OFF = [f"2026-02-{day}" for day in range(15, 24)] + [f"2026-10-0{day}" for day in range(1, 8)]
OFF += ["2026-01-01", "2026-01-02", "2026-01-03", "2026-09-25", "2026-09-26", "2026-09-27"]
WORK = ["2026-01-04", "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10"]


def announced(year: int, off: list[str], work: list[str]) -> Year:
    return Year(year, frozenset(map(D, off)), frozenset(map(D, work)))


CALENDAR = Calendar([announced(2026, OFF, WORK)])


@pytest.mark.parametrize(
    ("day", "works"),
    [
        ("2026-02-13", True),
        ("2026-02-14", True),  # a Saturday on which offices work
        ("2026-02-16", False),  # a Monday of the Spring Festival
        ("2026-02-24", True),
        ("2026-02-28", True),
        ("2026-03-01", False),
        ("2026-09-20", True),  # a Sunday on which offices work
    ],
)
def test_a_make_up_workday_is_a_working_day_and_a_day_off_is_none(day: str, works: bool) -> None:
    assert CALENDAR.works(D(day)) is works


def test_new_years_day_of_a_year_that_is_not_announced_is_no_working_day() -> None:
    assert not CALENDAR.works(D("2027-01-01"))
    assert CALENDAR.works(D("2027-01-04"))


def test_a_year_may_move_days_of_the_december_before() -> None:
    """As the announcement for 2019 did: Saturday 29 December 2018 was a working day, Monday 31 was not."""
    calendar = Calendar([announced(2019, ["2018-12-30", "2018-12-31", "2019-01-01"], ["2018-12-29"])])
    assert calendar.works(D("2018-12-29"))
    assert not calendar.works(D("2018-12-31"))


def test_what_an_announcement_says_counts_over_the_holidays_by_law() -> None:
    assert Calendar([announced(2027, [], [])]).works(D("2027-01-01"))


def test_days_left_are_counted_with_the_last_day() -> None:
    friday = D("2026-11-06")
    assert CALENDAR.leaving(friday, 1) == D("2026-11-05")
    assert CALENDAR.leaving(friday, 2) == D("2026-11-04")
    assert CALENDAR.leaving(D("2026-11-08"), 2) == D("2026-11-04")  # Sunday: Thursday and Friday are left


def test_an_edition_names_what_the_calendar_says() -> None:
    same = Calendar([announced(2026, list(reversed(OFF)), WORK)])
    assert same.edition == CALENDAR.edition
    assert Calendar([announced(2026, OFF, WORK[1:])]).edition != CALENDAR.edition
    assert Calendar([announced(2026, OFF, WORK), announced(2027, [], [])]).edition != CALENDAR.edition
