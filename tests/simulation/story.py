"""What is told in every run: two cases and the notices of them, on two partitions; ten facts, made once."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from libs.common.change import Change, Fact, Head
from libs.common.clock import Moment, Trace
from libs.common.contracts import cases as said
from libs.common.contracts.event import Event
from libs.common.contracts.notify import NoticeIssued, NoticeReceived
from libs.common.law import codes
from libs.common.permit import Actor

OFFICE = codes.with_check_digit("11330799002600001")
TOWNSHIP = codes.with_check_digit("11330799MB1234567")
DEPARTMENT = codes.with_check_digit("11330799002600002")

#: When simulated time begins.
BEGINNING = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
#: The event at which a reaction breaks, in runs that have one.
SPOILT = "case/d/2"
#: What is then held behind it, itself included, and what does not enter the log at all.
BEHIND = (SPOILT, "case/d/3")
WITHOUT = (*BEHIND, "notice/b/1")
#: Events that a log may lose: later ones of their streams show that they are missing.
LOSABLE = ("case/a/1", "case/a/2", "case/a/3", "case/d/1", "notice/e/1")

_BY = Actor("zhang", TOWNSHIP)
_PLACE = {"power": "330215000000", "territory": "330799101"}
_DIGEST = "ab" * 32


@dataclass(frozen=True, slots=True)
class Step:
    """One fact, as the Change that tells it, and the event that must have been told before."""

    change: Change
    behind: str = ""

    @property
    def fact(self) -> Fact:
        return self.change.facts[0]

    @property
    def stream(self) -> str:
        return f"{self.fact.kind}/{self.fact.id}"

    @property
    def id(self) -> str:
        return f"{self.stream}/{self.fact.seq}"


@cache
def streams() -> Mapping[str, tuple[Step, ...]]:
    """Every stream's steps, in order. A case and its notice lie on different partitions."""
    steps = (
        _told("case/a", _clue("a"), _filed("a"), _offered("a"), _accepted("a")),
        _told("case/d", _clue("d"), _offered("d"), _withdrawn("d")),
        _told("notice/e", _issued("e", "a", 3), _received("e", "a", 3), behind="case/a/3"),
        _told("notice/b", _issued("b", "d", 2), behind="case/d/2"),
    )
    return {told[0].stream: told for told in steps}


def in_some_order(chance: random.Random) -> list[Step]:
    """Every step, in an order in which it could have happened."""
    waiting = {stream: list(steps) for stream, steps in streams().items()}
    told: list[Step] = []
    done: set[str] = set()
    while waiting:
        may = [s for s, steps in waiting.items() if not steps[0].behind or steps[0].behind in done]
        stream = chance.choice(may)
        step = waiting[stream].pop(0)
        told.append(step)
        done.add(step.id)
        if not waiting[stream]:
            del waiting[stream]
    return told


def _told(stream: str, *events: Event, behind: str = "") -> tuple[Step, ...]:
    kind, _, id_ = stream.partition("/")
    head, steps = Head(kind, id_), []
    for event in events:
        at = Moment(BEGINNING, Trace(f"request of {stream}"), seed=stream.encode())
        change = Change().telling(event, on=head, by=_BY, at=at)
        steps.append(Step(change, behind))
        (head,) = change.heads_after()
    return tuple(steps)


def _clue(case: str) -> Event:
    return said.ClueRegistered(
        case=case, holder=TOWNSHIP, clue_source="inspection", urgency="normal", **_PLACE
    )


def _filed(case: str) -> Event:
    return said.CaseFiled(
        case=case,
        case_no=f"青立〔2026〕{case}号",
        holder=TOWNSHIP,
        in_name_of=TOWNSHIP,
        filed_on=BEGINNING.date(),
        **_PLACE,
    )


def _offered(case: str) -> Event:
    return said.TransferOffered(**_parties(case), stage="filed", urgency="normal", **_PLACE)


def _accepted(case: str) -> Event:
    return said.TransferAccepted(**_parties(case))


def _withdrawn(case: str) -> Event:
    return said.TransferWithdrawn(**_parties(case))


def _parties(case: str) -> dict[str, str]:
    return {"case": case, "transfer": f"{case}.t1", "from_agency": TOWNSHIP, "to_agency": DEPARTMENT}


def _issued(notice: str, case: str, seq: int) -> Event:
    return NoticeIssued(
        notice=notice,
        agency=DEPARTMENT,
        event=f"case/{case}/{seq}",
        about=f"case/{case}",
        severity="action",
        sign=True,
        notice_digest=_DIGEST,
    )


def _received(notice: str, case: str, seq: int) -> Event:
    return NoticeReceived(
        notice=notice,
        receipt=f"r-{notice}",
        agency=DEPARTMENT,
        event=f"case/{case}/{seq}",
        about=f"case/{case}",
        event_chain=_DIGEST,
        notice_digest=_DIGEST,
        signed_at="2026-03-02T01:30:00.000000+00:00",
        key="k",
        signature="s",
    )
