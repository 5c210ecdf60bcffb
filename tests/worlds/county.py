"""A `cases` of one test: a small county in its register, both edges, and people with tokens."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx

from libs.common import edge
from libs.common.change import Change, Fence, Head, Told
from libs.common.clock import SHANGHAI, Clock, Moment, Trace
from libs.common.law import codes
from libs.common.log import envelope
from libs.common.log.seam import Partition, Record
from libs.common.permit import Actor, Role
from libs.common.seal import Keyring
from libs.common.settings import Settings
from libs.common.store import migrate
from libs.common.store.schema import JournalEntry
from libs.common.store.seam import Engine
from libs.common.store.sqlite import SqliteEngine
from libs.common.store.store import Store
from libs.common.telemetry import Metrics
from libs.common.web import application, tokens
from libs.common.web.asked import Here
from services.cases import app as cases

OFFICE = codes.with_check_digit("11330726002600001")
TOWNSHIP = codes.with_check_digit("11330726MB1234567")
NEIGHBOUR = codes.with_check_digit("11330726MB7654321")
DEPARTMENT = codes.with_check_digit("11330726002600002")
OTHER = codes.with_check_digit("11330726002600003")
#: Not in the register.
STRANGER = codes.with_check_digit("11330726002600009")

COUNTY_CODE, TOWNSHIP_CODE, NEIGHBOUR_CODE = "330726", "330726101", "330726102"
#: A power that the township was granted, and one that it was not; both are the department's by statute.
GRANTED, WITHHELD = "330217016000", "330217018000"

#: code -> (name, kind, division, coordinates)
AGENCIES = {
    OFFICE: ("青禾县联席会议办公室", "government", COUNTY_CODE, True),
    DEPARTMENT: ("青禾县综合行政执法局", "department", COUNTY_CODE, False),
    OTHER: ("青禾县林业局", "department", COUNTY_CODE, False),
    TOWNSHIP: ("青山镇", "township", TOWNSHIP_CODE, False),
    NEIGHBOUR: ("白水街道", "street", NEIGHBOUR_CODE, False),
}
#: Two certified officers of each agency that handles cases.
OFFICERS = {
    TOWNSHIP: ("t-zhang", "t-li"),
    NEIGHBOUR: ("n-zhao", "n-qian"),
    DEPARTMENT: ("d-wang", "d-chen"),
    OTHER: ("o-sun", "o-zhou"),
}
TODAY = Clock().now().astimezone(SHANGHAI).date()
LONG_AGO = date(2020, 1, 1)

_numbers = itertools.count(1)


def key() -> dict[str, str]:
    """A new Idempotency-Key as headers."""
    return {"idempotency-key": f"key-{next(_numbers)}"}


def day(offset: int = 0) -> str:
    """Today, or so many days from it."""
    return (TODAY + timedelta(days=offset)).isoformat()


def a_clue(**but: Any) -> dict[str, Any]:
    """The body of a clue in the township, under the power granted to it."""
    return {
        "power": GRANTED,
        "territory": TOWNSHIP_CODE,
        "source": "inspection",
        "summary": "集市占道设摊，拒不改正",
        "party_name": "张三",
        "party_id": "330726199001010011",
        **but,
    }


def an_offer(to: str = DEPARTMENT, **but: Any) -> dict[str, Any]:
    """The body of an offer by the township."""
    return {
        "to_agency": to,
        "officers": list(OFFICERS[TOWNSHIP]),
        "papers": [{"name": "案件移送书"}],
        "evidence": [{"name": "现场照片", "sha256": "0" * 64}],
        "goods": [],
        "ground": "该事项不属于本机关职权",
        **but,
    }


def a_return(**but: Any) -> dict[str, Any]:
    """The body of a return."""
    return {
        "reason": "not_competent",
        "basis": "行政处罚法第二十二条",
        "proposed_agency": OTHER,
        **but,
    }


def a_letter(to: str = OTHER, **but: Any) -> dict[str, Any]:
    """The body of a request for help by the township."""
    return {
        "to_agency": to,
        "letter_no": "青山镇协函〔2026〕第3号",
        "form": "papers",
        "items": [
            {"kind": "documents", "what": "张三的采伐许可"},
            {"kind": "identification", "what": "树种认定"},
        ],
        "ground": "查明张三是否有许可",
        **but,
    }


def a_reply(*outcomes: str) -> dict[str, Any]:
    """The body of a reply, item by item."""
    return {
        "answers": [
            {"item": n, "outcome": outcome, "answer": "查明如下"}
            for n, outcome in enumerate(outcomes or ("provided", "lacking"), 1)
        ]
    }


def a_ruling(to: str = DEPARTMENT, **but: Any) -> dict[str, Any]:
    """The body of a binding opinion."""
    return {
        "opinion_no": "青禾协意〔2026〕第1号",
        "competent_agency": to,
        "basis": "行政处罚法第二十三条",
        "opinion": "该事项由法定主管部门管辖",
        **but,
    }


@dataclass
class County:
    """The service with its register filled; people reach it by `client`, events by `hears`."""

    store: Store
    clock: Clock
    app: application.App
    issuer: tokens.Issuer
    keyring: Keyring
    said: dict[str, Head] = field(default_factory=dict)
    offset: int = 0

    def client(self, agency: str, *roles: Role, person: str | None = None) -> httpx.AsyncClient:
        """A caller with a token, by default the agency's first officer as a handler."""
        who = person or OFFICERS.get(agency, ("somebody",))[0]
        token = self.issuer.issue(who, agency, roles or (Role.HANDLER,))
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://cases",
            headers={"authorization": f"Bearer {token}"},
        )

    async def get(self, path: str, by: str = TOWNSHIP, /, *roles: Role, **query: Any) -> httpx.Response:
        async with self.client(by, *roles) as caller:
            return await caller.get(path, params=query)

    async def post(
        self,
        path: str,
        body: Any,
        agency: str = TOWNSHIP,
        *roles: Role,
        person: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        async with self.client(agency, *roles, person=person) as caller:
            return await caller.post(path, json=body, headers={**key(), **(headers or {})})

    async def must(self, path: str, body: Any, agency: str, *roles: Role, **options: Any) -> dict[str, Any]:
        """The body of a POST that has to succeed."""
        answer = await self.post(path, body, agency, *roles, **options)
        assert answer.status_code == 201, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def etag(self, case: str, agency: str = TOWNSHIP) -> dict[str, str]:
        """The newest version of a case as an If-Match header."""
        answer = await self.get(f"/v1/cases/{case}", agency)
        return {"if-match": answer.headers["etag"]}

    async def move(
        self,
        case: str,
        body: Mapping[str, Any],
        agency: str = TOWNSHIP,
        *roles: Role,
        person: str | None = None,
    ) -> httpx.Response:
        """A move upon the newest version."""
        headers = await self.etag(case, agency)
        return await self.post(
            f"/v1/cases/{case}/transitions", body, agency, *roles, person=person, headers=headers
        )

    async def a_case(self, stage: str = "registered", **but: Any) -> str:
        """A case of the township at this stage."""
        case: str = (await self.must("/v1/clues", a_clue(**but), TOWNSHIP))["id"]
        officers = list(OFFICERS[TOWNSHIP])
        moves: list[tuple[dict[str, Any], Role]] = [
            ({"move": "file", "officers": officers}, Role.HANDLER),
            ({"move": "investigate", "officers": officers}, Role.HANDLER),
            ({"move": "decide", "decision": "penalty"}, Role.APPROVER),
            ({"move": "close", "reason": "罚款已缴纳"}, Role.HANDLER),
        ]
        reached = ("registered", "filed", "investigating", "decided", "closed").index(stage)
        for body, role in moves[:reached]:
            answer = await self.move(
                case, body, TOWNSHIP, role, person="head" if role is Role.APPROVER else None
            )
            assert answer.status_code == 201, answer.text
        return case

    async def a_transfer(self, case: str, to: str = DEPARTMENT, **changes: Any) -> str:
        """The id of an offer of this case by the township."""
        headers = await self.etag(case)
        offered = await self.must(
            f"/v1/cases/{case}/transfers", an_offer(to) | changes, TOWNSHIP, headers=headers
        )
        return str(offered["id"])

    async def a_dispute(self, case: str, to: str = DEPARTMENT) -> str:
        """The id of the dispute that this case's second return opens."""
        first = await self.a_transfer(case, to)
        await self.must(f"/v1/transfers/{first}/return", a_return(), to)
        second = await self.a_transfer(case, to)
        returned = await self.must(f"/v1/transfers/{second}/return", a_return(), to)
        return str(returned["dispute"])

    async def hears(self, event: Told, on: str) -> edge.Report:
        """One event of `notify` through the event edge, as a consumer gives it."""
        kind, _, id_ = on.partition("/")
        head = self.said.get(on, Head(kind, id_))
        at = Moment(self.clock.now(), Trace(f"request-{next(_numbers)}"))
        change = Change().telling(event, on=head, by=Actor("system", ""), at=at)
        self.said[on] = change.end_of(head)
        topic = cases.HEARS.topics[0]
        record = _record(change, Partition(topic, 0), self.offset)
        self.offset += 1
        claim = await self.store.claim("cases", topic, 0)
        fence = Fence("cases", topic, 0, claim.epoch, claim.next, claim.next + 1, "")
        return await edge.consume(self.store, cases.HEARS, [record], fence, self.clock)


def _record(change: Change, partition: Partition, offset: int) -> Record:
    fact = change.facts[0]
    entry = JournalEntry(
        position=1,
        kind=fact.kind,
        id=fact.id,
        seq=fact.seq,
        type=fact.type,
        public=fact.public,
        private=fact.private,
        salt=fact.salt,
        digest=fact.digest,
        recorded_at=fact.recorded_at,
        acted_on=fact.acted_on,
        correlation=fact.trace.correlation,
        causation=fact.trace.causation,
        traceparent=fact.trace.traceparent,
    )
    out = envelope.outgoing(entry)
    return Record(partition, offset, out.key.encode(), out.value, out.headers)


@asynccontextmanager
async def an_empty_county(
    directory: Path, *, engine: Callable[[Engine], Engine] = lambda engine: engine
) -> AsyncIterator[County]:
    """A county with nothing in its register; `engine` may put something of the test's around the store's."""
    settings = Settings(data=directory)
    file = directory / "cases.db"
    await migrate.upgrade(file, "cases")
    store, clock = Store(engine(SqliteEngine(file))), Clock()
    keyring = Keyring.at(settings.key_directory)
    app = application.compose(
        "测试",
        settings=settings,
        verifier=tokens.verifier(settings),
        metrics=Metrics("cases"),
        jwks=keyring.jwks,
        checks={},
        routers=cases.ROUTERS,
    )
    app.state.here = Here(store, clock, settings, keyring)
    issuer = tokens.Issuer(keyring.tokens, settings.issuer, settings.audience)
    try:
        yield County(store, clock, app, issuer, keyring)
    finally:
        await store.close()


@asynccontextmanager
async def a_county(
    directory: Path, *, engine: Callable[[Engine], Engine] = lambda engine: engine
) -> AsyncIterator[County]:
    """A county with its agencies, officers, powers, and one grant."""
    if _FILLED not in _made:
        _made[_FILLED] = tempfile.TemporaryDirectory(prefix="liandong-county-")
        atexit.register(_made[_FILLED].cleanup)
        async with an_empty_county(Path(_made[_FILLED].name)) as county:
            await _fill(county)
    # Thirty registrations take longer than most tests: they are made once, and copied.
    shutil.copytree(_made[_FILLED].name, directory, dirs_exist_ok=True)
    async with an_empty_county(directory, engine=engine) as county:
        yield county


_FILLED = "filled"
_made: dict[str, tempfile.TemporaryDirectory[str]] = {}


async def _fill(county: County) -> None:
    async def enter(path: str, body: Mapping[str, Any]) -> None:
        await county.must(path, body, OFFICE, Role.REGISTRAR)

    for code, (name, kind, division, coordinates) in AGENCIES.items():
        agency = {"id": code, "name": name, "kind": kind, "division": division, "coordinates": coordinates}
        await enter("/v1/agencies", agency)
    for agency_code, officers in OFFICERS.items():
        for officer in officers:
            body = {
                "id": officer,
                "agency": agency_code,
                "name": f"姓名{officer}",
                "certificate": f"证{officer}",
                "valid_from": LONG_AGO.isoformat(),
                "valid_to": day(365),
            }
            await enter("/v1/officers", body)
    for code, name, basis in (
        (GRANTED, "占道设摊", "浙江省城市市容和环境卫生管理条例第十六条"),
        (WITHHELD, "大型户外广告", "浙江省城市市容和环境卫生管理条例第十八条第二款"),
    ):
        await enter("/v1/powers", {"code": code, "name": name, "department": DEPARTMENT, "basis": basis})
    grant = {
        "power": GRANTED,
        "agency": TOWNSHIP,
        "mode": "conferred",
        "document": "浙政发〔2020〕1号",
        "effective_on": LONG_AGO.isoformat(),
    }
    await enter("/v1/grants", grant)
