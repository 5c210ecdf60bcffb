"""What a question to the log needs: pages of it, and the rights to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import and_, or_
from sqlmodel import col, select

from libs.common import audience
from libs.common.contracts import cases as said
from libs.common.permit import Actor
from libs.common.store import schema
from libs.common.store.reading import Reader
from services.sharing import access
from services.sharing.access import Situation
from services.sharing.feeds import rules
from services.sharing.feeds.tables import LogEntry, LogEntryRow, Member, Right, RightRow


async def situation(read: Reader, actor: Actor, relations: frozenset[str] = frozenset()) -> Situation:
    """What the actor's agency is to the county, and, as given, to the thing asked for."""
    own = await read.one(Member, agency=actor.agency)
    if own is None:
        return access.Situation()
    return access.Situation(is_member=True, coordinates=own.coordinates, relations=relations)


async def page(read: Reader, feed: str, after: int, limit: int) -> Sequence[LogEntry]:
    """The next entries of a feed behind a position, in order; read the rights to them afterwards."""
    statement = select(LogEntryRow).where(col(LogEntryRow.position) > after)
    if rules.FEEDS[feed].kinds is not None:
        statement = statement.where(col(LogEntryRow.feed) == feed)
    found = await read.all(LogEntry, statement.order_by(col(LogEntryRow.position)).limit(limit))
    return await _looked_up(read, feed, found)


async def _looked_up(read: Reader, feed: str, entries: Sequence[LogEntry]) -> Sequence[LogEntry]:
    """The entries, those of disclosures with what they name: one question, where there are any."""
    naming = {entry.position: named for entry in entries if (named := rules.named(entry))}
    if not naming:
        return entries
    one_of = [
        and_(col(LogEntryRow.stream) == stream, col(LogEntryRow.seq).in_(seqs))
        for stream, seqs in naming.values()
    ]
    statement = select(LogEntryRow).where(col(LogEntryRow.source) == said.SOURCE, or_(*one_of))
    older = {(old.stream, old.seq): old for old in await read.all(LogEntry, statement)}

    def whole(entry: LogEntry, stream: str, seqs: list[int]) -> LogEntry:
        return rules.looked_up(entry, [older[stream, seq] for seq in seqs], feed)

    return [whole(e, *naming[e.position]) if e.position in naming else e for e in entries]


async def seen(
    read: Reader, actor: Actor, own: Situation, entries: Iterable[LogEntry]
) -> list[tuple[LogEntry, Situation]]:
    """Each entry with what the actor's agency, whose situation is `own`, is to it."""
    entries = tuple(entries)
    streams = {stream for entry in entries for stream in (entry.stream, entry.about) if stream}
    statement = select(RightRow).where(
        col(RightRow.agency) == actor.agency, col(RightRow.stream).in_(sorted(streams))
    )
    rights: defaultdict[str, list[Right]] = defaultdict(list)
    for right in await read.all(Right, statement):
        rights[right.stream].append(right)
    found = [
        audience.relations(entry, rights[entry.stream] + rights[entry.about])
        | audience.concerning(entry.stream, entry.data, actor.agency)
        for entry in entries
    ]
    return [(entry, replace(own, relations=of)) for entry, of in zip(entries, found, strict=True)]


async def end(read: Reader) -> int:
    """The newest position of the log."""
    counter = await read.one(schema.Counter, name=rules.LOG)
    return counter.position if counter else 0
