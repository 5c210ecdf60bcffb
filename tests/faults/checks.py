"""What must hold when all is quiet: each check is one function that says what does not, with its proof."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tests.faults.evidence import HEARS, Fact, World
from tests.faults.ledger import Request
from tests.worlds import cast

#: The fact that a request becomes which was done.
FACTS = {
    "clue": "liandong.clue.registered.v1",
    "file": "liandong.case.filed.v1",
    "investigate": "liandong.investigation.opened.v1",
    "offer": "liandong.transfer.offered.v1",
    "accept": "liandong.transfer.accepted.v1",
    "return": "liandong.transfer.returned.v1",
    "withdraw": "liandong.transfer.withdrawn.v1",
}
#: What comes with a return in one commit when it is the case's second.
DISPUTED = "liandong.dispute.opened.v1"
#: Facts that give a case to somebody, with the field that says to whom.
HANDED: Mapping[str, str] = {
    "liandong.transfer.accepted.v1": "to_agency",
    "liandong.dispute.lead_named.v1": "lead",
    "liandong.dispute.settled.v1": "competent_agency",
    "liandong.dispute.ruled.v1": "competent_agency",
}
#: Requests that the law refuses, whatever else happens.
LAWLESS = frozenset(
    {
        "clue-of-no-power",
        "file-beyond-power",
        "file-with-one-officer",
        "return-groundless",
        "accept-too-late",
        "withdraw-too-late",
        "act-without-holding",
        "receive-again",
    }
)
#: Whom each fact is told: fields of its data, or the coordinating office. By hand, from the route table.
TOLD: Mapping[str, tuple[str, ...]] = {
    "liandong.agency.registered.v1": ("agency",),
    "liandong.officer.certified.v1": ("agency",),
    "liandong.power.published.v1": ("department",),
    "liandong.grant.effected.v1": ("agency", "department"),
    "liandong.clue.registered.v1": ("holder",),
    "liandong.case.filed.v1": ("holder", "in_name_of"),
    "liandong.investigation.opened.v1": ("holder",),
    "liandong.transfer.offered.v1": ("to_agency",),
    "liandong.transfer.accepted.v1": ("from_agency", "to_agency"),
    "liandong.transfer.returned.v1": ("from_agency", "coordinators"),
    "liandong.transfer.withdrawn.v1": ("to_agency",),
    "liandong.dispute.opened.v1": ("parties", "coordinators"),
    "liandong.obligation.amended.v1": ("agency", "awaits"),
    "liandong.obligation.warned.v1": ("told",),
    "liandong.obligation.overdue.v1": ("told",),
    "liandong.obligation.escalated.v1": ("told",),
    "liandong.supervision.issued.v1": ("agency",),
    "liandong.picture.rebuilt.v1": ("coordinators",),
}
#: What an event may name instead of an agency: here one is both.
OFFICES = {"coordinators": cast.OFFICE, "county": cast.OFFICE}

Found = Iterator[str]


def everything_is_resolved(world: World) -> Found:
    """No outcome stays unknown: the same Idempotency-Key tells in the end."""
    for request in world.requests.values():
        if request.outcome == "unknown" and request.verb:
            yield _with_lines("never resolved", request)


def nothing_acknowledged_is_lost(world: World) -> Found:
    """What was answered ok is in the journal of the service that answered, and its answer is stored."""
    facts = {(fact.stream, fact.seq): fact.type for fact in world.facts}
    receipts = {notice.id: notice.receipt for notice in world.notices}
    for request in _with_outcome(world, "ok"):
        if request.key not in world.answered:
            yield _with_lines("acknowledged, and its answer is not stored", request)
        if request.verb in FACTS and facts.get(_place(request)) != FACTS[request.verb]:
            yield _with_lines("acknowledged, and its fact is not there", request)
        for told in request.told.get("receipts", ()):
            if receipts.get(told["notice"]) != told["receipt"]:
                yield _with_lines(f"signed for, and notice {told['notice']} does not have it", request)


def nothing_refused_is_present(world: World) -> Found:
    """A refusal left nothing: no answer under its key, and no fact of a case that nobody was told of."""
    claimed = set(_claimed(world))
    for fact in world.facts:
        if fact.stream.startswith("case/") and (fact.stream, fact.seq) not in claimed:
            refused = [r for r in _with_outcome(world, "refused") if fact.stream[5:] in r.path]
            yield "\n".join([f"{fact.id} {fact.type} was acknowledged to nobody", *map(_lines, refused)])
    for request in _with_outcome(world, "refused"):
        if request.key in world.answered:
            yield _with_lines("refused, and an answer is stored", request)


def the_law_refused_what_it_must(world: World) -> Found:
    """What is unlawful was asked for, and never done; without it the check above would see nothing."""
    asked = {request.verb for request in world.requests.values()} & LAWLESS
    if len(asked) < len(LAWLESS) / 2:
        yield f"nobody asked for {sorted(LAWLESS - asked)}"
    for request in _with_outcome(world, "ok"):
        if request.verb in LAWLESS:
            yield _with_lines("unlawful, and done", request)


def answers_agree(world: World) -> Found:
    """Asked for again under its key, a request has the same answer to the byte."""
    for request in world.requests.values():
        if len(set(request.answers)) > 1:
            yield _with_lines("answered in two ways", request)


def no_service_failed(world: World) -> Found:
    """No 500, and nothing in the logs that calls itself a bug."""
    for request in world.requests.values():
        if request.bugs:
            yield _with_lines("a service failed", request)
    yield from world.complaints


def seq_is_dense(world: World) -> Found:
    """Each stream counts its facts 1..n, chained, up to its head."""
    for (source, stream), facts in _streams(world).items():
        if [fact.seq for fact in facts] != list(range(1, len(facts) + 1)):
            yield f"{source} {stream} counts {[fact.seq for fact in facts]}"
        if broken := [fact.seq for fact in facts if not fact.follows]:
            yield f"{source} {stream} does not follow at {broken}"
        head = world.heads.get((source, stream))
        if head != (facts[-1].seq, facts[-1].digest):
            yield f"{source} {stream} ends at {facts[-1].seq}, and its head is {head}"


def everything_is_heard_once(world: World) -> Found:
    """Each consumer's gates are the heads of what it hears, and nothing waits or is set aside."""
    told = {_place(request): request for request in _with_outcome(world, "ok") if request.verb in FACTS}
    for consumer, sources in HEARS.items():
        for (source, stream), head in world.heads.items():
            if source in sources and world.gates.get((consumer, source, stream)) != head:
                gate = world.gates.get((consumer, source, stream))
                complaint = f"{consumer} has heard {source} {stream} up to {gate}, and it is at {head}"
                request = told.get((stream, head[0]))
                yield complaint + (f"\n{_lines(request)}" if request else "")
    for what, count in world.left.items():
        if count:
            yield f"{count} {what}"


