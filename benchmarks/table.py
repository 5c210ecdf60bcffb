"""Pairs of measurements, their medians, and the table in which they stand."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

#: One side of a pair: does the work once and gives its figure.
Side = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Goal:
    """What the ratio of ours to the peer's should reach."""

    figure: float
    #: A ratio of times should stay below, one of rates should reach.
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.figure:g}"

    def is_met(self, ratio: float) -> bool:
        return ratio <= self.figure if self.at_most else ratio >= self.figure


@dataclass(frozen=True, slots=True)
class Row:
    """One path beside its peer."""

    path: str  #: P1 .. P12
    what: str
    peer: str
    unit: str
    ours: Sequence[float]
    peers: Sequence[float]
    goal: Goal | None = None

    @property
    def ratios(self) -> list[float]:
        """One for each pair."""
        return sorted(ours / peer for ours, peer in zip(self.ours, self.peers, strict=True))

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "reached" if self.goal.is_met(self.ratio) else "NOT reached"


@dataclass(slots=True)
class Table:
    """What was measured and what was checked."""

    rows: list[Row] = field(default_factory=list)
    gates: list[tuple[str, str, bool]] = field(default_factory=list)

    def gate(self, path: str, promise: str, holds: bool) -> None:
        """Something that must be true of what was measured, or the figure is void."""
        self.gates.append((path, promise, holds))

    @property
    def broken(self) -> list[str]:
        return [f"{path}: {promise}" for path, promise, holds in self.gates if not holds]

    def __str__(self) -> str:
        head = ("path", "what", "peer", "ours", "peer's", "ratio (range)", "goal", "")
        body = [
            (
                row.path,
                row.what,
                row.peer,
                f"{statistics.median(row.ours):,.4g} {row.unit}",
                f"{statistics.median(row.peers):,.4g}",
                f"{row.ratio:.2f} ({row.ratios[0]:.2f}-{row.ratios[-1]:.2f})",
                str(row.goal or ""),
                row.verdict,
            )
            for row in self.rows
        ]
        lines = ["| " + " | ".join(cells) + " |" for cells in (head, ("---",) * len(head), *body)]
        kept = sum(holds for _, _, holds in self.gates)
        lines += ["", f"gates: {kept} of {len(self.gates)} hold"]
        lines += [
            f"  {'ok' if holds else 'BROKEN'}  {path}: {promise}" for path, promise, holds in self.gates
        ]
        return "\n".join(lines)


async def pairs(count: int, ours: Side, peer: Side) -> tuple[list[float], list[float]]:
    """`count` pairs, one side after the other, the order turned each time; a pair before warms up."""
    await ours()
    await peer()
    first: list[float] = []
    second: list[float] = []
    for n in range(count):
        for side, figures in ((ours, first), (peer, second)) if n % 2 else ((peer, second), (ours, first)):
            figures.append(await side())
    return first, second
