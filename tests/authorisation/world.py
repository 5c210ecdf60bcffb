"""The demonstration county at work, built over HTTP: cases in every stage and relation, notices, receipts.

What each agency is to each thing is noted while it happens, as the charter has it and not as the services
answer. Every personal datum is a canary: it says what it is of which thing, wherever it turns up.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from typing import Any

import httpx

from libs.common.clock import Clock, day_of
from libs.common.contracts.notify import NoticeReceived
from libs.common.law import codes
from libs.common.permit import Role
from services.notify.channels import rules as webhooks
from services.notify.channels.tables import Delivery, Endpoint, Message
from services.notify.clocks.tables import Obligation
from services.notify.inbox.tables import Notice, Receipt
from services.notify.supervision.tables import Supervision
from services.sharing.feeds.tables import LogEntry
from tests.worlds import cast
from tests.worlds.deployment import County, until
from tools.demo import county as qinghe
from tools.demo.county import Agency

#: An agency of another county, with good tokens.
STRANGER = codes.with_check_digit("11331222000000019")
#: Where the cases of STAGES began, and the department that takes some of them.
STAGED_AT, STAGED_IN = "331221101", "11331221000000115N"
#: What an agency of the county may be to a case that it may know of.
PARTIES = frozenset({"holder", "offered", "former", "disputing"})

#: (field, key of the thing)
Datum = tuple[str, str]

_CANARY = re.compile(rb"canary-([a-z_]+)-([A-Za-z0-9]+)")


def canary(name: str, key: str) -> str:
    """Text that says which personal datum it is."""
    return f"canary-{name}-{key}"


def canaries(said: bytes) -> frozenset[Datum]:
    """The personal data in an answer, wherever in it."""
    return frozenset((name.decode(), key.decode()) for name, key in _CANARY.findall(said))


@dataclass
class Span:
    """The facts of a case that an agency learns of while it is party to it."""

    begins: int
    ends: int | None = None

    def covers(self, seq: int) -> bool:
        return self.begins <= seq and (self.ends is None or seq <= self.ends)


@dataclass
class Transfer:
    """One offer of a case."""

    id: str
    key: str
    sender: str
    recipient: str
    span: Span
    #: What the recipient was to the case before.
    before: str
    state: str = "offered"

    def relation(self, agency: str) -> Iterator[str]:
        if agency == self.sender:
            yield "from"
        if agency == self.recipient:
            yield "to" if self.state in ("offered", "accepted") else "declined"


@dataclass
class Dispute:
    """A dispute over whose a case is."""

    id: str
    key: str
    sides: tuple[str, str]
    state: str = "opened"

    def relation(self, agency: str) -> Iterator[str]:
        if agency in self.sides:
            yield "disputant" if self.state == "opened" else "parted"


@dataclass
class Assistance:
    """One request for help in a case."""

    id: str
    key: str
    agency: str  #: that was asked
    state: str = "requested"

    def relation(self, agency: str) -> Iterator[str]:
        if agency == self.agency:
            yield "asked" if self.state == "requested" else "answered"


@dataclass
class Case:
    """One case, as those who acted on it know it."""

    key: str
    id: str
    place: str
    holder: str
    stage: str = "registered"
    seq: int = 1
    relations: dict[str, str] = field(default_factory=dict)
    spans: defaultdict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    #: What each agency that was asked for help learns of: the facts of its own request.
    asked: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    transfers: list[Transfer] = field(default_factory=list)
    assistance: list[Assistance] = field(default_factory=list)
    disputes: list[Dispute] = field(default_factory=list)
    personal: set[Datum] = field(default_factory=set)

    def relation(self, agency: str) -> frozenset[str]:
        """What the agency is to the case now."""
        return frozenset({self.relations[agency]} if agency in self.relations else ())

    def relation_to(self, transfer: Transfer, agency: str) -> frozenset[str]:
        """What it is to one transfer of it; a party that the transfer does not concern is a party."""
        party = {"party"} if self.relations.get(agency) in PARTIES else set()
        return frozenset({*transfer.relation(agency), *party})

    def relation_to_dispute(self, dispute: Dispute, agency: str) -> frozenset[str]:
        """What it is to one dispute over it: whoever holds the case, and who else knows of the case."""
        own = self.relations.get(agency)
        other = {"holder"} if own == "holder" else {"party"} if own in PARTIES else set()
        return frozenset({*dispute.relation(agency), *other})

    def relation_to_help(self, assistance: Assistance, agency: str) -> frozenset[str]:
        """What it is to one request for help in it: asked, and what it is to the case."""
        return frozenset({*assistance.relation(agency), *(self.relation(agency) & PARTIES)})

    def saw(self, agency: str, seq: int) -> bool:
        """Whether the agency was party to it when this fact happened."""
        return any(span.covers(seq) for span in self.spans[agency])


@dataclass(repr=False)
class World:
    """All that there is, and what every agency is to it."""

    county: County
    qinghe: qinghe.County
    cases: dict[str, Case] = field(default_factory=dict)
    grants: list[str] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    endpoints: list[Endpoint] = field(default_factory=list)
    #: The message by which each endpoint is to be proved.
    challenges: dict[str, str] = field(default_factory=dict)
    obligations: list[Obligation] = field(default_factory=list)
    letters: list[Supervision] = field(default_factory=list)
    log: list[LogEntry] = field(default_factory=list)
    rebuild: str = ""
    _by_id: dict[str, Notice] = field(default_factory=dict)
    _by_stream: dict[str, Case] = field(default_factory=dict)

    @property
    def agencies(self) -> list[Agency]:
        """Every agency of the county, in the order of its register."""
        return list(self.qinghe.agencies.values())

    def standing(self, agency: str) -> frozenset[str]:
        """What the agency is to the county."""
        if agency == self.qinghe.office.id:
            return frozenset({"anywhere", "member", "office"})
        return frozenset({"anywhere", "member"} if agency not in ("", STRANGER) else {"anywhere"})

    def officers(self, agency: str) -> list[str]:
        """Two of the agency's officers who may act today."""
        today = day_of(Clock().now())
        return [officer.id for officer in self.qinghe.certified(self.qinghe.short(agency), today)[:2]]

    def disclosed_to(self, ground: str) -> str:
        """To whom that is disclosed which lies before a right: a transfer's recipient, or who differs."""
        given = {
            transfer.id: transfer.recipient for case in self.cases.values() for transfer in case.transfers
        }
        given |= {dispute.id: dispute.sides[1] for case in self.cases.values() for dispute in case.disputes}
        given |= {
            f"{dispute.id}/end": case.holder for case in self.cases.values() for dispute in case.disputes
        }
        return given[ground]

    def case_of(self, stream: str) -> Case | None:
        """The case with this stream."""
        return self._by_stream.get(stream)

    def token(self, endpoint: str) -> str:
        """What was sent to the endpoint, and would prove it."""
        (found,) = (one for one in self.endpoints if one.id == endpoint)
        return webhooks.token_of(self.county.parts["notify"].keyring.webhooks, found)

    def notice(self, id_: str) -> Notice:
        """The notice with this id."""
        return self._by_id[id_]

    def signed(self, entry: LogEntry) -> tuple[str, int]:
        """The stream and seq of what a receipt was given for; of nothing for other entries."""
        if entry.type != NoticeReceived.TYPE:
            return "", 0
        stream, _, number = entry.data["event"].rpartition("/")
        return stream, int(number)

    async def look(self) -> None:
        """Take down what the other two services made of it, once all was heard."""
        async with self.county.parts["notify"].store.reading() as read:
            self.notices = list(await read.all(Notice))
            self.receipts = list(await read.all(Receipt))
            self.endpoints = sorted(await read.all(Endpoint), key=lambda one: one.id)
            self.obligations = sorted(await read.all(Obligation), key=lambda one: (one.due_at, one.id))
            self.letters = sorted(await read.all(Supervision), key=lambda one: one.id)
            self.challenges = {message.endpoint: message.id for message in await read.all(Message)}
        async with self.county.parts["sharing"].store.reading() as read:
            self.log = sorted(await read.all(LogEntry), key=lambda entry: entry.position)
        self._by_id = {notice.id: notice for notice in self.notices}
        self._by_stream = {f"case/{case.id}": case for case in self.cases.values()}


