"""Loads the procedure table and refuses one that a jurist would refuse."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from libs.common.contracts import cases as said
from libs.common.contracts.event import CATALOGUE
from libs.common.law import basis
from libs.common.permit import Role

#: What a move may ask the request to bring.
NEEDS = frozenset({"officers", "reason", "decision"})
#: The stage at which a case begins: its clue is registered.
BEGINNING = "registered"

_SECTIONS = frozenset({"stages", "move", "guard"})
_MOVE = frozenset({"name", "zh", "from", "to", "who", "guards", "needs", "event", "basis"})
_GUARD = frozenset({"zh", "basis"})


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition of a move, with the article that demands it."""

    name: str
    zh: str
    basis: str


@dataclass(frozen=True, slots=True)
class Move:
    """One step from stage to stage."""

    name: str
    zh: str
    from_: tuple[str, ...]
    to: str
    who: Role
    guards: tuple[Guard, ...]
    needs: frozenset[str]
    event: str
    basis: str


@dataclass(frozen=True, slots=True)
class Procedure:
    """Stages and moves, in the order of the table."""

    stages: Mapping[str, str]
    moves: Mapping[str, Move]

    def from_stage(self, stage: str) -> list[Move]:
        """The moves that leave `stage`."""
        return [move for move in self.moves.values() if stage in move.from_]


class BadTable(ValueError):
    """The procedure table contradicts itself or cites what does not exist."""


@cache
def load() -> Procedure:
    """The table of this release."""
    return read(tomllib.loads(resources.files(__package__).joinpath("procedure.toml").read_text("utf-8")))


def read(table: Mapping[str, Any]) -> Procedure:
    """A table, checked. Raises BadTable, naming the row."""
    _check("the table", set(table) == _SECTIONS, f"it has {sorted(table)} instead of {sorted(_SECTIONS)}")
    stages: dict[str, str] = dict(table["stages"])
    guards = {name: _guard(name, row) for name, row in table["guard"].items()}
    moves = {row.get("name", ""): _move(row, stages, guards) for row in table["move"]}
    _check("number of moves", len(moves) == len(table["move"]), "two moves have one name")
    lost = set(stages) - _reached(moves.values())
    _check("stages", not lost, f"no way leads from {BEGINNING} to {sorted(lost)}")
    unused = set(guards) - {guard.name for move in moves.values() for guard in move.guards}
    _check("guards", not unused, f"guards that guard nothing: {sorted(unused)}")
    return Procedure(stages, moves)


def _reached(moves: Collection[Move]) -> set[str]:
    reached: set[str] = set()
    newly = {BEGINNING}
    while newly:
        reached |= newly
        newly = {move.to for move in moves if reached & set(move.from_)} - reached
    return reached


def _guard(name: str, row: Mapping[str, Any]) -> Guard:
    _check(name, set(row) == _GUARD, f"it has {sorted(row)} instead of {sorted(_GUARD)}")
    _cited(name, row["basis"])
    return Guard(name, row["zh"], row["basis"])


def _move(row: Mapping[str, Any], stages: Mapping[str, str], guards: Mapping[str, Guard]) -> Move:
    name = row.get("name", "a move without a name")
    _check(name, set(row) == _MOVE, f"it has {sorted(row)} instead of {sorted(_MOVE)}")
    known = {*row["from"], row["to"]} <= set(stages)
    _check(name, known, "a stage of it is not in the table")
    _check(name, bool(row["from"]) and row["to"] not in row["from"], "it leads nowhere")
    _check(name, set(row["guards"]) <= set(guards), "a guard of it is not in the table")
    _check(name, set(row["needs"]) <= NEEDS, f"it may need only {sorted(NEEDS)}")
    _check(name, row["who"] in (Role.HANDLER, Role.APPROVER), "it is made by nobody who could")
    event = CATALOGUE.get(row["event"])
    _check(name, event is not None and event.SOURCE == said.SOURCE, "its event is none of ours")
    _cited(name, row["basis"])
    return Move(
        name=name,
        zh=row["zh"],
        from_=tuple(row["from"]),
        to=row["to"],
        who=Role(row["who"]),
        guards=tuple(guards[guard] for guard in row["guards"]),
        needs=frozenset(row["needs"]),
        event=row["event"],
        basis=row["basis"],
    )


def _cited(name: str, text: str) -> None:
    try:
        basis.read(text)
    except ValueError as why:
        raise BadTable(f"{name}: {why}") from why


def _check(name: str, holds: bool, complaint: str) -> None:
    if not holds:
        raise BadTable(f"{name}: {complaint}")
