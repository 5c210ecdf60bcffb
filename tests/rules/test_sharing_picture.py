"""The joint picture's fold, step by step, and that building it anew is the same fold."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.common.change import NEW, Change, Head
from libs.common.clock import Moment, Trace
from libs.common.contracts.cases import CaseFiled, ClueRegistered
from libs.common.contracts.event import CATALOGUE
from libs.common.contracts.sharing import PictureRebuilt
from libs.common.log import envelope
from libs.common.log.seam import Record
from libs.common.permit import Actor
from services.sharing.feeds import reacts as log
from services.sharing.feeds.tables import LogEntry
from services.sharing.picture import rules
from services.sharing.picture.rules import Album, CaseInLog, Happening, Line, Rebuilding, View
from services.sharing.picture.tables import Offer, Picture, PicturedCase, Rebuild
from tests.worlds.desk import Speaker
from tests.worlds.reading_room import DEPARTMENT, OTHER, TOWNSHIP, CaseTold

AT = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
HEAD = Head(*rules.HEAD, version=3, seq=1)


@pytest.fixture
def case() -> CaseTold:
    return CaseTold(Speaker())


def entries(records: Sequence[Record]) -> list[LogEntry]:
    """As the log keeps them."""
    heard = [envelope.read(record) for record in records]
    found = []
    for n, event in enumerate(heard, 1):
        data = CATALOGUE[event.type].model_validate_json(event.value)
        found.append(log.entry(data, event).but(position=n))
    return found


def built(records: Sequence[Record]) -> tuple[PicturedCase, dict[str, Offer]]:
    rows = rules.replay(1, entries(records))
    (standing,) = [row for row in rows if isinstance(row, PicturedCase)]
    return standing, {row.transfer: row for row in rows if isinstance(row, Offer)}


def test_a_case_moves_through_its_stages(case: CaseTold) -> None:
    told: list[Record] = []
    stages = []
    for record in (case.clue(), case.filed(), case.investigated(), case.decided(), case.closed()):
        told.append(record)
        stages.append(built(told)[0].stage)
    assert stages == [*rules.OPEN, "closed"]


def test_who_filed_and_who_closed_are_kept_apart_from_who_holds(case: CaseTold) -> None:
    records = [case.clue(), case.filed(), case.offered(DEPARTMENT), case.accepted(DEPARTMENT)]
    records += [case.decided(), case.closed()]
    standing, _ = built(records)
    assert (standing.filed_by, standing.holder, standing.ended_by) == (TOWNSHIP, DEPARTMENT, DEPARTMENT)


def test_a_dispute_stands_with_its_case_until_it_is_settled(case: CaseTold) -> None:
    told = [case.clue(), case.filed()]
    for _ in range(2):
        told += [case.offered(DEPARTMENT), case.returned(DEPARTMENT)]
    told.append(case.disputed(DEPARTMENT))
    standing, _ = built(told)
    assert (standing.dispute, standing.disputants) == ("c1.d1", f"{TOWNSHIP} {DEPARTMENT}")
    assert (standing.returns, standing.disputed_at is None) == (2, False)
    told.append(case.settled(DEPARTMENT, against=DEPARTMENT))
    standing, _ = built(told)
    assert (standing.holder, standing.dispute, standing.disputants) == (DEPARTMENT, "", "")
    assert (standing.returns, standing.disputed_at) == (2, None)


def test_a_clue_that_is_not_filed_is_rejected(case: CaseTold) -> None:
    standing, _ = built([case.clue(), case.rejected()])
    assert (standing.stage, standing.ended_by, standing.filed_by) == ("not_filed", TOWNSHIP, "")


def test_an_offer_leaves_the_case_with_its_holder_until_it_is_accepted(case: CaseTold) -> None:
    told = [case.clue(), case.offered(DEPARTMENT)]
    standing, offers = built(told)
    assert (standing.holder, offers["c1.t1"].state) == (TOWNSHIP, "waiting")
    told += [case.returned(DEPARTMENT), case.offered(OTHER)]
    standing, offers = built(told)
    assert (standing.holder, [offer.state for offer in offers.values()]) == (
        TOWNSHIP,
        ["returned", "waiting"],
    )
    told += [case.withdrawn(OTHER), case.offered(DEPARTMENT), case.accepted(DEPARTMENT)]
    standing, offers = built(told)
    assert standing.holder == DEPARTMENT
    assert [offer.state for offer in offers.values()] == ["returned", "withdrawn", "accepted"]
    assert [(offer.from_agency, offer.to_agency) for offer in offers.values()] == [
        (TOWNSHIP, DEPARTMENT),
        (TOWNSHIP, OTHER),
        (TOWNSHIP, DEPARTMENT),
    ]


def test_a_dispute_moves_the_case_to_whom_it_gives_it(case: CaseTold) -> None:
    told = [case.clue(), case.offered(DEPARTMENT), case.returned(DEPARTMENT)]
    told.append(case.led(DEPARTMENT, against=DEPARTMENT))
    assert built(told)[0].holder == DEPARTMENT
    told.append(case.ruled(OTHER, against=DEPARTMENT))
    assert (built(told)[0].holder, built(told)[0].stage) == (OTHER, "registered")
    told.append(case.settled(TOWNSHIP, against=DEPARTMENT))
    assert built(told)[0].holder == TOWNSHIP


def test_times_are_those_of_the_events(case: CaseTold) -> None:
    records = [case.clue(), case.offered(DEPARTMENT), case.accepted(DEPARTMENT)]
    first, second, third = (envelope.read(record).recorded_at for record in records)
    standing, offers = built(records)
    assert (standing.opened_at, standing.moved_at) == (first, third)
    assert (offers["c1.t1"].offered_at, offers["c1.t1"].answered_at) == (second, third)


def test_every_event_of_a_case_changes_the_picture_and_no_other_does() -> None:
    roots = {"clue", "case", "investigation", "decision", "transfer"}
    due = {type_ for type_ in CATALOGUE if type_.split(".")[1] in roots}
    # Of a dispute that there is one, and what gives the case to somebody; of help asked for, nothing.
    due |= {f"liandong.dispute.{past}.v1" for past in ("opened", "lead_named", "settled", "ruled")}
    assert set(rules.FOLDS) == due


CLUE = ClueRegistered(
    case="c1",
    holder=TOWNSHIP,
    power="330215000000",
    territory="330799101",
    clue_source="inspection",
    urgency="normal",
)
FILED = CaseFiled(
    case="c1",
    case_no="1",
    holder=TOWNSHIP,
    in_name_of=TOWNSHIP,
    power="330215000000",
    territory="330799101",
    filed_on=AT.date(),
)


def kept(picture: Picture | None, *known: int, seq: int = 2, head: Head = HEAD) -> Change:
    """What folding the filing writes, where these generations know the case."""

    def view(generation: int) -> View:
        blank = View(generation, None, None)
        return rules.fold(blank, CLUE, Happening("c1", 1, AT)) if generation in known else blank

    event = CLUE if seq == 1 else FILED
    return rules.keep(Album(head, picture, view), event, Happening("c1", seq, AT))


def generations(change: Change) -> list[int]:
    return [row.entry.generation for row in change.rows if isinstance(row.entry, PicturedCase)]


def test_a_fold_writes_the_generation_that_is_read_and_relies_on_its_head() -> None:
    change = kept(Picture(name="current", generation=4), 4)
    assert generations(change) == [4]
    assert (change.own, change.relied) == ((), (HEAD,))


def test_while_one_is_built_a_fold_writes_it_too_where_it_has_the_case() -> None:
    picture = Picture(name="current", generation=4, building=5)
    assert generations(kept(picture, 4, 5)) == [4, 5]
    assert generations(kept(picture, 4)) == [4]


def test_a_case_that_begins_while_one_is_built_is_written_to_both() -> None:
    picture = Picture(name="current", generation=4, building=5)
    assert generations(kept(picture, seq=1)) == [4, 5]


def test_the_first_fold_makes_the_head_that_later_ones_rely_on() -> None:
    new = Head(*rules.HEAD)
    change = kept(None, seq=1, head=new)
    assert (change.own, change.relied) == ((new,), ())
    assert change.written(Picture).generation == 1


def test_both_generations_have_keys_of_their_own() -> None:
    change = kept(Picture(name="current", generation=4, building=5), seq=1)
    assert len({row.key for row in change.rows}) == len(change.rows) == 2


def a_rebuild(**changes: Any) -> Rebuild:
    made = Rebuild(
        id="r1", state="asked", person="zhang", agency=TOWNSHIP, reason="疑有差错", trace="t", asked_at=AT
    )
    return made.but(**changes)


def at() -> Moment:
    return Moment(AT, Trace("t"))


def test_a_rebuild_takes_the_next_generation_and_the_other_slot() -> None:
    s = Rebuilding(HEAD, Picture(name="current", generation=4), a_rebuild())
    change = rules.begin(s, newest=17)
    assert change.own == (HEAD,)
    assert (change.written(Picture).generation, change.written(Picture).building) == (4, 5)
    assert (change.written(Rebuild).state, change.written(Rebuild).newest) == ("filling", 17)


def test_after_one_that_was_left_undone_the_number_is_new_and_the_slot_the_same() -> None:
    s = Rebuilding(HEAD, Picture(name="current", generation=4, building=5), a_rebuild())
    assert rules.begin(s, newest=17).written(Picture).building == 7
    assert rules.slot_of(5) == rules.slot_of(7) != rules.slot_of(4)


def test_filling_owns_the_gates_and_relies_on_the_head(case: CaseTold) -> None:
    gate = Head("heard", "cases:case/c1", version=2, seq=2)
    told = CaseInLog(gate, began=9, entries=tuple(entries([case.clue(), case.filed()])))
    s = Rebuilding(HEAD, Picture(name="current", generation=4, building=5), a_rebuild(generation=5))
    change = rules.fill(s, [told])
    assert (change.own, change.relied) == ((gate,), (HEAD,))
    assert generations(change) == [5]
    assert change.written(Rebuild).filled_to == 9
    # The gate stays at the event that was heard.
    assert [(head.version, head.seq) for head in change.heads_after()] == [(3, 2)]


def test_at_the_end_the_generation_is_flipped_and_told_under_the_operators_name() -> None:
    picture = Picture(name="current", generation=4, building=5)
    s = Rebuilding(HEAD, picture, a_rebuild(state="filling", generation=5))
    change = rules.finish(s, newest=20, at=at())
    assert (change.written(Picture).generation, change.written(Picture).building) == (5, 0)
    (fact,) = change.facts
    assert (fact.type, fact.kind, fact.id) == (PictureRebuilt.TYPE, *rules.HEAD)
    assert b"zhang" in fact.private
    assert b"zhang" not in fact.public


def test_a_second_rebuild_is_refused_while_one_is_under_way() -> None:
    by = Actor("zhang", TOWNSHIP)
    desk = Head(*rules.DESK, version=NEW)
    with pytest.raises(rules.RebuildRunning) as refused:
        rules.ask(desk, a_rebuild(), reason="", by=by, at=at())
    assert refused.value.facts == {"rebuild": "r1"}
    assert rules.ask(desk, None, reason="", by=by, at=at()).written(Rebuild).state == "asked"


def test_lines_stand_townships_first_by_division_then_departments_by_code() -> None:
    lines = [
        Line("B", "乙局", "department", "330799"),
        Line("Z", "甲镇", "township", "330799101"),
        Line("A", "县政府", "government", "330799"),
        Line("C", "乙街道", "street", "330799001"),
    ]
    assert [line.agency for line in rules.in_order(lines)] == ["C", "Z", "A", "B"]
