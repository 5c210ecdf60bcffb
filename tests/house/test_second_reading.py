"""Two readings of docs/trace.md agree with what the product writes, and on what is wrong with it."""

from __future__ import annotations

import copy
import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from libs.common.change import Change, Fact, Head
from libs.common.clock import Moment, Trace
from libs.common.permit import Actor
from tests.worlds import second_reading
from tools import verify

#: Chains that are told, and then broken, each in its own way.
CHAINS = 1000

#: Letters of every kind that a text of JSON writes in its own way.
LETTERS = string.printable + "\x00\x1b\x7f\x80\u2028\ue000\uffff案件移送（赋权）é😀𠮷"


@dataclass(frozen=True)
class Said:
    """An event with any data: what chains are made of, whatever the catalogue says."""

    data: dict[str, Any]
    TYPE: ClassVar[str] = "liandong.thing.said.v1"
    SOURCE: ClassVar[str] = "/services/cases"

    def model_dump(self, *, mode: str, exclude_none: bool) -> dict[str, Any]:
        return self.data


def a_text(chance: random.Random) -> str:
    return "".join(chance.choices(LETTERS, k=chance.randrange(12)))


def a_value(chance: random.Random, depth: int = 3) -> Any:
    """Any JSON value that has a canonical form."""
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: chance.random() < 0.5,
        lambda: chance.choice([0, 1, -1, 10**15, -(2**63), 2**63, 2**64 - 1, chance.randrange(10**9)]),
        lambda: a_text(chance),
        lambda: [a_value(chance, depth - 1) for _ in range(chance.randrange(4))],
        lambda: some_members(chance, depth - 1),
    ]
    return chance.choice(kinds[: 6 if depth else 4])()


def some_members(chance: random.Random, depth: int = 2) -> dict[str, Any]:
    return {a_text(chance): a_value(chance, depth) for _ in range(chance.randrange(5))}


def a_chain(chance: random.Random) -> tuple[str, Sequence[Fact]]:
    """A stream of some facts, as the product tells them."""
    head, change = Head("case", a_text(chance).replace("\x00", "") or "c1"), Change()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(chance.randrange(1, 9)):
        now += timedelta(microseconds=chance.randrange(10**12))
        at = Moment(now, Trace(a_text(chance), a_text(chance)), seed=chance.randbytes(32))
        by = Actor(a_text(chance), a_text(chance))
        private = {"note": a_value(chance)}
        change = change.telling(Said(some_members(chance)), on=head, by=by, at=at, private=private)
    return head.stream, change.facts


def entries(facts: Sequence[Fact], chance: random.Random) -> list[dict[str, Any]]:
    """The facts as a proof shows them, some with their private record."""
    shown = []
    for fact in facts:
        hidden = second_reading.hidden(fact.salt, fact.private).hex()
        entry: dict[str, Any] = {
            "public": fact.public.decode(),
            "private_digest": hidden,
            "digest": fact.digest.hex(),
        }
        if chance.random() < 0.5:
            entry["record"] = {"salt": fact.salt.hex(), "private": fact.private.decode()}
        shown.append(entry)
    return shown


def first_misfit(stream: str, chain: list[Any]) -> int | None:
    """What tools/verify.py says of the same entries."""
    try:
        verify.follow(stream, chain)
    except verify.Misfit as misfit:
        return misfit.entry
    return None


def _other_letter(text: str, chance: random.Random) -> str:
    if not text:
        return "x"
    place = chance.randrange(len(text))
    return text[:place] + chance.choice('0123456789abcdef xyz{}[]",:\\é') + text[place + 1 :]


def _in_a_text(chain: list[Any], chance: random.Random) -> None:
    entry = chance.choice(chain)
    name = chance.choice([*entry.keys() - {"record"}])
    entry[name] = _other_letter(entry[name], chance)


def _in_a_record(chain: list[Any], chance: random.Random) -> None:
    entry = chance.choice(chain)
    record = entry.setdefault("record", {"salt": "00" * 32, "private": "{}"})
    name = chance.choice(["salt", "private"])
    record[name] = _other_letter(record[name], chance)


def _of_another_form(chain: list[Any], chance: random.Random) -> None:
    place = chance.randrange(len(chain))
    entry = chain[place]
    name = chance.choice(sorted(entry))
    odd: list[Callable[[], object]] = [
        lambda: chain.__setitem__(place, chance.choice([None, 1, "x", [], {}])),
        lambda: entry.pop(name),
        lambda: entry.__setitem__(name, chance.choice([None, 1, [], "", "AB" * 32, "ab" * 31])),
        lambda: entry.__setitem__("note", "x"),
    ]
    chance.choice(odd)()


def _dropped(chain: list[Any], chance: random.Random) -> None:
    del chain[chance.randrange(len(chain))]


def _inserted(chain: list[Any], chance: random.Random) -> None:
    chain.insert(chance.randrange(len(chain) + 1), copy.deepcopy(chance.choice(chain)))


def _swapped(chain: list[Any], chance: random.Random) -> None:
    one, other = chance.randrange(len(chain)), chance.randrange(len(chain))
    chain[one], chain[other] = chain[other], chain[one]


def _spelt_anew(chain: list[Any], chance: random.Random) -> None:
    """Another writing of the same JSON, with all digests computed anew: only the form is wrong."""
    place = chance.randrange(len(chain))
    spelt = [(":", ": "), ('"case', '"\\u0063ase'), ('"id"', '"id","id"'), ("}", "} "), ("T", "t")]
    old, new = chance.choice(spelt)
    chain[place]["public"] = chain[place]["public"].replace(old, new, 1)
    _computed_anew(chain)


def _renamed(chain: list[Any], chance: random.Random) -> None:
    """Another stream, number or id in canonical words, with all digests computed anew."""
    entry = chance.choice(chain)
    old, new = chance.choice(
        [('"sequence":', '"sequence":1'), ('"subject":"case', '"subject":"cafe'), ("/", "/0")]
    )
    entry["public"] = entry["public"].replace(old, new, 1)
    _computed_anew(chain)


def _computed_anew(chain: list[Any]) -> None:
    parts = [(entry["public"].encode(), bytes.fromhex(entry["private_digest"])) for entry in chain]
    for entry, link in zip(chain, second_reading.links(parts), strict=True):
        entry["digest"] = link.hex()


BREAKS = (
    *(_in_a_text, _in_a_record, _of_another_form, _dropped, _inserted, _swapped),
    *(_spelt_anew, _renamed),
)


def test_both_follow_what_the_product_writes() -> None:
    chance = random.Random(1)
    for _ in range(CHAINS):
        stream, facts = a_chain(chance)
        told = [(fact.public, second_reading.hidden(fact.salt, fact.private)) for fact in facts]
        assert second_reading.links(told) == [fact.digest for fact in facts]
        chain = entries(facts, chance)
        assert first_misfit(stream, chain) is second_reading.first_misfit(stream, chain) is None


def test_both_name_the_same_entry_of_a_chain_that_was_broken() -> None:
    chance = random.Random(2)
    found = dict.fromkeys(BREAKS, 0)
    for number in range(CHAINS):
        stream, facts = a_chain(chance)
        chain = entries(facts, chance)
        breaks = BREAKS[number % len(BREAKS)]
        breaks(chain, chance)
        named = first_misfit(stream, chain)
        assert named == second_reading.first_misfit(stream, chain), (breaks.__name__, number)
        found[breaks] += named is not None
    # A letter may be put in its own place, and an end that is cut off is for the head to show.
    assert all(count > CHAINS / len(BREAKS) / 3 for count in found.values()), found
