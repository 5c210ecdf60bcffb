"""What the picture is read from, and what each step of a rebuild must know."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import String, func, literal, null, select, union_all
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import Select
from sqlmodel import col
from sqlmodel import select as select_rows
from sqlmodel.sql.expression import SelectOfScalar

from libs.common.change import gate_of
from libs.common.contracts import cases as said
from libs.common.law.limits import Light
from libs.common.store import schema
from libs.common.store.reading import Reader
from services.sharing.clocks import loads as running_clocks
from services.sharing.clocks import rules as clocks
from services.sharing.clocks.rules import Tally
from services.sharing.feeds import rules as log
from services.sharing.feeds.tables import LogEntry, LogEntryRow, MemberRow
from services.sharing.picture import rules
from services.sharing.picture.rules import CaseInLog, Count, Line, Rebuilding, Snapshot
from services.sharing.picture.tables import (
    Offer,
    OfferRow,
    Picture,
    PicturedCase,
    PicturedCaseRow,
    PictureRow,
    Rebuild,
    RebuildRow,
)

#: Cases that one step of a rebuild builds.
CASES = 100
#: Rows that one step of clearing deletes.
ROWS = 500

_COUNTERS = schema.table(schema.CounterRow)
_LOG = schema.table(LogEntryRow)
_MEMBERS = schema.table(MemberRow)
_PICTURES = schema.table(PictureRow)
_CASES = schema.table(PicturedCaseRow)
_TRANSFERS = schema.table(OfferRow)
_LIT = running_clocks.TALLIES.subquery()


async def snapshot(read: Reader, now: datetime) -> Snapshot:
    """The picture at one position. One statement, so that every part of it is of the same moment.

    `now` is the instant of the lights.
    """
    lines: list[Line] = []
    counts: dict[tuple[str, str, str], Count] = {}
    tallies: defaultdict[str, list[Tally]] = defaultdict(list)
    position, as_of = 0, None
    for row in await read.rows(_SNAPSHOT, now=now):
        match row["part"]:
            case "position":
                position, as_of = row["n"], row["at"]
            case "member":
                lines.append(Line(row["agency"], row["name"], row["label"], row["division"]))
            case "light":
                light = Tally("", row["agency"], Light(row["label"]), row["n"], row["at"])
                tallies[light.agency].append(light)
            case part:
                counts[part, row["agency"], row["label"]] = Count(row["n"], row["at"])
    lights = {agency: clocks.together(some) for agency, some in tallies.items()}
    return Snapshot(position, as_of, rules.in_order(lines), counts, lights)


async def running(read: Reader) -> Rebuild | None:
    """The rebuild that is not done, if there is one."""
    statement = select_rows(RebuildRow).where(col(RebuildRow.state) != "done")
    found = await read.all(Rebuild, statement.order_by(col(RebuildRow.id)).limit(1))
    return found[0] if found else None


async def rebuilding(read: Reader) -> Rebuilding | None:
    """The rebuild that is not done, with what its next step depends on."""
    head = await read.head(*rules.HEAD)
    picture = await read.one(Picture, name="current")
    rebuild = await running(read)
    return Rebuilding(head, picture or rules.FIRST, rebuild) if rebuild else None


async def next_cases(read: Reader, after: int) -> list[CaseInLog]:
    """The cases that began next behind a position, their gates first; empty at the end of the log."""
    first = select_rows(LogEntryRow).where(col(LogEntryRow.feed) == "cases", col(LogEntryRow.seq) == 1)
    # What is disclosed of a case stands in the same feed, and is no case.
    first = first.where(col(LogEntryRow.source) == said.SOURCE, col(LogEntryRow.position) > after)
    first = first.order_by(col(LogEntryRow.position)).limit(CASES)
    began = {gate_of(entry.source, entry.stream): entry for entry in await read.all(LogEntry, first)}
    gates = await read.heads(began)
    told: defaultdict[str, list[LogEntry]] = defaultdict(list)
    for entry in await read.all(LogEntry, _entries_of([entry.stream for entry in began.values()])):
        told[entry.stream].append(entry)
    return [
        CaseInLog(gate, first.position, tuple(told[first.stream]))
        for gate in gates
        for first in [began[gate.kind, gate.id]]
    ]


async def outdated(read: Reader, generation: int) -> Sequence[PicturedCase | Offer]:
    """Some rows of generations before this one."""
    cases = select_rows(PicturedCaseRow).where(col(PicturedCaseRow.generation) < generation).limit(ROWS)
    transfers = select_rows(OfferRow).where(col(OfferRow.generation) < generation).limit(ROWS)
    return [*await read.all(PicturedCase, cases), *await read.all(Offer, transfers)]


def _entries_of(streams: Sequence[str]) -> SelectOfScalar[LogEntryRow]:
    folded = select_rows(LogEntryRow).where(col(LogEntryRow.type).in_(list(rules.FOLDS)))
    return folded.where(col(LogEntryRow.stream).in_(streams)).order_by(col(LogEntryRow.seq))


def _part(
    name: str,
    *,
    agency: ColumnElement[Any] | None = None,
    label: ColumnElement[Any] | None = None,
    n: ColumnElement[Any] | None = None,
    at: ColumnElement[Any] | None = None,
    called: ColumnElement[Any] | None = None,
    division: ColumnElement[Any] | None = None,
) -> Select[Any]:
    """A part of the snapshot; all have the same columns."""
    nothing = literal("", String)
    return select(
        literal(name, String).label("part"),
        (nothing if agency is None else agency).label("agency"),
        (nothing if label is None else label).label("label"),
        (literal(0) if n is None else n).label("n"),
        (null() if at is None else at).label("at"),
        (nothing if called is None else called).label("name"),
        (nothing if division is None else division).label("division"),
    )


def _read_now(table: Any) -> Any:
    """The rows of a table that belong to the generation which is read."""
    current = select(_PICTURES.c.generation).where(_PICTURES.c.name == "current").scalar_subquery()
    return table.c.generation == current


def _cases(name: str, agency: Any, label: Any = None) -> Select[Any]:
    part = _part(name, agency=agency, label=label, n=func.count())
    grouped = (agency,) if label is None else (agency, label)
    return part.where(_read_now(_CASES), agency != "").group_by(*grouped)


def _transfers(name: str, agency: Any) -> Select[Any]:
    oldest = func.min(_TRANSFERS.c.offered_at)
    part = _part(name, agency=agency, label=_TRANSFERS.c.state, n=func.count(), at=oldest)
    return part.where(_read_now(_TRANSFERS)).group_by(agency, _TRANSFERS.c.state)


_SNAPSHOT = union_all(
    # The first part gives the columns their types.
    _part("position", n=_COUNTERS.c.position, at=_LOG.c.recorded_at)
    .select_from(_COUNTERS.outerjoin(_LOG, _LOG.c.position == _COUNTERS.c.position))
    .where(_COUNTERS.c.name == log.LOG),
    _part(
        "member",
        agency=_MEMBERS.c.agency,
        label=_MEMBERS.c.kind,
        called=_MEMBERS.c.name,
        division=_MEMBERS.c.division,
    ),
    _cases("held", _CASES.c.holder, _CASES.c.stage),
    _cases("filed", _CASES.c.filed_by),
    _cases("ended", _CASES.c.ended_by, _CASES.c.stage),
    _transfers("offered_to", _TRANSFERS.c.to_agency),
    _transfers("offered_by", _TRANSFERS.c.from_agency),
    _part("light", agency=_LIT.c.agency, label=_LIT.c.light, n=_LIT.c.n, at=_LIT.c.due_at),
)
