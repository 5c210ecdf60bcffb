"""The law by which clocks run, and the clocks that somebody asks for or whose time has come."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from importlib import resources

from sqlalchemy import and_, case, func, or_, select
from sqlmodel import col

from libs.common import errors
from libs.common.clock import day_of
from libs.common.law import limits
from libs.common.law.limits import Light
from libs.common.permit import Actor
from libs.common.store.reading import Known, Reader, Want
from libs.common.store.seam import head_of, rows_of
from services.notify import access
from services.notify.calendars import loads as calendars
from services.notify.clocks import rules
from services.notify.clocks.rules import ClockTable, File, Law
from services.notify.clocks.tables import Obligation, ObligationRow, Reached
from services.notify.escalation import loads as escalation
from services.notify.escalation.tables import EscalationPolicy
from services.notify.routing import loads as placing
from services.notify.routing import rules as routing
from services.notify.routing.rules import Directory
from services.notify.routing.tables import Addressee
from services.notify.supervision import loads as supervision
from services.notify.supervision.rules import Issuing

#: What a reaction must want, to know the law.
WANTS = (*calendars.WANTS, Want(EscalationPolicy))


@cache
def table() -> ClockTable:
    """The clocks of this release. Raises BadClocks."""
    file = resources.files(__package__).joinpath("clocks.toml")
    return rules.read(tomllib.loads(file.read_text("utf-8")), limits.table())


async def law(read: Reader) -> Law:
    """The law that counts."""
    in_force, calendar = await calendars.in_force(read), await calendars.calendar(read)
    return Law(table(), in_force, calendar, await escalation.in_force(read))


def known_law(known: Known) -> Law:
    """The same, for a reaction that wanted it."""
    calendar, in_force = calendars.known(known)
    return Law(table(), in_force, calendar, escalation.known(known))


async def file(read: Reader, obligation: str) -> File:
    """A clock and the head of its stream. Raises NotFound."""
    found = await read.rows(select(col(ObligationRow.about)).where(col(ObligationRow.id) == obligation))
    if not found:
        raise errors.NotFound
    head = rules.head_of(found[0]["about"])
    await read.ahead(head_of(*head), rows_of(Obligation, id=obligation))
    (row,) = await read.all(Obligation, id=obligation)
    return File(await read.head(*head), row)


async def reached(read: Reader, obligation: str) -> Sequence[Reached]:
    """The levels that a clock reached, in order."""
    return sorted(await read.all(Reached, obligation=obligation), key=lambda level: level.level)


async def issuing(read: Reader, obligation: Obligation, now: datetime) -> Issuing | None:
    """What a letter of supervision to whoever must act depends on; None while no office is registered."""
    directory = Directory({agency.agency: agency for agency in await read.all(Addressee)})
    offices = directory.reached(routing.COORDINATORS)
    if not offices:
        return None
    issuer = directory.agencies[offices[0]]
    return await supervision.issuing(read, issuer, obligation.agency, "supervision", day_of(now))


async def due(read: Reader, now: datetime, count: int) -> Sequence[str]:
    """Clocks a level of which is due, the longest due first, by id."""
    statement = (
        select(col(ObligationRow.id))
        .where(col(ObligationRow.state) == "running", col(ObligationRow.next_at) <= now)
        .order_by(col(ObligationRow.next_at))
        .limit(count)
    )
    return [row["id"] for row in await read.rows(statement)]


async def outdated(read: Reader, plan: str, count: int) -> Sequence[str]:
    """Running clocks that were planned by another calendar or other policies, by id."""
    statement = (
        select(col(ObligationRow.id))
        .where(col(ObligationRow.state).in_(["running", "paused"]), col(ObligationRow.plan) != plan)
        .limit(count)
    )
    return [row["id"] for row in await read.rows(statement)]


async def seen(read: Reader, actor: Actor, obligation: Obligation) -> access.Situation:
    """What the actor's agency is to a clock."""
    return towards(await placing.situation(read, actor), actor, obligation)


def towards(own: access.Situation, actor: Actor, obligation: Obligation) -> access.Situation:
    """The same for an agency of which it is known what it is to the county."""
    found = {access.OBLIGOR} if actor.agency == obligation.agency else set()
    found |= {access.AWAITING} if actor.agency == obligation.awaits else set()
    return replace(own, relations=frozenset(found))


async def page(
    read: Reader,
    filters: Mapping[str, str],
    *,
    of: str | None,
    before: datetime | None,
    after: tuple[datetime, str] | None,
    count: int,
) -> Sequence[Obligation]:
    """Clocks by their ends, those of an agency and those that it waits for, or all for None."""
    due_at, id_ = col(ObligationRow.due_at), col(ObligationRow.id)
    statement = select(ObligationRow).filter_by(**filters).order_by(due_at, id_).limit(count)
    if of is not None:
        statement = statement.where(or_(col(ObligationRow.agency) == of, col(ObligationRow.awaits) == of))
    if before is not None:
        statement = statement.where(due_at < before)
    if after is not None:
        statement = statement.where(or_(due_at > after[0], and_(due_at == after[0], id_ > after[1])))
    return await read.all(Obligation, statement)


async def lights(read: Reader, now: datetime) -> Mapping[tuple[str, Light], int]:
    """How many clocks run, by rule and light."""
    row = col(ObligationRow.rule)
    instants = (col(ObligationRow.yellow_at), col(ObligationRow.due_at), col(ObligationRow.black_at))
    passed = [case((now >= instant, 1), else_=0) for instant in instants]
    lights = sum(passed[1:], start=passed[0]).label("passed")
    statement = select(row, lights, func.count().label("n"))
    statement = statement.where(col(ObligationRow.state).in_(["running", "paused"])).group_by(row, lights)
    return {(row["rule"], list(Light)[row["passed"]]): row["n"] for row in await read.rows(statement)}
