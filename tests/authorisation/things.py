"""The things that are asked for: for every agency one in each relation that it can have to such a thing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

from libs.common.settings import Name
from services.notify.inbox.tables import Notice
from services.sharing.feeds.tables import LogEntry
from tests.authorisation.world import STRANGER, Assistance, Case, Datum, Dispute, Transfer, World

#: Ids of the right form that nothing has, by the name of their place in an address or query.
NOTHING: Mapping[str, str] = {
    "agency": STRANGER,
    "uscc": STRANGER,
    "officer": "nobody",
    "code": "331221999",
    "power": "330217999000",
    "grant": "330217999000.g1",
    "transfer": "00000000-0000-7000-8000-000000000000.t1",
    "dispute": "00000000-0000-7000-8000-000000000000.d1",
    "assistance": "00000000-0000-7000-8000-000000000000.a1",
    "id": "99999999",
    "page": "99999999",
    "year": "2999",
    "rule": "col.nothing",
    "policy": "col.nothing",
    "stream": "case/00000000-0000-7000-8000-000000000000",
    "event": "case/00000000-0000-7000-8000-000000000000/1",
}
NOWHERE = "00000000-0000-7000-8000-000000000000"

#: Keys of cases that there are for each agency begin with these.
_OF_EACH = "RHDE"
#: Cases of the stages whose trace holds more than that of others.
_EVENTFUL = ("closed", "withdrawn", "taken", "forth")


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing, as one agency stands to it."""

    words: str
    #: What stands in the address, by the name of the place.
    ids: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    relations: frozenset[str] = frozenset()
    stage: str = ""
    personal: frozenset[Datum] = frozenset()
    #: The case that it is, or lives in.
    case: Case | None = None

    @property
    def key(self) -> str:
        """By what a list names it."""
        return next(iter(self.ids.values()), "")

    def absent(self) -> Thing:
        """What has the form of this thing and does not exist."""
        ids = {name: id_ if name == "feed" else NOTHING.get(name, NOWHERE) for name, id_ in self.ids.items()}
        query = {
            name: value if name == "agency" else NOTHING.get(name, value)
            for name, value in self.query.items()
        }
        return Thing("nothing", ids, query, case=self.case)


Things = Callable[[World, str], Iterable[Thing]]


def of_county(world: World, agency: str) -> Iterator[Thing]:
    """What belongs to the county as a whole, or to the installation."""
    yield Thing("the county")


def agencies(world: World, agency: str) -> Iterator[Thing]:
    for one in world.agencies:
        yield Thing(one.short, {"agency": one.id})


def officers(world: World, agency: str) -> Iterator[Thing]:
    for one in world.qinghe.officers:
        own = frozenset({"own"} if world.qinghe.agencies[one.agency].id == agency else ())
        personal = frozenset({("name", one.id), ("certificate", one.id)})
        yield Thing(f"an officer of {one.agency}", {"officer": one.id}, relations=own, personal=personal)


def powers(world: World, agency: str) -> Iterator[Thing]:
    for code in world.qinghe.powers:
        yield Thing(f"power {code}", {"code": code})


def grants(world: World, agency: str) -> Iterator[Thing]:
    for grant in world.grants:
        yield Thing(f"grant {grant}", {"grant": grant})


def competence(world: World, agency: str) -> Iterator[Thing]:
    yield Thing("competence", query={"power": world.qinghe.power("占道设摊").code})


def cases(world: World, agency: str) -> Iterator[Thing]:
    for case in world.cases.values():
        yield _case(case, agency)


def notices(world: World, agency: str) -> Iterator[Thing]:
    for notice in world.notices:
        yield _notice(notice, agency)


def endpoints(world: World, agency: str) -> Iterator[Thing]:
    for one in world.endpoints:
        own = frozenset({"owner"} if one.agency == agency else ())
        key = world.qinghe.short(one.agency)
        yield Thing(
            f"the endpoint of {key}",
            {"endpoint": one.id},
            relations=own,
            personal=frozenset({("url", one.agency)}),
        )


def some_endpoints(world: World, agency: str, *, name: str = "endpoint") -> Iterator[Thing]:
    """Its own, and one of another; or the challenge that was sent there, or the attempt to send it."""
    found = list(endpoints(world, agency))
    own = [thing for thing in found if thing.relations]
    for thing in (*own, *[other for other in found if not other.relations][:1]):
        message = world.challenges[thing.key]
        ids = {"endpoint": thing.key, "message": message, "delivery": f"{message}.1"}
        yield replace(thing, ids={name: ids[name]})


