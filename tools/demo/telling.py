"""Says in a terminal what happens, at a pace that a person can follow."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
import unicodedata
from typing import TextIO

#: Columns of the name of whoever acts.
WHO = 12
#: Seconds that a line stays the newest.
PACE = 1.8

#: Where a line may break: around words of letters, and between any two Chinese characters.
_PIECES = re.compile(r"[!-~]+|.")
_CLOSING = frozenset("，。；：、！？）〕」》”…")
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Telling:
    """Lines of a story: chapters, deeds with the article or the promise that they show, and refusals."""

    def __init__(self, *, pace: float = 0.0, out: TextIO | None = None) -> None:
        """`pace` is in seconds a line."""
        self._pace = pace
        self._out = out or sys.stdout
        self._colours = self._out.isatty() and "NO_COLOR" not in os.environ
        self._width = min(shutil.get_terminal_size((100, 24)).columns, 120)

    def title(self, text: str, note: str) -> None:
        self._print(self._styled(text, "bold"), f"  {self._styled(note, 'dim')}")

    def chapter(self, text: str, shows: str) -> None:
        """A part of the story, and what it shows."""
        self._print()
        self._print(self._styled(text, "bold", "cyan"), f"  {self._styled(shows, 'dim')}")

    def does(self, who: str, what: str, shows: str = "") -> None:
        """A deed that was done."""
        self._line(who, what, shows, "green")
        time.sleep(self._pace)

    def is_refused(self, who: str, what: str, status: int, why: str, basis: str = "") -> None:
        """A deed that was refused, with the sentence and the article of the refusal."""
        self._line(who, f"{what} —— 被拒绝（{status}）", "", "red")
        self._line("", f"“{why}”", basis)
        time.sleep(self._pace)

    def note(self, who: str, what: str) -> None:
        """What is there to be seen, without anybody's deed."""
        self._line(who, what, "")

    def verdict(self, holds: bool, text: str) -> None:
        mark = self._styled("✓", "green") if holds else self._styled("✗", "red", "bold")
        self._wrapped(f"  {mark} ", 4, text)

    def ends(self, holds: bool, text: str) -> None:
        self._print()
        self._print(self._styled(text, "bold", "green" if holds else "red"))

    def plain(self, text: str = "") -> None:
        self._print(text)

    def _line(self, who: str, what: str, shows: str, *styles: str) -> None:
        name = self._styled(who, *styles) + " " * max(1, WHO - width(who))
        self._wrapped(f"  {name}", 2 + WHO, what)
        if shows:
            self._wrapped(" " * (2 + WHO), 2 + WHO, f"〔{shows}〕", "dim")

    def _wrapped(self, first: str, indent: int, text: str, *styles: str) -> None:
        lines = _wrap(text, self._width - indent)
        self._print(first, self._styled(lines[0], *styles))
        for line in lines[1:]:
            self._print(" " * indent, self._styled(line, *styles))

    def _styled(self, text: str, *styles: str) -> str:
        if not (self._colours and styles):
            return text
        return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m"

    def _print(self, *parts: str) -> None:
        print(*parts, sep="", file=self._out, flush=True)


def width(text: str) -> int:
    """Columns that a text takes: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _wrap(text: str, columns: int) -> list[str]:
    """Lines of at most so many columns: words of letters stay whole, a line begins with no closing mark."""
    lines, line = [], ""
    for piece in _PIECES.findall(text):
        if line and piece not in _CLOSING and width(line) + width(piece) > columns:
            lines.append(line)
            line = piece.lstrip()
        else:
            line += piece
    return [*lines, line]
