"""What stands on the board, and the door to it: pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from libs.common.contracts import cases as said
from libs.common.contracts.event import Event
from libs.common.law.limits import Light
from libs.common.permit import Actor, Role
from services.sharing.board import rules
from services.sharing.board.rules import Cell, Session
from services.sharing.clocks.rules import Lights, Pair
from services.sharing.feeds.tables import LogEntry
from services.sharing.picture.rules import Line, Snapshot
from tests.worlds.reading_room import DEPARTMENT, OTHER, TOWNSHIP

AT = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
KEY = b"k" * 32
TOWN = Line(TOWNSHIP, "青山镇", "township", "330799101")
BUREAU = Line(DEPARTMENT, "县水利局", "department", "330799")
IDLE = Line(OTHER, "县林业局", "department", "330799")
NAMES = {TOWNSHIP: "青山镇", DEPARTMENT: "县水利局"}


def lit(**counts: int) -> Lights:
    return Lights({Light(light): n for light, n in counts.items()}, AT)


def a_snapshot(**lights: Lights) -> Snapshot:
    return Snapshot(1, AT, (TOWN, BUREAU, IDLE), {}, lights)


def test_a_cell_counts_both_directions_and_shows_the_worst_light() -> None:
    pairs = [
        Pair(TOWNSHIP, DEPARTMENT, lit(green=2, yellow=1)),
        Pair(DEPARTMENT, TOWNSHIP, lit(red=1)),
        Pair("", DEPARTMENT, lit(black=5)),
    ]
    matrix = rules.matrix([TOWN, BUREAU, IDLE], a_snapshot(), pairs)
    ((town, cells, _),) = matrix.rows
    assert (town, cells) == (TOWN, [Cell(4, Light.RED, asked=3, owed=1)])
    assert [line for line, _ in matrix.columns] == [BUREAU], "who has nothing to do with it has no column"


def test_the_arcs_of_a_ring_follow_each_other_around_it() -> None:
    arcs = rules.ring(lit(green=2, yellow=1, black=1))
    assert [(arc.light, arc.length, arc.offset) for arc in arcs] == [
        (Light.BLACK, 25.0, 25.0),
        (Light.YELLOW, 25.0, 0.0),
        (Light.GREEN, 50.0, 75.0),
    ]
    assert rules.ring(lit()) == []


def test_bars_are_as_long_as_their_share_of_the_longest() -> None:
    snapshot = a_snapshot(**{TOWNSHIP: lit(green=4), DEPARTMENT: lit(red=1, green=1)})
    bars = rules.bars([TOWN, BUREAU, IDLE], snapshot, 5)
    assert [(bar.line, bar.n, [*bar.parts]) for bar in bars] == [
        (BUREAU, 2, [(Light.RED, 0.0, 25.0), (Light.GREEN, 25.0, 25.0)]),
        (TOWN, 4, [(Light.GREEN, 0.0, 100.0)]),
    ]


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(seconds=1), "剩 1 秒"),
        (timedelta(minutes=59, seconds=59), "剩 59 分钟"),
        (timedelta(hours=23), "剩 23 小时"),
        (timedelta(days=2, hours=23), "剩 2 天"),
        (timedelta(), "超 0 秒"),
        (timedelta(days=-1), "超 1 天"),
    ],
)
def test_what_is_left_is_said_in_the_largest_unit(span: timedelta, words: str) -> None:
    assert rules.until(AT + span, AT) == words


def an_entry(event: Event) -> LogEntry:
    return LogEntry(
        event_id="case/c1/1",
        source=said.SOURCE,
        type=event.TYPE,
        stream="case/c1",
        seq=1,
        feed="cases",
        county=False,
        recorded_at=AT,
        attributes={},
        data=event.model_dump(mode="json"),
    )


def test_a_return_leads_from_whom_the_case_was_offered_to_back_to_the_sender() -> None:
    parts = {"case": "c1", "transfer": "c1.t1", "from_agency": TOWNSHIP, "to_agency": DEPARTMENT}
    accepted = rules.told(an_entry(said.TransferAccepted(**parts)), NAMES, AT)
    returned = said.TransferReturned(**parts, reason="not_competent", basis="", proposed_agency=OTHER)
    assert (accepted.what, accepted.who) == ("接收移送", "青山镇 → 县水利局")
    assert rules.told(an_entry(returned), NAMES, AT).who == "县水利局 → 青山镇"


def test_an_event_of_a_type_that_we_do_not_know_is_told_by_its_type() -> None:
    entry = an_entry(said.CaseClosed(case="c1", holder=TOWNSHIP, closed_on=AT.date()))
    told = rules.told(entry.but(type="liandong.case.sung_of.v1", data=["?"]), NAMES, AT)
    assert (told.what, told.who, told.case) == ("liandong.case.sung_of.v1", "", "c1")


def test_a_session_is_who_it_was_sealed_for_until_it_ends() -> None:
    actor = Actor("张三", TOWNSHIP, frozenset({Role.HANDLER, Role.APPROVER}))
    sealed = rules.sealed(KEY, Session(actor, AT))
    assert rules.unsealed(KEY, sealed, AT - timedelta(seconds=1)) == Session(actor, AT)
    assert rules.unsealed(KEY, sealed, AT) is None
    assert rules.unsealed(b"x" * 32, sealed, AT - timedelta(seconds=1)) is None


def test_no_change_of_a_cookie_leaves_it_good() -> None:
    sealed = rules.sealed(KEY, Session(Actor("z", TOWNSHIP), AT))
    before = AT - timedelta(seconds=1)
    for place in range(len(sealed)):
        for char in "A.字":
            spoilt = sealed[:place] + char + sealed[place + 1 :]
            assert spoilt == sealed or rules.unsealed(KEY, spoilt, before) is None


def test_a_ticket_is_for_one_link_under_one_key() -> None:
    ticket = rules.ticket(KEY, "l1")
    assert rules.link_of(KEY, ticket) == "l1"
    assert rules.link_of(KEY, ticket.replace("l1", "l2")) is None
    assert rules.link_of(b"x" * 32, ticket) is None
    assert rules.link_of(KEY, "l1.字") is None