def obligations(world: World, agency: str) -> Iterator[Thing]:
    """Every clock."""
    for one in world.obligations:
        found = {"obligor"} if one.agency == agency else set()
        found |= {"awaiting"} if one.awaits == agency else set()
        yield Thing(f"a clock of {one.rule}", {"obligation": one.id}, relations=frozenset(found))


def some_obligations(world: World, agency: str) -> Iterator[Thing]:
    """One of each relation."""
    yield from {thing.relations: thing for thing in obligations(world, agency)}.values()


def letters(world: World, agency: str) -> Iterator[Thing]:
    """Every letter."""
    for one in world.letters:
        own = frozenset({"addressee"} if one.agency == agency else ())
        yield Thing(f"a letter, {one.state}", {"supervision": one.id}, relations=own, stage=one.state)


def some_letters(world: World, agency: str) -> Iterator[Thing]:
    """Its own, and one of another agency at each state."""
    found = list(letters(world, agency))
    others = {thing.stage: thing for thing in found if not thing.relations}
    yield from (*[thing for thing in found if thing.relations], *others.values())


def years(world: World, agency: str) -> Iterator[Thing]:
    """A year that is announced."""
    yield Thing("the calendar of a year", {"year": "2026"})


def limits(world: World, agency: str) -> Iterator[Thing]:
    """A limit that the county sets, and one that a law does."""
    yield Thing("a local limit", {"rule": "col.sign"}, stage="local")
    yield Thing("a limit of the law", {"rule": "pen.decide"}, stage="law")


def policies(world: World, agency: str) -> Iterator[Thing]:
    """The policy of clocks that count days."""
    yield Thing("a policy", {"policy": "days"})


def dates(world: World, agency: str) -> Iterator[Thing]:
    """The date of a limit."""
    yield Thing("a date", {"rule": "pen.serve"}, query={"from": "2026-09-24"})


def lines(world: World, agency: str) -> Iterator[Thing]:
    """The lines of the picture."""
    for one in world.agencies:
        place = {"code": one.division} if one.is_township else {"uscc": one.id}
        own = frozenset({"own"} if one.id == agency else ())
        yield Thing(f"the line of {one.short}", place, relations=own)


def entries(world: World, agency: str) -> Iterator[Thing]:
    """The log."""
    for entry in world.log:
        yield _entry(world, entry, agency)


def some_cases(world: World, agency: str, *, eventful: bool = False) -> Iterator[Thing]:
    """A case of each relation; of those at stages its own, and some that are none of its business."""
    handed = world.cases[f"H{_place(world, agency):02}"]
    stages = [case for case in world.cases.values() if case.key[0] not in _OF_EACH]
    told = [case for case in stages if not eventful or case.key in _EVENTFUL]
    own = (*_crossings(world, agency, 0, 1, 2, 3, 7), handed, *_disputed(world, agency))
    for case in (*own, *_concerning(world, told, agency)):
        yield _case(case, agency)


def transfers(world: World, agency: str) -> Iterator[Thing]:
    """A transfer of each relation and state; also the one that followed upon the one declined."""
    handed = world.cases[f"H{_place(world, agency):02}"]
    stages = [case for case in world.cases.values() if case.key[0] not in _OF_EACH and case.transfers]
    for case in _crossings(world, agency, 0, 1, 2):
        for transfer in case.transfers:
            yield _transfer(case, transfer, agency)
    for case in (*_crossings(world, agency, 7), handed, *_concerning(world, stages, agency)):
        yield _transfer(case, case.transfers[-1], agency)


def disputes(world: World, agency: str) -> Iterator[Thing]:
    """A dispute of each relation and state."""
    for case in _disputed(world, agency):
        for dispute in case.disputes:
            yield _dispute(case, dispute, agency)


def _disputed(world: World, agency: str) -> list[Case]:
    """Disputed cases of each relation, and one that is none of its business."""
    back, count = _place(world, agency), len(world.agencies)
    keys = [f"{kind}{(back - steps) % count:02}" for steps in (0, 1, 2, 3, 7) for kind in "DE"]
    return [world.cases[key] for key in keys if key in world.cases]


def assistance(world: World, agency: str) -> Iterator[Thing]:
    """A request for help of each relation and state."""
    handed = world.cases[f"H{_place(world, agency):02}"]
    for case in (*_crossings(world, agency, 0, 1, 2, 3, 4, 7), handed):
        for one in case.assistance:
            yield _assistance(case, one, agency)


