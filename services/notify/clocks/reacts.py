"""What clocks do when they hear a fact that means something to one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from libs.common.change import Change
from libs.common.clock import Moment
from libs.common.edge import Reaction
from libs.common.log.envelope import Heard
from libs.common.store.reading import Known, Want
from services.notify.clocks import loads, rules
from services.notify.clocks.rules import ClockTable, Desk, Occasion
from services.notify.clocks.tables import Obligation


def reactions(table: ClockTable) -> Mapping[str, Reaction]:
    """A reaction for every type that the table names."""
    types = sorted({type_ for clock in table.clock for type_ in clock.hears()})
    return dict.fromkeys(types, Reaction(_on_fact, wants=_wants, streams=_streams))


def _on_fact(known: Known, event: Any, heard: Heard, at: Moment) -> Change:
    about = rules.about_of(event, heard.stream)
    clocks = [clock for clock in known.all(Obligation) if clock.about == about]
    desk = Desk(loads.known_law(known), clocks, known.head(*rules.head_of(about)))
    return rules.hear(desk, Occasion(heard.id, about, heard.recorded_at, heard.acted_on), event, at=at)


def _wants(event: Any, heard: Heard) -> Iterable[Want]:
    return (*loads.WANTS, Want(Obligation, (rules.about_of(event, heard.stream),), by=("about",)))


def _streams(event: Any, heard: Heard) -> Iterable[tuple[str, str]]:
    return [rules.head_of(rules.about_of(event, heard.stream))]
