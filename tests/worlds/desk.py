"""A `notify` of one test: its own store, both of its edges, and somebody who says what `cases` would say."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from libs.common import edge
from libs.common.change import Change, Fact, Fence, Head, Told
from libs.common.clock import SHANGHAI, Clock, Moment, Trace
from libs.common.contracts import cases as said
from libs.common.contracts.cases import AgencyKind
from libs.common.law import codes
from libs.common.log import envelope
from libs.common.log.seam import Partition, Record
from libs.common.loops.lease import Leased
from libs.common.outgoing.client import Outgoing
from libs.common.outgoing.targets import Policy
from libs.common.permit import Actor, Role
from libs.common.seal import Keyring
from libs.common.settings import Settings
from libs.common.store import migrate
from libs.common.store.postgres import PostgresEngine
from libs.common.store.schema import JournalEntry
from libs.common.store.sqlite import SqliteEngine, connected
from libs.common.store.store import Store
from libs.common.telemetry import Metrics
from libs.common.web import application, tokens
from libs.common.web.asked import Here
from services.notify import app as notify
from services.notify.channels.runs import Courier
from services.notify.clocks.runs import Runner
from services.notify.migrations import METADATA
from services.notify.routing.tables import Addressee

OFFICE = codes.with_check_digit("11330726002600001")
TOWNSHIP = codes.with_check_digit("11330726MB1234567")
DEPARTMENT = codes.with_check_digit("11330726002600002")
OTHER = codes.with_check_digit("11330726002600003")
COUNTY = codes.with_check_digit("11330726002600004")
STRANGER = codes.with_check_digit("11330726002600009")

NAMES = {
    OFFICE: "联席会议办公室",
    TOWNSHIP: "青山镇",
    DEPARTMENT: "县水利局",
    OTHER: "县林业局",
    COUNTY: "县政府",
}
_KINDS: Mapping[str, AgencyKind] = {TOWNSHIP: "township", COUNTY: "government"}
TOPIC = "liandong.cases.v1"

#: Where webhooks of tests may go.
NEARBY = Policy((ipaddress.ip_network("127.0.0.0/8"),), ports=frozenset(range(1, 65536)), plain=True)

_numbers = itertools.count(1)


def an_agency(code: str) -> said.AgencyRegistered:
    """That this agency is registered; the office coordinates."""
    return said.AgencyRegistered(
        agency=code,
        name=NAMES.get(code, "某机关"),
        kind=_KINDS.get(code, "department"),
        division="330726",
        coordinates=code == OFFICE,
    )


def an_offer(
    case: str = "c1", *, to: str = DEPARTMENT, sender: str = TOWNSHIP, urgency: str = "normal"
) -> said.TransferOffered:
    """That the township offers a case to the department."""
    return said.TransferOffered(
        case=case,
        transfer=f"{case}.t1",
        from_agency=sender,
        to_agency=to,
        power="330215000000",
        territory="330726101",
        stage="filed",
        urgency=urgency,  # type: ignore[arg-type]
    )


def an_addressee(code: str) -> Addressee:
    """An agency as the desk knows it once it is registered."""
    agency = an_agency(code)
    return Addressee(
        agency=code, name=NAMES.get(code, code), kind=agency.kind, coordinates=agency.coordinates
    )


class Hands(Clock):
    """A clock that a test sets, or puts forward."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.forward = timedelta()
        self._file_of_hands = file

    def now(self) -> datetime:
        return super().now() + self.forward

    def set(self, now: str) -> None:
        """It is that time in China now."""
        self._file_of_hands.write_text(datetime.fromisoformat(now).replace(tzinfo=SHANGHAI).isoformat())


@dataclass
class Speaker:
    """Says events as a service does: numbered and chained by stream, one record after the other."""

    clock: Clock = field(default_factory=Clock)
    heads: dict[str, Head] = field(default_factory=dict)
    offset: int = 0

    def say(self, event: Told, on: str, *, acted_on: str = "") -> Record:
        """The record of this event at the end of its stream."""
        kind, _, id_ = on.partition("/")
        head = self.heads.get(on, Head(kind, id_))
        at = Moment(self.clock.now(), Trace(f"request-{next(_numbers)}"))
        day = date.fromisoformat(acted_on) if acted_on else None
        change = Change().telling(event, on=head, by=Actor("zhang", TOWNSHIP), at=at, acted_on=day)
        self.heads[on] = change.end_of(head)
        return self.again(_outgoing(change.facts[0]))

    def again(self, record: Record) -> Record:
        """The same bytes once more, at the end of the topic."""
        self.offset += 1
        return Record(Partition(TOPIC, 0), self.offset - 1, record.key, record.value, record.headers)

    def agencies(self, *which: str) -> list[Record]:
        """The registrations of these agencies."""
        return [self.say(an_agency(code), f"agency/{code}") for code in which]


def _outgoing(fact: Fact) -> Record:
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
    return _record(entry, Partition(TOPIC, 0), 0)


