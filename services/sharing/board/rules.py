"""The board: who may open it, and what stands on it. What a reader may see is chosen before it comes here."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from libs.common.change import Change, Head
from libs.common.clock import SHANGHAI, Moment
from libs.common.contracts import cases as said
from libs.common.contracts.event import CATALOGUE
from libs.common.law import limits
from libs.common.law.limits import Light
from libs.common.permit import Actor, Role
from libs.common.seal import encoded
from services.sharing.board.tables import BoardLink
from services.sharing.clocks import rules as clocks
from services.sharing.clocks.rules import Lights, Pair
from services.sharing.clocks.tables import RunningClock
from services.sharing.feeds.tables import LogEntry
from services.sharing.picture import rules as picture
from services.sharing.picture.rules import Line, Snapshot
from services.sharing.picture.tables import Offer, PicturedCase

#: The stream that every link passes through, made or used: so each is used once.
DOOR = ("board", "door")
#: How long a link waits to be used.
LINK_LIFE = timedelta(seconds=60)
#: How long a session lasts: a working day on a wall.
SESSION_LIFE = timedelta(hours=8)
#: For which the installation's key is derived; another purpose makes another key.
SESSIONS, LINKS = "liandong board session 1", "liandong board link 1"

STAGES: Mapping[str, str] = {
    "registered": "线索",
    "filed": "已立案",
    "investigating": "调查取证",
    "decided": "已决定",
    "closed": "已结案",
    "not_filed": "不予立案",
}
#: Fields of events that name agencies, in the order in which they are told.
_WHO = ("from_agency", "to_agency", "former_holder", "competent_agency", "lead", "holder", "requested_agency")
_ALSO = ("agency", "awaits", "issuer")


@dataclass(frozen=True, slots=True)
class Door:
    """The head that links pass through, with those that have waited too long."""

    head: Head
    outdated: Sequence[BoardLink]


def invite(s: Door, *, by: Actor, at: Moment) -> Change:
    """A link for whom asks for it, with the roles that they have now; old ones are swept away."""
    link = BoardLink(
        id=at.new_id("board link"),
        person=by.person,
        agency=by.agency,
        roles=sorted(by.roles),
        expires_at=at.now + LINK_LIFE,
    )
    return Change().owning(s.head).deleting(*s.outdated).inserting(link)


def enter(door: Head, link: BoardLink) -> Change:
    """Use a link: nobody can use it again."""
    return Change().owning(door).deleting(link)


def ticket(key: bytes, link: str) -> str:
    """What stands in the address of a link: its id, and a secret that only the key's owner can name."""
    return f"{link}.{encoded(_mac(key, link.encode()))}"


def link_of(key: bytes, given: str) -> str | None:
    """The id of the link that a ticket is for; None for one that we did not make."""
    link = given.partition(".")[0]
    return link if hmac.compare_digest(ticket(key, link).encode(), given.encode(errors="replace")) else None


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody in front of the board."""

    actor: Actor
    ends_at: datetime


def session(link: BoardLink, now: datetime) -> Session:
    """The session that a link opens."""
    actor = Actor(link.person, link.agency, frozenset(map(Role, link.roles)))
    return Session(actor, now + SESSION_LIFE)


def sealed(key: bytes, session: Session) -> str:
    """The session as a cookie: readable, and not to be changed. It has two parts, so it is no token."""
    actor = session.actor
    content = {
        "person": actor.person,
        "agency": actor.agency,
        "roles": sorted(actor.roles),
        "ends_at": session.ends_at.isoformat(),
    }
    text = encoded(json.dumps(content).encode())
    return f"{text}.{encoded(_mac(key, text.encode()))}"


def unsealed(key: bytes, cookie: str, now: datetime) -> Session | None:
    """The session of a cookie that we sealed and that has not ended."""
    text, _, mac = cookie.partition(".")
    due = encoded(_mac(key, text.encode(errors="replace")))
    if not hmac.compare_digest(due.encode(), mac.encode(errors="replace")):
        return None
    content = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    actor = Actor(content["person"], content["agency"], frozenset(map(Role, content["roles"])))
    ends_at = datetime.fromisoformat(content["ends_at"])
    return Session(actor, ends_at) if now < ends_at else None


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


class Due(NamedTuple):
    """A clock, as people read it."""

    what: str
    basis: str
    agency: str
    agency_name: str
    awaits: str
    awaits_name: str
    case: str  #: empty where it is about something else
    light: Light
    lamp: str
    left: str  #: how long still, or how long over
    on: str
    provisional: bool
    paused: bool


def due(clock: RunningClock, names: Mapping[str, str], now: datetime) -> Due:
    """A clock, as people read it at this instant."""
    known = limits.table().get(clock.rule)
    light = clocks.light(clock, now)
    ends = clock.due_at.astimezone(SHANGHAI)
    midnight = ends.time() == ends.time().min
    return Due(
        what=known.zh if known else clock.rule,
        basis=known.basis if known else "",
        agency=clock.agency,
        agency_name=named(names, clock.agency),
        awaits=clock.awaits,
        awaits_name=named(names, clock.awaits),
        case=case_of(clock.about),
        light=light,
        lamp=clocks.LAMPS[light],
        left=until(clock.due_at, now),
        on=f"{clock.due_on:%m-%d}" + ("" if midnight else f" {ends:%H:%M}"),
        provisional=clock.provisional,
        paused=clock.state == "paused",
    )


def named(names: Mapping[str, str], agency: str) -> str:
    """An agency's name; its code where it has none."""
    return names.get(agency, agency)


