"""Clocks: a fact starts them, facts end, move and stop them, and silence is escalated, level by level.

Everything here follows from three tables: how long (limits.csv), which facts (clocks.toml), what becomes of
silence (policies.toml). A clock keeps the limit under which it began; its date follows the calendar.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from libs.common import errors, wording
from libs.common.change import Change, Head
from libs.common.clock import SHANGHAI, Moment
from libs.common.contracts import notify as said
from libs.common.contracts.event import CATALOGUE, Event
from libs.common.contracts.notify import NoticeReceived
from libs.common.law import limits
from libs.common.law.calendar import Calendar
from libs.common.law.limits import Light, Limit, Pause, Source, Term, Unit
from libs.common.permit import SYSTEM
from services.notify.clocks.tables import Obligation, Reached
from services.notify.escalation import rules as escalation
from services.notify.escalation.rules import Level, Policy
from services.notify.supervision import rules as supervision
from services.notify.supervision.rules import Draft, Issuing

#: A level that is told later than this after its time was missed while nobody ran the clocks.
PROMPT = timedelta(minutes=10)
_OBLIGATIONS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:liandong:obligation")
_RUNNING = ("running", "paused")

Items = Annotated[tuple[str, ...], Strict(False)]


class BadClocks(errors.Malformed):
    """The table of clocks names what does not exist, or a clock that nothing ends."""

    code = "bad-clocks"
    title = "时限表不能使用"


class NoSuchRule(errors.Malformed):
    """There is no such limit."""

    code = "no-such-rule"
    title = "没有这一时限规则"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Passing(_Table):
    """A fact by which another agency owes it; `anew` where it then has the whole time again."""

    on: str
    to: str
    anew: bool = False


class Extending(_Table):
    """A fact by which a person names a later day."""

    on: str
    until: str


class Clock(_Table):
    """A row of clocks.toml."""

    rule: str
    thing: str
    ends: Items
    opens: Items = ()
    after: Items = ()
    when: dict[str, str] = Field(default_factory=dict)
    obligor: str = ""
    awaits: str = ""
    start: str = ""
    due: str = ""
    signs: bool = False
    lapses: Items = ()
    passes: Annotated[tuple[Passing, ...], Strict(False)] = ()
    extends: Annotated[tuple[Extending, ...], Strict(False)] = ()
    pauses: Items = ()
    resumes: Items = ()

    def hears(self) -> frozenset[str]:
        """The types of the facts that mean something to it."""
        moved = [*(step.on for step in self.passes), *(step.on for step in self.extends)]
        signed = [NoticeReceived.TYPE] if self.signs or self.after else []
        of_lists = (*self.opens, *self.ends, *self.lapses, *self.pauses, *self.resumes)
        return frozenset((*of_lists, *moved, *signed))


class ClockTable(_Table):
    """The clocks of this release."""

    clock: Annotated[tuple[Clock, ...], Strict(False)]

    def of(self, rule: str) -> Clock | None:
        """The clock of a rule; None for one that a release before this had."""
        return next((clock for clock in self.clock if clock.rule == rule), None)


@dataclass(frozen=True, slots=True)
class Law:
    """All that dates and ladders follow from."""

    clocks: ClockTable
    limits: Mapping[str, Limit]
    calendar: Calendar
    policies: Mapping[str, Policy]

    @property
    def plan(self) -> str:
        """Names the calendar and the policies that count."""
        versions = (f"{policy.id}={policy.version}" for policy in self.policies.values())
        return f"{self.calendar.edition} {' '.join(sorted(versions))}"


@dataclass(frozen=True, slots=True)
class Occasion:
    """A fact that clocks may hear, apart from its data."""

    event: str  #: its id
    about: str  #: the stream of what it is about
    at: datetime
    acted_on: date


@dataclass(frozen=True, slots=True)
class Desk:
    """What hearing a fact depends on: the law, the clocks about the same thing, and their stream's head."""

    law: Law
    obligations: Sequence[Obligation]
    head: Head


@dataclass(frozen=True, slots=True)
class File:
    """A clock with the head of its stream."""

    head: Head
    obligation: Obligation


