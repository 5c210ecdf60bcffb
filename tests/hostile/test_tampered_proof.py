"""A proof that one bit was changed in never holds, and the entry that holds the bit is named.

The proofs are a real county's, as its services answered them. Every bit of them belongs to a class: text,
digest, salt or private record of an entry, the head, the signature, a key, a receipt, or the JSON between.
"""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.worlds import trail
from tests.worlds.trail import Trail
from tools import verify

#: Edits that are tried, in equal parts for each class.
EDITS = 20_000

#: Where a piece stands: names of members and numbers of items.
Place = tuple[str | int, ...]


class Bytes(NamedTuple):
    """A piece of a proof's text: of which class it is, and in which entry it stands."""

    proof: int
    begin: int
    end: int
    entry: int | None


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Trail:
    return trail.lived(tmp_path_factory.mktemp("county"))


def pieces(value: Any, path: Place = ()) -> Iterator[tuple[Place, str]]:
    """A value as the services write it, cut where another part begins."""
    if isinstance(value, dict):
        for n, (name, item) in enumerate(value.items()):
            yield path, "," if n else "{"
            yield (*path, name), f"{_dumped(name)}:"
            yield from pieces(item, (*path, name))
        yield path, "}"
    elif isinstance(value, list):
        for n, item in enumerate(value):
            yield path, "," if n else "["
            yield from pieces(item, (*path, n))
        yield path, "]" if value else "[]"
    else:
        yield path, _dumped(value)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def classes(proofs: tuple[bytes, ...]) -> dict[str, list[Bytes]]:
    """Every byte of these proofs, by class."""
    found: defaultdict[str, list[Bytes]] = defaultdict(list)
    for number, raw in enumerate(proofs):
        place = 0
        for path, text in pieces(json.loads(raw)):
            size = len(text.encode())
            assert raw[place : place + size] == text.encode()
            entry = int(path[1]) + 1 if path[:1] == ("entries",) and len(path) > 1 else None
            found[_class(path)].append(Bytes(number, place, place + size, entry))
            place += size
        assert place == len(raw)
    return found


def _class(path: Place) -> str:
    names = [step for step in path if isinstance(step, str)]
    return ".".join(names[:3] if names[:1] == ["entries"] else names[:1]) or "document"


def flipped(raw: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[place] ^= 1 << bit
    return bytes(changed)


def judged(raw: bytes) -> tuple[bool, set[int]]:
    """Whether it holds, and which entries are named where it does not."""
    try:
        report = verify.check(raw)
    except verify.Unreadable as why:
        return False, {int(number) for number in re.findall(r"第 (\d+) 条", str(why))}
    misfits = [finding.misfit for finding in report.findings if finding.misfit]
    return report.holds, {misfit.entry for misfit in misfits if misfit.entry}


def unnoticed(lived: Trail, piece: Bytes, place: int, bit: int) -> str:
    """What is wrong with the verdict on this edit, empty for nothing."""
    holds, named = judged(flipped(lived.proofs[piece.proof], place, bit))
    where = f"proof {piece.proof}, byte {place}, bit {bit}"
    if holds:
        return f"{where}: holds"
    return (
        f"{where}: in entry {piece.entry}, named {named}" if piece.entry and piece.entry not in named else ""
    )


def test_the_proofs_hold_as_they_were_answered(lived: Trail) -> None:
    reports = [verify.check(raw, verify.trusted_keys(lived.jwks)) for raw in lived.proofs]
    assert [verify.told(report) for report in reports if not report.holds or report.notes] == []
    checks = [finding.check for report in reports for finding in report.findings]
    assert {"chain", "head", "signature", "receipt"} == set(checks)


def test_every_class_of_bits_is_there(lived: Trail) -> None:
    assert set(classes(lived.proofs)) == {
        *("document", "format", "stream", "head", "signature", "keys", "receipts", "entries"),
        *("entries.public", "entries.private_digest", "entries.digest"),
        *("entries.record", "entries.record.salt", "entries.record.private"),
    }


def test_every_bit_that_is_changed_is_found_and_its_entry_named(lived: Trail) -> None:
    chance = random.Random(EDITS)
    by_class = sorted(classes(lived.proofs).items())
    failures = []
    for n in range(EDITS):
        _, found = by_class[n % len(by_class)]
        piece = chance.choice(found)
        place = chance.randrange(piece.begin, piece.end)
        failures.append(unnoticed(lived, piece, place, chance.randrange(8)))
    assert [failure for failure in failures if failure] == []


@pytest.mark.nightly
def test_not_one_bit_of_a_proof_can_be_changed(lived: Trail) -> None:
    """The shortest proof of each kind: with its private records, and without."""
    shortest = {number for number, _ in sorted(enumerate(lived.proofs), key=lambda proof: len(proof[1]))[:4]}
    every = [
        (piece, place, bit)
        for found in classes(lived.proofs).values()
        for piece in found
        if piece.proof in shortest
        for place in range(piece.begin, piece.end)
        for bit in range(8)
    ]
    failures = [unnoticed(lived, *edit) for edit in every]
    assert [failure for failure in failures if failure] == []


@pytest.mark.parametrize(
    "written_anew",
    [
        lambda document: json.dumps(document, ensure_ascii=False, indent=1),
        lambda document: json.dumps(document, separators=(",", ":")),
        lambda document: json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n",
    ],
    ids=["indented", "escaped", "with a newline"],
)
def test_a_proof_written_another_way_says_the_same_and_is_known_by_it(
    written_anew: Callable[[Any], str], lived: Trail
) -> None:
    for raw in lived.proofs:
        anew = written_anew(json.loads(raw)).encode()
        report = verify.check(anew, verify.trusted_keys(lived.jwks))
        assert report.holds
        assert len(report.notes) == (anew != raw)
