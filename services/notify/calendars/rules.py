"""The calendar that counts, and the limits that the county may set: both with the paper that says so."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Strict

from libs.common import errors, wording
from libs.common.change import Change, Head
from libs.common.clock import Moment
from libs.common.contracts import notify as said
from libs.common.law import limits
from libs.common.law.calendar import Calendar, Year
from libs.common.law.limits import Limit, Source, Unit
from libs.common.permit import Actor
from services.notify.calendars.tables import AnnouncedYear, CountyLimit

#: Years whose calendar can be put in place.
YEAR = re.compile(r"^20[0-9]{2}$", re.ASCII)
#: Holidays by law that every announcement has: New Year's Day, Labour Day, National Day (month, day).
_ALWAYS_OFF = ((1, 1), (5, 1), (10, 1), (10, 2), (10, 3))
_SATURDAY = 5
#: The longest local limit, in its unit.
_LONGEST: Mapping[Unit, int] = {Unit.WORKING_DAYS: 250, Unit.CALENDAR_DAYS: 365, Unit.HOURS: 240}


class BadCalendar(errors.Malformed):
    """The calendar of a year contradicts itself, or the holidays by law."""

    code = "bad-calendar"
    title = "该年度节假日安排不能使用"


class BadDay(errors.Malformed):
    """A day from which no limit of today's can run."""

    code = "bad-day"
    title = "起算日须在 2000 年至 2100 年之间"


class NotLocal(errors.Conflict):
    """The limit stands in a law or a rule above the county: the county cannot set it."""

    code = "not-local"
    title = "该时限由法律、法规或上级规定，不能由本县设定"


class BadLimit(errors.Malformed):
    """A local limit that cannot be counted."""

    code = "bad-limit"
    title = "该时限参数不能使用"


class _Holiday(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    off: tuple[date, date]
    work: tuple[date, ...] = ()


class _Announced(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    year: int
    papers: Annotated[tuple[str, ...], Strict(False)]
    holiday: tuple[_Holiday, ...]


class _Sheet(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    year: tuple[_Announced, ...]


@dataclass(frozen=True, slots=True)
class YearFile:
    """A year's stream and the calendar that counts for it, None where none is announced."""

    head: Head
    year: int
    announced: Year | None


@dataclass(frozen=True, slots=True)
class LimitFile:
    """A limit's stream, and the limit as it counts."""

    head: Head
    limit: Limit


def read(raw: Mapping[str, Any]) -> tuple[Year, ...]:
    """The calendars of a release, checked. Raises BadCalendar."""
    found = []
    for announced in _Sheet.model_validate(raw).year:
        off = {day for holiday in announced.holiday for day in _stretch(*holiday.off)}
        work = {day for holiday in announced.holiday for day in holiday.work}
        _check(announced.year, off, work)
        year = Year(announced.year, frozenset(off), frozenset(work), paper=" ".join(announced.papers))
        found.append(year)
    return tuple(found)


def calendar(shipped: tuple[Year, ...], put: Iterable[AnnouncedYear]) -> Calendar:
    """The calendar that counts: what was put in place here, and the release's for other years."""
    return _calendar(shipped, tuple(_year(row) for row in put))


def put(
    s: YearFile, off: Sequence[date], work: Sequence[date], paper: str, *, by: Actor, at: Moment
) -> Change:
    """Put the calendar of a year in place: clocks that lean on it are computed again. Raises BadCalendar."""
    _check(s.year, set(off), set(work))
    row = AnnouncedYear(
        year=s.year,
        off=[day.isoformat() for day in sorted(off)],
        work=[day.isoformat() for day in sorted(work)],
        paper=paper,
        version=s.head.version + 1,
    )
    event = said.CalendarUpdated(
        year=s.year, version=row.version, off=tuple(sorted(off)), work=tuple(sorted(work)), paper=paper
    )
    return Change().putting(row).telling(event, on=s.head, by=by, at=at)


def in_force(table: Mapping[str, Limit], county: Iterable[CountyLimit]) -> Mapping[str, Limit]:
    """The limits as they count: those of the release, with the county's own in their places."""
    own = {
        row.rule: table[row.rule]._replace(length=row.length, unit=Unit(row.unit), basis=row.basis)
        for row in county
    }
    return {**table, **own}


def set_limit(s: LimitFile, length: int, unit: Unit, basis: str, *, by: Actor, at: Moment) -> Change:
    """Set a local limit by the county's document. Clocks that run keep the limit under which they began.

    Raises NotLocal for what law sets, BadLimit.
    """
    if s.limit.source is not Source.LOCAL:
        raise NotLocal(basis=s.limit.basis)
    if not 1 <= length <= _LONGEST.get(unit, 0):
        fault = wording.fault("/length", "out-of-range", f"应在 1 到 {_LONGEST.get(unit, 0)} 之间")
        raise BadLimit(errors=(fault,))
    row = CountyLimit(rule=s.limit.rule, length=length, unit=unit, basis=basis, version=s.head.version + 1)
    event = said.LimitSet(rule=row.rule, length=length, unit=unit, basis=basis)
    return Change().putting(row).telling(event, on=s.head, by=by, at=at)


def _check(year: int, off: Collection[date], work: Collection[date]) -> None:
    if faults := tuple(_faults(year, off, work))[:50]:
        raise BadCalendar("；".join(fault["detail"] for fault in faults), errors=faults)


def _faults(year: int, off: Collection[date], work: Collection[date]) -> Iterator[dict[str, str]]:
    yield from (
        fault for place, days in (("/off", off), ("/work", work)) for fault in _strays(year, place, days)
    )
    for day in sorted(work):
        if day.weekday() < _SATURDAY:
            yield wording.fault("/work", "no-weekend", f"{day} 本是工作日，不是调休上班")
        if day in off:
            yield wording.fault("/work", "both", f"{day} 同时写为放假和上班")
    for month, day_ in _ALWAYS_OFF:
        if date(year, month, day_) not in off:
            complaint = f"{year}-{month:02}-{day_:02} 依法放假（全国年节及纪念日放假办法第二条），未列入"
            yield wording.fault("/off", "holiday-by-law", complaint)


def _strays(year: int, place: str, days: Collection[date]) -> Iterator[dict[str, str]]:
    for day in sorted(days):
        if not date(year - 1, 12, 1) <= day <= date(year, 12, 31):
            yield wording.fault(place, "another-year", f"{day} 不属于 {year} 年的安排")


def _stretch(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)


def _year(row: AnnouncedYear) -> Year:
    off, work = (frozenset(map(date.fromisoformat, days)) for days in (row.off, row.work))
    return Year(row.year, off, work, row.version, row.paper)


@lru_cache(maxsize=8)
def _calendar(shipped: tuple[Year, ...], put: tuple[Year, ...]) -> Calendar:
    return Calendar((*shipped, *put))


def due(limit: Limit, start: date, calendar: Calendar) -> limits.Term:
    """The term of a limit in days that starts with an event on a day. Raises BadDay."""
    return limits.term(limit, beginning(start, "query:from"), calendar)


def beginning(start: date, pointer: str) -> datetime:
    """The instant at which that day begins in China. Raises BadDay for one out of all time."""
    if not 2000 <= start.year <= 2100:
        raise BadDay(errors=(wording.fault(pointer, BadDay.code, BadDay.title),))
    return limits.end_of(start) - limits.DAY