def everybody_is_told_once(world: World) -> Found:
    """One notice an event and recipient, to those of the route table and to nobody else."""
    told = Counter((notice.event, notice.agency) for notice in world.notices if not notice.is_alarm)
    due = {(fact.id, agency) for fact in world.facts for agency in _recipients(fact)}
    yield from (f"{agency} was told {n} times of {event}" for (event, agency), n in told.items() if n > 1)
    yield from (f"{agency} was not told of {event}" for event, agency in sorted(due - told.keys()))
    yield from (f"{agency} was told of {event}" for event, agency in sorted(told.keys() - due))


def signatures_reach_their_case(world: World) -> Found:
    """Every receipt for a notice about a case is kept with the case, and no other."""
    due = {n.receipt for n in world.notices if n.receipt and n.event.startswith("case/")}
    yield from (f"receipt {receipt} is not with its case" for receipt in sorted(due - world.signatures))
    yield from (f"receipt {receipt} is nobody's" for receipt in sorted(world.signatures - due))


def the_log_is_whole_and_in_order(world: World) -> Found:
    """Positions are dense, each fact has one, and those of a stream stand in the order of seq.

    What an offer discloses is no fact, and stands in a stream of its own.
    """
    positions = [place.position for place in world.log]
    if positions != list(range(1, len(positions) + 1)):
        yield f"{len(positions)} positions end at {positions[-1]}"
    entered = Counter((place.source, place.stream, place.seq) for place in world.log)
    due = {(fact.source, fact.stream, fact.seq) for fact in world.facts}
    yield from (f"{entry} stands {n} times in the log" for entry, n in entered.items() if n > 1)
    yield from (f"{entry} is not in the log" for entry in sorted(due - entered.keys()))
    told = {entry for entry in entered if not entry[1].startswith("disclosure/")}
    yield from (f"{entry} is in the log and in no journal" for entry in sorted(told - due))
    reached: defaultdict[tuple[str, str], int] = defaultdict(int)
    for place in world.log:
        if place.seq != reached[place.source, place.stream] + 1:
            yield f"{place} stands behind seq {reached[place.source, place.stream]}"
        reached[place.source, place.stream] = place.seq


def word_never_stands_before_its_event(world: World) -> Found:
    """A notice of a case's event, and the receipt for it, stand behind that event in the log."""
    places = {f"{place.stream}/{place.seq}": place.position for place in world.log}
    for fact in world.facts:
        event = str(fact.data.get("event", ""))
        of_notices = fact.stream.startswith("notice/")
        if of_notices and event.startswith("case/") and places.get(fact.id, 0) < places.get(event, 0):
            yield f"{fact.id} stands before {event}, of which it tells"


