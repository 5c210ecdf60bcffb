"""Disputes (管辖争议): consult, else the common superior designates; one holder throughout (行政处罚法 25).

While a dispute is open nobody acts alone on the case; only for public or personal safety may an agency be
named to lead, and it then holds the case. Settling, naming and ruling move the case in their own commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from libs.common import errors, wording
from libs.common.change import Change
from libs.common.clock import Moment
from libs.common.contracts import cases as said
from libs.common.law import basis
from libs.common.permit import Actor
from services.cases.dispute.tables import Dispute
from services.cases.intake.rules import CaseFile
from services.cases.intake.tables import Case
from services.cases.register.rules import Competence, NotRegistered, OutsideTerritory
from services.cases.register.tables import Agency

SETTLED_HOW = "行政处罚法第二十五条第二款"

#: So many returns of one case are a dispute by themselves: one may be an oversight.
DISAGREEMENTS = 2
OPEN = ("opened", "accepted", "forwarded", "replied")


class NotInDispute(errors.Conflict):
    """The dispute is not at a step from which this leads on."""

    code = "not-in-dispute"
    title = "争议当前所处步骤不能进行该操作"


class NotAParty(errors.Conflict):
    """The agency is none of those that differ."""

    code = "not-a-party"
    title = "所指机关不是争议一方"


class NotAsked(errors.Conflict):
    """The papers were forwarded to the other party."""

    code = "not-asked"
    title = "争议材料未转送本机关答复"


class OwnCause(errors.RuleBroken):
    """Who coordinates is a party: the superior that both have in common is somebody else."""

    code = "own-cause"
    title = "协调机关是争议一方，不得裁定本机关的争议"


class UngroundedStatement(errors.RuleBroken):
    """A reply or an opinion names no article."""

    code = "ungrounded-statement"
    title = "答复和协调意见须写明法律依据（条文）"


@dataclass(frozen=True, slots=True)
class Disputing:
    """A dispute with its case: what every step of it depends on."""

    file: CaseFile
    dispute: Dispute
    competence: Competence
    named: Agency | None = None  #: the agency that the request names

    def at_step(self, *states: str) -> Dispute:
        """The dispute, if it is at one of these steps. Raises NotInDispute."""
        if self.dispute.state not in states:
            raise NotInDispute(state=self.dispute.state)
        return self.dispute

    def before_another(self, by: Actor) -> Dispute:
        """The dispute, if who coordinates is no party to it. Raises OwnCause."""
        if by.agency in self.dispute.parties:
            raise OwnCause(basis=SETTLED_HOW)
        return self.dispute

    def require_named(self) -> Agency:
        """The agency that the request names. Raises NotRegistered."""
        if self.named is None:
            raise NotRegistered
        return self.named


def begin(
    file: CaseFile,
    case: Case,
    parties: tuple[str, str],
    coordinator: str,
    *,
    transfer: str,
    was: str,
    opened_by: str = "",
    ground: str = "",
    at: Moment,
    day: date,
) -> tuple[Change, said.DisputeOpened]:
    """Open a dispute over `case`, as it now stands, and the event that tells it: other facts may go before.

    Who declined it, and `was` no reader of it any more, reads it again, to argue whose it is.
    """
    dispute = Dispute(
        id=f"{case.id}.d{case.dispute_count + 1}",
        case=case.id,
        transfer=transfer,
        from_agency=parties[0],
        to_agency=parties[1],
        state="opened",
        coordinator=coordinator,
        opened_by=opened_by,
        ground=ground,
        opened_on=day,
        opened_at=at.now,
        proposals={},
        papers=[],
    )
    event = said.DisputeOpened(
        **_parts(dispute),
        transfer=transfer,
        holder=case.holder,
        opened_by=opened_by,
        power=case.power,
        territory=case.territory,
        stage=case.stage,
        returns=case.returns,
        urgency=case.urgency,  # type: ignore[arg-type]
    )
    case = case.but(open_dispute=dispute.id, dispute_count=case.dispute_count + 1, last_acted_on=day)
    heard = (file.party(parties[1], "disputant"),) if was == "returned" else ()
    return Change().inserting(dispute).putting(case, *heard), event


def propose(s: Disputing, *, by: Actor, at: Moment, acted_on: date | None = None) -> Change:
    """Say to which of the two the case should go; where both say the same, they have settled, and it does.

    An agreement gives nobody a power: whom they agree on must have it. Raises NotInDispute, NotAParty, and
    what competence refuses.
    """
    dispute, named = s.at_step(*OPEN), s.require_named()
    if named.id not in dispute.parties:
        raise NotAParty("只能协商由争议一方管辖", agency=named.id)
    day = s.file.day_of(acted_on, at)
    proposals = {**dispute.proposals, by.agency: named.id}
    agreed = dispute.but(proposals=proposals)
    if set(proposals) != set(dispute.parties) or len(set(proposals.values())) > 1:
        proposed = said.DisputeProposed(**_parts(dispute), agency=by.agency, competent_agency=named.id)
        return _noting(s, agreed, day).telling(proposed, on=s.file.head, by=by, at=at, acted_on=day)
    change = _given(s, agreed.but(state="settled"), named, _standing(s, named, day), day)
    event = said.DisputeSettled(
        **_parts(dispute), former_holder=s.file.case.holder, competent_agency=named.id
    )
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day)


def accept(s: Disputing, *, by: Actor, at: Moment, acted_on: date | None = None) -> Change:
    """Take the dispute up (受理). Raises NotInDispute, OwnCause."""
    s.at_step("opened")
    dispute = s.before_another(by).but(state="accepted", coordinator=by.agency)
    day = s.file.day_of(acted_on, at)
    event = said.DisputeAccepted(**_parts(dispute))
    return _noting(s, dispute, day).telling(event, on=s.file.head, by=by, at=at, acted_on=day)


def forward(
    s: Disputing,
    papers: Sequence[Mapping[str, Any]],
    *,
    due: date | None,
    by: Actor,
    at: Moment,
    acted_on: date | None = None,
) -> Change:
    """Send a party the papers and ask for its reply. Raises NotInDispute, OwnCause, NotAParty, Malformed."""
    s.at_step("accepted")
    dispute, named = s.before_another(by), s.require_named()
    if named.id not in dispute.parties:
        raise NotAParty(agency=named.id)
    if due and due < at.day:
        raise errors.Malformed(errors=(wording.fault("/due", "over", "要求答复的日期已过"),))
    day = s.file.day_of(acted_on, at)
    sent = dispute.but(
        state="forwarded", forwarded_to=named.id, papers=[dict(paper) for paper in papers], due=due
    )
    event = said.DisputeForwarded(**_parts(sent), to_agency=named.id, due=due)
    change = _noting(s, sent, day)
    private = {"papers": sent.papers}
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day, private=private)


def reply(
    s: Disputing,
    statement: str,
    legal_basis: str,
    *,
    by: Actor,
    at: Moment,
    acted_on: date | None = None,
) -> Change:
    """Say whose the case is, and by which article. Raises NotInDispute, NotAsked, UngroundedStatement."""
    dispute = s.at_step("forwarded")
    if by.agency != dispute.forwarded_to:
        raise NotAsked
    day = s.file.day_of(acted_on, at)
    replied = dispute.but(state="replied", reply=statement, reply_basis=_cited(legal_basis))
    event = said.DisputeReplied(**_parts(replied), agency=by.agency)
    private = {"reply": statement, "basis": legal_basis}
    change = _noting(s, replied, day)
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day, private=private)


def lead(s: Disputing, danger: str, *, by: Actor, at: Moment, acted_on: date | None = None) -> Change:
    """Name who acts at once, for public or personal safety: it holds the case until the dispute is settled.

    Only who has the power can act, and so be named. Raises NotInDispute, OwnCause, and what competence
    refuses.
    """
    s.at_step(*OPEN)
    dispute, named = s.before_another(by), s.require_named()
    day = s.file.day_of(acted_on, at)
    led = dispute.but(lead=named.id, danger=danger)
    case = s.file.case.but(lead=named.id, last_acted_on=day)
    change = s.file.passing(case, named.id, _standing(s, named, day)).putting(led)
    event = said.DisputeLeadNamed(**_parts(led), former_holder=s.file.case.holder, lead=named.id)
    change = change.relying_on(s.competence.head)
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day, private={"danger": danger})


@dataclass(frozen=True, slots=True)
class Opinion:
    """行政执法协调意见书: its number, its articles, its grounds."""

    number: str
    legal_basis: str
    text: str
    #: Why an agency is named that by the register has not the power (yet); else it is refused.
    despite_register: str = ""


def rule(s: Disputing, opinion: Opinion, *, by: Actor, at: Moment, acted_on: date | None = None) -> Change:
    """Designate who has the case (指定管辖); binding, and the case goes there in this commit.

    The superior may also do so at once, without hearing (25): whoever is silent stops nothing. Raises
    NotInDispute, OwnCause, UngroundedStatement, and what competence refuses unless the opinion says why.
    """
    s.at_step("accepted", "forwarded", "replied")
    dispute, named = s.before_another(by), s.require_named()
    cited = _cited(opinion.legal_basis)
    day = s.file.day_of(acted_on, at)
    ruled = dispute.but(state="ruled", opinion_no=opinion.number, opinion_basis=cited, opinion=opinion.text)
    name = named.id if opinion.despite_register else _standing(s, named, day)
    change = _given(s, ruled, named, name, day, ruled_to=named.id)
    event = said.DisputeRuled(
        **_parts(ruled),
        former_holder=s.file.case.holder,
        competent_agency=named.id,
        opinion_no=opinion.number,
        basis=cited,
    )
    private = {
        "opinion": opinion.text,
        "basis": opinion.legal_basis,
        "despite_register": opinion.despite_register,
    }
    return change.telling(event, on=s.file.head, by=by, at=at, acted_on=day, private=private)


def _standing(s: Disputing, named: Agency, day: date) -> str:
    """In whose name it would act. Raises BeyondPower, ContestedPower, OutsideTerritory."""
    standing = s.competence.require(named, day)
    if not named.covers(s.file.case.territory):
        raise OutsideTerritory.of(named, s.file.case.territory)
    return standing.in_name_of


def _given(
    s: Disputing, closed: Dispute, to: Agency, in_name_of: str, day: date, *, ruled_to: str = ""
) -> Change:
    """The dispute ends, and the case is with `to`; who declined it and does not get it sees no more of it."""
    closed = closed.but(competent_agency=to.id, closed_on=day)
    case = s.file.case.but(
        open_dispute="", lead="", ruled_to=ruled_to or s.file.case.ruled_to, last_acted_on=day
    )
    parted = [
        s.file.party(agency, "returned")
        for agency in closed.parties
        if agency != to.id and s.file.relation_of(agency) == "disputant"
    ]
    change = s.file.passing(case, to.id, in_name_of).putting(closed, *parted)
    return change.relying_on(s.competence.head)


def _noting(s: Disputing, dispute: Dispute, day: date) -> Change:
    return Change().putting(dispute, s.file.case.but(last_acted_on=day))


def _cited(legal_basis: str) -> str:
    """The articles, and nothing else that was written. Raises UngroundedStatement."""
    cited = basis.cited(legal_basis)
    if not cited:
        raise UngroundedStatement(basis=SETTLED_HOW)
    return "、".join(cited)


def _parts(dispute: Dispute) -> dict[str, Any]:
    return {
        "case": dispute.case,
        "dispute": dispute.id,
        "parties": dispute.parties,
        "coordinator": dispute.coordinator,
    }