@dataclass(frozen=True, slots=True)
class Rung:
    """A level of one clock's ladder."""

    number: int
    level: Level
    at: datetime


def head_of(about: str) -> tuple[str, str]:
    """The stream of the clocks about something: they are one, so that facts meet them in an order."""
    return "clock", about


def about_of(event: Event, stream: str) -> str:
    """The stream of what a fact is about: a receipt is about what its notice tells of."""
    return event.about if isinstance(event, NoticeReceived) else stream


def read(raw: Mapping[str, Any], known: Mapping[str, Limit]) -> ClockTable:
    """The table of clocks, checked. Raises BadClocks, which names every row that is wrong."""
    try:
        table = ClockTable.model_validate(raw)
    except ValidationError as why:
        bad = wording.faults(why.errors())
        raise BadClocks(wording.said(bad), errors=bad) from None
    faults = [
        wording.fault(wording.pointer(("clock", number)), "bad-clock", f"第 {number + 1} 行：{complaint}")
        for number, clock in enumerate(table.clock)
        for complaint in _complaints(clock, table, known)
    ]
    if faults:
        raise BadClocks(wording.said(faults), errors=tuple(faults))
    return table


def hear(s: Desk, occasion: Occasion, event: Event, *, at: Moment) -> Change:
    """What a fact means for the clocks about its thing: which it ends, moves, stops or starts."""
    steps: list[Change] = []
    head = s.head
    running: list[Obligation] = []
    followed: list[Obligation] = []
    for obligation in s.obligations:
        if obligation.state in _RUNNING:
            step, left = _met_by(s.law, head, obligation, occasion, event, at)
            head = step.end_of(head)
            steps.append(step)
            if left is not None:
                running.append(left)
            elif isinstance(event, NoticeReceived):
                followed.append(obligation)
    for obligation in _opened(s.law, occasion, event, followed):
        if not any(_same(one, obligation) for one in running):
            step = _told(Change().inserting(obligation), head, _opening(obligation), at)
            head = step.end_of(head)
            steps.append(step)
    # Owned though nothing may come of it: a clock that starts meanwhile must not miss what ends it.
    return Change.all_of([Change().owning(s.head), *steps])


def plan(law: Law, obligation: Obligation) -> Obligation:
    """The clock with its dates and its next level as the calendar and the policies that count have them."""
    term = term_of(law, obligation)
    coming = [rung for rung in ladder(law, obligation, term) if rung.number > obligation.level]
    runs = obligation.state == "running"
    return obligation.but(
        begins_at=term.begins,
        due_on=term.day,
        due_at=term.ends,
        yellow_at=limits.yellow_at(term, law.calendar),
        black_at=limits.black_at(term),
        provisional=term.provisional,
        leans_on={
            str(year): law.calendar.years[year].version if law.calendar.announces(year) else None
            for year in term.leans_on
        },
        plan=law.plan,
        next_at=min((rung.at for rung in coming), default=None) if runs else None,
    )


def redate(law: Law, file: File, *, at: Moment) -> Change:
    """Plan a clock again after a calendar or a policy came: told where its date, or how sure it is, moved."""
    before = file.obligation
    planned = plan(law, before)
    change = Change().putting(planned)
    if (planned.due_at, planned.provisional) == (before.due_at, before.provisional):
        return change.owning(file.head)
    return _told(change, file.head, _amending(planned, "calendar"), at)


def escalate(law: Law, file: File, issuing: Issuing | None, *, at: Moment) -> Change:
    """Every level whose time has come and that was not reached yet: a fact each, and its letter."""
    obligation, head, steps = file.obligation, file.head, [Change()]
    for rung in ladder(law, obligation):
        if rung.number <= obligation.level or rung.at > at.now or obligation.state != "running":
            continue
        obligation = obligation.but(level=rung.number)
        step, head = _reached(obligation, rung, head, issuing, at)
        steps.append(step)
    return Change.all_of([*steps, Change().owning(file.head).putting(plan(law, obligation))])


