"""What is known when the run is over and all is quiet: gathered once, judged by `checks`."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from libs.common import clock, proof
from libs.common.permit import Role
from libs.common.settings import Name
from tests.faults import watching
from tests.faults.books import Away, Books, Row
from tests.faults.fleet import Fleet
from tests.faults.ledger import Request
from tests.faults.load import Act, Callers
from tests.faults.watching import Entry, Follower, Holders, Sighting
from tests.worlds import cast
from tools import verify
from tools.demo.engine import NAMES

#: Who hears whom.
HEARS: Mapping[Name, tuple[Name, ...]] = {
    "cases": ("notify",),
    "notify": ("cases", "sharing"),
    "sharing": ("cases", "notify", "sharing"),
}
#: How old the oldest fact may be that somebody has not heard, for the lag to count as caught up.
CAUGHT_UP = timedelta(seconds=1)
#: Seconds that all has to become quiet, once nothing breaks and nobody asks any more.
QUIET = 120.0
#: Proofs and receipts that are verified.
PAPERS = 30

#: What must be empty when all is quiet, per service.
_LEFT = {
    "unpublished facts": "SELECT count(*) AS n FROM journal WHERE published_at IS NULL",
    "held events": "SELECT count(*) AS n FROM held_events",
    "parked keys": "SELECT count(*) AS n FROM parked_keys",
    "parked records": "SELECT count(*) AS n FROM parked_records",
}
#: What no line of the services' logs may say they did.
_FAILED = ("loop_failed", "reaction_failed", '"level":"CRITICAL"', "Traceback", "http.bug")
#: But for the alarm over a lost tail, and a question to Kafka that was cut while nobody waited for its answer
#: any more, which aiokafka leaves behind as a future that nobody retrieved.
_EXPECTED = ("consumer_stopped", "aiokafka/conn.py")


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact of a journal."""

    source: Name
    stream: str
    seq: int
    type: str
    data: Mapping[str, Any]
    digest: str
    #: Whether its digest follows from the one before it.
    follows: bool = True

    @property
    def id(self) -> str:
        return f"{self.stream}/{self.seq}"


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice, with the receipt that ended it."""

    id: str
    agency: str
    event: str
    receipt: str = ""
    #: It says that somebody could not be told yet, and is not the telling.
    is_alarm: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """An event's place in the log of `sharing`."""

    position: int
    source: str
    stream: str
    seq: int


