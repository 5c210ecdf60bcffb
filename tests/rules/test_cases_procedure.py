"""The procedure: its table, the functions behind it, and what no sequence of moves can reach."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from importlib import resources
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common import errors
from libs.common.change import Change, Head, Row, Write
from libs.common.permit import Role
from services.cases.handover import rules as handover
from services.cases.handover.rules import Handover, Offering
from services.cases.handover.tables import Transfer
from services.cases.intake.rules import CaseFile, NotHolder
from services.cases.intake.tables import Case, Handler, Party
from services.cases.law import procedure
from services.cases.law.procedure import BadTable
from services.cases.people.rules import Crew
from services.cases.people.tables import Officer
from services.cases.procedure import rules
from services.cases.procedure.rules import NoSuchMove, Proceeding, Step, WrongRole
from services.cases.register.tables import Agency
from tests.worlds import dossier
from tests.worlds.dossier import DEPARTMENT, NEIGHBOUR, OTHER, TODAY, TOWNSHIP

MOVES = procedure.load().moves
Table = dict[str, Any]


def the_table() -> Table:
    """The table of this release, as it is read."""
    text = resources.files("services.cases.law").joinpath("procedure.toml").read_text("utf-8")
    return copy.deepcopy(tomllib.loads(text))


def in_move(which: str, /, **but: Any) -> Callable[[Table], None]:
    """Changes a move; None takes the field away."""

    def change(table: Table) -> None:
        row = next(row for row in table["move"] if row["name"] == which)
        row.update(but)
        for field in [field for field, value in but.items() if value is None]:
            del row[field]

    return change


def in_guard(name: str, **but: Any) -> Callable[[Table], None]:
    return lambda table: table["guard"][name].update(but)


def in_stages(**but: str) -> Callable[[Table], None]:
    return lambda table: table["stages"].update(but)


def cut_off(table: Table) -> None:
    """Two stages that lead to one another, and nobody to them."""
    table["stages"].update(left="左", right="右")
    row = table["move"][0]
    table["move"] += [
        {**row, "name": "there", "from": ["left"], "to": "right"},
        {**row, "name": "back", "from": ["right"], "to": "left"},
    ]


MUTANTS: dict[str, Callable[[Table], None]] = {
    "two moves of one name": in_move("reject", name="file"),
    "a move without a name": in_move("file", name=None),
    "a move without a basis": in_move("file", basis=None),
    "a move with a field that nobody reads": in_move("file", basic="行政处罚法第五十四条"),
    "a move from a stage that is not there": in_move("file", **{"from": ["registerd"]}),
    "a move from nowhere": in_move("file", **{"from": []}),
    "a move to a stage that is not there": in_move("file", to="filled"),
    "a move to where it comes from": in_move("file", to="registered"),
    "a move made by somebody who could not": in_move("decide", who="auditor"),
    "a move made by an unknown role": in_move("decide", who="chief"),
    "a move with an unknown guard": in_move("file", guards=["power_hold"]),
    "a move that needs what no request brings": in_move("file", needs=["officer"]),
    "a move that becomes an unknown event": in_move("file", event="liandong.case.fild.v1"),
    "a move that becomes another service's event": in_move("file", event="liandong.notice.issued.v1"),
    "a move whose basis is no article": in_move("file", basis="按惯例"),
    "a move whose basis is an article that the law has not": in_move("file", basis="行政处罚法第八十七条"),
    "a guard whose basis is no article": in_guard("two_officers", basis="上级要求"),
    "a guard whose basis is an article that the law has not": in_guard(
        "two_officers", basis="行政处罚法第一百条"
    ),
    "a guard with a field that nobody reads": in_guard("two_officers", note="见上"),
    "a guard that guards nothing": lambda table: table["guard"].update(
        warm={"zh": "天气暖和", "basis": "行政处罚法第四十二条"}
    ),
    "a stage that no move reaches": in_stages(heard="听证"),
    "stages that no way leads to": cut_off,
    "a section that nobody reads": lambda table: table.update(moves=[]),
}


@pytest.mark.parametrize("mutate", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_table_that_a_jurist_would_refuse_is_refused_when_loaded(mutate: Callable[[Table], None]) -> None:
    table = the_table()
    mutate(table)
    with pytest.raises(BadTable):
        procedure.read(table)


def test_the_table_of_this_release_is_accepted() -> None:
    assert procedure.read(the_table()) == procedure.load()


def test_every_guard_of_the_table_is_a_function_and_every_function_a_guard() -> None:
    named = {guard.name for move in MOVES.values() for guard in move.guards}
    assert named == set(rules._GUARDS)


@pytest.mark.parametrize("name", MOVES)
def test_a_move_becomes_the_event_and_leads_to_the_stage_that_the_table_names(name: str) -> None:
    move = MOVES[name]
    change = rules.take(dossier.a_proceeding(dossier.a_case(move.from_[0])), dossier.a_step(name))
    assert dossier.only_fact(change)["type"] == move.event
    assert change.written(Case).stage == move.to


@pytest.mark.parametrize("stage", procedure.load().stages)
@pytest.mark.parametrize("name", MOVES)
def test_a_move_is_made_from_its_stages_only(name: str, stage: str) -> None:
    if stage in MOVES[name].from_:
        return
    with pytest.raises(NoSuchMove):
        rules.take(dossier.a_proceeding(dossier.a_case(stage)), dossier.a_step(name))


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("name", MOVES)
def test_a_move_is_made_by_its_role_only(name: str, role: Role) -> None:
    s = dossier.a_proceeding(dossier.a_case(MOVES[name].from_[0]))
    step = dossier.a_step(name, dossier.an_actor(TOWNSHIP, role))
    if role is MOVES[name].who:
        assert rules.take(s, step).facts
    else:
        with pytest.raises(WrongRole):
            rules.take(s, step)


def test_only_the_holder_moves_a_case() -> None:
    with pytest.raises(NotHolder):
        rules.take(dossier.a_proceeding(), dossier.a_step("file", dossier.an_actor(DEPARTMENT)))


def test_a_filing_relies_on_the_power_and_the_officers_and_owns_the_case_and_the_number() -> None:
    change = rules.take(dossier.a_proceeding(), dossier.a_step("file"))
    assert {head.stream for head in change.own} == {"case/c1", "counter/n"}
    assert {head.stream for head in change.relied} == {
        f"power/{dossier.POWER.code}",
        "officer/zhang",
        "officer/li",
    }


def test_numbers_follow_one_another() -> None:
    change = rules.take(dossier.a_proceeding(numbers_given=6), dossier.a_step("file"))
    assert change.written(Case).no == "青山镇立〔2026〕第7号"


def test_each_agency_numbers_each_year_and_kind_by_itself() -> None:
    counters = {
        rules.counter_of(agency.id, move, day)
        for agency in (TOWNSHIP, DEPARTMENT)
        for move in ("file", "decide")
        for day in (date(2026, 12, 31), date(2027, 1, 1))
    }
    assert len(counters) == 8
    assert rules.counter_of(TOWNSHIP.id, "close", TODAY) is None


def test_what_a_move_needs_is_asked_for_by_name() -> None:
    with pytest.raises(errors.Malformed) as refused:
        rules.needed("file", {"reason": "因为", "officers": ()})
    assert [(fault["pointer"], fault["code"]) for fault in refused.value.errors] == [
        ("/officers", "missing"),
        ("/reason", "not-needed"),
    ]


@pytest.mark.parametrize("name", MOVES)
def test_a_request_with_exactly_what_the_move_needs_is_read(name: str) -> None:
    brought = {"officers": ("zhang", "li"), "reason": "因为", "decision": "penalty"}
    assert rules.needed(name, {need: brought[need] for need in MOVES[name].needs}) is MOVES[name]


def test_a_move_that_does_not_exist_is_malformed() -> None:
    with pytest.raises(errors.Malformed) as refused:
        rules.needed("fly", {})
    assert refused.value.errors[0]["pointer"] == "/move"


def test_options_name_every_move_from_the_stage_and_what_blocks_it() -> None:
    recalled = dossier.a_competence(dossier.a_grant(recalled_on=TODAY))
    alone = dossier.a_crew(dossier.an_officer("zhang"))
    s = dossier.a_proceeding(competence=recalled, crew=alone)
    options = {
        option.move.name: option for option in rules.options(s, dossier.an_actor(), dossier.a_moment())
    }
    assert set(options) == {"file", "reject"}
    assert [block.code for block in options["file"].blocks] == ["beyond-power", "too-few-officers"]
    assert options["reject"].blocks == ()


def test_options_tell_others_that_the_move_is_not_theirs() -> None:
    (option, _) = rules.options(dossier.a_proceeding(), dossier.an_actor(DEPARTMENT), dossier.a_moment())
    assert [block.code for block in option.blocks] == ["wrong-role"]


def test_an_option_without_blocks_is_a_move_that_succeeds() -> None:
    for stage in procedure.load().stages:
        s = dossier.a_proceeding(dossier.a_case(stage))
        for role in (Role.HANDLER, Role.APPROVER):
            by = dossier.an_actor(TOWNSHIP, role)
            for option in rules.options(s, by, dossier.a_moment()):
                step = dossier.a_step(option.move.name, by)
                assert bool(option.blocks) == refused(lambda s=s, step=step: rules.take(s, step))  # type: ignore[misc]


def refused(act: Callable[[], object]) -> bool:
    try:
        act()
    except errors.Refusal:
        return True
    return False


AGENCIES = {agency.id: agency for agency in (TOWNSHIP, NEIGHBOUR, DEPARTMENT, OTHER)}
START, TEN_DAYS = date(2026, 1, 5), timedelta(days=10)
#: Of every agency one officer for ever, one until the tenth day, one from the tenth day on.
OFFICERS = {
    f"{name}-{agency.id}": dossier.an_officer(f"{name}-{agency.id}", agency, **but)
    for agency in AGENCIES.values()
    for name, but in {
        "always": {},
        "early": {"valid_to": START + TEN_DAYS - timedelta(days=1)},
        "late": {"valid_from": START + TEN_DAYS},
    }.items()
}


class Walk:
    """One case through any sequence of acts by anybody; what is refused changes nothing."""

    def __init__(self, territory: str, conferred: date | None, recalled: date | None) -> None:
        self.rows: dict[tuple[str, Any], Any] = {}
        case = dossier.a_case(registered_on=START, territory=territory)
        holder = Party(case=case.id, agency=case.holder, relation="holder")
        self._keep(Change().putting(case, holder).folded_rows())
        self.head = Head("case", case.id, version=1, seq=1)
        grants = [dossier.a_grant(effective_on=conferred, recalled_on=recalled)] if conferred else []
        self.competence = dossier.a_competence(*grants)
        self.filings: list[tuple[Agency, date, tuple[str, ...]]] = []

    @property
    def case(self) -> Case:
        case: Case = self._all(Case)[0]
        return case

    def called(self, actor: str) -> str:
        """The agency that is meant."""
        waiting: list[str] = [t.to_agency for t in self._all(Transfer) if t.state == "offered"]
        named = {"holder": self.case.holder, "recipient": (waiting or [self.case.holder])[0]}
        return named.get(actor, actor)

    def act(self, who: Agency, what: str, on: date, officers: tuple[str, ...], to: Agency) -> None:
        """Try it, and keep what it changed."""
        try:
            change = self._decide(who, what, on, officers, to)
        except errors.Refusal:
            return
        self._keep(change.folded_rows())
        self.head = change.heads_after()[0]
        if what in ("file", "investigate"):
            self.filings.append((who, on, officers))

    def _decide(self, who: Agency, what: str, on: date, officers: tuple[str, ...], to: Agency) -> Change:
        at = dossier.a_moment(on)
        by = dossier.an_actor(
            who, Role.HANDLER, Role.APPROVER, person="head" if what == "decide" else "zhang"
        )
        crew = Crew(officers, tuple(OFFICERS[o] for o in officers), ())
        if what in MOVES:
            return rules.take(self._proceeding(crew), self._step(what, by, on))
        if what == "offer":
            offering = Offering(self._file(), AGENCIES[self.case.holder], to, crew)
            return handover.offer(offering, dossier.a_package(), by=by, at=at, acted_on=on)
        return self._answer(self._all(Transfer), what, who, on)

    def _answer(self, transfers: list[Transfer], what: str, who: Agency, on: date) -> Change:
        if not transfers:
            raise errors.NotFound
        last = max(transfers, key=lambda transfer: int(transfer.id.rpartition(".t")[2]))
        s = Handover(self._file(), last, AGENCIES[last.to_agency], self.competence, OTHER)
        by, at = dossier.an_actor(who), dossier.a_moment(on)
        # What access.permit sees to: the recipient answers, the sender withdraws.
        if who.id != (last.from_agency if what == "withdraw" else last.to_agency):
            raise errors.NotPermitted
        if what == "accept":
            return handover.accept(s, by=by, at=at, acted_on=on)
        if what == "withdraw":
            return handover.withdraw(s, note="", by=by, at=at, acted_on=on)
        article = "行政处罚法第二十二条"
        return handover.give_back(
            s, reason="not_competent", legal_basis=article, note="", by=by, at=at, acted_on=on
        )

    def _proceeding(self, crew: Crew) -> Proceeding:
        handlers = tuple(handler.officer for handler in self._all(Handler))
        number = Head("counter", "n", version=len(self.filings))
        holder = AGENCIES[self.case.holder]
        return Proceeding(self._file(), holder, self.competence, crew, handlers, number)

    def _step(self, what: str, by: Any, on: date) -> Step:
        return dossier.a_step(what, by, on=on)

    def _file(self) -> CaseFile:
        return CaseFile(self.head, self.case, tuple(self._all(Party)))

    def _all(self, entry: type[Any]) -> list[Any]:
        return [row for (table, _), row in self.rows.items() if table == entry.TABLE]

    def _keep(self, rows: Iterable[Row]) -> None:
        for row in rows:
            assert row.write is not Write.DELETE
            self.rows[row.table, row.key] = row.entry


#: Mostly those whose turn it is; otherwise anybody, so that refusals are walked through too.
ACTORS = st.sampled_from(["holder", "holder", "holder", "recipient", "recipient", *sorted(AGENCIES)])
#: Weighed so that walks come far; a rejected clue would end one.
_WEIGHTS = {"file": 5, "investigate": 3, "decide": 3, "close": 2, "offer": 3, "accept": 5}
DEEDS = st.sampled_from(
    [deed for deed, weight in _WEIGHTS.items() for _ in range(weight)] + ["return", "withdraw"]
)
ACTS = st.tuples(
    ACTORS,
    DEEDS,
    st.integers(0, 2),
    st.sampled_from(["fit", "fit", "fit", "fit", "always early", "always late", "early late", "late late"]),
    st.sampled_from([DEPARTMENT.id, DEPARTMENT.id, *sorted(AGENCIES)]),
)


@settings(max_examples=150)
@given(
    acts=st.lists(ACTS, min_size=12, max_size=40),
    territory=st.sampled_from([TOWNSHIP.division] * 3 + [NEIGHBOUR.division]),
    conferred=st.sampled_from([-5, 0, 3, None]),
    lasts=st.sampled_from([None, 1, 4, 8]),
)
def test_no_sequence_of_acts_breaks_what_the_law_asks(
    acts: list[tuple[str, str, int, str, str]],
    territory: str,
    conferred: int | None,
    lasts: int | None,
) -> None:
    start = START + timedelta(days=conferred) if conferred is not None else None
    end = start + timedelta(days=lasts) if start and lasts else None
    walk, day = Walk(territory, start, end), START
    for actor, what, later, crew, to in acts:
        day += timedelta(days=later)
        holder_before = walk.case.holder
        who = walk.called(actor)
        named = ("always early" if day < START + TEN_DAYS else "always late") if crew == "fit" else crew
        walk.act(AGENCIES[who], what, day, tuple(f"{n}-{who}" for n in named.split()), AGENCIES[to])
        assert_one_holder(walk, holder_before, who, what)
    for filer, on, officers in walk.filings:
        assert may(filer, on, territory, start, end)
        assert len({o for o in officers if is_fit(OFFICERS[o], filer, on)}) >= 2


def assert_one_holder(walk: Walk, before: str, who: str, what: str) -> None:
    holders = [party.agency for party in walk._all(Party) if party.relation == "holder"]
    assert holders == [walk.case.holder]
    # It changes hands by acceptance alone, into the hands of whoever accepts.
    assert walk.case.holder == before or (what == "accept" and walk.case.holder == who)
    waiting = [transfer.id for transfer in walk._all(Transfer) if transfer.state == "offered"]
    assert waiting == ([walk.case.open_transfer] if walk.case.open_transfer else [])


def may(agency: Agency, on: date, territory: str, start: date | None, end: date | None) -> bool:
    """The articles once more, in other words than the rules'."""
    if agency is DEPARTMENT:
        return True
    granted = agency is TOWNSHIP and start is not None and start <= on and not (end and on >= end)
    return granted and territory == TOWNSHIP.division


def is_fit(officer: Officer, agency: Agency, on: date) -> bool:
    return officer.agency == agency.id and officer.valid_from <= on <= officer.valid_to


def test_the_walk_can_reach_the_end() -> None:
    """The property above would hold of a walk in which nothing ever succeeds."""
    walk = Walk(TOWNSHIP.division, None, None)
    crew = (f"always-{DEPARTMENT.id}", f"early-{DEPARTMENT.id}")
    township_crew = (f"always-{TOWNSHIP.id}", f"early-{TOWNSHIP.id}")
    walk.act(TOWNSHIP, "offer", START, township_crew, DEPARTMENT)
    for what in ("accept", "file", "investigate", "decide", "close"):
        walk.act(DEPARTMENT, what, START, crew, DEPARTMENT)
    assert (walk.case.stage, walk.case.holder) == ("closed", DEPARTMENT.id)
    assert walk.case.in_name_of == DEPARTMENT.id