async def build(county: County) -> World:
    """Fill an empty county, whose loops run, and take down what was made of it."""
    world = World(county, qinghe.load())
    await _register(world)
    await _subscribe(world)
    clerk = Clerk(world)
    await _crossings(world, clerk)
    await _disputes(world, clerk)
    await _stages(world, clerk)
    await county.quiet()
    await _sign(world)
    await _supervise(world)
    await _rebuild(world)
    await county.quiet()
    await world.look()
    return world


async def _subscribe(world: World) -> None:
    """Every agency has an endpoint at an address that nobody has, and its challenge was tried there once."""
    for agency in world.agencies:
        integrator = world.county.ask("notify", agency.id, Role.INTEGRATOR)
        url = f"https://hook.invalid/{canary('url', agency.id)}"
        await until(partial(_is_registered, integrator, {"name": "业务系统", "url": url}))
    store = world.county.parts["notify"].store

    async def tried() -> bool:
        async with store.reading() as read:
            return len({one.message for one in await read.all(Delivery)}) == len(world.agencies)

    await until(tried)


async def _is_registered(integrator: httpx.AsyncClient, endpoint: Any) -> bool:
    """Once `notify` has heard of the agency."""
    return (await integrator.post("/v1/endpoints", json=endpoint)).status_code == 201


