"""The load: officials of a small county at work, each request in the ledger, each outcome resolved.

All that is chosen is chosen from the seed. What is asked is mostly lawful; some of it is not, and must be
refused whatever breaks meanwhile. Whoever gets no answer, or 503, asks again under the same Idempotency-Key
until the answer is known.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx

from libs.common import clock
from libs.common.law import codes
from libs.common.permit import Role
from libs.common.seal import Keyring
from libs.common.settings import Name
from libs.common.web import tokens
from tests.faults.fleet import Fleet
from tests.faults.ledger import Ledger
from tests.worlds import cast

#: A second township with a grant, and its place.
NEIGHBOUR = codes.with_check_digit("11339901000000005")
NEAR = "339901103"
#: Who receives clues, and where; the last holds no power and can only hand them over.
RECEIVERS = ((cast.TOWNSHIP, cast.PLACE), (NEIGHBOUR, NEAR), (cast.WITHOUT, "339901102"))
SIGNERS = (cast.TOWNSHIP, NEIGHBOUR, cast.WITHOUT, cast.DEPARTMENT, cast.OFFICE)

#: Cases that are in hand at the same time.
HANDS = 12
#: Seconds after which a caller no longer waits for an answer.
ANSWER = 4.0
#: Notices that somebody waits for before they sign, and that they sign for at once.
WORTH_SIGNING = (20, 80)
#: Of what is asked for, how much is not lawful.
LAWLESS = 0.1
#: Of requests that were done, how many are asked for again under the same key.
REPEATED = 0.03
#: Seconds of a token: longer than any run.
TOKEN_SECONDS = 12 * 60 * 60


@dataclass(frozen=True, slots=True)
class Answer:
    """A known outcome."""

    is_ok: bool
    status: int
    body: Any
    etag: str


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody asks to have done."""

    verb: str
    agency: str
    path: str
    body: Mapping[str, Any]
    service: Name = "cases"
    seen: str = ""  #: the version that was read, for If-Match