def ladder(law: Law, obligation: Obligation, term: Term | None = None) -> tuple[Rung, ...]:
    """The levels of a clock with their times; none comes before the clock was opened."""
    term = term or term_of(law, obligation)
    policy = escalation.serving(law.policies, obligation.rule, Unit(obligation.terms["unit"]))
    return tuple(
        Rung(number, level, max(level.at(term, law.calendar), obligation.opened_at))
        for number, level in enumerate(policy.level, start=1)
    )


def addressees(level: Level, obligation: Obligation) -> tuple[str, ...]:
    """Whom a level tells: agencies by code, and names of offices."""
    named = {"agency": obligation.agency, "awaits": obligation.awaits}
    return tuple(dict.fromkeys(one for word in level.tell if (one := named.get(word, word))))


def term_of(law: Law, obligation: Obligation) -> Term:
    """The term of a clock on the calendar that counts."""
    if obligation.set_due is not None:
        return limits.until(obligation.set_due, obligation.started_at)
    return limits.term(limit_of(obligation), obligation.started_at, law.calendar, _pauses(obligation))


def limit_of(obligation: Obligation) -> Limit:
    """The limit under which a clock began."""
    raw = obligation.terms
    return Limit(**{**raw, "unit": Unit(raw["unit"]), "source": Source(raw["source"])})


def light(obligation: Obligation, now: datetime) -> Light:
    """How a clock stands; one that has ended, as it stood then; one that was met, green."""
    if obligation.state == "met":
        return Light.GREEN  # by the day on which it was done, though it may have been recorded later
    then = obligation.ended_at or now
    return limits.light_at(then, obligation.yellow_at, obligation.due_at, obligation.black_at)


def trying(law: Law, rule: str, policy: Policy) -> Law:
    """The law as it would be if this policy served that rule. Raises NoSuchRule."""
    if rule not in law.limits:
        raise NoSuchRule(errors=(wording.fault("/rule", NoSuchRule.code, NoSuchRule.title),))
    return replace(law, policies={**law.policies, rule: policy})


def supposed(law: Law, rule: str, start: datetime, agency: str, awaits: str) -> Obligation:
    """The clock that there would be if a fact started it: for whoever tries a policy."""
    occasion = Occasion("supposed/0/1", "supposed/0", start, start.astimezone(SHANGHAI).date())
    return _fresh(law, rule, agency, awaits, "supposed", occasion, start)


def _same(one: Obligation, other: Obligation) -> bool:
    """Whether the one owes what the other does."""
    return (one.rule, one.thing, one.agency) == (other.rule, other.thing, other.agency)


def _met_by(
    law: Law, head: Head, obligation: Obligation, occasion: Occasion, event: Event, at: Moment
) -> tuple[Change, Obligation | None]:
    """What a fact does to a running clock, and the clock as it then runs, None where it has ended."""
    clock = law.clocks.of(obligation.rule)
    if clock is None:
        return Change(), obligation
    if isinstance(event, NoticeReceived):
        signed = (event.event, event.agency) == (obligation.event, obligation.agency)
        return (
            _ended(obligation, head, occasion, "", at) if clock.signs and signed else (Change(), obligation)
        )
    if getattr(event, clock.thing, None) != obligation.thing:
        return Change(), obligation
    if event.TYPE in clock.ends:
        return _ended(obligation, head, occasion, "", at)
    if event.TYPE in clock.lapses:
        return _ended(obligation, head, occasion, "lapsed", at)
    moved = _moved(law, clock, obligation, occasion, event)
    if moved is None:
        return Change(), obligation
    after, cause = moved
    after = plan(law, after)
    return _told(Change().putting(after), head, _amending(after, cause), at), after


