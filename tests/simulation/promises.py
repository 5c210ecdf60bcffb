"""What must hold in every run: looked at whenever something takes effect, and once more at the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Executable

from libs.common.log.seam import Record
from libs.common.store import schema
from libs.common.store.seam import Committed, Outcome, Rows
from tests.simulation import story
from tests.simulation.database import Database
from tests.simulation.processes import Process

_JOURNAL = schema.table(schema.JournalRow)


class Promises:
    """One run's, with what was seen so far. `source` tells the story, `sharing` hears it."""

    def __init__(self, source: Database, sharing: Database, *, is_spoilt: bool) -> None:
        self._source = source
        self._sharing = sharing
        self._is_spoilt = is_spoilt
        #: The records of each partition, by its number.
        self.records: Mapping[int, Sequence[Record]] = {}
        #: What was broken.
        self.broken: list[str] = []
        self._first: defaultdict[str, int] = defaultdict(int)
        self._markers: dict[int, str] = {}
        self._gates: dict[str, int] = {}
        self._next: defaultdict[int, int] = defaultdict(int)

    def appended(self, id_: str) -> None:
        """An event reached the log, or was lost there: of each stream, the first ones come in order."""
        stream, seq = _split(id_)
        if seq > self._first[stream] + 1:
            self.broke(f"{id_} was published before {stream}/{self._first[stream] + 1}")
        self._first[stream] = max(self._first[stream], seq)

    def wrote(self, process: Process, statement: Executable, rows: Rows) -> None:
        """A statement took effect: what is marked was published, by the one who leads."""
        if not (str(statement).startswith("UPDATE journal") and rows):
            return
        for row in rows:
            (id_,) = self._source.values(
                "SELECT kind || '/' || id || '/' || seq FROM journal WHERE position = ?", row["position"]
            )
            stream, seq = _split(id_)
            if seq > self._first[stream]:
                self.broke(f"{id_} was marked and never published")
        (epoch,) = self._source.values("SELECT epoch FROM leases WHERE name = 'relay'")
        (holder,) = self._source.values("SELECT holder FROM leases WHERE name = 'relay'")
        if holder != str(process) or self._markers.setdefault(epoch, holder) != holder:
            self.broke(f"{process} marked under epoch {epoch}, which is {holder}'s")

    def committed(self, outcome: Outcome) -> None:
        """Somebody who hears committed: gates and positions go forward, and over nothing."""
        if not isinstance(outcome, Committed):
            return
        gates = self._gates_now()
        for stream, seq in self._gates.items():
            if gates.get(stream, 0) < seq:
                self.broke(f"the gate of {stream} went back from {seq} to {gates.get(stream, 0)}")
        self._gates = gates
        for partition, next_ in self._positions():
            before = self._next[partition]
            if next_ < before:
                self.broke(f"the position in partition {partition} went back from {before} to {next_}")
            for record in self.records[partition][before:next_]:
                self._look_at(record)
            self._next[partition] = next_

    def unsettled(self) -> str:
        """What is still to come, empty when the story has been told to its end."""
        if waiting := self._source.values("SELECT count(*) FROM journal WHERE published_at IS NULL")[0]:
            return f"{waiting} facts are not marked as published"
        positions = dict(self._positions())
        for partition, records in self.records.items():
            if positions.get(partition, 0) != len(records):
                return f"partition {partition} is read up to {positions.get(partition)} of {len(records)}"
        if missing := sorted(self._expected() - set(self._entered())):
            return f"not in the log that readers see: {', '.join(missing)}"
        held = sorted(self._held() - {id_ for id_ in story.BEHIND if self._is_spoilt})
        return f"held for no cause: {', '.join(held)}" if held else ""

    def check_the_end(self) -> None:
        """What must hold when nothing is left to happen."""
        for found in (*self._wrong_entries(), *self._wrong_gates(), *self._left_over()):
            self.broke(found)

    def positions_of(self, feed: str) -> list[int]:
        """Where entries stand in a feed."""
        where = "" if feed == "all" else f" WHERE feed = '{feed}'"
        return self._sharing.values(f"SELECT position FROM entries{where} ORDER BY position")

    def check_reader(
        self, feed: str, seen: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]
    ) -> None:
        """A reader who went on from where they stood has seen each entry of the feed once, in order.

        `again` is the whole feed, read at the end: what was shown stays shown, what was withheld stays so.
        """
        want, got = self.positions_of(feed), [int(event["id"]) for event in seen]
        if got != want:
            self.broke(f"the reader of {feed} saw {got}, where {want} stand")
        elif seen != again:
            self.broke(f"the reader of {feed} sees it otherwise than before")

    def _wrong_entries(self) -> Iterator[str]:
        entered = self._entered()
        positions = self._sharing.values("SELECT position FROM entries ORDER BY position")
        if positions != list(range(1, len(positions) + 1)):
            yield f"positions have holes: {positions}"
        if sorted(entered) != sorted(self._expected()):
            yield f"the log has {entered}"
        for stream, steps in story.streams().items():
            own = [id_ for id_ in entered if _split(id_)[0] == stream]
            if own != [step.id for step in steps][: len(own)]:
                yield f"{stream} entered as {own}"
            for step in steps:
                if step.behind in entered and step.id in entered[: entered.index(step.behind)]:
                    yield f"{step.id} stands before {step.behind}, of which it tells"

    def _wrong_gates(self) -> Iterator[str]:
        digests = dict(self._sharing.raw.execute("SELECT id, digest FROM heads WHERE kind = 'heard'"))
        for stream, steps in story.streams().items():
            heard = [step for step in steps if not self._waits(step.id)]
            gate = next((name for name in digests if name.endswith(f":{stream}")), "")
            if digests.get(gate) != heard[-1].fact.digest:
                yield f"the gate of {stream} does not stand on {heard[-1].id}"

    def _left_over(self) -> Iterator[str]:
        parked = self._sharing.values("SELECT stream || '/' || seq FROM parked_keys ORDER BY 1")
        unread = self._sharing.values("SELECT count(*) FROM parked_records")[0]
        if self._is_spoilt and not self._held() >= set(story.BEHIND):
            yield f"behind what is parked only {self._held()} is held"
        if parked != ([story.SPOILT] if self._is_spoilt else []):
            yield f"parked for no cause: {parked}"
        if unread:
            yield f"{unread} records could not be read"

    def _look_at(self, record: Record) -> None:
        """What the position has passed was applied, or is held."""
        id_ = dict(record.headers)["ce_id"].decode()
        if not self._is_applied(id_) and id_ not in self._held():
            self.broke(f"the position passed {id_}, which was neither applied nor held")

    def _gates_now(self) -> dict[str, int]:
        found = self._sharing.raw.execute("SELECT id, seq FROM heads WHERE kind = 'heard'")
        return {name.partition(":")[2]: seq for name, seq in found}

    def _positions(self) -> list[tuple[int, int]]:
        return self._sharing.raw.execute("SELECT partition, next FROM positions").fetchall()

    def _entered(self) -> list[str]:
        """What was heard; what was disclosed of it was not."""
        heard = "SELECT event_id FROM entries WHERE source <> '/services/sharing' ORDER BY position"
        return self._sharing.values(heard)

    def _held(self) -> set[str]:
        """Events that wait. Behind a parked key what was applied may stay: its redrive clears it away."""
        held = self._sharing.values("SELECT stream || '/' || seq FROM held_events")
        behind = story.SPOILT.rpartition("/")[0] if self._is_spoilt else None
        return {id_ for id_ in held if _split(id_)[0] != behind or not self._is_applied(id_)}

    def _is_applied(self, id_: str) -> bool:
        stream, seq = _split(id_)
        return seq <= self._gates.get(stream, 0)

    def _expected(self) -> set[str]:
        every = (step.id for steps in story.streams().values() for step in steps)
        return {id_ for id_ in every if not (self._is_spoilt and id_ in story.WITHOUT)}

    def _waits(self, id_: str) -> bool:
        """Whether it is held for ever behind the event that breaks."""
        return self._is_spoilt and id_ in story.BEHIND

    def broke(self, what: str) -> None:
        self.broken.append(what)


def _split(id_: str) -> tuple[str, int]:
    stream, _, seq = id_.rpartition("/")
    return stream, int(seq)
