"""Cells: somebody does an operation to a thing, and what came of it is held against the charter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from sqlalchemy import func, select

from libs.common.permit import Role
from libs.common.store import schema
from services import parts
from tests.authorisation import charter, things
from tests.authorisation.asking import Ask, tell
from tests.authorisation.charter import Operation, Verdict
from tests.authorisation.people import Caller
from tests.authorisation.things import Thing
from tests.authorisation.world import STRANGER, Case, World, canaries
from tests.worlds import cast

#: Requests that are under way at once.
AT_ONCE = 16
#: A version that nothing has: whoever may do a thing is then told that they have not seen the newest.
STALE = '"999999"'


@dataclass(frozen=True, slots=True)
class Cell:
    """Who does what to what."""

    world: World
    operation: Operation
    caller: Caller
    thing: Thing

    @property
    def relations(self) -> frozenset[str]:
        """What the caller's agency is to the county and to the thing; a stranger is nothing to either."""
        own = self.thing.relations if self.caller.agency != STRANGER else frozenset[str]()
        return own | self.caller.standing

    @property
    def case(self) -> Case:
        """The case that the thing is, or lives in."""
        assert self.thing.case is not None
        return self.thing.case

    @property
    def verdict(self) -> Verdict:
        """What the charter says."""
        return self.of(self.operation.name)

    def of(self, operation: str) -> Verdict:
        """What it says of another operation upon the same thing."""
        return charter.verdict(operation, self.caller.roles, self.relations, self.thing.stage)

    @property
    def status(self) -> int:
        """What must come back: with leave, writes are held up by their precondition or by procedure."""
        match self.verdict.answer:
            case "may":
                return 200 if self.operation.method == "GET" else _HELD_UP.get(self.operation.path, 412)
            case "law":
                return 409
        if self.operation.denied in ("403", "404"):
            return int(self.operation.denied)
        return 403 if self.of(self.operation.seen_by).answer == "may" else 404

    def ask(self, thing: Thing | None = None) -> Ask:
        """The request; a denied one is such that it would do something if it were not denied."""
        thing = thing or self.thing
        operation, path = self.operation, self.operation.path.format(**thing.ids)
        if operation.method == "GET":
            session = {"cookie": self.caller.cookie} if path.startswith("/board") else {}
            return Ask("GET", path, thing.query, headers=session)
        body = _BODIES[operation.path](self) if operation.path in _BODIES else {}
        stale = self.verdict.answer == "may" and operation.path not in _HELD_UP
        version = STALE if stale else f'"{self.thing.case.seq}"' if self.thing.case else ""
        return Ask(operation.method, path, body=body, headers={"if-match": version} if version else {})

    def __str__(self) -> str:
        relations = "+".join(sorted(self.relations)) or "nothing"
        return f"{self.caller} ({relations}) {self.operation.name} {self.thing.words}"


@dataclass
class Findings:
    """What was asked, and what was wrong."""

    asked: int = 0
    wrong: list[str] = field(default_factory=list)

    def note(self, cell: str, complaint: str) -> None:
        """One more was asked; the complaint is empty where all was well."""
        self.asked += 1
        self.wrong += [f"{cell}: {complaint}"] if complaint else []

    def __str__(self) -> str:
        shown = "\n".join(self.wrong[:40])
        return f"{len(self.wrong)} of {self.asked} cells are wrong:\n{shown}"


def expand(world: World, callers: Iterable[Caller], operation: Operation) -> Iterator[Cell]:
    """Every caller with everything that the operation is tried upon."""
    tried: dict[str, list[Thing]] = {}
    for caller in callers:
        if caller.agency not in tried:
            tried[caller.agency] = list(things.tried(operation.service, operation.path)(world, caller.agency))
        yield from (Cell(world, operation, caller, thing) for thing in tried[caller.agency])


async def judge(app: FastAPI, cells: Iterable[Cell]) -> Findings:
    """Ask for each, and say in words where the answer is not what the charter says."""
    findings, judge_one = Findings(), _Judge(app)
    waiting = list(cells)
    for start in range(0, len(waiting), AT_ONCE):
        batch = waiting[start : start + AT_ONCE]
        for cell, complaint in zip(batch, await asyncio.gather(*map(judge_one, batch)), strict=True):
            findings.note(str(cell), complaint)
    return findings


