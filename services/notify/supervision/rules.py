"""Letters of supervision (督办) and of oversight (执法监督): issued, answered, closed.

The three kinds are one thing with different names, numbers and limits. A letter is issued by the office of
the joint meeting, or by a clock on its ladder; it is closed (销号) by the office, never by its addressee.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from libs.common import errors, wording
from libs.common.change import Change, Head
from libs.common.clock import Moment
from libs.common.contracts import notify as said
from libs.common.contracts.notify import LetterKind
from libs.common.permit import SYSTEM, Actor
from services.notify.routing.tables import Addressee
from services.notify.supervision.tables import Supervision

_LETTERS = uuid.uuid5(uuid.NAMESPACE_URL, "urn:liandong:supervision")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of letter: its name, the word in its number, and the limit within which it is answered."""

    zh: str
    word: str
    limit: str  #: a rule of libs/common/law/limits.csv


KINDS: Mapping[LetterKind, Kind] = {
    "supervision": Kind("督办函", "督", "sup.supervise"),
    "opinion": Kind("行政执法监督意见书", "监意", "sup.opinion"),
    "decision": Kind("行政执法监督决定书", "监决", "sup.decision"),
}


class NoAddressee(errors.Malformed):
    """The agency that the letter is for is not registered, or is the issuer itself."""

    code = "no-addressee"
    title = "收函机关未登记，或就是发函机关本身"


class NotAwaited(errors.Conflict):
    """The letter was answered already, or is closed."""

    code = "reply-not-awaited"
    title = "该函不在等待反馈"


class NotReplied(errors.Conflict):
    """The letter has no answer that could be judged, or is closed."""

    code = "not-replied"
    title = "该函尚无待审的反馈"


class PastDay(errors.Malformed):
    """The day that the letter names is over."""

    code = "past-day"
    title = "反馈日期须在今日之后"


@dataclass(frozen=True, slots=True)
class Issuing:
    """What issuing depends on: who asks whom, and the counter of the letter's number."""

    issuer: Addressee
    agency: Addressee | None
    number: Head


@dataclass(frozen=True, slots=True)
class Draft:
    """What a letter says."""

    kind: LetterKind
    title: str
    items: Sequence[str]
    about: str = ""
    obligation: str = ""
    due_on: date | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A letter with its stream's head."""

    head: Head
    letter: Supervision


def counter_of(issuer: str, kind: LetterKind, day: date) -> tuple[str, str]:
    """The counter whose next value numbers a letter: per issuer, year and kind, without a gap."""
    return "counter", f"{issuer}/{day.year}/{kind}"


def issue(s: Issuing, draft: Draft, *, by: Actor, at: Moment) -> Change:
    """Issue a letter. Raises NoAddressee, PastDay."""
    if s.agency is None or s.agency.agency == s.issuer.agency:
        raise NoAddressee
    if draft.due_on is not None:
        _require_future(draft.due_on, at)
    return _issued(s, s.agency, draft, at.new_id("supervision"), by=by, at=at)


def follow(s: Issuing, draft: Draft, level: int, *, at: Moment) -> Change:
    """The letter that a clock issues when a level is reached: the same for the same clock and level."""
    if s.agency is None or s.agency.agency == s.issuer.agency:
        return Change()
    id_ = str(uuid.uuid5(_LETTERS, f"{draft.obligation} {level}"))
    return _issued(s, s.agency, draft, id_, by=SYSTEM, at=at)


def reply(s: File, text: str, *, by: Actor, at: Moment) -> Change:
    """Answer the letter (反馈). Raises NotAwaited."""
    if s.letter.state != "issued":
        raise NotAwaited(state=s.letter.state)
    letter = s.letter.but(state="replied", reply=text, replied_on=at.day)
    event = said.SupervisionReplied(**_parts(letter))
    return Change().putting(letter).telling(event, on=s.head, by=by, at=at, private={"reply": text})


def give_back(s: File, remark: str, due_on: date, *, by: Actor, at: Moment) -> Change:
    """The answer does not suffice: the agency answers again by a new day. Raises NotReplied, PastDay."""
    _require_replied(s.letter)
    _require_future(due_on, at)
    letter = s.letter.but(state="issued", due_on=due_on, remark=remark, returned=s.letter.returned + 1)
    event = said.SupervisionReturned(**_parts(letter), due_on=due_on)
    return Change().putting(letter).telling(event, on=s.head, by=by, at=at, private={"remark": remark})


def close(s: File, remark: str, *, by: Actor, at: Moment) -> Change:
    """The issuer is satisfied (销号). Raises NotReplied."""
    _require_replied(s.letter)
    letter = s.letter.but(state="closed", remark=remark, closed_on=at.day)
    event = said.SupervisionClosed(**_parts(letter))
    return Change().putting(letter).telling(event, on=s.head, by=by, at=at, private={"remark": remark})


def _issued(s: Issuing, agency: Addressee, draft: Draft, id_: str, *, by: Actor, at: Moment) -> Change:
    number = f"{s.issuer.name}{KINDS[draft.kind].word}〔{at.day.year}〕{s.number.version + 1}号"
    letter = Supervision(
        id=id_,
        kind=draft.kind,
        number=number,
        issuer=s.issuer.agency,
        agency=agency.agency,
        about=draft.about,
        obligation=draft.obligation,
        title=draft.title,
        items=list(draft.items),
        state="issued",
        issued_on=at.day,
        issued_at=at.now,
        due_on=draft.due_on,
    )
    event = said.SupervisionIssued(
        **_parts(letter), about=letter.about, obligation=letter.obligation, due_on=letter.due_on
    )
    change = Change().inserting(letter).owning(s.number)
    private = {"title": letter.title, "items": letter.items}
    return change.telling(event, on=Head("supervision", id_), by=by, at=at, private=private)


def _parts(letter: Supervision) -> dict[str, Any]:
    return {
        "supervision": letter.id,
        "kind": letter.kind,
        "number": letter.number,
        "agency": letter.agency,
        "issuer": letter.issuer,
    }


def _require_replied(letter: Supervision) -> None:
    if letter.state != "replied":
        raise NotReplied(state=letter.state)


def _require_future(day: date, at: Moment) -> None:
    if day <= at.day:
        raise PastDay(errors=(wording.fault("/due_on", PastDay.code, PastDay.title),))