async def _sign(world: World) -> None:
    """Every agency signs for the first of its notices."""
    for agency in world.agencies:
        inbox = world.county.ask("notify", agency.id, Role.HANDLER)
        notices = (await inbox.get("/v1/inbox", params={"limit": 200})).json()["data"]
        await cast.post(inbox, f"/v1/notices/{notices[-1]['id']}/receipt", {})


async def _supervise(world: World) -> None:
    """Letters of the office: some wait, some are answered, some closed."""
    office = world.county.ask("notify", world.qinghe.office.id, Role.COORDINATOR)
    others = [agency.id for agency in world.agencies if agency.id != world.qinghe.office.id]
    for n, agency in enumerate(others[:6]):
        body = {"kind": "supervision", "agency": agency, "title": "某事项", "items": ["某要求"]}
        letter = await cast.post(office, "/v1/supervisions", body)
        path = f"/v1/supervisions/{letter['id']}"
        if n % 3:
            await cast.post(
                world.county.ask("notify", agency, Role.HANDLER), f"{path}/reply", {"text": "某反馈"}
            )
        if n % 3 == 2:
            await cast.post(office, f"{path}/closure", {})


async def _rebuild(world: World) -> None:
    operator = world.county.ask("sharing", world.qinghe.office.id, Role.OPERATOR)
    world.rebuild = (await operator.post("/v1/rebuilds", json={})).json()["id"]

    async def done() -> bool:
        return bool((await operator.get(f"/v1/rebuilds/{world.rebuild}")).json()["state"] == "done")

    await until(done)


async def _register(world: World) -> None:
    registrar = world.county.ask("cases", world.qinghe.office.id, Role.REGISTRAR)
    for agency in world.agencies:
        await cast.post(registrar, "/v1/agencies", _plain(asdict(agency), "short"))
    named = world.qinghe.agencies
    for officer in world.qinghe.officers:
        secret = {"name": canary("name", officer.id), "certificate": canary("certificate", officer.id)}
        body = {**asdict(officer), "agency": named[officer.agency].id, **secret}
        await cast.post(registrar, "/v1/officers", _plain(body))
    for power in world.qinghe.powers.values():
        body = {**asdict(power), "department": named[power.department].id}
        await cast.post(registrar, "/v1/powers", _plain(body))
    for grant in world.qinghe.grants:
        body = {**asdict(grant), "agency": named[grant.agency].id}
        made = await cast.post(registrar, "/v1/grants", _plain(body, "recalled_on", "recall_document"))
        world.grants.append(made["id"])