class _Judge:
    """Judges cells at one application; remembers what is heard of what does not exist.

    Nobody has a relation to that: whoever has the same roles and standing hears the same of it.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._nowhere: dict[tuple[str, frozenset[Role], frozenset[str]], Any] = {}

    async def __call__(self, cell: Cell) -> str:
        told = await tell(self._app, cell.ask(), cell.caller.authorization)
        if told.status != cell.status:
            return f"{told.status} instead of {cell.status}, the charter says {cell.verdict.answer}"
        if told.status == 404 and told.bare != await self._of_nothing(cell):
            return "the 404 is not that of what does not exist"
        return _leak(canaries(told.body), _shown(cell) if told.status == 200 else frozenset())

    async def _of_nothing(self, cell: Cell) -> Any:
        key = (cell.operation.path, cell.caller.roles, cell.caller.standing)
        if key not in self._nowhere:
            ask = cell.ask(cell.thing.absent())
            self._nowhere[key] = (await tell(self._app, ask, cell.caller.authorization)).bare
        return self._nowhere[key]


def _shown(cell: Cell) -> frozenset[tuple[str, str]]:
    shows = cell.operation.shows - cell.verdict.hides
    return frozenset(datum for datum in cell.thing.personal if datum[0] in shows)


def _leak(found: frozenset[tuple[str, str]], due: frozenset[tuple[str, str]]) -> str:
    if found - due:
        return f"shows {sorted(found - due)}"
    return f"hides {sorted(due - found)}" if due - found else ""


async def footprint(world: World) -> Mapping[str, tuple[int, int]]:
    """What any act would change: how many facts each service has told, and how often its streams moved."""
    journal, heads = schema.table(schema.JournalRow), schema.table(schema.HeadRow)
    found: dict[str, tuple[int, int]] = {}
    for service in parts.NAMES:
        async with world.county.parts[service].store.reading() as read:
            facts = await read.rows(select(func.count().label("n")).select_from(journal))
            moves = await read.rows(select(func.sum(heads.c.version).label("n")))
        found[service] = (facts[0]["n"], int(moves[0]["n"]))
    return found


#: Writes that no precondition holds up, with what they answer; they do nothing that lasts.
_HELD_UP: Mapping[str, int] = {"/v1/redrives": 201}


def _a_move(cell: Cell) -> Any:
    """The move that leads on from where the case is."""
    officers = {"officers": cell.world.officers(cell.case.holder)}
    brings: Mapping[str, Any] = {
        "registered": {"move": "file", **officers},
        "filed": {"move": "investigate", **officers},
        "investigating": {"move": "decide", "decision": "penalty"},
    }
    return brings.get(cell.case.stage, {"move": "close", "reason": "某理由"})


def _an_offer(cell: Cell) -> Any:
    holder = cell.case.holder
    to = next(agency.id for agency in cell.world.agencies if agency.id != holder)
    return cast.an_offer(to_agency=to, officers=cell.world.officers(holder))


def _a_letter(cell: Cell) -> Any:
    to = next(agency.id for agency in cell.world.agencies if agency.id != cell.case.holder)
    return {
        "to_agency": to,
        "letter_no": "协函〔2026〕第1号",
        "form": "action",
        "items": [{"kind": "presence", "what": "到场"}],
        "ground": "某理由",
    }


def _a_batch(cell: Cell) -> Any:
    """A notice that the caller's agency has not signed for, if there is one."""
    waiting = (
        one.id for one in cell.world.notices if (one.agency, one.state) == (cell.caller.agency, "unread")
    )
    return {"notices": [next(waiting, things.NOWHERE)]}


def _a_policy(cell: Cell) -> Any:
    return {"name": "某规则", "level": [{"name": "某级", "working_days": 0, "tell": ["county"]}]}


def _a_grant(cell: Cell) -> Any:
    return {
        "power": cell.world.qinghe.power("违反规定设置户外广告").code,
        "agency": cell.world.qinghe.agencies["竹源乡"].id,
        "mode": "conferred",
        "document": "某号",
        "effective_on": "2026-01-01",
    }