def _concerning(world: World, cases: Sequence[Case], agency: str) -> list[Case]:
    """Those that the agency is anything to, and every eighth of the others, beginning elsewhere for each."""
    others = [case for case in cases if not case.relation(agency)]
    return [case for case in cases if case.relation(agency)] + others[_place(world, agency) % 8 :: 8]


def some_notices(world: World, agency: str) -> Iterator[Thing]:
    """One unread and one received of its own, and one of another agency's."""
    for own, state in ((True, "unread"), (True, "received"), (False, "unread")):
        found = (one for one in world.notices if (one.agency == agency, one.state) == (own, state))
        yield from (_notice(notice, agency) for notice in islice(found, 1))


def receipts(world: World, agency: str) -> Iterator[Thing]:
    own = [receipt for receipt in world.receipts if receipt.agency == agency]
    others = [receipt for receipt in world.receipts if receipt.agency != agency]
    for receipt in (*own[:1], *others[:1]):
        relations = frozenset({"addressee"} if receipt.agency == agency else ())
        yield Thing("a receipt", {"receipt": receipt.id}, relations=relations)


def questions(world: World, agency: str) -> Iterator[Thing]:
    """Why an agency was told of an event, or not: its own, told or not, and another's."""
    told = next((notice for notice in world.notices if notice.agency == agency), None)
    foreign = next(
        notice for notice in world.notices if notice.agency != agency and _is_news(world, notice, agency)
    )
    if told:
        yield _question(told.event, agency, "its own notice", "told")
        yield _question(f"{told.about}/1", agency, "an event of a stream that it was told of", "told")
    yield _question(foreign.event, agency, "an event of a stream that it was never told of")
    yield _question(foreign.event, foreign.agency, "another agency's notice")


def some_entries(world: World, agency: str) -> Iterator[Thing]:
    """Entries of each relation: of its cases while it was party and when it was not, and others."""
    place = _place(world, agency)
    streams = [
        f"case/{case.id}"
        for case in (
            *_crossings(world, agency, 0, 1, 2, 3, 4),
            world.cases[f"H{place:02}"],
            *_disputed(world, agency),
        )
    ]
    of_cases = [entry for entry in world.log if entry.stream in streams]
    others = [entry for entry in world.log if entry.feed in ("notices", "clocks")]
    found: dict[tuple[str, frozenset[str], int], Thing] = {}
    for entry in (*of_cases, *others, world.log[0]):
        thing = _entry(world, entry, agency)
        found.setdefault((entry.feed, thing.relations, entry.seq if entry.feed == "cases" else 0), thing)
    yield from found.values()


def feeds(world: World, agency: str) -> Iterator[Thing]:
    yield Thing("a feed", {"feed": "register"})


def archives(world: World, agency: str) -> Iterator[Thing]:
    yield Thing("a page of a feed", {"page": "1", "feed": "register"})


def some_lines(kind: str, world: World, agency: str) -> Iterator[Thing]:
    """Its own line of the picture and another's, of townships or of departments."""
    of_kind = [line for line in lines(world, agency) if kind in line.ids]
    yield from (line for line in of_kind if line.relations)
    yield from islice((line for line in of_kind if not line.relations), 2)


def pages_of_lines(world: World, agency: str) -> Iterator[Thing]:
    """The same lines, as pages of the board; all are named by the code of the agency."""
    found = [
        replace(line, ids={"agency": one.id})
        for one, line in zip(world.agencies, lines(world, agency), strict=True)
    ]
    yield from (line for line in found if line.relations)
    yield from islice((line for line in found if not line.relations), 2)


def pages_of_cases(world: World, agency: str) -> Iterator[Thing]:
    """Cases as pages of the board: there for whom there is at least one entry."""
    for thing in some_cases(world, agency, eventful=True):
        assert thing.case is not None
        case = thing.case
        saw = {"party"} if any(case.saw(agency, seq) for seq in range(1, case.seq + 1)) else set()
        asked = {"asked"} if case.asked[agency] else set()
        yield Thing(thing.words, thing.ids, relations=frozenset(saw | asked))


def rebuilds(world: World, agency: str) -> Iterator[Thing]:
    yield Thing("the rebuild", {"id": world.rebuild})


