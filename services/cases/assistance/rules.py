"""Assistance (协助): help without handing over; the holder holds the case throughout (行政处罚法 26)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from libs.common import errors, wording
from libs.common.change import Change
from libs.common.clock import Moment
from libs.common.contracts import cases as said
from libs.common.law import basis
from libs.common.permit import Actor
from services.cases.assistance.tables import Assistance
from services.cases.intake.rules import CaseFile
from services.cases.register.rules import Competence, NotRegistered
from services.cases.register.tables import Agency

SHALL_ASSIST = "行政处罚法第二十六条"

#: What may be asked for (协助事项类别), by code.
KINDS: Mapping[str, str] = {
    "documents": "提供材料",
    "identification": "技术认定",
    "presence": "派员到场",
    "inspection": "协助检查、核实",
    "other": "其他",
}
#: Why help may be refused (不予协助理由), by code. What lies inside an agency's powers it shall do: to be
#: busy is no ground.
GROUNDS: Mapping[str, str] = {
    "outside_powers": "协助事项不属于本机关职权范围",
    "unlawful": "依法不得提供或者实施",
}
#: At these stages there is no penalty left for which help could be needed.
_OVER = frozenset({"closed", "not_filed"})

Ground = Literal["outside_powers", "unlawful"]


class NotAssisting(errors.Conflict):
    """The request is not waiting: it was replied to, refused or withdrawn."""

    code = "not-assisting"
    title = "该协助请求已处理，不再等待答复"


class NeedsNoAssistance(errors.RuleBroken):
    """The case is over: no penalty is left for which help could be needed."""

    code = "needs-no-assistance"
    title = "案件已终结，不得再请求协助"


class ShallAssist(errors.RuleBroken):
    """By the register the matter lies inside the powers of who refuses it for lying outside."""

    code = "shall-assist"
    title = "协助事项属于本机关职权范围，应当依法予以协助"


class UngroundedRefusal(errors.RuleBroken):
    """A refusal names no legal basis."""

    code = "ungrounded-refusal"
    title = "不予协助须写明法律依据（条文）"


class NoExtension(errors.RuleBroken):
    """An extension leads to no later day."""

    code = "no-extension"
    title = "延期答复须写明更晚的日期"


@dataclass(frozen=True, slots=True)
class Seeking:
    """What asking for help depends on."""

    file: CaseFile
    requested: Agency | None
    competence: Competence | None  #: of the power that the letter names, if it names one


@dataclass(frozen=True, slots=True)
class Assisting:
    """A request with its case: what answering, extending and withdrawing depend on."""

    file: CaseFile
    assistance: Assistance
    requested: Agency
    competence: Competence | None

    def waiting(self) -> Assistance:
        """The request, if it still waits for an answer. Raises NotAssisting."""
        if self.assistance.state != "requested":
            raise NotAssisting(state=self.assistance.state)
        return self.assistance


@dataclass(frozen=True, slots=True)
class Letter:
    """协助函: what is asked, why, under which number, and whether the party must be named in it."""

    number: str
    form: Literal["papers", "action"]
    items: tuple[Mapping[str, Any], ...]
    ground: str
    power: str = ""
    names_party: bool = False
    due: date | None = None


def request(s: Seeking, letter: Letter, *, by: Actor, at: Moment, acted_on: date | None = None) -> Change:
    """Ask another agency for help; who holds the case does not change.

    Raises NotHolder, NeedsNoAssistance, NotRegistered, and Malformed for a day that is over.
    """
    s.file.require_holder(by.agency)
    case = s.file.case
    if case.stage in _OVER:
        raise NeedsNoAssistance(basis=SHALL_ASSIST, stage=case.stage)
    if s.requested is None or s.requested.id == by.agency:
        raise NotRegistered("被请求协助的机关未登记，或就是请求机关本身")
    if s.competence and s.competence.power is None:
        raise NotRegistered("协助所依的职权事项不在名录中")
    day = s.file.day_of(acted_on, at)
    if letter.due and letter.due < at.day:
        raise errors.Malformed(errors=(wording.fault("/due", "over", "要求答复的日期已过"),))
    assistance = Assistance(
        id=f"{case.id}.a{case.assistance_count + 1}",
        case=case.id,
        from_agency=by.agency,
        to_agency=s.requested.id,
        state="requested",
        letter_no=letter.number,
        form=letter.form,
        power=letter.power,
        items=[dict(item) for item in letter.items],
        ground=letter.ground,
        names_party=letter.names_party,
        due=letter.due,
        answers=[],
        requested_on=day,
        requested_at=at.now,
    )
    event = said.AssistanceRequested(
        **_parts(s.file, assistance),
        letter_no=letter.number,
        form=letter.form,
        kinds=tuple(dict.fromkeys(item["kind"] for item in letter.items)),
        items=len(letter.items),
        power=letter.power,
        urgency=case.urgency,  # type: ignore[arg-type]
        due=letter.due,
    )
    case = case.but(assistance_count=case.assistance_count + 1, last_acted_on=day)
    private = {"ground": letter.ground, "items": assistance.items, "names_party": letter.names_party}
    change = Change().inserting(assistance).putting(case)
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day, private=private)


def reply(
    s: Assisting,
    answers: Sequence[Mapping[str, Any]],
    *,
    by: Actor,
    at: Moment,
    acted_on: date | None = None,
) -> Change:
    """Answer every item (答复). Raises NotAssisting, and Malformed where an item is not answered once."""
    waiting = s.waiting()
    if sorted(answer["item"] for answer in answers) != list(range(1, len(waiting.items) + 1)):
        fault = wording.fault("/answers", "items", f"须对 {len(waiting.items)} 个协助事项各答复一次")
        raise errors.Malformed(errors=(fault,))
    day = s.file.day_of(acted_on, at)
    ordered = sorted(map(dict, answers), key=lambda answer: int(answer["item"]))
    provided = sum(answer["outcome"] == "provided" for answer in ordered)
    event = said.AssistanceReplied(
        **_parts(s.file, waiting), provided=provided, lacking=len(ordered) - provided
    )
    change = _writing(s, waiting.but(state="replied", answers=ordered, closed_on=day), day)
    private = {"answers": ordered}
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day, private=private)


def refuse(
    s: Assisting,
    *,
    ground: Ground,
    legal_basis: str,
    note: str,
    by: Actor,
    at: Moment,
    acted_on: date | None = None,
) -> Change:
    """Refuse to help (不予协助), once, with ground and article.

    Raises NotAssisting, UngroundedRefusal, and ShallAssist where the register knows better.
    """
    waiting = s.waiting()
    cited = basis.cited(legal_basis)
    if not cited:
        raise UngroundedRefusal(basis=SHALL_ASSIST)
    day = s.file.day_of(acted_on, at)
    change = Change()
    if s.competence and ground == "outside_powers":
        if not s.competence.refusals(s.requested, day):
            raise ShallAssist(basis=SHALL_ASSIST, power=waiting.power)
        change = change.relying_on(s.competence.head)
    refused = waiting.but(
        state="refused", refusal_ground=ground, refusal_basis="、".join(cited), note=note, closed_on=day
    )
    event = said.AssistanceRefused(**_parts(s.file, waiting), ground=ground, basis=refused.refusal_basis)
    change = Change.all_of([change, _writing(s, refused, day)])
    private = {"note": note, "basis": legal_basis}
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day, private=private)


def extend(
    s: Assisting, *, until: date, reason: str, by: Actor, at: Moment, acted_on: date | None = None
) -> Change:
    """Say in writing until when the answer will come, and why not before.

    Raises NotAssisting, NoExtension.
    """
    waiting = s.waiting()
    day = s.file.day_of(acted_on, at)
    promised = waiting.until or waiting.due
    if until <= day or (promised and until <= promised):
        raise NoExtension(basis=SHALL_ASSIST, until=until.isoformat())
    event = said.AssistanceExtended(**_parts(s.file, waiting), until=until)
    change = _writing(s, waiting.but(until=until, extension_reason=reason), day)
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day, private={"reason": reason})


def withdraw(s: Assisting, *, note: str, by: Actor, at: Moment, acted_on: date | None = None) -> Change:
    """Take the request back before it is answered: whoever holds the case may. Raises NotAssisting."""
    waiting = s.waiting()
    day = s.file.day_of(acted_on, at)
    event = said.AssistanceWithdrawn(**_parts(s.file, waiting))
    change = _writing(s, waiting.but(state="withdrawn", note=note, closed_on=day), day)
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day, private={"note": note})


def _writing(s: Assisting, assistance: Assistance, day: date) -> Change:
    return Change().putting(assistance, s.file.case.but(last_acted_on=day))


def _parts(file: CaseFile, assistance: Assistance) -> dict[str, str]:
    """Who waits is whoever holds the case now, also if another asked."""
    return {
        "case": assistance.case,
        "assistance": assistance.id,
        "holder": file.case.holder,
        "requested_agency": assistance.to_agency,
    }
