"""Questions about the clocks that run: their lights by pairs of agencies, and some of them whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import String, bindparam, case, func, literal, or_, select
from sqlmodel import col
from sqlmodel import select as select_rows

from libs.common.law.limits import Light
from libs.common.store import schema
from libs.common.store.reading import Reader
from services.sharing.clocks.rules import Tally
from services.sharing.clocks.tables import RunningClock, RunningClockRow

_CLOCKS = schema.table(RunningClockRow)
_NOW = bindparam("now", type_=schema.UtcDateTime())
#: `limits.light_at`, as the database counts it.
_LIGHT = case(
    (_CLOCKS.c.black_at <= _NOW, literal(Light.BLACK.value, String)),
    (_CLOCKS.c.due_at <= _NOW, literal(Light.RED.value, String)),
    (_CLOCKS.c.yellow_at <= _NOW, literal(Light.YELLOW.value, String)),
    else_=literal(Light.GREEN.value, String),
).label("light")
_BY = _CLOCKS.c.awaits, _CLOCKS.c.agency
# The light is a column before it is grouped by: an instant that is bound twice makes two expressions of it.
_WITH_LIGHT = select(*_BY, _CLOCKS.c.due_at, _LIGHT).subquery()
#: How many clocks show which light, by who waits for whom; `now` is its parameter.
TALLIES = select(
    _WITH_LIGHT.c.awaits,
    _WITH_LIGHT.c.agency,
    _WITH_LIGHT.c.light,
    func.count().label("n"),
    func.min(_WITH_LIGHT.c.due_at).label("due_at"),
).group_by(_WITH_LIGHT.c.awaits, _WITH_LIGHT.c.agency, _WITH_LIGHT.c.light)


async def tallies(read: Reader, now: datetime) -> list[Tally]:
    """All clocks that run, counted."""
    return [tally(row) for row in await read.rows(TALLIES, now=now)]


def tally(row: Any) -> Tally:
    """A row of TALLIES."""
    return Tally(row["awaits"], row["agency"], Light(row["light"]), row["n"], row["due_at"])


async def running(
    read: Reader,
    *,
    of: str | None = None,
    concerning: str | None = None,
    about: str | None = None,
    limit: int,
) -> Sequence[RunningClock]:
    """Clocks that run, the one due first: `of` an agency, or `concerning` it, or about a thing."""
    statement = select_rows(RunningClockRow)
    if of is not None:
        statement = statement.where(col(RunningClockRow.agency) == of)
    if concerning is not None:
        own = or_(col(RunningClockRow.agency) == concerning, col(RunningClockRow.awaits) == concerning)
        statement = statement.where(own)
    if about is not None:
        statement = statement.where(col(RunningClockRow.about) == about)
    order = col(RunningClockRow.due_at), col(RunningClockRow.obligation)
    return await read.all(RunningClock, statement.order_by(*order).limit(limit))