def one_holder_always(world: World) -> Found:
    """At every moment, whoever was asked, a case had one holder: the one that its facts say."""
    yield from world.strange
    held = _held(world)
    for case, holder in world.holders.items():
        if not held.get(case) or held[case][-1] != holder:
            yield f"case {case} is held by {holder}, and its facts say {held.get(case)}"
    for seen in sorted(world.sightings, key=lambda s: (s.case, s.seq, s.by)):
        told = held.get(seen.case, [])
        possible = told[seen.seq - 1 : seen.seq if seen.exact else None]
        if seen.holder not in possible:
            yield f"{seen}, and its facts say {told}"
    if not world.looks or not world.sightings:
        yield "nobody looked who holds what"


def feed_readers_are_complete(world: World) -> Found:
    """Who follows by the last id has each entry once, in order, as a fresh reader has them."""
    for reader, fresh in world.fresh.items():
        if [entry.position for entry in fresh] != list(range(1, len(world.log) + 1)):
            yield f"{reader} reads {len(fresh)} entries of {len(world.log)} afresh"
        followed = world.followed[reader]
        if list(followed) != list(fresh):
            at = next(
                (n for n, pair in enumerate(zip(followed, fresh, strict=False)) if pair[0] != pair[1]), -1
            )
            yield f"{reader} followed {len(followed)} entries, {len(fresh)} are there; first unlike: {at}"
    if not world.fresh:
        yield "nobody followed a feed"


def papers_are_valid(world: World) -> Found:
    """Proofs and receipts satisfy the offline verifier, against our keys and what others witnessed."""
    for name, report in world.papers.items():
        yield from (f"{name}: {finding.text}" for finding in report.findings if not finding.holds)
    if not world.papers:
        yield "no proof and no receipt was verified"


def the_picture_equals_its_rebuild(world: World) -> Found:
    """A rebuild from the log gives the same picture, to the byte."""
    before, after = world.pictures
    if before != after or not before:
        yield f"the picture has {len(before)} bytes, rebuilt {len(after)}, and they differ"


#: Every check, in the order in which a reader wants to hear of them.
CHECKS: tuple[Callable[[World], Iterable[str]], ...] = (
    everything_is_resolved,
    nothing_acknowledged_is_lost,
    nothing_refused_is_present,
    the_law_refused_what_it_must,
    answers_agree,
    no_service_failed,
    seq_is_dense,
    everything_is_heard_once,
    everybody_is_told_once,
    signatures_reach_their_case,
    the_log_is_whole_and_in_order,
    word_never_stands_before_its_event,
    one_holder_always,
    feed_readers_are_complete,
    papers_are_valid,
    the_picture_equals_its_rebuild,
)


def _with_outcome(world: World, outcome: str) -> list[Request]:
    return [request for request in world.requests.values() if request.outcome == outcome]


def _place(request: Request) -> tuple[str, int]:
    """The fact that a request on a case became: its version is the case's, which counts its facts."""
    case = request.told.get("case") or request.told.get("id", "")
    return f"case/{case}", request.told.get("version", 0)


def _claimed(world: World) -> Iterator[tuple[str, int]]:
    """The facts that somebody was told of."""
    types = {(fact.stream, fact.seq): fact.type for fact in world.facts}
    for request in _with_outcome(world, "ok"):
        if request.verb in FACTS:
            stream, seq = _place(request)
            yield stream, seq
            if request.verb == "return" and types.get((stream, seq + 1)) == DISPUTED:
                yield stream, seq + 1


def _streams(world: World) -> dict[tuple[str, str], list[Fact]]:
    found: defaultdict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in world.facts:
        found[fact.source, fact.stream].append(fact)
    return found


def _recipients(fact: Fact) -> set[str]:
    fields: Mapping[str, Any] = {**fact.data, "coordinators": cast.OFFICE}
    named = (fields[name] for name in TOLD.get(fact.type, ()))
    agencies = {agency for one in named for agency in (one if isinstance(one, list) else [one])}
    return {OFFICES.get(agency, agency) for agency in agencies - {""}}


def _held(world: World) -> dict[str, list[str]]:
    """Who held each case after each of its facts."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for (_, stream), facts in _streams(world).items():
        kind, _, case = stream.partition("/")
        for fact in facts if kind == "case" else ():
            now = found[case][-1] if found[case] else fact.data["holder"]
            found[case].append(fact.data[HANDED[fact.type]] if fact.type in HANDED else now)
    return found


def _with_lines(complaint: str, request: Request) -> str:
    return f"{request.verb} {request.key}: {complaint}\n{_lines(request)}"


def _lines(request: Request) -> str:
    return "\n".join(f"    {line}" for line in request.lines)