def journals(service: Name, world: World, agency: str) -> Iterator[Thing]:
    """A stream of the service's own journal."""
    own = {"cases": f"case/{world.cases['taken'].id}", "notify": f"notice/{world.notices[0].id}"}
    yield Thing("a journal", query={"stream": own.get(service, "picture/current")})


def witnessed(service: Name, world: World, agency: str) -> Iterator[Thing]:
    """A stream that the service hears."""
    if service == "cases":
        yield Thing("a witness", query={"source": "notify", "stream": f"notice/{world.receipts[0].notice}"})
    else:
        yield Thing("a witness", query={"source": "cases", "stream": f"case/{world.cases['taken'].id}"})


def first(things: Things) -> Things:
    """The first few of them, and the first few that the agency has a relation to."""

    def few(world: World, agency: str) -> Iterator[Thing]:
        every = list(things(world, agency))
        yield from [thing for thing in every if thing.relations][:2]
        yield from [thing for thing in every if not thing.relations][:2]

    return few


#: What an operation is tried upon, by its address; where nothing stands here, upon the county as it is.
_TRIED: Mapping[str, Things] = {
    "/v1/agencies/{agency}": first(agencies),
    "/v1/officers/{officer}": first(officers),
    "/v1/powers/{code}": first(powers),
    "/v1/grants/{grant}": first(grants),
    "/v1/grants/{grant}/recall": first(grants),
    "/v1/competence": competence,
    "/v1/cases/{case}": some_cases,
    "/v1/cases/{case}/transitions": some_cases,
    "/v1/cases/{case}/transfers": some_cases,
    "/v1/cases/{case}/timeline": partial(some_cases, eventful=True),
    "/v1/cases/{case}/proof": partial(some_cases, eventful=True),
    "/v1/transfers/{transfer}": transfers,
    "/v1/transfers/{transfer}/acceptance": transfers,
    "/v1/transfers/{transfer}/return": transfers,
    "/v1/transfers/{transfer}/withdrawal": transfers,
    "/v1/transfers/{transfer}/dispute": transfers,
    "/v1/disputes/{dispute}": disputes,
    "/v1/disputes/{dispute}/proposal": disputes,
    "/v1/disputes/{dispute}/acceptance": disputes,
    "/v1/disputes/{dispute}/forwarding": disputes,
    "/v1/disputes/{dispute}/reply": disputes,
    "/v1/disputes/{dispute}/lead": disputes,
    "/v1/disputes/{dispute}/ruling": disputes,
    "/v1/cases/{case}/assistance": some_cases,
    "/v1/assistance/{assistance}": assistance,
    "/v1/assistance/{assistance}/reply": assistance,
    "/v1/assistance/{assistance}/refusal": assistance,
    "/v1/assistance/{assistance}/extension": assistance,
    "/v1/assistance/{assistance}/withdrawal": assistance,
    "/v1/notices/{notice}": some_notices,
    "/v1/notices/{notice}/receipt": some_notices,
    "/v1/receipts/{receipt}": receipts,
    "/v1/calendars/{year}": years,
    "/v1/limits/{rule}": limits,
    "/v1/limits/{rule}/due": dates,
    "/v1/obligations/{obligation}/explain": some_obligations,
    "/v1/escalation-policies/{policy}": policies,
    "/v1/escalation-policies/{policy}/simulate": policies,
    "/v1/supervisions/{supervision}": some_letters,
    "/v1/supervisions/{supervision}/reply": some_letters,
    "/v1/supervisions/{supervision}/return": some_letters,
    "/v1/supervisions/{supervision}/closure": some_letters,
    "/v1/explain": questions,
    "/v1/endpoints/{endpoint}": some_endpoints,
    "/v1/endpoints/{endpoint}/secret/rotate": some_endpoints,
    "/v1/endpoints/{endpoint}/verification": some_endpoints,
    "/v1/endpoints/{endpoint}/test": some_endpoints,
    "/v1/endpoints/{endpoint}/enable": some_endpoints,
    "/v1/endpoints/{endpoint}/disable": some_endpoints,
    "/v1/endpoints/{endpoint}/recover": some_endpoints,
    "/v1/messages/{message}/deliveries": partial(some_endpoints, name="message"),
    "/v1/deliveries/{delivery}/retry": partial(some_endpoints, name="delivery"),
    "/v1/feeds/{feed}": feeds,
    "/v1/feeds/{feed}/archives/{page}": archives,
    "/v1/feeds/{feed}/readers": feeds,
    "/v1/feeds/{feed}/events/{id}": some_entries,
    "/v1/picture/townships/{code}": partial(some_lines, "code"),
    "/v1/picture/departments/{uscc}": partial(some_lines, "uscc"),
    "/board/agencies/{agency}": pages_of_lines,
    "/board/cases/{case}": pages_of_cases,
    "/v1/rebuilds/{id}": rebuilds,
}


