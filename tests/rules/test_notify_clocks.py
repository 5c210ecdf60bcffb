"""Clocks as decisions alone: what facts do to them, and which tables are refused."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from importlib import resources
from typing import Any

import pytest

from libs.common.change import Change, Head
from libs.common.clock import SHANGHAI, Moment, Trace
from libs.common.contracts import cases as said
from libs.common.contracts.event import CATALOGUE
from libs.common.contracts.notify import ObligationAmended, SupervisionReturned
from libs.common.law import limits
from libs.common.law.calendar import Calendar, Year
from libs.common.law.limits import Light
from services.notify.calendars import loads as calendars
from services.notify.clocks import loads, rules
from services.notify.clocks.rules import BadClocks, Desk, File, Law, Occasion
from services.notify.clocks.tables import Obligation, Reached
from services.notify.escalation import loads as escalation
from services.notify.escalation import rules as policies
from services.notify.escalation.rules import BadPolicy
from services.notify.routing.tables import Addressee
from services.notify.supervision.rules import Issuing
from services.notify.supervision.tables import Supervision
from tests.worlds import desk as county

Raw = dict[str, Any]

WRITTEN: Raw = tomllib.loads(
    resources.files("services.notify.clocks").joinpath("clocks.toml").read_text("utf-8")
)
POLICIES: Raw = tomllib.loads(
    resources.files("services.notify.escalation").joinpath("policies.toml").read_text("utf-8")
)
#: A clock that stands still between two facts, and one that a person extends.
STOPPING = {
    "clock": [
        {
            "rule": "pen.decide",
            "opens": ["liandong.case.filed.v1"],
            "obligor": "holder",
            "thing": "case",
            "start": "filed_on",
            "ends": ["liandong.decision.made.v1"],
            "pauses": ["liandong.transfer.offered.v1"],
            "resumes": ["liandong.transfer.withdrawn.v1"],
        },
        {
            "rule": "sup.supervise",
            "opens": ["liandong.supervision.issued.v1"],
            "obligor": "agency",
            "thing": "supervision",
            "ends": ["liandong.supervision.replied.v1"],
            "extends": [{"on": "liandong.supervision.returned.v1", "until": "due_on"}],
        },
    ]
}


def at(day: str, clock: str = "10:00") -> datetime:
    return datetime.fromisoformat(f"{day}T{clock}:00").replace(tzinfo=SHANGHAI)


def moment(day: str, clock: str = "10:00") -> Moment:
    return Moment(at(day, clock).astimezone(UTC), Trace("request-1"), b"seed")


def the_law(table: Raw = WRITTEN, years: Sequence[Year] = ()) -> Law:
    read = rules.read(table, limits.table())
    return Law(read, limits.table(), Calendar([*calendars.shipped(), *years]), escalation.shipped())


def an_occasion(day: str, number: int = 1, clock: str = "10:00", about: str = "case/c1") -> Occasion:
    return Occasion(f"{about}/{number}", about, at(day, clock), date.fromisoformat(day))


def hear(law: Law, event: Any, occasion: Occasion, *known: Obligation) -> Change:
    head = Head("clock", occasion.about, len(known), len(known))
    return rules.hear(Desk(law, known, head), occasion, event, at=moment(str(occasion.acted_on)))


def written(change: Change) -> list[Obligation]:
    return [row.entry for row in change.rows if isinstance(row.entry, Obligation)]


def a_filing(day: str) -> said.CaseFiled:
    return said.CaseFiled(
        case="c1",
        case_no="1号",
        holder=county.TOWNSHIP,
        in_name_of=county.TOWNSHIP,
        power="330215000000",
        territory="330726101",
        filed_on=date.fromisoformat(day),
    )


def a_clock(law: Law, day: str = "2026-11-02") -> Obligation:
    (opened,) = written(hear(law, a_filing(day), an_occasion(day)))
    return opened


def types(change: Change) -> list[str]:
    return [fact.type.split(".")[2] for fact in change.facts]


def test_the_same_fact_makes_the_same_clock() -> None:
    law = the_law()
    assert a_clock(law) == a_clock(law)
    assert a_clock(law).about == "case/c1"


def test_facts_about_a_thing_own_the_stream_of_its_clocks_though_nothing_comes_of_them() -> None:
    """Or a clock that starts at the same time would miss what ends it."""
    offered = county.an_offer("c1", urgency="urgent")
    change = hear(the_law({"clock": STOPPING["clock"][1:]}), offered, an_occasion("2026-11-02"))
    assert [head.stream for head in change.own] == ["clock/case/c1"]
    assert change.facts == ()


def test_a_clock_that_runs_is_not_started_again() -> None:
    law = the_law()
    running = a_clock(law)
    assert written(hear(law, a_filing("2026-11-05"), an_occasion("2026-11-05", 2), running)) == []


def test_a_clock_that_stands_still_is_not_overdue_and_goes_on_with_the_days_it_had() -> None:
    law = the_law(STOPPING)
    running = a_clock(law, "2026-08-06")  # due on 4 November
    assert running.due_on == date(2026, 11, 4)
    paused_by = hear(law, county.an_offer("c1"), an_occasion("2026-11-02", 2), running)
    assert types(paused_by) == ["amended"]
    (paused,) = written(paused_by)
    assert (paused.state, paused.next_at) == ("paused", None)
    file = File(Head("clock", "case/c1", 2, 2), paused)
    assert written(rules.escalate(law, file, None, at=moment("2026-12-01")))[-1].level == 0
    withdrawn = said.TransferWithdrawn(
        case="c1", transfer="c1.t1", from_agency=county.TOWNSHIP, to_agency=county.DEPARTMENT
    )
    # A fact ends a pause of the clock about the same thing: the row asks for the case, not for the transfer.
    (resumed,) = written(hear(law, withdrawn, an_occasion("2026-11-12", 3), paused))
    assert (resumed.state, resumed.due_on) == ("running", date(2026, 11, 14))
    assert [(p["by"], p["ended_by"]) for p in resumed.pauses] == [("case/c1/2", "case/c1/3")]


def test_a_person_may_name_a_later_day() -> None:
    law = the_law(STOPPING)
    issued = {
        "supervision": "s1",
        "kind": "supervision",
        "number": "督1号",
        "agency": county.TOWNSHIP,
        "issuer": county.OFFICE,
    }
    occasion = an_occasion("2026-11-02", about="supervision/s1")
    model = CATALOGUE["liandong.supervision.issued.v1"]
    (running,) = written(hear(law, model.model_validate(issued), occasion))
    until = SupervisionReturned.model_validate({**issued, "due_on": "2026-11-20"})
    change = hear(law, until, an_occasion("2026-11-04", 2, about="supervision/s1"), running)
    (extended,) = written(change)
    assert (extended.due_on, extended.set_by) == (date(2026, 11, 20), "supervision/s1/2")
    assert b'"cause":"extended"' in change.facts[0].public


def test_a_case_that_passes_on_before_it_is_filed_gives_its_new_holder_the_whole_time() -> None:
    law = the_law()
    clue = said.ClueRegistered(
        case="c1",
        holder=county.TOWNSHIP,
        power="330215000000",
        territory="330726101",
        clue_source="patrol",
        urgency="normal",
    )
    (running,) = written(hear(law, clue, an_occasion("2026-11-02")))
    assert (running.rule, running.due_on) == ("pen.file", date(2026, 11, 16))
    accepted = said.TransferAccepted(
        case="c1", transfer="c1.t1", from_agency=county.TOWNSHIP, to_agency=county.DEPARTMENT
    )
    (passed,) = written(hear(law, accepted, an_occasion("2026-11-12", 2), running))
    assert (passed.agency, passed.due_on) == (county.DEPARTMENT, date(2026, 11, 26))


def test_levels_are_reached_in_order_and_no_level_twice() -> None:
    law = the_law()
    running = a_clock(law, "2026-08-04")  # due on 2 November
    file = File(Head("clock", "case/c1", 1, 1), running)
    change = rules.escalate(law, file, None, at=moment("2026-11-03"))
    rows = [row.entry for row in change.rows if isinstance(row.entry, Reached)]
    assert [(row.level, row.late) for row in rows] == [(1, True), (2, True)]
    again = rules.escalate(law, File(file.head, written(change)[-1]), None, at=moment("2026-11-03"))
    assert again.facts == ()
    with pytest.raises(ValueError, match="exists already"):
        Change.all_of([change, change]).folded_rows()


def test_a_level_that_was_due_before_the_clock_was_opened_is_not_late() -> None:
    """A case filed ninety days ago and recorded today: nobody slept."""
    law = the_law()
    (running,) = written(hear(law, a_filing("2026-08-04"), an_occasion("2026-11-04")))
    change = rules.escalate(law, File(Head("clock", "case/c1", 1, 1), running), None, at=moment("2026-11-04"))
    assert [row.entry.late for row in change.rows if isinstance(row.entry, Reached)] == [False, False, False]


def test_the_letter_of_a_level_is_the_same_if_it_is_decided_again_and_takes_the_next_number() -> None:
    law = the_law()
    file = File(Head("clock", "case/c1", 1, 1), a_clock(law, "2026-08-04"))
    office = Addressee(agency=county.OFFICE, name="联席会议办公室", coordinates=True)
    township = Addressee(agency=county.TOWNSHIP, name="青山镇", coordinates=False)
    issuing = Issuing(office, township, Head("counter", "x", 6))
    change = rules.escalate(law, file, issuing, at=moment("2026-11-04"))
    letter, again = (
        rules.escalate(law, file, issuing, at=at_).written(Supervision)
        for at_ in (moment("2026-11-04"), moment("2026-11-04", "10:01"))
    )
    assert (letter.id, letter.number) == (again.id, "联席会议办公室督〔2026〕7号")
    assert change.written(Reached).supervision == letter.id


def test_a_clock_is_planned_again_and_told_only_where_its_date_or_its_certainty_moved() -> None:
    law = the_law()
    offer = county.an_offer("c1")
    (running,) = written(hear(law, offer, an_occasion("2026-12-31")))
    assert (running.due_on, running.provisional) == (date(2027, 1, 4), True)
    off = frozenset({date(2027, 1, 1), date(2027, 1, 4)})
    arrived = the_law(years=[Year(2027, off, frozenset({date(2027, 1, 2)}), 1)])
    file = File(Head("clock", "case/c1", 1, 1), running)
    change = rules.redate(arrived, file, at=moment("2026-12-31"))
    (moved,) = written(change)
    assert (moved.due_on, moved.provisional) == (date(2027, 1, 2), False)
    assert [fact.type for fact in change.facts] == [ObligationAmended.TYPE]
    assert rules.redate(arrived, File(file.head, moved), at=moment("2026-12-31")).facts == ()


def test_a_light_is_what_the_instants_say() -> None:
    running = a_clock(the_law())
    days = {"2026-11-03": Light.GREEN, "2027-01-29": Light.YELLOW, "2027-02-01": Light.RED}
    assert {day: rules.light(running, at(day)) for day in days} == days
    assert rules.light(running, at("2027-05-02")) is Light.BLACK


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda c: c.update(rule="pen.nothing"), "没有时限"),
        (lambda c: c.update(ends=[]), "没有任何事件能使它了结"),
        (lambda c: c.update(ends=["liandong.case.lost.v1"]), "没有事件"),
        (lambda c: c.update(obligor="captain"), "没有字段“captain”"),
        (lambda c: c.update(obligor=""), "责任单位"),
        (lambda c: c.update(thing="transfer"), "没有字段“transfer”"),
        (lambda c: c.update(when={"weather": "wet"}), "没有字段“weather”"),
        (lambda c: c.update(after=["col.sign"]), "只写其一"),
        (lambda c: c.update(pauses=["liandong.transfer.offered.v1"]), "pauses 和 resumes"),
        (lambda c: c.update(passes=[{"on": "liandong.transfer.accepted.v1", "to": "nobody"}]), "“nobody”"),
        (lambda c: c.update(colour="red"), "不认识的字段"),
    ],
)
def test_a_table_that_could_not_run_is_refused(spoil: Callable[[Raw], Any], complaint: str) -> None:
    raw = copy.deepcopy(WRITTEN)
    spoil(raw["clock"][1])
    with pytest.raises(BadClocks, match=complaint):
        rules.read(raw, limits.table())


def test_a_rule_has_one_clock() -> None:
    raw = copy.deepcopy(WRITTEN)
    raw["clock"].append(raw["clock"][0])
    with pytest.raises(BadClocks, match="已在前面写明"):
        rules.read(raw, limits.table())


def test_a_clock_that_follows_another_needs_one_that_is_signed_for() -> None:
    raw = copy.deepcopy(WRITTEN)
    (accept,) = [clock for clock in raw["clock"] if clock["rule"] == "col.accept"]
    accept["after"] = ["pen.decide"]
    with pytest.raises(BadClocks, match="不因签收而了结"):
        rules.read(raw, limits.table())


def test_the_policies_of_this_release_end_with_somebody_above() -> None:
    shipped = escalation.shipped()
    assert {"days", "hours"} <= shipped.keys()
    for policy in shipped.values():
        assert "county" in policy.level[-1].tell
        assert [level.letter for level in policy.level].count(True) == 1


@pytest.mark.parametrize("missing", ["days", "hours"])
def test_every_clock_has_a_policy(missing: str) -> None:
    raw = {"policy": [policy for policy in POLICIES["policy"] if policy["id"] != missing]}
    with pytest.raises(BadPolicy, match=missing):
        policies.read(raw)


def test_what_a_release_once_had_and_has_no_more_stays_as_it_was() -> None:
    """A clock whose row is gone is not ended by anything, and harms nobody."""
    running = a_clock(the_law())
    without = the_law({"clock": [row for row in WRITTEN["clock"] if row["rule"] != "pen.decide"]})
    decided = said.DecisionMade(
        case="c1", holder=county.TOWNSHIP, decision_no="1号", decision="penalty", decided_on=date(2026, 11, 3)
    )
    assert written(hear(without, decided, an_occasion("2026-11-03", 2), running)) == []


def test_the_tables_of_this_release_can_be_used() -> None:
    assert {clock.rule for clock in loads.table().clock} <= limits.table().keys()
