"""What becomes of an event for the endpoints of agencies: a message to each that may see it and wants it."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from libs.common import audience
from libs.common.change import Change
from libs.common.clock import Moment
from libs.common.contracts.event import Event
from libs.common.edge import Reaction
from libs.common.log.envelope import Heard
from libs.common.store.reading import Known, Want
from services.notify.channels import rules
from services.notify.channels.rules import Happened
from services.notify.channels.tables import Audience, Endpoint
from services.notify.routing.tables import Addressee


def on_event(known: Known, event: Event | None, heard: Heard, at: Moment) -> Change:
    """Learn whose the stream is, and write the messages."""
    before = known.one(Audience, heard.stream)
    now = rules.learn(before, event, heard.stream, heard.seq)
    of = audience.told_of(event)
    happened = Happened(
        event=event,
        id=heard.id,
        source=heard.source,
        type=heard.type,
        stream=heard.stream,
        seq=heard.seq,
        attributes=heard.attributes,
        data=orjson.loads(heard.value),
        audience=now,
        about=known.one(Audience, of[0]) if of else None,
    )
    agencies = {agency.agency: agency for agency in known.all(Addressee)}
    written = rules.write(happened, known.all(Endpoint), agencies, at=at)
    return written.putting(now) if now.rights and now != before else written


def wants(event: Event | None, heard: Heard) -> Iterable[Want]:
    """The rows that this depends on."""
    of = audience.told_of(event)
    yield Want(Audience, (heard.stream,))
    if of:
        yield Want(Audience, (of[0],))
    yield from (Want(Endpoint), Want(Addressee))


REACTION = Reaction(on_event, wants=wants)