class Callers:
    """Speaks to whichever process of a service, as somebody of an agency."""

    def __init__(self, fleet: Fleet, ledger: Ledger, seed: str, rate: float) -> None:
        """`rate`: requests a second that are sent at most, repetitions not counted."""
        keys = Keyring.at(fleet.settings.key_directory)
        self._issuer = tokens.Issuer(keys.tokens, fleet.settings.issuer, fleet.settings.audience)
        self._tokens: dict[tuple[str, Role], str] = {}
        self._addresses = fleet.addresses
        self._ledger = ledger
        self._choice = Random(f"{seed} callers")
        self._rate = rate
        self._share = 1.0
        self._next = 0.0
        self._keys = 0
        #: When the last request of each service was done.
        self.done_at: dict[Name, float] = {}
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=40)
        self._client = httpx.AsyncClient(timeout=ANSWER, trust_env=False, limits=limits)

    async def close(self) -> None:
        await self._client.aclose()

    def token(self, agency: str, role: Role) -> str:
        if (agency, role) not in self._tokens:
            issued = self._issuer.issue("p1", agency, [role], TOKEN_SECONDS)
            self._tokens[agency, role] = issued
        return self._tokens[agency, role]

    async def read(
        self,
        service: Name,
        agency: str,
        path: str,
        role: Role = Role.HANDLER,
        *,
        process: int | None = None,
        **params: Any,
    ) -> Any:
        """The answer to a read, None where there is none now."""
        urls = self._addresses[service]
        url = urls[process % len(urls)] if process is not None else self._choice.choice(urls)
        headers = {"authorization": f"Bearer {self.token(agency, role)}"}
        try:
            answer = await self._client.get(url + path, params=params, headers=headers)
        except httpx.TransportError:
            return None
        if answer.status_code >= 500 and answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            await self._ledger.write("bug", f"read {path}", status=answer.status_code, said=answer.text)
        if answer.status_code != httpx.codes.OK:
            return None
        found = answer.json()
        return found | {"etag": answer.headers["etag"]} if "etag" in answer.headers else found

    async def do(self, act: Act, role: Role = Role.HANDLER) -> Answer:
        """Have it done or refused, however often it must be asked for."""
        await self._own_turn()
        self._keys += 1
        key = f"r{self._keys}"
        body = json.dumps(act.body, ensure_ascii=False).encode()
        await self._ledger.write(
            "invoke",
            key,
            service=act.service,
            agency=act.agency,
            verb=act.verb,
            path=act.path,
            sha256=hashlib.sha256(body).hexdigest(),
        )
        headers = {
            "authorization": f"Bearer {self.token(act.agency, role)}",
            "content-type": "application/json",
            "idempotency-key": key,
        }
        if act.seen:
            headers["if-match"] = act.seen
        answer, tries = await self._resolved(act, key, body, headers)
        if answer.is_ok and (tries > 1 or self._choice.random() < REPEATED):
            await self._once_more(act, key, body, headers)
        return answer

    def ease(self, share: float) -> None:
        """Ask for this share of what the rate allows, from now on."""
        self._share = share

    async def _own_turn(self) -> None:
        now = clock.monotonic()
        at = max(self._next, now)
        self._next = at + 1 / (self._rate * self._share)
        await asyncio.sleep(at - now)

    async def _resolved(
        self, act: Act, key: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[Answer, int]:
        tries = 0
        while True:
            tries += 1
            got = await self._send(act, key, body, headers)
            if got is not None and not got.is_server_error:
                return await self._known(act, key, got), tries
            await asyncio.sleep(min(0.1 * 2**tries, 1.0))

    async def _send(
        self, act: Act, key: str, body: bytes, headers: Mapping[str, str]
    ) -> httpx.Response | None:
        url = self._choice.choice(self._addresses[act.service]) + act.path
        try:
            got = await self._client.post(url, content=body, headers=headers)
        except httpx.TransportError as why:
            await self._ledger.write("unknown", key, why=type(why).__name__, at_url=url)
            return None
        if got.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            await self._ledger.write("unknown", key, why="503", at_url=url)
        elif got.is_server_error:
            await self._ledger.write("bug", key, status=got.status_code, said=got.text, at_url=url)
        return got

    async def _known(self, act: Act, key: str, got: httpx.Response) -> Answer:
        body = got.json()
        etag = got.headers.get("etag", "")
        if got.is_success:
            self.done_at[act.service] = clock.monotonic()
            await self._ledger.write(
                "ok",
                key,
                status=got.status_code,
                sha256=hashlib.sha256(got.content).hexdigest(),
                told=_essentials(body, etag),
            )
        else:
            code = str(body.get("type", "")).rpartition(":")[2]
            await self._ledger.write("refused", key, status=got.status_code, code=code)
        return Answer(got.is_success, got.status_code, body, etag)

    async def _once_more(self, act: Act, key: str, body: bytes, headers: Mapping[str, str]) -> None:
        """The same key again; an answer that does not come says nothing against the first."""
        got = await self._send(act, key, body, headers)
        if got is not None and not got.is_server_error:
            digest = hashlib.sha256(got.content).hexdigest()
            await self._ledger.write("again", key, status=got.status_code, sha256=digest)


def _essentials(body: Mapping[str, Any], etag: str) -> dict[str, Any]:
    """Of an answer, what must be found again."""
    told = {name: body[name] for name in ("id", "case", "stage", "holder", "state") if body.get(name)}
    signed = body.get("data") or ([body] if "receipt" in body else [])
    if signed:
        told["receipts"] = [
            {name: one["receipt"][name] for name in ("receipt", "notice", "event")} for one in signed
        ]
    if etag:
        told["version"] = int(etag.strip('"'))
    return told


async def register(fleet: Fleet, callers: Callers) -> None:
    """The county of `tests.worlds.cast`, and a second township with a grant."""
    keys = iter(range(1, 1000))

    async def with_key(request: httpx.Request) -> None:
        request.headers.setdefault("idempotency-key", f"register-{next(keys)}")

    async with httpx.AsyncClient(
        base_url=fleet.addresses["cases"][0],
        headers={"authorization": f"Bearer {callers.token(cast.OFFICE, Role.REGISTRAR)}"},
        event_hooks={"request": [with_key]},
        timeout=30.0,
        trust_env=False,
    ) as registrar:
        await cast.fill(registrar)
        near = {"id": NEIGHBOUR, "name": "白鹭镇", "kind": "township", "division": NEAR, "coordinates": False}
        await cast.post(registrar, "/v1/agencies", near)
        for n in (1, 2):
            await cast.post(registrar, "/v1/officers", cast.an_officer(NEIGHBOUR, n))
        grant = {
            "power": cast.POWER,
            "agency": NEIGHBOUR,
            "mode": "delegated",
            "document": "青政发〔2020〕2号",
            "effective_on": "2020-01-01",
        }
        await cast.post(registrar, "/v1/grants", grant)


@dataclass
class Load:
    """Cases from their clue on, and agencies that sign for what they are told, until told to end."""

    callers: Callers
    seed: str
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    _begun: int = 0
    #: Cases in hand, for those who watch.
    cases: list[str] = field(default_factory=list)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(HANDS):
                group.create_task(self._cases())
            for agency in SIGNERS:
                group.create_task(self._signing(agency))

    def end(self) -> None:
        """Nothing new is begun; what was asked for is still resolved."""
        self._ended.set()

    async def _cases(self) -> None:
        while not self._ended.is_set():
            self._begun += 1
            await Story(self, Random(f"{self.seed} case {self._begun}")).tell()

    async def _signing(self, agency: str) -> None:
        choice = Random(f"{self.seed} {agency}")
        while not self._ended.is_set():
            page = await self.callers.read(
                "notify", agency, "/v1/inbox", state="unread", limit=WORTH_SIGNING[1]
            )
            ids = [notice["id"] for notice in page["data"]] if page else []
            if len(ids) < WORTH_SIGNING[0]:
                await asyncio.sleep(1.0)
                continue
            await self._sign(agency, ids, choice)

    async def _sign(self, agency: str, ids: Sequence[str], choice: Random) -> None:
        one, *rest = ids
        path = f"/v1/notices/{one}/receipt"
        await self.callers.do(Act("receive", agency, path, {}, service="notify"))
        await self.callers.do(
            Act("receive-all", agency, "/v1/inbox/receipts", {"notices": rest}, service="notify")
        )
        if choice.random() < 0.3:
            await self.callers.do(Act("receive-again", agency, path, {}, service="notify"))

    def is_over(self) -> bool:
        return self._ended.is_set()


@dataclass(slots=True)
class Story:
    """One case, from its clue to wherever the seed leads it."""

    load: Load
    choice: Random
    holder: str = ""
    place: str = ""
    case: str = ""
    seen: str = ""

    async def tell(self) -> None:
        self.holder, self.place = self.choice.choice(RECEIVERS)
        if self._lawless():
            await self._do("clue-of-no-power", "/v1/clues", self._clue(power="339999999000"))
        clue = await self._do("clue", "/v1/clues", self._clue())
        if not clue.is_ok:
            return
        self.case, self.seen = clue.body["id"], clue.etag
        self.load.cases.append(self.case)
        del self.load.cases[:-50]
        for step in (self._filing, self._offers, self._investigating):
            if self.load.is_over():
                return
            await step()

    def _lawless(self) -> bool:
        return self.choice.random() < LAWLESS

    def _clue(self, **changes: str) -> dict[str, Any]:
        return cast.a_clue(territory=self.place, **changes)

    async def _do(self, verb: str, path: str, body: Mapping[str, Any], agency: str = "") -> Answer:
        seen = self.seen if self.case else ""
        return await self.load.callers.do(Act(verb, agency or self.holder, path, body, seen=seen))

    async def _move(self, verb: str, body: Mapping[str, Any], agency: str = "") -> Answer:
        answer = await self._do(verb, f"/v1/cases/{self.case}/transitions", body, agency)
        self.seen = answer.etag if answer.is_ok else self.seen
        return answer

    async def _filing(self) -> None:
        filing = cast.a_filing(self.holder)
        if self.holder == cast.WITHOUT:
            await self._move("file-beyond-power", filing)
            return
        if self._lawless():
            await self._move("file-with-one-officer", filing | {"officers": cast.officers(self.holder)[:1]})
        if self.choice.random() < 0.7:
            await self._move("file", filing)

    async def _offers(self) -> None:
        for _ in range(self.choice.randint(1, 3)):
            offer = cast.an_offer(officers=cast.officers(self.holder))
            offered = await self._do("offer", f"/v1/cases/{self.case}/transfers", offer)
            if not offered.is_ok:
                return
            self.seen = offered.etag
            answer = self.choice.choice((self._accepted, self._returned, self._withdrawn, self._raced))
            await answer(offered.body["id"])
            if self.holder == cast.DEPARTMENT or self.load.is_over():
                return

    async def _answer(
        self, verb: str, transfer: str, what: str, body: Mapping[str, Any], agency: str
    ) -> bool:
        path = f"/v1/transfers/{transfer}/{what}"
        answer = await self.load.callers.do(Act(verb, agency, path, body))
        self.seen = answer.etag if answer.is_ok else self.seen
        return answer.is_ok

    async def _accepted(self, transfer: str) -> None:
        sender = self.holder
        if await self._answer("accept", transfer, "acceptance", {}, cast.DEPARTMENT):
            self.holder = cast.DEPARTMENT
        if self._lawless():
            await self._answer("withdraw-too-late", transfer, "withdrawal", {}, sender)
        if self._lawless():
            await self._move("act-without-holding", cast.a_filing(sender), sender)

    async def _returned(self, transfer: str) -> None:
        back = {
            "reason": "package_incomplete",
            "basis": "行政处罚法第二十二条",
            "proposed_agency": self.holder,
        }
        if self._lawless():
            groundless = back | {"basis": "没有依据"}
            await self._answer("return-groundless", transfer, "return", groundless, cast.DEPARTMENT)
        await self._answer("return", transfer, "return", back, cast.DEPARTMENT)

    async def _withdrawn(self, transfer: str) -> None:
        await self._answer("withdraw", transfer, "withdrawal", {}, self.holder)
        if self._lawless():
            await self._answer("accept-too-late", transfer, "acceptance", {}, cast.DEPARTMENT)

    async def _raced(self, transfer: str) -> None:
        """Both at once; one of them is too late."""
        accepted, _ = await asyncio.gather(
            self._answer("accept", transfer, "acceptance", {}, cast.DEPARTMENT),
            self._answer("withdraw", transfer, "withdrawal", {}, self.holder),
        )
        if accepted:
            self.holder = cast.DEPARTMENT

    async def _investigating(self) -> None:
        if self.holder != cast.DEPARTMENT:
            return
        await self._move("file", cast.a_filing(self.holder))
        await self._move("investigate", {"move": "investigate", "officers": cast.officers(self.holder)})
