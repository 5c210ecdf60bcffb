"""What verbs and questions must know of notices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sqlmodel import col, select

from libs.common import errors
from libs.common.change import gate_of
from libs.common.permit import Actor
from libs.common.store.reading import Reader
from libs.common.store.schema import HeldEvent, ParkedKey
from libs.common.store.seam import head_of, rows_of
from services.notify import access
from services.notify.inbox.rules import Batch, NoticeFile, Question
from services.notify.inbox.tables import Notice, NoticeRow, WaitingNotice
from services.notify.routing import loads as routing
from services.notify.routing import rules as placing
from services.notify.routing.tables import Unroutable

#: Whose streams an event's id may name, by the short names of the services.
_SOURCES = ("cases", "notify", "sharing")


async def notice_file(read: Reader, notice: str) -> NoticeFile:
    """A notice and its head. Raises NotFound."""
    await read.ahead(head_of("notice", notice), rows_of(Notice, id=notice))
    row = await read.one(Notice, id=notice)
    if row is None:
        raise errors.NotFound
    return NoticeFile(await read.head("notice", notice), row)


async def seen(read: Reader, actor: Actor, agency: str) -> access.Situation:
    """What the actor's agency is to something of this agency's."""
    relations = frozenset({access.ADDRESSEE} if actor.agency == agency else ())
    return await routing.situation(read, actor, relations)


async def batch(read: Reader, agency: str, notices: Sequence[str]) -> Batch:
    """Those of the notices that this agency has, heads first."""
    heads = {head.id: head for head in await read.heads(("notice", id_) for id_ in notices)}
    statement = select(NoticeRow).where(col(NoticeRow.agency) == agency, col(NoticeRow.id).in_(notices))
    rows = await read.all(Notice, statement)
    return Batch(tuple(notices), {row.id: NoticeFile(heads[row.id], row) for row in rows if row.id in heads})


async def question(read: Reader, event: str, agency: str) -> Question:
    """What is known of an event and an agency. Raises NotFound for what is no event's id."""
    stream, _, number = event.rpartition("/")
    if not (stream and number.isascii() and number.isdecimal() and len(number) < 10):
        raise errors.NotFound
    # As of one moment: an event that was heard in between would seem to have told nobody.
    await read.ahead(
        rows_of(Notice, event=event),
        rows_of(Unroutable, event=event),
        rows_of(WaitingNotice, event=event, addressee=agency),
        *(head_of(*gate_of(source, stream)) for source in _SOURCES),
        rows_of(HeldEvent, stream=stream, seq=int(number)),
        rows_of(ParkedKey, stream=stream),
    )
    told = await read.all(Notice, event=event)
    own = [notice for notice in told if notice.agency == agency]
    unplaced = await read.one(Unroutable, event=event)
    known = select(NoticeRow).where(col(NoticeRow.agency) == agency, col(NoticeRow.about) == stream).limit(1)
    return Question(
        agency=agency,
        event=event,
        progress=await _progress(read, stream, int(number)),
        type=told[0].type if told else unplaced.type if unplaced else None,
        notice=min(own, key=lambda notice: notice.why == placing.DEFAULT, default=None),
        waiting=await read.one(WaitingNotice, event=event, addressee=agency) is not None,
        knows=bool(await read.all(Notice, known)),
    )


async def _progress(read: Reader, stream: str, seq: int) -> Literal["applied", "held", "parked"] | None:
    gates = await read.heads(gate_of(source, stream) for source in _SOURCES)
    if any(1 <= seq <= gate.seq for gate in gates):
        return "applied"
    if await read.one(HeldEvent, stream=stream, seq=seq) is None:
        return None
    parked = await read.all(ParkedKey, stream=stream)
    return "parked" if parked else "held"
