"""What the timeline and the proof must know."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlmodel import col, select

from libs.common.change import Head
from libs.common.store.reading import Reader
from libs.common.store.schema import JournalEntry, JournalRow
from services.cases.register.tables import Agency
from services.cases.trace import rules
from services.cases.trace.rules import Trace, Written
from services.cases.trace.tables import Signature, SignatureRow


async def trace(read: Reader, head: Head) -> Trace:
    """All that the stream holds up to this head, and who signed for it."""
    facts = (
        select(JournalRow)
        .where(
            col(JournalRow.kind) == head.kind, col(JournalRow.id) == head.id, col(JournalRow.seq) <= head.seq
        )
        .order_by(col(JournalRow.seq))
    )
    signatures = (
        select(SignatureRow)
        .where(col(SignatureRow.case) == head.id)
        .order_by(col(SignatureRow.at), col(SignatureRow.receipt))
    )
    return Trace(
        head=head,
        facts=tuple(_written(entry) for entry in await read.all(JournalEntry, facts)),
        # A signature may be newer than the head; one for what is not in the trace would look like a forgery.
        signatures=tuple(s for s in await read.all(Signature, signatures) if rules.within(head, s)),
    )


async def names(read: Reader) -> Mapping[str, str]:
    """How the county's agencies are called."""
    return {agency.id: agency.name for agency in await read.all(Agency)}


def _written(entry: JournalEntry) -> Written:
    return Written(
        seq=entry.seq,
        type=entry.type,
        public=entry.public,
        private=entry.private,
        salt=entry.salt,
        digest=entry.digest,
        data=json.loads(entry.public)["data"],
        record=json.loads(entry.private),
        recorded_at=entry.recorded_at,
        acted_on=entry.acted_on,
    )