def _moved(
    law: Law, clock: Clock, obligation: Obligation, occasion: Occasion, event: Event
) -> tuple[Obligation, str] | None:
    """The clock after a fact that does not end it, and the cause; None where the fact means nothing to it."""
    for passing in clock.passes:
        if passing.on == event.TYPE and getattr(event, passing.to) != obligation.agency:
            to = obligation.but(agency=getattr(event, passing.to))
            return (to.but(started_at=occasion.at, pauses=[], set_due=None) if passing.anew else to), "passed"
    for extending in clock.extends:
        if extending.on == event.TYPE:
            return obligation.but(set_due=getattr(event, extending.until), set_by=occasion.event), "extended"
    if event.TYPE in clock.pauses and obligation.state == "running":
        pause = {"since": occasion.at.isoformat(), "until": None, "by": occasion.event}
        return obligation.but(state="paused", pauses=[*obligation.pauses, pause]), "paused"
    if event.TYPE in clock.resumes and obligation.state == "paused":
        pause = {**obligation.pauses[-1], "until": occasion.at.isoformat(), "ended_by": occasion.event}
        return obligation.but(state="running", pauses=[*obligation.pauses[:-1], pause]), "resumed"
    return None


def _ended(
    obligation: Obligation, head: Head, occasion: Occasion, outcome: str, at: Moment
) -> tuple[Change, None]:
    """A clock that a fact ended: in time by the instant, or by the day on which it was done."""
    by_day = obligation.terms["unit"] != Unit.HOURS and occasion.acted_on <= obligation.due_on
    in_time = by_day or occasion.at < obligation.due_at or obligation.state == "paused"
    ended = obligation.but(
        state=outcome or ("met" if in_time else "late"),
        next_at=None,
        ended_at=occasion.at,
        ended_by=occasion.event,
    )
    event = said.ObligationDischarged(**_parts(ended), event=occasion.event, outcome=ended.state)  # type: ignore[arg-type]
    return _told(Change().putting(ended), head, event, at), None


def _opened(law: Law, occasion: Occasion, event: Event, signed: Sequence[Obligation]) -> Iterator[Obligation]:
    """The clocks that a fact starts: by itself, or because a receipt ended those that they follow."""
    for clock in law.clocks.clock:
        for before in signed:
            if before.rule in clock.after:
                yield _fresh(
                    law, clock.rule, before.agency, before.awaits, before.thing, occasion, occasion.at
                )
        if event.TYPE in clock.opens and all(getattr(event, n) == v for n, v in clock.when.items()):
            day = getattr(event, clock.start) if clock.start else None
            start = datetime.combine(day, time(), SHANGHAI) if day else occasion.at
            agency, thing = getattr(event, clock.obligor), getattr(event, clock.thing)
            awaits = getattr(event, clock.awaits) if clock.awaits else ""
            due = getattr(event, clock.due) if clock.due else None
            yield _fresh(law, clock.rule, agency, awaits, thing, occasion, start, due)


def _fresh(
    law: Law,
    rule: str,
    agency: str,
    awaits: str,
    thing: str,
    occasion: Occasion,
    start: datetime,
    due: date | None = None,
) -> Obligation:
    """A new clock, planned."""
    limit = law.limits[rule]
    return plan(
        law,
        Obligation(
            id=str(uuid.uuid5(_OBLIGATIONS, f"{rule} {occasion.event}")),
            rule=rule,
            terms=limit._asdict(),
            agency=agency,
            awaits="" if awaits == agency else awaits,
            about=occasion.about,
            thing=thing,
            event=occasion.event,
            started_at=start,
            pauses=[],
            set_due=due,
            set_by=occasion.event if due else "",
            begins_at=start,
            due_on=occasion.acted_on,
            due_at=start,
            yellow_at=start,
            black_at=start,
            provisional=False,
            leans_on={},
            plan="",
            state="running",
            opened_at=occasion.at,
        ),
    )


