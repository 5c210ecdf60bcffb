"""Working days: weekdays, less the days off and plus the make-up workdays (调休) as announced.

A year whose calendar is not announced is guessed: weekends, and the holidays of a fixed date by law
(全国年节及纪念日放假办法). A date that leans on a guess is provisional, and whoever computes it says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from functools import cached_property
from typing import NamedTuple

_DAY = timedelta(days=1)
#: Holidays of a year that are not the moon's: New Year's Day, Labour Day, National Day (month, day).
_FIXED = frozenset({(1, 1), (5, 1), (5, 2), (10, 1), (10, 2), (10, 3)})
_SATURDAY = 5


class Year(NamedTuple):
    """The announced calendar of a year. Its days may lie in the December before, as those of 2019 did."""

    year: int
    off: frozenset[date]  #: days off, weekends that are off anyway among them or not
    work: frozenset[date]  #: make-up workdays: Saturdays and Sundays on which offices work
    version: int = 0  #: 0 as this release ships it; counts up with each change by an operator
    paper: str = ""  #: the announcement


class Calendar:
    """The announced years, and guesses for all others."""

    def __init__(self, years: Iterable[Year] = ()) -> None:
        self.years: Mapping[int, Year] = {year.year: year for year in years}
        self._off = frozenset(day for year in self.years.values() for day in year.off)
        self._work = frozenset(day for year in self.years.values() for day in year.work)

    @cached_property
    def edition(self) -> str:
        """Names what the calendar says, 16 characters: the same days, the same edition."""
        days = [f"{year}" for year in sorted(self.years)]
        days += [f"-{day}" for day in sorted(self._off)] + [f"+{day}" for day in sorted(self._work)]
        return hashlib.sha256(" ".join(days).encode()).hexdigest()[:16]

    def announces(self, year: int) -> bool:
        """Whether that year's calendar is known."""
        return year in self.years

    def works(self, day: date) -> bool:
        """Whether offices work on that day."""
        if day in self._work:
            return True
        if day in self._off or day.weekday() >= _SATURDAY:
            return False
        return self.announces(day.year) or (day.month, day.day) not in _FIXED

    def after(self, day: date, working_days: int) -> date:
        """The nth working day after a day, which is not counted itself; the day itself for 0."""
        return self._nth(_days(day, 1), day, working_days)

    def before(self, day: date, working_days: int) -> date:
        """The nth working day before a day, which is not counted itself; the day itself for 0."""
        return self._nth(_days(day, -1), day, working_days)

    def rolled(self, day: date) -> date:
        """The day if offices work on it, or the next one on which they do (民法典第二百零三条)."""
        return day if self.works(day) else self.after(day, 1)

    def leaving(self, day: date, working_days: int) -> date:
        """The last day at whose end that many working days are left until the end of `day`, which counts."""
        while working_days:
            working_days -= self.works(day)
            day -= _DAY
        return day

    def _nth(self, days: Iterator[date], day: date, working_days: int) -> date:
        while working_days:
            day = next(days)
            working_days -= self.works(day)
        return day


def _days(day: date, step: int) -> Iterator[date]:
    """The days after a day, or before it."""
    while True:
        day += step * _DAY
        yield day
