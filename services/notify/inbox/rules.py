"""Telling and signing: one event is one notice to each recipient, and one receipt ends it (签收)."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC
from typing import Any, Literal

from libs.common import errors, proof, wording
from libs.common.change import Change, Head
from libs.common.clock import Moment
from libs.common.contracts import cases
from libs.common.contracts import notify as said
from libs.common.contracts.event import Event
from libs.common.contracts.notify import Severity
from libs.common.permit import Actor
from libs.common.seal import Seal, encoded
from services.notify.inbox.tables import Notice, Receipt, WaitingNotice
from services.notify.routing import rules as routing
from services.notify.routing.rules import Directory, RouteTable
from services.notify.routing.tables import Addressee, Unroutable

#: Notices that one request may sign for.
BATCH = 100

#: Who acts where no person does.
NOBODY = Actor("system", "")
#: The ids of notices are made from the event and the agency: telling again is telling the same.
_NOTICES = uuid.uuid5(uuid.NAMESPACE_URL, "urn:liandong:notice")


class AlreadyReceived(errors.Conflict):
    """The notice was signed for before."""

    code = "already-received"
    title = "该通知已签收"


class NotAllReceivable(errors.Conflict):
    """Some notices of a batch cannot be signed for, so none is. `errors` names each."""

    code = "not-all-receivable"
    title = "部分通知不能签收，本次未签收任何一件"


@dataclass(frozen=True, slots=True)
class Occasion:
    """The event that is told of, apart from its data."""

    event: str  #: its id
    type: str
    about: str  #: its stream
    chain: str  #: the chain's digest at it, hex


@dataclass(frozen=True, slots=True)
class Letter:
    """A notice before it has an addressee."""

    occasion: Occasion
    why: str
    severity: Severity
    urgency: str
    title: str
    body: str
    sign: bool


@dataclass(frozen=True, slots=True)
class Desk:
    """What telling depends on: the table, the agencies, and the heads of streams."""

    table: RouteTable
    directory: Directory
    head: Callable[[str, str], Head]


@dataclass(frozen=True, slots=True)
class NoticeFile:
    """A notice with its stream's head."""

    head: Head
    notice: Notice


@dataclass(frozen=True, slots=True)
class Batch:
    """The notices that a request asks to sign for, by id, and those of them that the agency has."""

    asked: tuple[str, ...]
    found: Mapping[str, NoticeFile]


def tell(desk: Desk, occasion: Occasion, event: Event, *, at: Moment) -> Change:
    """A notice for everybody whom the table names. What does not reach all of them is counted and alarmed."""
    calls = routing.calls(desk.table, event)
    posts = [(_letter(desk, occasion, event, call), call.addressee) for call in calls]
    unreached = [call.addressee for call in calls if not desk.directory.reached(call.addressee)]
    change = _send(desk, posts, at)
    if unreached or not calls:
        reason = "unregistered" if unreached else "no_recipient"
        return Change.all_of([change, alarm(desk, occasion, reason, unreached, at=at)])
    return change


def alarm(
    desk: Desk, occasion: Occasion, reason: str, unreached: Sequence[str] = (), *, at: Moment
) -> Change:
    """The event could not be placed: count it, and tell whoever receives such events by default."""
    row = Unroutable(
        event=occasion.event,
        type=occasion.type,
        about=occasion.about,
        reason=reason,
        unreached=list(unreached),
        at=at.now,
    )
    missing = [routing.RECIPIENTS.get(addressee, addressee) for addressee in unreached]
    letter = Letter(
        occasion=occasion,
        why=routing.DEFAULT,
        severity="alarm",
        urgency="normal",
        title=f"有事件未能送达：{routing.called(occasion.type)}",
        body=f"事件{wording.shown(occasion.event)}：{routing.UNROUTABLE[reason]}"
        + (f"（{'、'.join(missing)}）。登记后将补送。" if missing else "。请核实并转告有关机关。"),
        sign=True,
    )
    return Change.all_of([Change().inserting(row), _send(desk, [(letter, routing.DEFAULT)], at)])