def _reached(
    obligation: Obligation, rung: Rung, head: Head, issuing: Issuing | None, at: Moment
) -> tuple[Change, Head]:
    """A level: the fact of it, its row, which can be there only once, and its letter."""
    late = at.now - rung.at > PROMPT
    told = addressees(rung.level, obligation)
    change, letter = Change(), ""
    if rung.level.letter and issuing is not None:
        draft = Draft(
            kind="supervision",
            title=f"请限期办理：{obligation.terms['zh']}已于{obligation.due_on}届满",
            items=[f"说明逾期原因，并办理{obligation.terms['zh']}（依据：{obligation.terms['basis']}）"],
            about=obligation.about,
            obligation=obligation.id,
        )
        change = supervision.follow(issuing, draft, rung.number, at=at)
        letter = change.facts[0].id if change.facts else ""
    row = Reached(
        obligation=obligation.id,
        level=rung.number,
        name=rung.level.name,
        planned_at=rung.at,
        at=at.now,
        late=late,
        told=list(told),
        supervision=letter,
    )
    level = {
        **_parts(obligation),
        "level": rung.number,
        "due_on": obligation.due_on,
        "told": told,
        "late": late,
    }
    event: said.ObligationWarned | said.ObligationOverdue | said.ObligationEscalated
    if rung.level.order < 0:
        event = said.ObligationWarned(**level)
    elif rung.level.order == 0:
        event = said.ObligationOverdue(**level)
    else:
        event = said.ObligationEscalated(**level, supervision=letter)
    fact = _told(Change().inserting(row), head, event, at)
    return Change.all_of([fact, change]), fact.end_of(head)


def _told(change: Change, head: Head, event: Any, at: Moment) -> Change:
    return change.telling(event, on=head, by=SYSTEM, at=at)


def _opening(obligation: Obligation) -> said.ObligationOpened:
    return said.ObligationOpened(**_parts(obligation), **_dates(obligation), event=obligation.event)


def _amending(obligation: Obligation, cause: str) -> said.ObligationAmended:
    return said.ObligationAmended(**_parts(obligation), **_dates(obligation), cause=cause)  # type: ignore[arg-type]


def _parts(obligation: Obligation) -> dict[str, Any]:
    return {
        "obligation": obligation.id,
        "rule": obligation.rule,
        "agency": obligation.agency,
        "awaits": obligation.awaits,
        "about": obligation.about,
    }


def _dates(obligation: Obligation) -> dict[str, Any]:
    instants = {name: getattr(obligation, name).isoformat() for name in ("due_at", "yellow_at", "black_at")}
    return {"due_on": obligation.due_on, "provisional": obligation.provisional, **instants}


def _pauses(obligation: Obligation) -> list[Pause]:
    ended = (pause for pause in obligation.pauses if pause["until"])
    return [Pause(*(datetime.fromisoformat(pause[end]) for end in ("since", "until"))) for pause in ended]


def _complaints(clock: Clock, table: ClockTable, known: Mapping[str, Limit]) -> Iterator[str]:
    checks = (
        (clock.rule in known, f"没有时限“{wording.shown(clock.rule)}”"),
        (table.of(clock.rule) is clock, f"“{wording.shown(clock.rule)}”已在前面写明"),
        (bool(clock.opens) != bool(clock.after), "opens 和 after 须写且只写其一"),
        (bool(clock.opens) == bool(clock.obligor), "opens 须与责任单位（obligor）一同写明"),
        (bool(clock.ends), "没有任何事件能使它了结"),
        (bool(clock.pauses) == bool(clock.resumes), "pauses 和 resumes 须同时写明"),
    )
    yield from (complaint for holds, complaint in checks if not holds)
    for rule in clock.after:
        before = table.of(rule)
        if before is None or not before.signs:
            yield f"after 所指“{wording.shown(rule)}”不因签收而了结"
    for type_, names in _asked(clock):
        model = CATALOGUE.get(type_)
        if model is None:
            yield f"没有事件“{wording.shown(type_)}”"
            continue
        for name in sorted(names - model.model_fields.keys()):
            yield f"事件 {type_} 没有字段“{wording.shown(name)}”"


def _asked(clock: Clock) -> Iterator[tuple[str, frozenset[str]]]:
    """Each type that the row names, with the fields that it asks of it."""
    opening = {clock.obligor, clock.awaits, clock.start, clock.due, clock.thing, *clock.when} - {""}
    yield from ((type_, frozenset(opening)) for type_ in clock.opens)
    plain = (*clock.ends, *clock.lapses, *clock.pauses, *clock.resumes)
    yield from ((type_, frozenset({clock.thing})) for type_ in plain)
    yield from ((step.on, frozenset({clock.thing, step.to})) for step in clock.passes)
    yield from ((step.on, frozenset({clock.thing, step.until})) for step in clock.extends)
