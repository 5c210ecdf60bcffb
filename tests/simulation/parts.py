"""What the processes of a run are made of: the product, and what is simulated beneath it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlmodel import col, select

from libs.common import clock, edge
from libs.common.change import Change
from libs.common.contracts.event import CATALOGUE, Event
from libs.common.log import envelope, seam
from libs.common.log.envelope import Heard
from libs.common.loops.consumer import Consumer
from libs.common.loops.relay import Relay
from libs.common.seal import Keyring, Seal
from libs.common.settings import Settings
from libs.common.store import schema
from libs.common.store import seam as stores
from libs.common.store.reading import Known
from libs.common.store.schema import JournalEntry, JournalRow
from libs.common.store.store import Store
from services.sharing.feeds import reacts, tables
from services.sharing.feeds.tables import Member
from tests.simulation import story
from tests.simulation.broker import Broker, Log
from tests.simulation.database import Database
from tests.simulation.engine import Engine
from tests.simulation.loop import Loop
from tests.simulation.network import Network
from tests.simulation.processes import Process

TOPIC = "liandong.cases.v1"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the processes are made of: the product, or a peer of it with a planted bug."""

    store: Callable[[stores.Engine], Store] = Store
    relay: Callable[..., Relay] = Relay
    consumer: Callable[..., Consumer] = Consumer
    engine: Callable[[Process, Network, Database], stores.Engine] = Engine
    log: Callable[[Process, Broker], seam.Log] = Log


class Databases:
    """The two databases, made once and used by every run."""

    def __init__(self) -> None:
        self.source = Database(schema.service_metadata())
        self.sharing = Database(schema.service_metadata(*tables.ROWS))
        members = [_member(story.OFFICE, coordinates=True), _member(story.DEPARTMENT, coordinates=False)]
        self.sharing.commit(Change().putting(*members))
        #: A process needs settings and keys, and these routes read neither.
        self.settings = Settings(data=Path("nowhere"))
        seal = Seal(Ed25519PrivateKey.generate())
        self.keyring = Keyring(seal, tokens=seal, webhooks=seal, jwks={})

    def close(self) -> None:
        self.source.close()
        self.sharing.close()


def _member(agency: str, *, coordinates: bool) -> Member:
    return Member(agency=agency, name="机关", kind="department", division="330799", coordinates=coordinates)


class Clock(clock.Clock):
    """The day goes on with simulated time."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self._loop = loop

    def now(self) -> datetime:
        return story.BEGINNING + timedelta(seconds=self._loop.time())


class Journals:
    """The journals of the other services, as one process reaches them."""

    def __init__(self, process: Process, network: Network, source: Database) -> None:
        self._process = process
        self._network = network
        self._source = source

    async def after(self, source: str, stream: str, seq: int) -> Sequence[Heard]:
        kind, _, id_ = stream.partition("/")
        statement = select(JournalRow).where(
            col(JournalRow.kind) == kind, col(JournalRow.id) == id_, col(JournalRow.seq) > seq
        )
        rows = await self._network.ask(self._process, lambda: self._source.rows(statement))
        entries = [JournalEntry.stored(row) for row in rows]
        return [envelope.read_structured(envelope.structured(entry)) for entry in entries]


def hears(*, is_spoilt: bool) -> edge.Hears:
    """What `sharing` hears, without the picture; where it is spoilt, one event meets a bug."""

    def react(known: Known, event: Event | None, heard: Heard, at: clock.Moment) -> Change:
        if is_spoilt and heard.id == story.SPOILT:
            raise ZeroDivisionError
        return reacts.on_event(known, event, heard, at)

    reaction = edge.Reaction(react, wants=reacts.wants, streams=reacts.streams)
    return edge.Hears(
        group="sharing",
        topics=(TOPIC,),
        reactions=dict.fromkeys(CATALOGUE, reaction),
        otherwise=reaction,
        catalogue=CATALOGUE,
    )