#: What is sent, by address: it would do something, if it were allowed and nothing else stood in its way.
_BODIES: Mapping[str, Callable[[Cell], Any]] = {
    "/v1/agencies": lambda cell: {
        "id": STRANGER,
        "name": "外县某局",
        "kind": "department",
        "division": "331222",
        "coordinates": True,
    },
    "/v1/officers": lambda cell: cast.an_officer(cell.world.qinghe.office.id, 1),
    "/v1/powers": lambda cell: {
        "code": "330217999000",
        "name": "某事项",
        "department": cell.world.qinghe.agencies["县执法局"].id,
        "basis": "某条例第一条",
    },
    "/v1/grants": _a_grant,
    "/v1/grants/{grant}/recall": lambda cell: {"recalled_on": "2026-01-01", "document": "某号"},
    "/v1/clues": lambda cell: cast.a_clue(
        power=cell.world.qinghe.power("占道设摊").code, territory="331221001"
    ),
    "/v1/cases/{case}/transitions": _a_move,
    "/v1/cases/{case}/transfers": _an_offer,
    "/v1/transfers/{transfer}/return": lambda cell: {
        "reason": "not_competent",
        "basis": "某条例第一条",
        "proposed_agency": cell.world.qinghe.office.id,
    },
    "/v1/transfers/{transfer}/dispute": lambda cell: {"ground": "某理由"},
    "/v1/disputes/{dispute}/proposal": lambda cell: {"competent_agency": cell.case.holder},
    "/v1/disputes/{dispute}/forwarding": lambda cell: {
        "to_agency": cell.case.holder,
        "papers": [{"name": "某材料"}],
    },
    "/v1/disputes/{dispute}/reply": lambda cell: {"statement": "某意见", "basis": "某条例第一条"},
    "/v1/disputes/{dispute}/lead": lambda cell: {"lead": cell.case.holder, "danger": "某危险"},
    "/v1/disputes/{dispute}/ruling": lambda cell: {
        "opinion_no": "协意〔2026〕第2号",
        "competent_agency": cell.case.holder,
        "basis": "某条例第一条",
        "opinion": "某意见",
    },
    "/v1/cases/{case}/assistance": _a_letter,
    "/v1/assistance/{assistance}/reply": lambda cell: {
        "answers": [{"item": 1, "outcome": "provided", "answer": "某答复"}]
    },
    "/v1/assistance/{assistance}/refusal": lambda cell: {"ground": "unlawful", "basis": "某条例第一条"},
    "/v1/assistance/{assistance}/extension": lambda cell: {"until": "2099-12-31", "reason": "某理由"},
    "/v1/calendars/{year}": lambda cell: {
        "off": ["2026-01-01", "2026-05-01", "2026-10-01", "2026-10-02", "2026-10-03"],
        "work": [],
        "paper": "某号",
    },
    "/v1/limits/{rule}": lambda cell: {"length": 2, "unit": "working_days", "basis": "某号"},
    "/v1/escalation-policies/{policy}": _a_policy,
    "/v1/escalation-policies/{policy}/simulate": lambda cell: {
        "rule": "col.accept",
        "start": "2026-11-02",
        "agency": cell.world.qinghe.office.id,
    },
    "/v1/supervisions": lambda cell: {
        "kind": "supervision",
        "agency": cell.world.qinghe.agencies["竹源乡"].id,
        "title": "某事项",
        "items": ["某要求"],
    },
    "/v1/supervisions/{supervision}/reply": lambda cell: {"text": "某反馈"},
    "/v1/supervisions/{supervision}/return": lambda cell: {"remark": "某理由", "due_on": "2099-12-31"},
    "/v1/inbox/receipts": _a_batch,
    "/v1/endpoints": lambda cell: {"name": "业务系统", "url": "https://hook.invalid/"},
    "/v1/endpoints/{endpoint}": lambda cell: (
        {"name": "别的系统"} if cell.operation.method == "PATCH" else None
    ),
    "/v1/endpoints/{endpoint}/verification": lambda cell: {"token": cell.world.token(cell.thing.key)},
    "/v1/endpoints/{endpoint}/recover": lambda cell: {"since": "2026-01-01T00:00:00+08:00"},
    "/v1/routes/check": lambda cell: {"route": []},
    "/v1/redrives": lambda cell: {"dry_run": True},
}