async def _crossings(world: World, clerk: Clerk) -> None:
    """Every agency once in every relation to a case: holding it, offered it, in vain, having held it.

    And once in every relation to a request for help: having asked, asked, having answered.
    """
    agencies = world.agencies
    for n, agency in enumerate(agencies):
        second, third, fourth, fifth = (agencies[(n + step) % len(agencies)].id for step in (1, 2, 3, 4))
        case = await clerk.clue(f"R{n:02}", agency.id, "占道设摊")
        await clerk.extend(case, await clerk.ask_for_help(case, fourth))
        await clerk.help(case, await clerk.ask_for_help(case, fifth))
        await clerk.offer(case, second)
        await clerk.give_back(case, STAGED_IN)
        await clerk.offer(case, third)
        statute = "占道设摊" if agency.id != STAGED_IN else "在河道内弃置、堆放阻碍行洪的物体"
        handed = await clerk.clue(f"H{n:02}", agency.id, statute)
        await clerk.ask_for_help(handed, fourth)
        await clerk.offer(handed, world.qinghe.agencies[world.qinghe.power(statute).department].id)
        await clerk.accept(handed)


async def _disputes(world: World, clerk: Clerk) -> None:
    """Every agency once in every relation to a dispute: differing, or given the case of others who did.

    The office rules in none of its own: there they agree.
    """
    agencies, office = [agency.id for agency in world.agencies], world.qinghe.office.id
    for n, agency in enumerate(agencies):
        second, third, fourth = (agencies[(n + step) % len(agencies)] for step in (1, 2, 3))
        case = await clerk.clue(f"D{n:02}", agency, "占道设摊")
        await clerk.differ(case, second)
        if office == second:
            continue
        case = await clerk.clue(f"E{n:02}", agency, "占道设摊")
        await clerk.differ(case, STAGED_IN if office == agency else second)
        await (clerk.agree(case) if office == agency else clerk.rule(case, third))
        await clerk.offer(case, fourth)


async def _stages(world: World, clerk: Clerk) -> None:
    """A case at every stage, in one pair of hands or in two; one under a delegated power."""
    township = next(agency.id for agency in world.agencies if agency.division == STAGED_AT)
    for key, moves in STAGES.items():
        case = await clerk.clue(key, township, "占道设摊", place=STAGED_AT)
        for move in moves.split():
            match move:
                case "offer":
                    await clerk.offer(case, STAGED_IN if case.holder == township else township)
                case "accept":
                    await clerk.accept(case)
                case "withdraw":
                    await clerk.withdraw(case)
                case _:
                    await clerk.move(case, move)
    delegated = await clerk.clue(
        "delegated", world.qinghe.agencies["稻香镇"].id, "在河道内弃置、堆放阻碍行洪的物体", place="331221102"
    )
    for move in ("file", "investigate", "decide"):
        await clerk.move(delegated, move)


#: What happens to each case after its clue, by key.
STAGES: Mapping[str, str] = {
    "clue": "",
    "rejected": "reject",
    "filed": "file",
    "offered": "file offer",
    "withdrawn": "offer withdraw file",
    "investigated": "file investigate",
    "decided": "file investigate decide",
    "closed": "file investigate decide close",
    "taken": "file offer accept investigate decide close",
    # Offered to the agency that held it before; and that offer taken back.
    "back": "file offer accept offer",
    "forth": "file offer accept offer withdraw",
}


