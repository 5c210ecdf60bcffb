"""A `sharing` of one test: its own store, both of its edges, and the rebuilder stepped by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from libs.common import edge
from libs.common.change import Change, Fence
from libs.common.clock import Clock
from libs.common.contracts import cases as said
from libs.common.contracts.event import CATALOGUE
from libs.common.contracts.notify import NoticeIssued, NoticeReceived
from libs.common.law import codes
from libs.common.log import envelope
from libs.common.log.seam import Record
from libs.common.loops.lease import Leased
from libs.common.permit import Role
from libs.common.seal import Keyring
from libs.common.settings import Settings
from libs.common.store import schema
from libs.common.store.postgres import PostgresEngine
from libs.common.store.seam import Engine
from libs.common.store.sqlite import SqliteEngine, connected
from libs.common.store.store import Store
from libs.common.telemetry import Metrics
from libs.common.web import application, tokens
from libs.common.web.asked import Here
from services.sharing import app as sharing
from services.sharing.board import tables as board_tables
from services.sharing.clocks import tables as clocks_tables
from services.sharing.feeds import tables as feeds_tables
from services.sharing.picture import reacts
from services.sharing.picture import tables as picture_tables
from services.sharing.picture.reacts import Rebuilder
from services.sharing.readers import tables as readers_tables
from services.sharing.readers.loads import Arrivals
from services.sharing.readers.reacts import Followers
from tests.engines.postgres import Postgres
from tests.worlds.desk import Speaker

OFFICE = codes.with_check_digit("11330799002600001")
TOWNSHIP = codes.with_check_digit("11330799MB1234567")
DEPARTMENT = codes.with_check_digit("11330799002600002")
OTHER = codes.with_check_digit("11330799002600003")
STRANGER = codes.with_check_digit("11330799002600009")
DIVISION = "330799101"

METADATA = schema.service_metadata(
    *feeds_tables.ROWS,
    *clocks_tables.ROWS,
    *readers_tables.ROWS,
    *picture_tables.ROWS,
    *board_tables.ROWS,
)
POWER = "330215000000"
DIGEST = "ab" * 32


def an_agency(code: str) -> said.AgencyRegistered:
    """That this agency is registered; the office coordinates."""
    names = {OFFICE: "联席会议办公室", TOWNSHIP: "青山镇", DEPARTMENT: "县水利局", OTHER: "县林业局"}
    return said.AgencyRegistered(
        agency=code,
        name=names.get(code, "某机关"),
        kind="township" if code == TOWNSHIP else "government" if code == OFFICE else "department",
        division=DIVISION if code == TOWNSHIP else "330799",
        coordinates=code == OFFICE,
    )


@dataclass
class CaseTold:
    """What `cases` says of one case, event by event, and `notify` of its notices."""

    speaker: Speaker
    id: str = "c1"
    holder: str = TOWNSHIP
    transfers: int = 0
    notices: int = 0
    requests: int = 0
    disputes: int = 0
    sides: tuple[str, str] = (TOWNSHIP, DEPARTMENT)  #: of the county's agencies, who offers and who declines

    @property
    def stream(self) -> str:
        return f"case/{self.id}"

    def clue(self) -> Record:
        return self._say(
            said.ClueRegistered(
                case=self.id,
                holder=self.holder,
                power=POWER,
                territory=DIVISION,
                clue_source="inspection",
                urgency="normal",
            )
        )

    def filed(self) -> Record:
        return self._say(
            said.CaseFiled(
                case=self.id,
                case_no=f"青立〔2026〕{self.id}号",
                holder=self.holder,
                in_name_of=self.holder,
                power=POWER,
                territory=DIVISION,
                filed_on=self.speaker.clock.now().date(),
            )
        )

    def rejected(self) -> Record:
        return self._say(said.ClueRejected(case=self.id, holder=self.holder, basis="行政处罚法第五十四条"))

    def investigated(self) -> Record:
        return self._say(said.InvestigationOpened(case=self.id, holder=self.holder))

    def decided(self) -> Record:
        on = self.speaker.clock.now().date()
        return self._say(
            said.DecisionMade(
                case=self.id, holder=self.holder, decision_no="决1", decision="penalty", decided_on=on
            )
        )

    def closed(self) -> Record:
        on = self.speaker.clock.now().date()
        return self._say(said.CaseClosed(case=self.id, holder=self.holder, closed_on=on))

    def offered(self, to: str) -> Record:
        self.transfers += 1
        return self._say(
            said.TransferOffered(
                **self._parts(to),
                power=POWER,
                territory=DIVISION,
                stage="filed",
                urgency="normal",
            )
        )

    def accepted(self, by: str) -> Record:
        record = self._say(said.TransferAccepted(**self._parts(by)))
        self.holder = by
        return record

    def returned(self, by: str) -> Record:
        return self._say(
            said.TransferReturned(
                **self._parts(by),
                reason="not_competent",
                basis="行政处罚法第二十五条",
                proposed_agency=OTHER,
            )
        )

    def withdrawn(self, to: str) -> Record:
        return self._say(said.TransferWithdrawn(**self._parts(to)))

    def disputed(self, by: str) -> Record:
        """That it is disputed with the one who declined it."""
        self.disputes += 1
        return self._say(
            said.DisputeOpened(
                **self._dispute(by),
                transfer=f"{self.id}.t{self.transfers}",
                holder=self.holder,
                opened_by="",
                power=POWER,
                territory=DIVISION,
                stage="filed",
                returns=2,
                urgency="normal",
            )
        )

    def led(self, by: str, *, against: str) -> Record:
        record = self._say(
            said.DisputeLeadNamed(**self._dispute(against), former_holder=self.holder, lead=by)
        )
        self.holder = by
        return record

    def ruled(self, to: str, *, against: str) -> Record:
        record = self._say(
            said.DisputeRuled(
                **self._dispute(against),
                former_holder=self.holder,
                competent_agency=to,
                opinion_no="协意〔2026〕1号",
                basis="行政处罚法第二十三条",
            )
        )
        self.holder = to
        return record

    def settled(self, to: str, *, against: str) -> Record:
        record = self._say(
            said.DisputeSettled(**self._dispute(against), former_holder=self.holder, competent_agency=to)
        )
        self.holder = to
        return record

    def requested(self, of: str) -> Record:
        self.requests += 1
        return self._say(
            said.AssistanceRequested(
                **self._request(of),
                letter_no="青协函〔2026〕1号",
                form="papers",
                kinds=("documents",),
                items=1,
                power="",
                urgency="normal",
                due=None,
            )
        )

    def extended(self, by: str) -> Record:
        until = self.speaker.clock.now().date()
        return self._say(said.AssistanceExtended(**self._request(by), until=until))

    def replied(self, by: str) -> Record:
        return self._say(said.AssistanceReplied(**self._request(by), provided=1, lacking=0))

    def noticed(self, agency: str, seq: int) -> Record:
        """That the agency has a notice of the case's event with this number."""
        self.notices += 1
        return self.speaker.say(
            NoticeIssued(
                notice=f"{self.id}n{self.notices}",
                agency=agency,
                event=f"{self.stream}/{seq}",
                about=self.stream,
                severity="action",
                sign=True,
                notice_digest=DIGEST,
            ),
            f"notice/{self.id}n{self.notices}",
        )

    def signed(self, agency: str, seq: int) -> Record:
        """That the agency signed for the newest notice."""
        return self.speaker.say(
            NoticeReceived(
                notice=f"{self.id}n{self.notices}",
                receipt=f"r-{self.id}-{self.notices}",
                agency=agency,
                event=f"{self.stream}/{seq}",
                about=self.stream,
                event_chain=DIGEST,
                notice_digest=DIGEST,
                signed_at="2026-03-03T01:30:00.000000+00:00",
                key="k",
                signature="s",
            ),
            f"notice/{self.id}n{self.notices}",
        )

    def _say(self, event: Any) -> Record:
        return self.speaker.say(event, self.stream)

    def _dispute(self, declined: str) -> dict[str, Any]:
        return {
            "case": self.id,
            "dispute": f"{self.id}.d{self.disputes}",
            "parties": (self.sides[0], declined),
            "coordinator": OFFICE,
        }

    def _request(self, of: str) -> dict[str, str]:
        return {
            "case": self.id,
            "assistance": f"{self.id}.a{self.requests}",
            "holder": self.holder,
            "requested_agency": of,
        }

    def _parts(self, to: str) -> dict[str, str]:
        return {
            "case": self.id,
            "transfer": f"{self.id}.t{self.transfers}",
            "from_agency": self.holder,
            "to_agency": to,
        }