def register(
    desk: Desk,
    occasion: Occasion,
    event: cases.AgencyRegistered,
    waiting: Iterable[WaitingNotice],
    *,
    at: Moment,
) -> Change:
    """An agency can be told from now on: what waited for it is issued first, then that it is registered."""
    agency = Addressee(agency=event.agency, name=event.name, coordinates=event.coordinates)
    desk = replace(desk, directory=desk.directory.knowing(agency))
    due = [notice for notice in waiting if desk.directory.reached(notice.addressee)]
    posts = [(_opened(notice), notice.addressee) for notice in due]
    # Owned, so that a notice which is put to wait for this agency at the same time is a conflict.
    seats = [desk.head("addressee", name) for name in desk.directory.names_of(agency)]
    learnt = Change().putting(agency).owning(*seats).deleting(*due)
    return Change.all_of([learnt, _send(desk, posts, at), tell(desk, occasion, event, at=at)])


def receive(file: NoticeFile, *, by: Actor, at: Moment, seal: Seal) -> Change:
    """Sign for a notice (签收): a receipt over the notice and the event's chain. Raises AlreadyReceived."""
    notice = file.notice
    if notice.state == "received":
        raise AlreadyReceived(receipt=notice.receipt)
    unsigned = said.NoticeReceived(
        notice=notice.id,
        receipt=at.new_id(f"receipt of {notice.id}"),
        agency=notice.agency,
        event=notice.event,
        about=notice.about,
        event_chain=notice.event_chain,
        notice_digest=notice.digest,
        signed_at=at.now.astimezone(UTC).isoformat(timespec="microseconds"),
        key=seal.key_id,
        signature="",
    )
    covered = proof.canonical(unsigned.signed())
    event = unsigned.model_copy(update={"signature": encoded(seal.sign(covered))})
    receipt = Receipt(
        id=event.receipt,
        notice=notice.id,
        agency=notice.agency,
        signed=covered.decode(),
        key=event.key,
        signature=event.signature,
    )
    received = notice.but(state="received", receipt=receipt.id)
    return Change().putting(received).inserting(receipt).telling(event, on=file.head, by=by, at=at)


def receive_all(batch: Batch, *, by: Actor, at: Moment, seal: Seal) -> Change:
    """Sign for all of them or for none. Raises NotAllReceivable, which names those that cannot be."""
    faults = [
        fault
        for place, id_ in enumerate(batch.asked)
        if (fault := _unreceivable(place, batch.found.get(id_)))
    ]
    if faults:
        raise NotAllReceivable(errors=faults)
    return Change.all_of(receive(batch.found[id_], by=by, at=at, seal=seal) for id_ in batch.asked)


def _unreceivable(place: int, file: NoticeFile | None) -> dict[str, str] | None:
    pointer = wording.pointer(("notices", place))
    if file is None:
        # The same for a notice of another agency as for none.
        return wording.fault(pointer, errors.NotFound.code, "收件箱中没有这件通知")
    if file.notice.state == "received":
        return wording.fault(pointer, AlreadyReceived.code, AlreadyReceived.title)
    return None


Outcome = Literal["told", "waiting", "not_addressed", "held", "parked"]


