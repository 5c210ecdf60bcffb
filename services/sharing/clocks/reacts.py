"""What `sharing` does when it hears of a clock: the log takes the event, the clock's row follows it."""

from __future__ import annotations

from collections.abc import Iterable

from libs.common.change import Change
from libs.common.clock import Moment
from libs.common.contracts.event import Event
from libs.common.edge import Reaction
from libs.common.log.envelope import Heard
from libs.common.store.reading import Known, Want
from services.sharing.clocks import rules
from services.sharing.clocks.tables import RunningClock
from services.sharing.feeds import reacts as log


def on_event(known: Known, event: Event, heard: Heard, at: Moment) -> Change:
    """Enter the event, and keep the clock as it says."""
    before = known.one(RunningClock, _obligation(event))
    return Change.all_of([log.on_event(known, event, heard, at), rules.keep(before, event)])


def _wants(event: Event, heard: Heard) -> Iterable[Want]:
    yield from log.wants(event, heard)
    yield Want(RunningClock, (_obligation(event),))


def _obligation(event: Event) -> str:
    return str(getattr(event, "obligation", ""))


#: The reaction to the events of `rules.FOLDS`.
KEEPING = Reaction(on_event, wants=_wants, streams=log.streams)