@dataclass
class Room:
    """The service: what was said reaches it by `hears`, people by `client`."""

    store: Store
    app: application.App
    issuer: tokens.Issuer
    hearing: edge.Hears
    rebuilder: Rebuilder
    arrivals: Arrivals
    followers: Followers
    metrics: Metrics
    clock: Clock = field(default_factory=Clock)

    async def hears(self, *records: Record, partition: int = 0, elsewhere: bool = False) -> edge.Report:
        """One batch through the event edge, as a partition's consumer gives it; `elsewhere` none is told."""
        topic = self.hearing.topics[0]
        claim = await self.store.claim("sharing", topic, partition)
        then = claim.next + len(records)
        fence = Fence("sharing", topic, partition, claim.epoch, claim.next, then, "")
        report = await edge.consume(self.store, self.hearing, records, fence, self.clock)
        if not elsewhere:
            self.arrivals.tell()
        return report

    async def decided(self, record: Record) -> Change:
        """What the event edge would commit of this event now."""
        heard = envelope.read(record)
        reaction, event = self.hearing.reaction(heard)
        assert reaction is not None
        async with self.store.reading() as read:
            streams = [heard.gate, *reaction.streams(event, heard)]
            known = await read.known(streams, reaction.wants(event, heard))
        return edge.fold(known, self.hearing, [heard], self.clock, {})[0]

    def client(self, agency: str, *roles: Role) -> httpx.AsyncClient:
        """A caller with a token, by default a handler's."""
        token = self.issuer.issue("zhang", agency, roles or (Role.HANDLER,))
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="http://sharing",
            headers={"authorization": f"Bearer {token}"},
        )

    async def get(self, path: str, agency: str, *roles: Role, **query: Any) -> httpx.Response:
        async with self.client(agency, *roles) as caller:
            return await caller.get(path, params=query)

    async def feed(self, agency: str, *roles: Role, feed: str = "all", **query: Any) -> list[dict[str, Any]]:
        """What the agency reads in one go."""
        answer = await self.get(f"/v1/feeds/{feed}", agency, *roles, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def rows(self, entry: type[schema.Entry]) -> list[dict[str, Any]]:
        """A table, as values in the order of its keys."""
        async with self.store.reading() as read:
            found = await read.all(entry)
        keyed = {tuple(row.columns[name] for name in entry.KEY): row.columns for row in found}
        return [keyed[key] for key in sorted(keyed)]


def following(room: Room, feed: str = "all") -> float:
    """How many read this feed now, as operators see it."""
    labels = {"service": "sharing", "feed": feed}
    return room.metrics.registry.get_sample_value("liandong_feed_readers", labels) or 0.0


def coming(events: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader sees, in short: the first id of each event, a dash for what is withheld."""
    return [event.get("originid", "-") for event in events]


@asynccontextmanager
async def on_file(directory: Path, **settings: Any) -> AsyncIterator[Room]:
    """A room on SQLite."""
    file = directory / "sharing.db"
    database = connected(file)
    METADATA.create_all(database)
    database.dispose()
    async with _a_room(lambda: SqliteEngine(file), directory, settings) as room:
        yield room


def on_engine(request: pytest.FixtureRequest, directory: Path) -> AbstractAsyncContextManager[Room]:
    """A room on the engine that the fixture's parameter names."""
    if request.param == "sqlite":
        return on_file(directory)
    postgres: Postgres = request.getfixturevalue("postgres")
    return on_server(postgres.database("reading_room"), directory)


@asynccontextmanager
async def on_server(url: str, directory: Path, **settings: Any) -> AsyncIterator[Room]:
    """A room on PostgreSQL, in an empty database."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
    await engine.dispose()
    async with _a_room(lambda: PostgresEngine(url), directory, settings) as room:
        yield room


@asynccontextmanager
async def _a_room(
    engine: Callable[[], Engine], directory: Path, given: dict[str, Any]
) -> AsyncIterator[Room]:
    settings = Settings(data=directory, poll_seconds=0.05, **given)
    metrics = Metrics("sharing")
    store, clock, keyring = Store(engine()), Clock(), Keyring.at(settings.key_directory)
    hearing = edge.Hears(
        group="sharing",
        topics=("liandong.cases.v1", "liandong.notify.v1", "liandong.sharing.v1"),
        reactions=reacts.reactions(),
        otherwise=reacts.otherwise(),
        catalogue=CATALOGUE,
    )
    rebuilder = Rebuilder(store, clock, Leased(store, "rebuild", "test"))
    arrivals = Arrivals(store, every=settings.poll_seconds, reading=metrics.reading)
    app = application.compose(
        "测试",
        settings=settings,
        verifier=tokens.verifier(settings),
        metrics=metrics,
        jwks=keyring.jwks,
        checks={},
        routers=sharing.ROUTERS,
    )
    app.state.here = Here(store, clock, settings, keyring)
    followers = Followers(store, clock)
    app.state.arrivals, app.state.following = arrivals, followers.following
    app.state.wake_rebuild = rebuilder.wake
    issuer = tokens.Issuer(keyring.tokens, settings.issuer, settings.audience)
    room = Room(store, app, issuer, hearing, rebuilder, arrivals, followers, metrics, clock)
    try:
        yield room
    finally:
        await store.close()


async def until(holds: Callable[[], bool], *, patience: float = 5.0) -> None:
    """Look again and again until it holds, at most `patience` seconds."""
    async with asyncio.timeout(patience):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)