@dataclass(frozen=True, slots=True)
class Question:
    """Why an agency was told of an event, or was not: all that is known of the two."""

    agency: str
    event: str
    #: How far the event got: None if it was never heard.
    progress: Literal["applied", "held", "parked"] | None
    type: str | None  #: of the event, as far as it is known
    notice: Notice | None  #: the agency's own
    waiting: bool  #: a notice waits for the agency's registration
    knows: bool  #: whether the agency was told of anything of this stream


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer, with the rows of the table that it follows from."""

    outcome: Outcome
    detail: str
    reasons: tuple[str, ...] = ()


def explain(question: Question, table: RouteTable, *, oversees: bool) -> Explanation:
    """Why. Raises NotFound for an event that never was, or of a stream that the asker knows nothing of."""
    if question.progress is None or not (question.knows or oversees):
        raise errors.NotFound
    if question.notice:
        return _told(question.notice, table)
    if question.progress == "parked":
        return Explanation("parked", "事件已收到，但该流被搁置，待运维人员处理后继续")
    if question.progress == "held":
        return Explanation("held", "事件已收到，正等待同一流中较早的事件")
    if question.waiting:
        return Explanation("waiting", "机关尚未登记，登记后补送")
    if not oversees:
        # What kind of event it was is for those whom it was told.
        return Explanation("not_addressed", "该事件不告知该机关")
    rows = table.routes.get(question.type or "", ())
    names = dict.fromkeys(routing.RECIPIENTS[why] for row in rows for why in row.to)
    told = f"该类事件告知：{'、'.join(names)}；该机关不在其中" if names else "路由表中没有这类事件"
    return Explanation("not_addressed", told, tuple(row.reason for row in rows))


def _told(notice: Notice, table: RouteTable) -> Explanation:
    if notice.why == routing.DEFAULT:
        return Explanation("told", "该事件无路由可送达，按默认机关告知")
    row = table.row(notice.type, notice.why)
    detail = f"该机关是该事件的{routing.RECIPIENTS.get(notice.why, notice.why)}"
    return Explanation("told", detail, (row.reason,) if row else ())


def notice_id(occasion: Occasion, agency: str, why: str) -> str:
    """UUIDv5 of event and agency; an alarm about an event is not the notice of it."""
    name = f"{occasion.event} {agency}" + (" alarm" if why == routing.DEFAULT else "")
    return str(uuid.uuid5(_NOTICES, name))


def issue(letter: Letter, agency: str, *, at: Moment) -> Change:
    """A notice to one agency that is known to have an inbox."""
    return _issue(notice_id(letter.occasion, agency, letter.why), letter, agency, at)


def _letter(desk: Desk, occasion: Occasion, event: Event, call: routing.Call) -> Letter:
    route = call.route
    return Letter(
        occasion=occasion,
        why=call.why,
        severity=routing.severity(route, event),
        urgency=routing.urgency(event),
        title=routing.filled(route.title, event, desk.table, desk.directory),
        body=routing.filled(route.body, event, desk.table, desk.directory),
        sign=route.sign,
    )


def _send(desk: Desk, posts: Collection[tuple[Letter, str]], at: Moment) -> Change:
    """Issue each letter to the agencies behind its addressee; where there are none yet, it waits."""
    issued: dict[str, Change] = {}
    waits = Change()
    for letter, addressee in posts:
        agencies = desk.directory.reached(addressee)
        for agency in agencies:
            id_ = notice_id(letter.occasion, agency, letter.why)
            if id_ not in issued:
                issued[id_] = _issue(id_, letter, agency, at)
        if not agencies:
            waits = waits.owning(desk.head("addressee", addressee)).inserting(_closed(letter, addressee))
    return Change.all_of([*issued.values(), waits])


def _issue(id_: str, letter: Letter, agency: str, at: Moment) -> Change:
    content: dict[str, Any] = {
        "id": id_,
        "agency": agency,
        "event": letter.occasion.event,
        "about": letter.occasion.about,
        "type": letter.occasion.type,
        "event_chain": letter.occasion.chain,
        "severity": letter.severity,
        "title": letter.title,
        "body": letter.body,
        "sign": letter.sign,
    }
    issued_at = at.now.astimezone(UTC)
    covered = proof.canonical({**content, "issued_at": issued_at.isoformat(timespec="microseconds")})
    notice = Notice(
        **content,
        why=letter.why,
        urgency=letter.urgency,
        state="unread",
        issued_at=issued_at,
        digest=hashlib.sha256(covered).hexdigest(),
    )
    event = said.NoticeIssued(
        notice=id_,
        agency=agency,
        event=notice.event,
        about=notice.about,
        severity=letter.severity,
        sign=notice.sign,
        notice_digest=notice.digest,
    )
    return Change().inserting(notice).telling(event, on=Head("notice", id_), by=NOBODY, at=at)


def _closed(letter: Letter, addressee: str) -> WaitingNotice:
    return WaitingNotice(event=letter.occasion.event, addressee=addressee, letter=asdict(letter))


def _opened(waiting: WaitingNotice) -> Letter:
    return Letter(**{**waiting.letter, "occasion": Occasion(**waiting.letter["occasion"])})
