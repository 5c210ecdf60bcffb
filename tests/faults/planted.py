"""Bugs planted on purpose: patches of the tree, each with the test that must notice it.

A patch is a unified diff under a head of three lines: what the bug is, on which engine it can occur, and
the id of the test that catches it. It is applied by what its lines say, not by their numbers, so that code
may move.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
MUTANTS = Path(__file__).parent / "mutants"
PAGE = ROOT / "docs" / "mutants.md"
#: What a test may read of the tree.
COPIED = ("libs", "services", "tools", "tests")
#: Seconds that one test gets to fail.
PATIENCE = 120.0

_TABLE = "| patch | bug | engine | caught by |\n| --- | --- | --- | --- |\n"
#: How what a test asserts reads when it does not hold; an error of the code under test reads otherwise.
_ASSERTED = re.compile(r"AssertionError|assert |Failed: ")
_HEAD = re.compile(r"Bug: (?P<bug>.+)\nEngine: (?P<engine>.+)\nCaught by: (?P<test>.+)\n")


class Misplaced(Exception):
    """A patch no longer says what the code says: write it anew against the code as it is."""


@dataclass(frozen=True)
class Hunk:
    """Lines of one file, as they are and as the bug makes them."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """One planted bug."""

    name: str
    bug: str
    engine: str
    test: str  #: the id of the test that catches it, as pytest takes it
    hunks: Sequence[Hunk]

    def plant(self, tree: Path) -> None:
        """Change the files of a tree. Raises Misplaced, where a hunk does not fit in exactly one place."""
        for hunk in self.hunks:
            file = tree / hunk.file
            text = file.read_text(encoding="utf-8") if file.exists() else ""
            if text.count(hunk.old) != 1:
                places = f"{text.count(hunk.old)} places of {hunk.file}"
                raise Misplaced(f"{self.name}.patch fits in {places}, not in one:\n{hunk.old}")
            file.write_text(text.replace(hunk.old, hunk.new), encoding="utf-8")


@dataclass(frozen=True)
class Verdict:
    """How a test ended on a tree with a bug in it."""

    code: int  #: of pytest: 1 says that tests ran and failed
    failures: Sequence[str]  #: what each failed test says first
    errors: int  #: tests that could not be run
    skipped: Sequence[str]  #: why tests were not run: their engine cannot be had here
    output: str

    @property
    def caught(self) -> bool:
        """Whether the one test ran, and what it asserts did not hold."""
        ran_and_failed = self.code == 1 and not (self.errors or self.skipped) and len(self.failures) == 1
        return ran_and_failed and _ASSERTED.match(self.failures[0]) is not None


def page() -> str:
    """`docs/mutants.md`, with a row for each bug."""
    begun, _, _ = PAGE.read_text(encoding="utf-8").partition(_TABLE)
    rows = [f"| `{bug.name}` | {bug.bug} | {bug.engine} | `{bug.test}` |\n" for bug in mutants()]
    return begun + _TABLE + "".join(rows)


def mutants() -> list[Mutant]:
    """Every planted bug there is."""
    return [read(file) for file in sorted(MUTANTS.glob("*.patch"))]


def read(file: Path) -> Mutant:
    """The bug that a patch describes."""
    text = file.read_text(encoding="utf-8")
    head = _HEAD.match(text)
    if head is None:
        raise Misplaced(f"{file.name} does not begin with the lines Bug, Engine and Caught by")
    return Mutant(file.stem, hunks=list(_hunks(text[head.end() :])), **head.groupdict())


def _hunks(diff: str) -> Iterator[Hunk]:
    """The hunks of a unified diff."""
    for part in re.split(r"^--- a/", diff, flags=re.MULTILINE)[1:]:
        file, *rest = part.split("\n", 1)
        for hunk in re.split(r"^@@.*\n", rest[0], flags=re.MULTILINE)[1:]:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            yield Hunk(file.strip(), old, new)


def copied(to: Path) -> Path:
    """A copy of the tree, without what is made of it."""
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
        shutil.copytree(ROOT / name, to / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", to)
    return to


def tried(tree: Path, test: str, cache: Path) -> Verdict:
    """Run one test on a tree, in a process of its own that knows no other tree."""
    report = tree / "report.xml"
    # These plugins take longer to load than most of these tests to run, and none of them asks for one.
    without = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "schemathesis")]
    options = ["-q", "--maxfail=1", "-m", "", f"--junitxml={report}", *without]
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", *options, test],
        check=False,
        capture_output=True,
        cwd=tree,
        encoding="utf-8",
        env={**os.environ, "LIANDONG_CACHE": str(cache), "PYTHONPATH": str(tree)},
        timeout=PATIENCE,
    )
    cases = ElementTree.parse(report).getroot().iter("testcase") if report.exists() else iter(())
    ends = [(end.tag, end.get("message", "")) for case in cases for end in case]
    return Verdict(
        code=done.returncode,
        failures=[message for tag, message in ends if tag == "failure"],
        errors=sum(tag == "error" for tag, _ in ends),
        skipped=[message for tag, message in ends if tag == "skipped"],
        output=done.stdout[-4000:] + done.stderr[-1000:],
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