def tried(service: Name, path: str) -> Things:
    """What the operation at this address is tried upon."""
    shared: Mapping[str, Things] = {
        "/v1/journal": partial(journals, service),
        "/v1/witnesses": partial(witnessed, service),
    }
    return shared.get(path) or _TRIED.get(path, of_county)


def _place(world: World, agency: str) -> int:
    """The agency's place in the register; a stranger has the first one's, and no relation there."""
    return next((n for n, one in enumerate(world.agencies) if one.id == agency), 0)


def _crossings(world: World, agency: str, *back: int) -> list[Case]:
    """The case that it registered itself, and those of agencies so far before it in the register."""
    place = _place(world, agency)
    return [world.cases[f"R{(place - steps) % len(world.agencies):02}"] for steps in back]


def _case(case: Case, agency: str) -> Thing:
    return Thing(
        words=f"{case.key} ({case.stage})",
        ids={"case": case.id},
        relations=case.relation(agency),
        stage=case.stage,
        personal=frozenset(case.personal),
        case=case,
    )


def _transfer(case: Case, transfer: Transfer, agency: str) -> Thing:
    return Thing(
        words=f"{transfer.key} ({transfer.state})",
        ids={"transfer": transfer.id},
        relations=case.relation_to(transfer, agency),
        stage=transfer.state,
        personal=frozenset(datum for datum in case.personal if datum[1] == transfer.key),
        case=case,
    )


def _dispute(case: Case, dispute: Dispute, agency: str) -> Thing:
    return Thing(
        words=f"{dispute.key} ({dispute.state})",
        ids={"dispute": dispute.id},
        relations=case.relation_to_dispute(dispute, agency),
        stage=dispute.state,
        personal=frozenset(datum for datum in case.personal if datum[1] == dispute.key),
        case=case,
    )


def _assistance(case: Case, assistance: Assistance, agency: str) -> Thing:
    own = {datum for datum in case.personal if datum[1] == assistance.key}
    return Thing(
        words=f"{assistance.key} ({assistance.state})",
        ids={"assistance": assistance.id},
        relations=case.relation_to_help(assistance, agency),
        stage=assistance.state,
        # The letters of this county name the party.
        personal=frozenset(own | {("party_name", case.key), ("party_id", case.key)}),
        case=case,
    )


def _notice(notice: Notice, agency: str) -> Thing:
    relations = frozenset({"addressee"} if notice.agency == agency else ())
    return Thing(f"a notice, {notice.state}", {"notice": notice.id}, relations=relations, stage=notice.state)


def _question(event: str, agency: str, words: str, *relations: str) -> Thing:
    query = {"event": event} | ({"agency": agency} if agency else {})
    return Thing(words, query=query, relations=frozenset(relations))


def _is_news(world: World, notice: Notice, agency: str) -> bool:
    """Whether the agency was never told of anything of that stream."""
    return not any((one.agency, one.about) == (agency, notice.about) for one in world.notices)


def _entry(world: World, entry: LogEntry, agency: str) -> Thing:
    return Thing(
        words=f"{entry.event_id}, {entry.type}",
        ids={"feed": "all", "id": str(entry.position)},
        relations=frozenset(_to_entry(world, entry, agency)),
    )


def _to_entry(world: World, entry: LogEntry, agency: str) -> Iterator[str]:
    kind, _, id_ = entry.stream.partition("/")
    if kind in ("agency", "officer", "power", "grant", "calendar", "limit", "policy"):
        yield "county"
    if kind in ("clock", "supervision", "endpoint") and agency in (
        entry.data.get(name) for name in ("agency", "awaits", "issuer")
    ):
        yield "concerned"
    if kind == "notice":
        notice = world.notice(id_)
        if notice.agency == agency:
            yield "addressee"
    if kind == "disclosure" and world.disclosed_to(id_) == agency:
        yield "party"
    told = (entry.stream, entry.seq) if kind == "case" else world.signed(entry)
    case = world.case_of(told[0])
    if case and case.saw(agency, told[1]):
        yield "party"
    if case and told[1] in case.asked[agency]:
        yield "asked"
