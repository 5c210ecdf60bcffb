"""Time limits (期限): how long, from when, by which article; and the date on which one ends.

The day of the event is not counted. A party's right that would end on a day off ends on the next working day;
an agency's duty ends on the date itself, which is the earlier one: the two roundings never favour the agency.
"""

from __future__ import annotations

import csv
import re
from calendar import monthrange
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import NamedTuple

from libs.common.clock import SHANGHAI, day_of
from libs.common.law import basis
from libs.common.law.calendar import Calendar

DAY = timedelta(days=1)
#: The last day that a person can name: what counts on from there must not come to the end of time.
_LAST = date(9000, 12, 31)
_FAR = datetime(9900, 1, 1, tzinfo=SHANGHAI)
#: A citation of what is no law of `basis.LAWS`: a numbered document, an article, a place's practice.
_ELSEWHERE = re.compile(r"〔\d{4}〕\d+号|令第?\d+号|第[零一二三四五六七八九十百]+[条项]|（\d{4}）|地方惯例")


class Unit(StrEnum):
    """How a limit counts."""

    WORKING_DAYS = "working_days"
    CALENDAR_DAYS = "calendar_days"
    HOURS = "hours"
    MONTHS = "months"
    YEARS = "years"
    WORKING_DAYS_BEFORE = (
        "working_days_before"  #: backwards from an appointed day, by when the act must be done
    )
    DAY_OF_YEAR = "day_of_year"  #: month and day as MMDD, the next one after the start


class Source(StrEnum):
    """How a row is known, and who may change it."""

    STATUTE = "statute"  #: read in the text
    KNOWLEDGE = "knowledge"  #: generally known, to be confirmed against the text
    LOCAL = "local"  #: a local parameter: a county sets it with its own document


class Limit(NamedTuple):
    """A row of limits.csv."""

    rule: str
    zh: str
    en: str
    length: int
    unit: Unit
    starts_on: str  #: the event from which it runs, in the field's words
    obligor: str  #: who must act, or whose right it is: party, agency, receiver ...
    basis: str  #: the article, or the document that sets it
    source: Source
    note: str = ""

    @property
    def rolls(self) -> bool:
        """Whether its end moves off a day off: for a party's right alone."""
        return self.obligor == "party"


class Pause(NamedTuple):
    """A stretch in which a clock stands still: the day of `since` still counts, that of `until` does not."""

    since: datetime
    until: datetime


class Term(NamedTuple):
    """The stretch of time that a limit is, once it has begun."""

    begins: datetime  #: the first instant that counts; of one that counts backwards, where it ends
    ends: datetime  #: the first instant that is too late
    day: date  #: the last day
    raw: date  #: the last day before it was moved off a day off
    leans_on: tuple[int, ...]  #: the years whose calendar was asked
    provisional: bool  #: whether one of these is not announced