def case_of(stream: str) -> str:
    """The case whose stream this is; empty for another thing's."""
    kind, _, id_ = stream.partition("/")
    return id_ if kind == "case" else ""


def until(instant: datetime, now: datetime) -> str:
    """How long until then, or how long past it, in the largest unit."""
    return f"剩 {_long(instant - now)}" if instant > now else f"超 {_long(now - instant)}"


def ago(instant: datetime | None, now: datetime) -> str:
    """How long ago it was."""
    return "尚无记录" if instant is None else f"{_long(max(now - instant, timedelta()))}前"


def _long(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, unit in ((86400, "天"), (3600, "小时"), (60, "分钟")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} 秒"


class Told(NamedTuple):
    """An event, as people read it."""

    at: str
    ago: str
    what: str
    who: str
    case: str
    tone: str  #: of its mark: the light that it speaks of, or none


_TONES = {
    "liandong.obligation.warned.v1": "yellow",
    "liandong.obligation.overdue.v1": "red",
    "liandong.obligation.escalated.v1": "black",
    "liandong.dispute.opened.v1": "red",
    "liandong.transfer.returned.v1": "yellow",
    "liandong.case.closed.v1": "green",
}


def told(entry: LogEntry, names: Mapping[str, str], now: datetime) -> Told:
    """An event, as people read it: what happened, and between whom."""
    model = CATALOGUE.get(entry.type)
    what = (model.__doc__ or entry.type).partition(":")[0].strip(".") if model else entry.type
    data = entry.data if isinstance(entry.data, dict) else {}
    rule = limits.table().get(str(data.get("rule", "")))
    at = entry.recorded_at.astimezone(SHANGHAI)
    return Told(
        at=f"{at:%m-%d %H:%M}",
        ago=ago(entry.recorded_at, now),
        what=f"{what}·{rule.zh}" if rule else what,
        who=_between(entry.type, data, names),
        case=case_of(entry.stream) or case_of(str(data.get("about", ""))),
        tone=_TONES.get(entry.type, ""),
    )


def _between(type_: str, data: Mapping[str, Any], names: Mapping[str, str]) -> str:
    if parties := data.get("parties") if type_ == said.DisputeOpened.TYPE else None:
        return " ⇄ ".join(named(names, agency) for agency in parties)
    found = [named(names, agency) for agency in _parties(data)]
    return " → ".join(reversed(found) if type_ == said.TransferReturned.TYPE else found)


def _parties(data: Mapping[str, Any]) -> list[str]:
    fields = _WHO if any(data.get(name) for name in _WHO) else _ALSO
    found = [str(data[name]) for name in fields if data.get(name)]
    return list(dict.fromkeys(found))


class Cell(NamedTuple):
    """What runs between a township and a department, in both directions."""

    n: int
    light: Light | None
    asked: int  #: clocks for which the township waits
    owed: int  #: clocks for which the department waits


NOTHING = Cell(0, None, 0, 0)


@dataclass(frozen=True, slots=True)
class Matrix:
    """谁在等谁: townships by departments."""

    rows: Sequence[tuple[Line, Sequence[Cell], Lights]]
    columns: Sequence[tuple[Line, Lights]]


def matrix(lines: Sequence[Line], snapshot: Snapshot, pairs: Iterable[Pair]) -> Matrix:
    """The lines against each other; departments for which nothing runs are left out."""
    between = {(pair.awaits, pair.agency): pair.lights for pair in pairs}
    busy = {agency for pair in between for agency in pair}
    townships = [line for line in lines if line.is_township]
    departments = [line for line in lines if not line.is_township and line.agency in busy]
    rows = [
        (town, [_cell(between, town.agency, one.agency) for one in departments], snapshot.lights_of(town))
        for town in townships
    ]
    return Matrix(rows, [(line, snapshot.lights_of(line)) for line in departments])


def _cell(between: Mapping[tuple[str, str], Lights], town: str, department: str) -> Cell:
    asked = between.get((town, department), clocks.DARK)
    owed = between.get((department, town), clocks.DARK)
    if not asked.n + owed.n:
        return NOTHING
    worst = max((lights.worst for lights in (asked, owed) if lights.worst), key=clocks.LIGHTS.index)
    return Cell(asked.n + owed.n, worst, asked.n, owed.n)


class Arc(NamedTuple):
    """A part of a ring, as the dashes of a circle whose girth is 100."""

    light: Light
    n: int
    length: float
    offset: float


def ring(lights: Lights) -> list[Arc]:
    """The lights as a ring, the worst first, from twelve o'clock on."""
    arcs, at = [], 25.0
    for light in reversed(clocks.LIGHTS):
        if n := lights.counts.get(light, 0):
            length = 100 * n / lights.n
            arcs.append(Arc(light, n, round(length, 3), round(at % 100, 3)))
            at -= length
    return arcs


class Bar(NamedTuple):
    """An agency's clocks by their lights, as parts of a bar that is 100 long for who has most."""

    line: Line
    n: int
    parts: Sequence[tuple[Light, float, float]]  #: light, where it begins, how long it is


def bars(lines: Iterable[Line], snapshot: Snapshot, most: int) -> list[Bar]:
    """The agencies with the most clocks to meet, those with the worst lights first."""
    lit = [(line, snapshot.lights_of(line)) for line in lines]
    lit = [(line, lights) for line, lights in lit if lights.n]
    lit.sort(key=lambda one: [-one[1].counts.get(light, 0) for light in reversed(clocks.LIGHTS)])
    longest = max((lights.n for _, lights in lit), default=1)
    return [Bar(line, lights.n, _parts(lights, longest)) for line, lights in lit[:most]]


def _parts(lights: Lights, longest: int) -> list[tuple[Light, float, float]]:
    parts, at = [], 0.0
    for light in reversed(clocks.LIGHTS):
        if n := lights.counts.get(light, 0):
            length = 100 * n / longest
            parts.append((light, round(at, 3), round(length, 3)))
            at += length
    return parts


@dataclass(frozen=True, slots=True)
class Totals:
    """The numbers of the tiles."""

    open: int
    waiting: int
    waiting_since: datetime | None
    returned: int
    lights: Lights


def totals(lines: Sequence[Line], snapshot: Snapshot) -> Totals:
    """What these lines come to: a transfer is counted where it was offered to."""
    waiting = [snapshot.count("offered_to", line, "waiting") for line in lines]
    every = [snapshot.lights_of(line) for line in lines]
    return Totals(
        open=sum(snapshot.count("held", line, stage).n for line in lines for stage in picture.OPEN),
        waiting=sum(count.n for count in waiting),
        waiting_since=min((count.since for count in waiting if count.since), default=None),
        returned=sum(snapshot.count("offered_to", line, "returned").n for line in lines),
        lights=Lights(
            {light: sum(one.counts.get(light, 0) for one in every) for light in clocks.LIGHTS},
            min((one.due_at for one in every if one.due_at), default=None),
        ),
    )


class Standing(NamedTuple):
    """A case, as people read it."""

    case: str
    number: str
    stage: str
    holder: str
    holder_name: str
    returns: int
    disputed: bool
    disputants: str
    since: str


def standing(case: PicturedCase, names: Mapping[str, str], now: datetime) -> Standing:
    """A case, as people read it."""
    return Standing(
        case=case.case,
        number=case.case_no or f"线索 {case.case[-8:]}",
        stage=STAGES.get(case.stage, case.stage),
        holder=case.holder,
        holder_name=named(names, case.holder),
        returns=case.returns,
        disputed=bool(case.dispute),
        disputants=" ⇄ ".join(named(names, agency) for agency in case.disputants.split()),
        since=ago(case.disputed_at or case.moved_at, now),
    )


class Waiting(NamedTuple):
    """A transfer that waits for an answer, as people read it."""

    case: str
    sender: str
    recipient: str
    since: str


def waiting(offer: Offer, names: Mapping[str, str], now: datetime) -> Waiting:
    """A transfer that waits, as people read it."""
    sender, recipient = named(names, offer.from_agency), named(names, offer.to_agency)
    return Waiting(offer.case, sender, recipient, ago(offer.offered_at, now))
