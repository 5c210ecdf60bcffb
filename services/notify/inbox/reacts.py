"""What `notify` does when it hears an event: tell whom the table names, or sound the alarm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from libs.common.change import Change
from libs.common.clock import Moment
from libs.common.contracts import cases
from libs.common.contracts.event import CATALOGUE
from libs.common.edge import Reaction
from libs.common.log.envelope import Heard
from libs.common.store.reading import Known, Want
from services.notify.inbox import rules
from services.notify.inbox.rules import Desk, Occasion
from services.notify.inbox.tables import WaitingNotice
from services.notify.routing import rules as routing
from services.notify.routing.rules import Directory, RouteTable
from services.notify.routing.tables import Addressee

_AGENCIES = Want(Addressee)
_WAITING = Want(WaitingNotice)


def reactions(table: RouteTable, *, fallback: str | None) -> Mapping[str, Reaction]:
    """A reaction for every type of the catalogue; `fallback` receives what the table cannot place."""

    def on_fact(known: Known, event: Any, heard: Heard, at: Moment) -> Change:
        return rules.tell(_desk(known, table, fallback), _occasion(heard), event, at=at)

    def on_agency(known: Known, event: cases.AgencyRegistered, heard: Heard, at: Moment) -> Change:
        desk, waiting = _desk(known, table, fallback), known.all(WaitingNotice)
        return rules.register(desk, _occasion(heard), event, waiting, at=at)

    told = Reaction(on_fact, wants=lambda event, heard: (_AGENCIES,), streams=_seats)
    unplaced = otherwise(table, fallback=fallback)
    return {
        **{
            type_: told if type_ in table.routes else unplaced
            for type_ in CATALOGUE
            if type_ not in table.silent
        },
        cases.AgencyRegistered.TYPE: Reaction(
            on_agency, wants=lambda event, heard: (_AGENCIES, _WAITING), streams=_seats
        ),
    }


def otherwise(table: RouteTable, *, fallback: str | None) -> Reaction:
    """The reaction to a type that is not in our catalogue: somebody newer said it."""

    def on_unknown(known: Known, event: Any, heard: Heard, at: Moment) -> Change:
        return rules.alarm(_desk(known, table, fallback), _occasion(heard), "unknown_type", at=at)

    return Reaction(on_unknown, wants=lambda event, heard: (_AGENCIES,), streams=_seats)


def _desk(known: Known, table: RouteTable, fallback: str | None) -> Desk:
    agencies = {agency.agency: agency for agency in known.all(Addressee)}
    return Desk(table, Directory(agencies, fallback), known.head)


def _seats(event: Any, heard: Heard) -> Iterable[tuple[str, str]]:
    """The streams on which notices wait for an agency."""
    named = [getattr(event, name, "") for name in routing.RECIPIENTS]
    codes = {code for one in named for code in ((one,) if isinstance(one, str) else one)} - {""}
    offices = (routing.COORDINATORS, routing.COUNTY, routing.DEFAULT)
    return [("addressee", name) for name in dict.fromkeys((*sorted(codes), *offices))]


def _occasion(heard: Heard) -> Occasion:
    return Occasion(event=heard.id, type=heard.type, about=heard.stream, chain=heard.chain.hex())
