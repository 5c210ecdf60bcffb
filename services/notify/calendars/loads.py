"""The calendar and the limits as they count now."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from libs.common import errors
from libs.common.law import limits
from libs.common.law.calendar import Calendar, Year
from libs.common.law.limits import Limit
from libs.common.store.reading import Known, Reader, Want
from services.notify.calendars import rules
from services.notify.calendars.rules import LimitFile, YearFile
from services.notify.calendars.tables import AnnouncedYear, CountyLimit

#: What a reaction must want, to know both.
WANTS = (Want(AnnouncedYear), Want(CountyLimit))


@cache
def shipped() -> tuple[Year, ...]:
    """The calendars of this release. Raises BadCalendar."""
    file = resources.files(__package__).joinpath("calendars.toml")
    return rules.read(tomllib.loads(file.read_text("utf-8")))


async def calendar(read: Reader) -> Calendar:
    """The calendar that counts."""
    return rules.calendar(shipped(), await read.all(AnnouncedYear))


async def in_force(read: Reader) -> Mapping[str, Limit]:
    """The limits that count, by rule."""
    return rules.in_force(limits.table(), await read.all(CountyLimit))


def known(known: Known) -> tuple[Calendar, Mapping[str, Limit]]:
    """Both, for a reaction that wanted them."""
    calendar = rules.calendar(shipped(), known.all(AnnouncedYear))
    return calendar, rules.in_force(limits.table(), known.all(CountyLimit))


async def year_file(read: Reader, year: str) -> YearFile:
    """A year and what counts for it. Raises NotFound for what is no year of ours."""
    if not rules.YEAR.fullmatch(year):
        raise errors.NotFound
    head = await read.head("calendar", year)
    return YearFile(head, int(year), (await calendar(read)).years.get(int(year)))


async def limit_file(read: Reader, rule: str) -> LimitFile:
    """A limit as it counts. Raises NotFound."""
    head = await read.head("limit", rule)
    limit = (await in_force(read)).get(rule)
    if limit is None:
        raise errors.NotFound
    return LimitFile(head, limit)
