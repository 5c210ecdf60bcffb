"""Each check sees what it is there for: a world in which all holds, and one thing wrong in it at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults import checks, ledger
from tests.faults.checks import FACTS
from tests.faults.evidence import Fact, Notice, Place, World
from tests.faults.ledger import Request
from tests.faults.watching import Entry, Sighting
from tests.worlds import cast
from tools import verify

CASE = "case/c"
SIGNED = "signed"


def a_fact(seq: int, verb: str, **data: str) -> Fact:
    return Fact("cases", CASE, seq, FACTS[verb], data, digest=f"digest {seq}")


#: A township registered a clue, offered it to the department, and the department took it.
TRANSFER = {"from_agency": cast.TOWNSHIP, "to_agency": cast.DEPARTMENT}
HISTORY = (
    a_fact(1, "clue", holder=cast.TOWNSHIP),
    a_fact(2, "offer", **TRANSFER),
    a_fact(3, "accept", **TRANSFER),
)
NOTICES = (
    Notice("n1", cast.TOWNSHIP, f"{CASE}/1", SIGNED),
    Notice("n2", cast.DEPARTMENT, f"{CASE}/2"),
    Notice("n3", cast.TOWNSHIP, f"{CASE}/3"),
    Notice("n4", cast.DEPARTMENT, f"{CASE}/3"),
)


def lines(*told: dict[str, object]) -> list[str]:
    return [json.dumps(line) + "\n" for line in told]


def asked(key: str, verb: str, **outcome: object) -> list[str]:
    """The lines of one request with its outcome."""
    invoke = {"service": "cases", "agency": cast.TOWNSHIP, "verb": verb, "path": f"/v1/cases/c/{verb}"}
    return lines({"do": "invoke", "key": key, **invoke}, {"key": key, **outcome})


def done(key: str, verb: str, **told: object) -> list[str]:
    return asked(key, verb, do="ok", status=201, sha256=f"answer to {key}", told=told)


#: It came back twice, and the second time it was disputed in the same commit.
RETURNED = (
    a_fact(1, "clue", holder=cast.TOWNSHIP),
    *(a_fact(n, verb, **TRANSFER) for n, verb in enumerate(("offer", "return") * 2, 2)),
    Fact("cases", CASE, 6, checks.DISPUTED, {"parties": [cast.TOWNSHIP, cast.DEPARTMENT]}, digest="digest 6"),
)


def requests() -> dict[str, Request]:
    """Three acts that became facts, one signature, and half of what the law refuses."""
    receipts = [{"notice": "n1", "receipt": SIGNED, "event": f"{CASE}/1"}]
    every = [
        *done("k1", "clue", id="c", version=1),
        *done("k2", "offer", case="c", version=2),
        *done("k3", "accept", case="c", version=3),
        *done("k4", "receive-all", receipts=receipts),
    ]
    for verb in checks.LAWLESS:
        every += asked(verb, verb, do="refused", status=409, code="too-late")
    return ledger.fold(every)


def a_world() -> World:
    """A world in which everything holds."""
    head = {("cases", CASE): (3, "digest 3")}
    entries = [Entry(n, fact.type) for n, fact in enumerate(HISTORY, 1)]
    report = verify.Report("proof", CASE, [verify.Finding("chain", True, "it follows")])
    return World(
        requests=requests(),
        facts=HISTORY,
        heads=head,
        gates={(consumer, "cases", CASE): (3, "digest 3") for consumer in ("notify", "sharing")},
        answered=frozenset({"k1", "k2", "k3", "k4"}),
        holders={"c": cast.DEPARTMENT},
        notices=NOTICES,
        signatures=frozenset({SIGNED}),
        log=[Place(n, "cases", CASE, n) for n in (1, 2, 3)],
        left={"held events in notify": 0},
        looks=1,
        sightings=frozenset({Sighting("c", 2, cast.TOWNSHIP, "picture")}),
        followed={"a reader": entries},
        fresh={"a reader": entries},
        papers={CASE: report},
        pictures=(b"[]", b"[]"),
    )


def but(**changes: object) -> World:
    return replace(a_world(), **changes)  # type: ignore[arg-type]


def with_request(*more: str) -> World:
    """The same world, and the ledger tells of more."""
    return but(requests={**requests(), **ledger.fold(more)})


def once_more(key: str, **told: object) -> World:
    """The ledger has one more line about a request that it knows."""
    known = requests()
    every = [f"{line}\n" for line in known[key].lines]
    return but(requests=known | ledger.fold([*every, *lines({"key": key, **told})]))


def a_report(holds: bool) -> verify.Report:
    return verify.Report("proof", CASE, [verify.Finding("chain", holds, "第 2 条摘要不符")])


def followed(*ids: int) -> World:
    entries = a_world().fresh["a reader"]
    return but(followed={"a reader": [entries[n - 1] for n in ids]})


#: The check, a world that is wrong for it, and what it says.
WRONG: tuple[tuple[Callable[[World], checks.Found], World, str], ...] = (
    (checks.everything_is_resolved, with_request(*asked("k9", "offer", do="unknown", why="503")), "k9"),
    (checks.nothing_acknowledged_is_lost, but(facts=HISTORY[:2]), "accept k3: acknowledged, and its fact"),
    (
        checks.nothing_acknowledged_is_lost,
        but(answered=frozenset({"k1", "k2", "k3"})),
        "k4: acknowledged, and",
    ),
    (checks.nothing_acknowledged_is_lost, but(notices=NOTICES[1:]), "k4: signed for, and notice n1"),
    (
        checks.nothing_acknowledged_is_lost,
        but(facts=(*HISTORY[:2], a_fact(3, "withdraw", **TRANSFER))),
        "accept k3: acknowledged, and its fact is not there",
    ),
    (
        checks.nothing_refused_is_present,
        but(facts=(*HISTORY, a_fact(4, "return", **TRANSFER))),
        "case/c/4 liandong.transfer.returned.v1 was acknowledged to nobody",
    ),
    (
        checks.nothing_refused_is_present,
        but(answered=a_world().answered | {"accept-too-late"}),
        "refused, and an answer is stored",
    ),
    (checks.the_law_refused_what_it_must, but(requests={}), "nobody asked for"),
    (
        checks.the_law_refused_what_it_must,
        with_request(*done("k9", "withdraw-too-late", case="c", version=4)),
        "unlawful, and done",
    ),
    (checks.answers_agree, once_more("k2", do="again", status=201, sha256="another"), "answered in two ways"),
    (checks.no_service_failed, once_more("k2", do="bug", status=500), "a service failed"),
    (checks.no_service_failed, but(complaints=["cases.log: Traceback"]), "Traceback"),
    (checks.seq_is_dense, but(facts=(HISTORY[0], HISTORY[2])), "counts [1, 3]"),
    (checks.seq_is_dense, but(facts=(*HISTORY, HISTORY[2])), "counts [1, 2, 3, 3]"),
    (
        checks.seq_is_dense,
        but(facts=(HISTORY[0], replace(HISTORY[1], follows=False), HISTORY[2])),
        "does not follow at [2]",
    ),
    (checks.seq_is_dense, but(heads={("cases", CASE): (4, "digest 4")}), "ends at 3"),
    (
        checks.everything_is_heard_once,
        but(gates={**a_world().gates, ("sharing", "cases", CASE): (2, "digest 2")}),
        "sharing has heard cases case/c up to (2, 'digest 2')",
    ),
    (checks.everything_is_heard_once, but(left={"parked keys in notify": 1}), "1 parked keys in notify"),
    (checks.everybody_is_told_once, but(notices=NOTICES[:3]), f"{cast.DEPARTMENT} was not told of case/c/3"),
    (checks.everybody_is_told_once, but(notices=(*NOTICES, NOTICES[3])), "was told 2 times of case/c/3"),
    (
        checks.everybody_is_told_once,
        but(notices=(*NOTICES, Notice("n5", cast.WITHOUT, f"{CASE}/1"))),
        f"{cast.WITHOUT} was told of case/c/1",
    ),
    (checks.signatures_reach_their_case, but(signatures=frozenset()), "receipt signed is not with its case"),
    (checks.signatures_reach_their_case, but(signatures=frozenset({SIGNED, "x"})), "receipt x is nobody's"),
    (
        checks.the_log_is_whole_and_in_order,
        but(log=[Place(1, "cases", CASE, 1), Place(3, "cases", CASE, 2), Place(4, "cases", CASE, 3)]),
        "3 positions end at 4",
    ),
    (
        checks.the_log_is_whole_and_in_order,
        but(log=a_world().log[:2]),
        "('cases', 'case/c', 3) is not in the log",
    ),
    (
        checks.the_log_is_whole_and_in_order,
        but(log=[*a_world().log, Place(4, "cases", CASE, 3)]),
        "stands 2 times in the log",
    ),
    (
        checks.the_log_is_whole_and_in_order,
        but(log=[Place(1, "cases", CASE, 2), Place(2, "cases", CASE, 1), Place(3, "cases", CASE, 3)]),
        "stands behind seq 0",
    ),
    (
        checks.word_never_stands_before_its_event,
        but(
            facts=(*HISTORY, Fact("notify", "notice/n1", 1, "issued", {"event": f"{CASE}/1"}, "digest")),
            log=[Place(1, "notify", "notice/n1", 1), Place(2, "cases", CASE, 1)],
        ),
        "notice/n1/1 stands before case/c/1",
    ),
    (checks.one_holder_always, but(strange=["case c has 2 holders"]), "2 holders"),
    (checks.one_holder_always, but(holders={"c": cast.TOWNSHIP}), f"case c is held by {cast.TOWNSHIP}"),
    (
        checks.one_holder_always,
        but(sightings=frozenset({Sighting("c", 2, cast.DEPARTMENT, "picture")})),
        "and its facts say",
    ),
    (
        checks.one_holder_always,
        but(sightings=frozenset({Sighting("c", 3, cast.TOWNSHIP, "process 1 of cases", exact=False)})),
        "and its facts say",
    ),
    (checks.one_holder_always, but(looks=0), "nobody looked"),
    (checks.feed_readers_are_complete, followed(1, 3), "followed 2 entries, 3 are there; first unlike: 1"),
    (checks.feed_readers_are_complete, followed(1, 2, 2, 3), "followed 4 entries"),
    (checks.feed_readers_are_complete, followed(2, 1, 3), "first unlike: 0"),
    (checks.feed_readers_are_complete, but(fresh={"a reader": ()}), "reads 0 entries of 3 afresh"),
    (checks.feed_readers_are_complete, but(fresh={}, followed={}), "nobody followed"),
    (checks.papers_are_valid, but(papers={CASE: a_report(False)}), "第 2 条摘要不符"),
    (checks.papers_are_valid, but(papers={}), "no proof and no receipt"),
    (checks.the_picture_equals_its_rebuild, but(pictures=(b"[1]", b"[2]")), "they differ"),
    (checks.the_picture_equals_its_rebuild, but(pictures=(b"", b"")), "0 bytes"),
)


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
def test_a_world_in_which_all_holds_satisfies(check: Callable[[World], checks.Found]) -> None:
    assert list(check(a_world())) == []


@pytest.mark.parametrize(
    ("check", "world", "said"), WRONG, ids=[f"{n}-{check.__name__}" for n, (check, _, _) in enumerate(WRONG)]
)
def test_what_is_wrong_is_found_and_named(
    check: Callable[[World], checks.Found], world: World, said: str
) -> None:
    assert said in "\n".join(check(world))


def test_every_check_is_shown_to_fail() -> None:
    assert {check for check, _, _ in WRONG} == set(checks.CHECKS)


def test_a_finding_shows_the_lines_of_the_ledger_that_prove_it() -> None:
    (found,) = checks.nothing_acknowledged_is_lost(but(facts=HISTORY[:2]))
    assert '"do": "invoke", "key": "k3"' in found
    assert '"do": "ok"' in found or '"key": "k3", "do": "ok"' in found


def test_the_dispute_that_comes_with_a_second_return_is_told_with_it() -> None:
    told = [
        *done("k1", "clue", id="c", version=1),
        *done("k2", "offer", case="c", version=2),
        *done("k3", "return", case="c", version=3),
        *done("k4", "offer", case="c", version=4),
        *done("k5", "return", case="c", version=5),
    ]
    world = but(facts=RETURNED, requests=ledger.fold(told))
    assert list(checks.nothing_refused_is_present(world)) == []
    untold = but(facts=RETURNED, requests=ledger.fold(told[:-2]))
    assert any("case/c/6" in found for found in checks.nothing_refused_is_present(untold))