class Light(StrEnum):
    """How a clock stands (亮灯)."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    BLACK = "black"


class BadLimits(ValueError):
    """The table of limits cannot be used; names the row."""


class _Asked(Calendar):
    """A calendar that remembers of which years it was asked."""

    def __init__(self, calendar: Calendar) -> None:
        super().__init__(calendar.years.values())
        self.asked: set[int] = set()

    def works(self, day: date) -> bool:
        self.asked.add(day.year)
        return super().works(day)


def term(limit: Limit, start: datetime, calendar: Calendar, pauses: Iterable[Pause] = ()) -> Term:
    """The term that began with an event at `start`: for limits in days, its day in China is not counted."""
    pauses = tuple(pauses)
    asked = _Asked(calendar)
    if limit.unit is Unit.HOURS:
        still = sum((pause.until - pause.since for pause in pauses), timedelta())
        ends = start + timedelta(hours=limit.length) + still
        return Term(start, ends, day_of(ends), day_of(ends), (), provisional=False)
    raw = _last(limit, day_of(start), asked, pauses)
    day = asked.rolled(raw) if limit.rolls else raw
    begins = min(end_of(day_of(start)), end_of(day))
    leans_on = tuple(sorted(asked.asked))
    return Term(begins, end_of(day), day, raw, leans_on, any(not calendar.announces(y) for y in leans_on))


def until(day: date, start: datetime) -> Term:
    """The term that somebody set by naming its last day."""
    day = min(day, _LAST)
    ends = end_of(day)
    return Term(min(end_of(day_of(start)), ends), ends, day, day, (), provisional=False)


def yellow_at(term: Term, calendar: Calendar) -> datetime:
    """When the light turns yellow: at half-time, or when two working days are left, whichever is later."""
    two_left = end_of(calendar.leaving(term.day, 2))
    return max(term.begins + (term.ends - term.begins) / 2, two_left) if term.begins < term.ends else two_left


def black_at(term: Term) -> datetime:
    """When a clock is overdue by as much again as it had."""
    return term.ends + min(term.ends - term.begins, _FAR - term.ends)


def light_at(now: datetime, yellow: datetime, ends: datetime, black: datetime) -> Light:
    """The light of a clock that turns yellow, ends and turns black at these instants."""
    lights = ((black, Light.BLACK), (ends, Light.RED), (yellow, Light.YELLOW))
    return next((light for since, light in lights if now >= since), Light.GREEN)


def end_of(day: date) -> datetime:
    """The first instant after a day in China."""
    return datetime.combine(min(day, _LAST) + DAY, time(), SHANGHAI)


@cache
def table() -> Mapping[str, Limit]:
    """The limits of this release, by rule. Raises BadLimits."""
    with resources.files(__package__).joinpath("limits.csv").open(encoding="utf-8") as file:
        return read(file)


def read(lines: Iterable[str]) -> Mapping[str, Limit]:
    """A table, checked: units and sources that exist, a length that can be counted, a basis that cites."""
    found: dict[str, Limit] = {}
    for number, row in enumerate(csv.DictReader(lines), start=2):
        try:
            typed = {"length": int(row["length"]), "unit": Unit(row["unit"]), "source": Source(row["source"])}
            limit = Limit(**{**row, **typed})  # type: ignore[arg-type]
            _check(limit)
        except (ValueError, TypeError, KeyError) as why:
            raise BadLimits(f"时限表第 {number} 行：{why}") from None
        if limit.rule in found:
            raise BadLimits(f"时限表第 {number} 行：{limit.rule} 已在前面写明")
        found[limit.rule] = limit
    return found


def _check(limit: Limit) -> None:
    if limit.length <= 0:
        raise ValueError("期限长度必须大于零")
    if limit.unit is Unit.DAY_OF_YEAR:
        date(2001, *divmod(limit.length, 100))  # a day that every year has
    if limit.basis.startswith(tuple(basis.LAWS)) or _ELSEWHERE.search(limit.basis) is None:
        basis.read(limit.basis)


def _last(limit: Limit, start: date, calendar: Calendar, pauses: tuple[Pause, ...]) -> date:
    match limit.unit:
        case Unit.WORKING_DAYS_BEFORE:
            return calendar.before(start, limit.length)
        case Unit.DAY_OF_YEAR:
            this_year = date(start.year, *divmod(limit.length, 100))
            return this_year if this_year > start else this_year.replace(year=start.year + 1)
        case Unit.MONTHS | Unit.YEARS:
            months = limit.length * (12 if limit.unit is Unit.YEARS else 1)
            return _stretched(start, _months_after(start, months), pauses)
        case _:
            counts_all = limit.unit is Unit.CALENDAR_DAYS
            day, left = start, limit.length
            while left:
                day += DAY
                left -= (counts_all or calendar.works(day)) and not _stands_still(day, pauses)
            return day


def _months_after(day: date, months: int) -> date:
    """The corresponding day, or the last of the month where it has none (民法典第二百零二条)."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _stretched(start: date, end: date, pauses: tuple[Pause, ...]) -> date:
    """The end moved by every day between that was paused, those among the added days too."""
    day = start
    while day < end:
        day += DAY
        if _stands_still(day, pauses):
            end += DAY
    return end


def _stands_still(day: date, pauses: tuple[Pause, ...]) -> bool:
    return any(day_of(pause.since) < day <= day_of(pause.until) for pause in pauses)