@dataclass(slots=True)
class World:
    """All that the checks look at."""

    requests: Mapping[str, Request] = field(default_factory=dict)
    facts: Sequence[Fact] = ()
    #: Newest (seq, digest) of each stream, as its own service has it: by (source, stream).
    heads: Mapping[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    #: The same as each consumer has heard it: by (consumer, source, stream).
    gates: Mapping[tuple[str, str, str], tuple[int, str]] = field(default_factory=dict)
    #: Idempotency-Keys under which an answer is stored.
    answered: frozenset[str] = frozenset()
    holders: Mapping[str, str] = field(default_factory=dict)
    notices: Sequence[Notice] = ()
    #: Receipts that `cases` keeps with its cases.
    signatures: frozenset[str] = frozenset()
    log: Sequence[Place] = ()
    left: Mapping[str, int] = field(default_factory=dict)
    looks: int = 0
    strange: Sequence[str] = ()
    sightings: frozenset[Sighting] = frozenset()
    #: What each reader got by following, and what the same reader gets from the beginning.
    followed: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    fresh: Mapping[str, Sequence[Entry]] = field(default_factory=dict)
    #: What an offline verifier found, by the name of the paper.
    papers: Mapping[str, verify.Report] = field(default_factory=dict)
    #: The joint picture before and after a rebuild.
    pictures: tuple[bytes, bytes] = (b"", b"")
    #: Lines in which a service says that something failed which must not.
    complaints: Sequence[str] = ()


class Lag:
    """How far the services have heard of what was written since a moment."""

    def __init__(self, books: Books, since: Mapping[Name, int]) -> None:
        self._books = books
        self._since = since
        self._clock = clock.Clock()

    @classmethod
    async def begin(cls, books: Books) -> Lag:
        """Count from now on."""
        newest = "SELECT coalesce(max(position), 0) AS n FROM journal"
        return cls(books, {name: (await books.rows(name, newest))[0]["n"] for name in NAMES})

    async def behind(self) -> list[str]:
        """Streams of which something older than a second is unheard. Raises Away."""
        before = self._clock.now() - CAUGHT_UP
        written = {name: await self._written(name, before) for name in NAMES}
        return [
            f"{consumer} of {source}:{stream}"
            for consumer, sources in HEARS.items()
            for source in sources
            for stream in await self._unheard(consumer, source, written[source])
        ]

    async def _written(self, source: Name, before: Any) -> dict[str, int]:
        statement = (
            "SELECT kind, id, max(seq) AS seq FROM journal WHERE position > $1 AND recorded_at < $2"
            " GROUP BY kind, id"
        )
        rows = await self._books.rows(source, statement, self._since[source], before)
        return {f"{row['kind']}/{row['id']}": row["seq"] for row in rows}

    async def _unheard(self, consumer: Name, source: Name, written: Mapping[str, int]) -> list[str]:
        if not written:
            return []
        ids = ", ".join(f"'{source}:{stream}'" for stream in written)
        rows = await self._books.rows(
            consumer, f"SELECT id, seq FROM heads WHERE kind = 'heard' AND id IN ({ids})"
        )
        heard = {row["id"].partition(":")[2]: row["seq"] for row in rows}
        return [stream for stream, seq in written.items() if heard.get(stream, 0) < seq]


async def until_quiet(books: Books) -> None:
    """Wait until everything was published and heard, or until it is plain that it will not be."""
    until = clock.monotonic() + QUIET
    while clock.monotonic() < until:
        try:
            if await _is_quiet(books):
                return
        except Away:
            pass
        await asyncio.sleep(0.5)


async def _is_quiet(books: Books) -> bool:
    said = {name: await _counted(books, name, "kind <> 'heard' AND seq > 0") for name in NAMES}
    for consumer, sources in HEARS.items():
        for source in sources:
            gates = f"kind = 'heard' AND id LIKE '{source}:%'"
            if await _counted(books, consumer, gates) != said[source]:
                return False
    return not any([await _left(books, name, _LEFT["unpublished facts"]) for name in NAMES])


async def _counted(books: Books, service: Name, which: str) -> int:
    """Facts of these heads, all together."""
    return await _left(books, service, f"SELECT coalesce(sum(seq), 0) AS n FROM heads WHERE {which}")


async def count_facts(books: Books) -> int:
    """Facts in all three journals."""
    counts = [(await books.rows(name, "SELECT count(*) AS n FROM journal"))[0]["n"] for name in NAMES]
    return sum(counts)


async def gather(
    fleet: Fleet,
    callers: Callers,
    requests: Mapping[str, Request],
    holders: Holders,
    followers: Mapping[str, Follower],
    seed: str,
) -> World:
    """Read everything there is, when all is quiet."""
    books = fleet.books
    pictures = await _pictures(callers, books)
    await until_quiet(books)
    facts = [fact for name in NAMES for fact in await _facts(books, name)]
    notices = [
        Notice(row["id"], row["agency"], row["event"], row["receipt"], row["severity"] == "alarm")
        for row in await books.rows("notify", "SELECT id, agency, event, receipt, severity FROM notices")
    ]
    return World(
        requests=requests,
        facts=facts,
        heads=await _heads(books),
        gates=await _gates(books),
        answered=frozenset(
            [row["key"] for name in NAMES for row in await books.rows(name, "SELECT key FROM answers")]
        ),
        holders={
            row["id"]: row["holder"] for row in await books.rows("cases", "SELECT id, holder FROM cases")
        },
        notices=notices,
        signatures=frozenset(
            row["receipt"] for row in await books.rows("cases", "SELECT receipt FROM signatures")
        ),
        log=[
            Place(row["position"], row["source"].rpartition("/")[2], row["stream"], row["seq"])
            for row in await books.rows(
                "sharing", "SELECT position, source, stream, seq FROM entries ORDER BY position"
            )
        ],
        left={
            f"{what} in {name}": await _left(books, name, statement)
            for name in NAMES
            for what, statement in _LEFT.items()
        },
        looks=holders.looks,
        strange=holders.strange,
        sightings=frozenset(holders.seen),
        followed={name: await _caught_up(follower) for name, follower in followers.items()},
        fresh={
            name: await watching.whole(callers, follower.agency, follower.role)
            for name, follower in followers.items()
        },
        papers=await _papers(callers, facts, notices, Random(f"{seed} papers")),
        pictures=pictures,
        complaints=list(_complaints(fleet.place)),
    )


async def _facts(books: Books, source: Name) -> list[Fact]:
    """A journal, some thousand rows at a time, in the order of its streams."""
    statement = (
        "SELECT position, kind, id, seq, type, public, private, salt, digest FROM journal"
        " WHERE position > $1 ORDER BY position LIMIT 20000"
    )
    found: list[Fact] = []
    ends: defaultdict[str, bytes] = defaultdict(lambda: proof.GENESIS)
    after = 0
    while rows := await books.rows(source, statement, after):
        after = rows[-1]["position"]
        for row in rows:
            stream = f"{row['kind']}/{row['id']}"
            hidden = proof.private_digest(row["salt"], row["private"])
            follows = proof.chained(ends[stream], row["public"], hidden) == row["digest"]
            ends[stream] = row["digest"]
            data = json.loads(row["public"])["data"]
            found.append(Fact(source, stream, row["seq"], row["type"], data, row["digest"].hex(), follows))
    return sorted(found, key=lambda fact: (fact.stream, fact.seq))


async def _heads(books: Books) -> dict[tuple[str, str], tuple[int, str]]:
    statement = "SELECT kind, id, seq, digest FROM heads WHERE kind <> 'heard' AND seq > 0"
    return {
        (name, f"{row['kind']}/{row['id']}"): (row["seq"], row["digest"].hex())
        for name in NAMES
        for row in await books.rows(name, statement)
    }


async def _gates(books: Books) -> dict[tuple[str, str, str], tuple[int, str]]:
    found: dict[tuple[str, str, str], tuple[int, str]] = {}
    for name in NAMES:
        for row in await books.rows(name, "SELECT id, seq, digest FROM heads WHERE kind = 'heard'"):
            source, _, stream = row["id"].partition(":")
            found[name, source, stream] = (row["seq"], row["digest"].hex())
    return found


async def _left(books: Books, service: Name, statement: str) -> int:
    return int((await books.rows(service, statement))[0]["n"])


async def _caught_up(follower: Follower) -> list[Entry]:
    """A reader who goes on where it stood when the run ended."""
    until = clock.monotonic() + QUIET
    while await follower.once():
        assert clock.monotonic() < until, "a feed has no end"
    return follower.entries


async def _papers(
    callers: Callers, facts: Iterable[Fact], notices: Iterable[Notice], choice: Random
) -> dict[str, verify.Report]:
    """Some cases' proofs, each against what the other services witnessed, and some receipts."""
    jwks = await callers.read("notify", cast.OFFICE, "/.well-known/jwks.json")
    keys = verify.trusted_keys(jwks)
    found: dict[str, verify.Report] = {}
    cases = sorted({fact.stream for fact in facts if fact.stream.startswith("case/")})
    for stream in choice.sample(cases, min(PAPERS, len(cases))):
        path = f"/v1/cases/{stream.partition('/')[2]}/proof"
        bundle = await callers.read("cases", cast.OFFICE, path, Role.COORDINATOR)
        witnesses = [
            await callers.read(
                name, cast.OFFICE, "/v1/witnesses", Role.COORDINATOR, source="cases", stream=stream
            )
            for name in ("notify", "sharing")
        ]
        bundle.pop("etag", None)
        found[stream] = verify.check(json.dumps(bundle).encode(), keys, witnesses)
    signed = sorted((n for n in notices if n.receipt), key=lambda notice: notice.id)
    for notice in choice.sample(signed, min(PAPERS, len(signed))):
        receipt = await callers.read("notify", notice.agency, f"/v1/receipts/{notice.receipt}")
        found[f"receipt {notice.receipt}"] = verify.check(json.dumps(receipt).encode(), keys)
    return found


async def _pictures(callers: Callers, books: Books) -> tuple[bytes, bytes]:
    """The picture as it was folded all along, and as a rebuild makes it."""
    before = await _picture(books)
    asked = await callers.do(
        Act("rebuild", cast.OFFICE, "/v1/rebuilds", {}, service="sharing"), Role.OPERATOR
    )
    assert asked.is_ok, asked
    until = clock.monotonic() + QUIET
    path = f"/v1/rebuilds/{asked.body['id']}"
    while (progress := await callers.read("sharing", cast.OFFICE, path, Role.OPERATOR)) is None or (
        progress["state"] != "done"
    ):
        assert clock.monotonic() < until, f"a rebuild does not end: {progress}"
        await asyncio.sleep(0.2)
    return before, await _picture(books)


async def _picture(books: Books) -> bytes:
    """Every row of the generation that is read, without the number of the generation."""
    current = "generation = (SELECT generation FROM pictures WHERE name = 'current')"
    rows: list[Row] = []
    for table, key in (("picture_cases", '"case"'), ("picture_transfers", "transfer")):
        rows += await books.rows("sharing", f"SELECT * FROM {table} WHERE {current} ORDER BY {key}")
    kept = [{name: row[name] for name in row if name not in ("generation", "slot")} for row in rows]
    return json.dumps(kept, default=str, ensure_ascii=False).encode()


def _complaints(place: Path) -> Iterable[str]:
    for log in sorted(place.glob("*.log")):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            failed = any(word in line for word in _FAILED)
            if failed and not any(word in line for word in _EXPECTED):
                yield f"{log.name}: {line}"
