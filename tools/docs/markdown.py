"""How a generated page is put together."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def page(title: str, introduction: str, *parts: str) -> str:
    """A whole page; its first lines say that it is generated."""
    made = "<!-- Made from the code by `python -m tools.docs`: what is changed here by hand is lost. -->"
    return "\n\n".join((f"# {title}", made, prose(introduction), *parts)) + "\n"


def prose(text: str) -> str:
    """A paragraph, filled to the width that the pages written by hand have."""
    return textwrap.fill(" ".join(text.split()), 118, break_long_words=False, break_on_hyphens=False)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def code(text: str) -> str:
    """Text as code; nothing where there is none."""
    return f"`{text}`" if text else ""


def place(file: Path, line: int) -> str:
    """A link to a line, as seen from docs/."""
    name = file.relative_to(ROOT).as_posix()
    return f"[{name}:{line}](../{name}#L{line})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