def _record(entry: JournalEntry, partition: Partition, offset: int) -> Record:
    out = envelope.outgoing(entry)
    return Record(partition, offset, out.key.encode(), out.value, out.headers)


@dataclass
class Desk:
    """The service: what was said reaches it by `hears`, people by `client`."""

    store: Store
    clock: Hands
    app: application.App
    issuer: tokens.Issuer
    hearing: edge.Hears
    keyring: Keyring
    runner: Runner
    courier: Courier
    outgoing: Outgoing
    heard: int = 0  #: how far it has heard its own journal

    async def deliver(self) -> None:
        """Let the courier send until nothing more is due."""
        while await self.courier.once():
            await self.courier.settled()

    async def hears(self, *records: Record) -> edge.Report:
        """One batch through the event edge, as a consumer gives it."""
        claim = await self.store.claim("notify", TOPIC, 0)
        fence = Fence("notify", TOPIC, 0, claim.epoch, claim.next, claim.next + len(records), "")
        return await edge.consume(self.store, self.hearing, records, fence, self.clock)

    async def settles(self, kind: str = "") -> None:
        """It hears what it said itself, and what it says to that, until it has nothing more to say.

        Of streams of one `kind` alone, where that is named; the rest is not heard at all.
        """
        while True:
            async with self.store.reading() as read:
                said_ = [entry for entry in await read.all(JournalEntry) if entry.position > self.heard]
            if not said_:
                return
            own = Partition("liandong.notify.v1", 0)
            claim = await self.store.claim("notify", own.topic, own.number)
            heard = [entry for entry in said_ if kind in ("", entry.kind)]
            records = [_record(entry, own, claim.next + n) for n, entry in enumerate(heard)]
            fence = Fence(
                "notify", own.topic, own.number, claim.epoch, claim.next, claim.next + len(records), ""
            )
            await edge.consume(self.store, self.hearing, records, fence, self.clock)
            self.heard = said_[-1].position

    async def passes(self, now: str) -> None:
        """It is that time in China now, and clocks do what is due."""
        self.clock.set(now)
        while await self.runner.once():
            pass
        await self.settles()

    def client(self, agency: str, *roles: Role, person: str = "zhang") -> httpx.AsyncClient:
        """A caller with a token, by default a handler's."""
        token = self.issuer.issue(person, agency, roles or (Role.HANDLER,))
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://notify",
            headers={"authorization": f"Bearer {token}"},
        )

    async def inbox(self, agency: str, **query: Any) -> list[dict[str, Any]]:
        """What the agency's inbox shows."""
        async with self.client(agency) as caller:
            answer = await caller.get("/v1/inbox", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]  # type: ignore[no-any-return]

    async def facts(self, type_: str) -> list[dict[str, Any]]:
        """What the journal holds of this type, as data."""
        async with self.store.reading() as read:
            entries = await read.all(JournalEntry)
        return [envelope.structured(entry)["data"] for entry in entries if entry.type == type_]


def key() -> dict[str, str]:
    """A new Idempotency-Key as headers."""
    return {"idempotency-key": f"key-{next(_numbers)}"}


def _sqlite(file: Path) -> SqliteEngine:
    database = connected(file)
    METADATA.create_all(database)
    database.dispose()
    return SqliteEngine(file)


@asynccontextmanager
async def a_desk(
    directory: Path,
    *,
    fallback: str | None = None,
    known: Sequence[str] = (),
    postgres: str | None = None,
    **courier: Any,
) -> AsyncIterator[Desk]:
    """A desk that knows these agencies; its webhooks may reach this machine's loopback.

    It stands on SQLite, or on the empty database at the address `postgres`.
    """
    settings = Settings(data=directory, default_agency=fallback)
    if postgres:
        await migrate.upgrade(postgres, "notify")
    store = Store(PostgresEngine(postgres) if postgres else _sqlite(directory / "notify.db"))
    clock, keyring = Hands(directory / "clock"), Keyring.at(settings.key_directory)
    hearing = notify.hears(settings.default_agency)
    app = application.compose(
        "测试",
        settings=settings,
        verifier=tokens.verifier(settings),
        metrics=Metrics("notify"),
        jwks=keyring.jwks,
        checks={},
        routers=notify.ROUTERS,
    )
    app.state.here = Here(store, clock, settings, keyring)
    issuer = tokens.Issuer(keyring.tokens, settings.issuer, settings.audience)
    outgoing = Outgoing(NEARBY)
    carrier = Courier(store, clock, Leased(store, "courier", "desk"), outgoing, keyring.webhooks, **courier)
    app.state.outgoing, app.state.courier = outgoing, carrier
    runner = Runner(store, clock, Leased(store, "clocks", "desk"))
    desk = Desk(store, clock, app, issuer, hearing, keyring, runner, carrier, outgoing)
    try:
        if known:
            await desk.hears(*Speaker().agencies(*known))
        yield desk
    finally:
        await store.close()