@dataclass
class Clerk:
    """Does what agencies do, and notes what each then is to the case."""

    world: World

    async def clue(self, key: str, agency: str, power: str, *, place: str = "331221001") -> Case:
        code = self.world.qinghe.power(power).code
        secret = {name: canary(name, key) for name in ("party_name", "party_id", "summary")}
        body = {"power": code, "territory": place, "source": "inspection", **secret}
        who = self._at(agency, key)
        who.headers["audit-reason"] = canary("audit", key)
        case = Case(key, (await cast.post(who, "/v1/clues", body))["id"], place, agency)
        case.relations[agency] = "holder"
        case.spans[agency].append(Span(1))
        case.personal |= {(name, key) for name in (*secret, "person", "audit")}
        self.world.cases[key] = case
        return case

    async def move(self, case: Case, move: str) -> None:
        """The next move, by whoever makes it at the holder."""
        needs: Mapping[str, dict[str, Any]] = {
            "file": {"officers": self.world.officers(case.holder)},
            "investigate": {"officers": self.world.officers(case.holder)},
            "decide": {"decision": "penalty"},
        }
        brings = needs.get(move, {"reason": canary("reason", case.key)})
        key, role = (f"{case.key}head", Role.APPROVER) if move == "decide" else (case.key, Role.HANDLER)
        who = self._at(case.holder, key, role)
        body = {"move": move, **brings}
        moved = await self._change(case, who, f"/v1/cases/{case.id}/transitions", body)
        case.stage = moved["stage"]
        case.personal |= {("person", key)} | ({("reason", case.key)} if "reason" in brings else set())

    async def offer(self, case: Case, to: str) -> None:
        key = f"{case.key}t{len(case.transfers) + 1}"
        body = {
            "to_agency": to,
            "officers": self.world.officers(case.holder),
            "papers": [{"name": canary("package", key)}],
            "evidence": [{"name": "现场照片"}],
            "goods": [],
            "ground": canary("ground", key),
            "new_facts": canary("ground", key),
        }
        made = await self._change(
            case, self._at(case.holder, case.key), f"/v1/cases/{case.id}/transfers", body
        )
        span = Span(case.seq)
        case.transfers.append(Transfer(made["id"], key, case.holder, to, span, case.relations.get(to, "")))
        case.relations[to] = "offered"
        case.spans[to].append(span)
        case.personal |= {("ground", key), ("package", key)}

    async def accept(self, case: Case) -> None:
        transfer = case.transfers[-1]
        await self._change(
            case, self._at(transfer.recipient, case.key), f"/v1/transfers/{transfer.id}/acceptance", {}
        )
        transfer.state, case.holder = "accepted", transfer.recipient
        case.relations |= {transfer.sender: "former", transfer.recipient: "holder"}

    async def give_back(self, case: Case, proposed: str) -> None:
        transfer = case.transfers[-1]
        body = {
            "reason": "not_competent",
            "basis": "行政处罚法第二十二条",
            "proposed_agency": proposed,
            "note": canary("note", transfer.key),
        }
        await self._change(
            case, self._at(transfer.recipient, case.key), f"/v1/transfers/{transfer.id}/return", body
        )
        self._end(case, transfer, "returned")

    async def withdraw(self, case: Case) -> None:
        transfer = case.transfers[-1]
        body = {"note": canary("note", transfer.key)}
        await self._change(
            case, self._at(transfer.sender, case.key), f"/v1/transfers/{transfer.id}/withdrawal", body
        )
        self._end(case, transfer, "withdrawn")

    async def differ(self, case: Case, other: str) -> None:
        """The other declines it, and the holder brings that before the office."""
        await self.offer(case, other)
        await self.give_back(case, STAGED_IN)
        key = f"{case.key}d1"
        transfer = case.transfers[-1]
        who, body = self._at(case.holder, case.key), {"ground": canary("ground", key)}
        made = await self._change(case, who, f"/v1/transfers/{transfer.id}/dispute", body)
        case.disputes.append(Dispute(made["dispute"], key, (case.holder, other)))
        case.relations[other] = "disputing"
        case.spans[other].append(Span(case.seq))
        case.personal.add(("ground", key))

    async def agree(self, case: Case) -> None:
        """Both say that it is the one's who declined it."""
        (dispute,) = case.disputes
        for side in dispute.sides:
            who, body = self._at(side, case.key), {"competent_agency": dispute.sides[1]}
            await self._change(case, who, f"/v1/disputes/{dispute.id}/proposal", body)
        dispute.state, case.holder = "settled", dispute.sides[1]
        case.relations |= {dispute.sides[0]: "former", dispute.sides[1]: "holder"}

    async def rule(self, case: Case, to: str) -> None:
        """The office gives it to a third."""
        (dispute,) = case.disputes
        office = self._at(self.world.qinghe.office.id, case.key, Role.COORDINATOR)
        await self._change(case, office, f"/v1/disputes/{dispute.id}/acceptance", {})
        body = {
            "opinion_no": "协意〔2026〕第1号",
            "competent_agency": to,
            "basis": "行政处罚法第二十三条",
            "opinion": canary("opinion", dispute.key),
            "despite_register": "赋权即将生效",
        }
        await self._change(case, office, f"/v1/disputes/{dispute.id}/ruling", body)
        dispute.state, case.holder = "ruled", to
        case.relations |= {dispute.sides[0]: "former", dispute.sides[1]: "declined", to: "holder"}
        case.spans[dispute.sides[1]][-1].ends = case.seq
        case.spans[to].append(Span(case.seq))
        case.personal.add(("opinion", dispute.key))

    async def ask_for_help(self, case: Case, to: str) -> Assistance:
        key = f"{case.key}a{len(case.assistance) + 1}"
        body = {
            "to_agency": to,
            "letter_no": "协函〔2026〕第1号",
            "form": "papers",
            "items": [{"kind": "documents", "what": canary("item", key)}],
            "ground": canary("ground", key),
            "names_party": True,
        }
        path = f"/v1/cases/{case.id}/assistance"
        made = await self._change(case, self._at(case.holder, case.key), path, body)
        assistance = Assistance(made["id"], key, to)
        case.assistance.append(assistance)
        case.asked[to].add(case.seq)
        case.personal |= {("item", key), ("ground", key)}
        return assistance

    async def help(self, case: Case, assistance: Assistance) -> None:
        answer = {"item": 1, "outcome": "provided", "answer": canary("answer", assistance.key)}
        await self._assist(case, assistance, "reply", {"answers": [answer]})
        assistance.state = "replied"
        case.personal.add(("answer", assistance.key))

    async def extend(self, case: Case, assistance: Assistance) -> None:
        body = {"until": "2099-12-31", "reason": canary("reason", assistance.key)}
        await self._assist(case, assistance, "extension", body)
        case.personal.add(("reason", assistance.key))

    async def _assist(self, case: Case, assistance: Assistance, what: str, body: Any) -> None:
        who = self._at(assistance.agency, case.key)
        await self._change(case, who, f"/v1/assistance/{assistance.id}/{what}", body)
        case.asked[assistance.agency].add(case.seq)

    def _end(self, case: Case, transfer: Transfer, state: str) -> None:
        transfer.state, transfer.span.ends = state, case.seq
        case.relations[transfer.recipient] = transfer.before or "declined"
        case.personal.add(("note", transfer.key))

    async def _change(self, case: Case, who: httpx.AsyncClient, path: str, body: Any) -> Any:
        # Each fact of these is one Change, so the version that was read is the number of facts.
        made = await cast.post(who, path, body, seen=f'"{case.seq}"')
        case.seq += 1
        return made

    def _at(self, agency: str, key: str, role: Role = Role.HANDLER) -> httpx.AsyncClient:
        return self.world.county.ask("cases", agency, role, person=canary("person", key))


def _plain(row: Mapping[str, Any], *without: str) -> dict[str, Any]:
    """A row as JSON has it."""
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in row.items()
        if name not in without
    }
