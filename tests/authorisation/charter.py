"""Reads the two tables that say who may do what: `operations.csv`, `rights.csv`.

They are written by hand, from the articles and the charter, not from the services' own tables. What no row
names is denied.

operations.csv  one row for each route: the operation behind it, how its denial looks, and which personal
                data its answer holds. A denial is 404 where the thing may not be known of, 403 where nothing
                is revealed, `empty` where a list is asked for; `as X`: 403 to whoever may do X to the thing,
                else 404; `rows of X`: never refused, and holds what its reader may X.
rights.csv      who may: roles of agencies in a relation to the thing, at stages of it (all if none is named);
                `may`, or `law` where only the procedure refuses; the personal data that this reader does not
                get; and where that is laid down.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from libs.common.permit import Role
from libs.common.settings import Name

HERE = Path(__file__).parent

Answer = Literal["may", "law", "denied"]


@dataclass(frozen=True, slots=True)
class Operation:
    """A route as a jurist knows it."""

    service: Name
    name: str
    method: str
    path: str
    denied: str
    shows: frozenset[str]
    zh: str

    @property
    def seen_by(self) -> str:
        """The operation by which one knows of the thing; empty where that makes no difference."""
        return self.denied.removeprefix("as ") if self.denied.startswith("as ") else ""

    @property
    def lists(self) -> str:
        """The operation whose rights select the rows; empty where it is no such list."""
        return self.denied.removeprefix("rows of ") if self.denied.startswith("rows of ") else ""


@dataclass(frozen=True, slots=True)
class Right:
    """One row: who may do one thing, at one relation."""

    operation: str
    relation: str
    stages: frozenset[str]
    roles: frozenset[Role]
    answer: Answer
    hides: frozenset[str]
    basis: str

    def is_for(self, operation: str, roles: Set[Role], relations: Set[str], stage: str) -> bool:
        """Whether it names this."""
        at_stage = not self.stages or stage in self.stages
        return (
            self.operation == operation
            and self.relation in relations
            and at_stage
            and bool(self.roles & roles)
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the charter says of one cell."""

    answer: Answer
    hides: frozenset[str] = frozenset()


DENIED = Verdict("denied")


@cache
def operations() -> tuple[Operation, ...]:
    """Every route, by the operation behind it."""
    return tuple(
        Operation(
            row["service"],
            row["operation"],
            row["method"],
            row["path"],
            row["denied"],
            _set(row["shows"]),
            row["zh"],
        )
        for row in _rows("operations.csv")
    )


@cache
def rights() -> tuple[Right, ...]:
    """Every row of the table."""
    return tuple(
        Right(
            operation=row["operation"],
            relation=row["relation"],
            stages=_set(row["stage"]),
            roles=frozenset(map(Role, row["roles"].split())),
            answer=row["answer"],
            hides=_set(row["hides"]),
            basis=row["basis"],
        )
        for row in _rows("rights.csv")
    )


def operation(name: str, service: Name) -> Operation:
    """The operation of this name."""
    return next(one for one in operations() if (one.name, one.service) == (name, service))


@cache
def verdict(name: str, roles: frozenset[Role], relations: frozenset[str], stage: str = "") -> Verdict:
    """What they may who have these roles at an agency in these relations to a thing at this stage.

    Where several rows name them, the best counts: leave before law, and what any of them shows is shown.
    """
    named = [right for right in rights() if right.is_for(name, roles, relations, stage)]
    granting = [right for right in named if right.answer == "may"]
    if granting:
        return Verdict("may", frozenset.intersection(*(right.hides for right in granting)))
    return Verdict("law") if named else DENIED


def _rows(name: str) -> Iterator[dict[str, Any]]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, strict=True)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())
