"""The page of the law: each article that a rule applies, where the rule stands, and which tests hold it.

A rule cites an article as a string that is nothing but citations (`libs/common/law/basis.py`): in a table,
beside `basis =` or in the column `basis`; in code, as a constant that rules name, or in place. A test says
which article it was written from in its docstring, on a line of its own: `basis: 行政处罚法第四十二条`.
"""

from __future__ import annotations

import ast
import csv
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from libs.common.law import basis
from libs.common.law.basis import Citation
from tools.docs import markdown, source
from tools.docs.markdown import ROOT, code, place

_INTRODUCTION = """For whoever reads the law: where each article is applied, and what shows that it is.
For whoever changes a rule: which article it stands for. An article that a rule applies and no test was
written from fails `tests/house/test_docs.py`."""


@dataclass(frozen=True, order=True)
class Applied:
    """A rule, or a row of a table, that applies an article."""

    citation: Citation
    file: Path
    line: int
    rule: str


@dataclass(frozen=True, order=True)
class Tested:
    """A test that was written from an article."""

    citation: Citation
    file: Path
    line: int
    test: str


def page() -> str:
    """The page."""
    rules, tests = applied(), tested()
    parts: list[str] = []
    for law, (title, _) in basis.LAWS.items():
        articles = sorted({rule.citation.article for rule in rules if rule.citation.law == law})
        if articles:
            parts.append(f"## {title}")
        for article in articles:
            parts += _article(law, article, rules, tests)
    return markdown.page("The law in the code", _INTRODUCTION, *parts)


def untested(rules: Iterable[Applied], tests: Iterable[Tested]) -> list[Applied]:
    """Rules that apply an article which no test was written from."""
    known = list(tests)
    return [rule for rule in rules if not any(covers(test.citation, rule.citation) for test in known)]


def covers(tested: Citation, applied: Citation) -> bool:
    """Whether a test of the one speaks for the other; who names only the article means all of it."""
    if (tested.law, tested.article) != (applied.law, applied.article):
        return False
    paragraph = not tested.paragraph or not applied.paragraph or tested.paragraph == applied.paragraph
    return paragraph and (not tested.item or not applied.item or tested.item == applied.item)


def applied() -> list[Applied]:
    """Every rule of the services and the libraries that applies an article."""
    found = [rule for file in source.files("services", "libs", suffix=".toml") for rule in _in_table(file)]
    found += [rule for file in source.files("services", "libs", suffix=".csv") for rule in _in_sheet(file)]
    found += [rule for file in source.files("services", "libs") for rule in _in_code(file)]
    return sorted(set(found))


def tested() -> list[Tested]:
    """Every test that names the article from which it was written."""
    found = []
    for file in source.files("tests"):
        for node in ast.walk(_tree(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                cited = re.findall(r"^\s*basis: *(\S+)\s*$", ast.get_docstring(node) or "", re.MULTILINE)
                found += [Tested(c, file, node.lineno, node.name) for text in cited for c in basis.read(text)]
    return sorted(set(found))


def _article(law: str, article: int, rules: list[Applied], tests: list[Tested]) -> Iterator[str]:
    own = [rule for rule in rules if (rule.citation.law, rule.citation.article) == (law, article)]
    its = [test for test in tests if (test.citation.law, test.citation.article) == (law, article)]
    yield f"### {Citation(law, article)}"
    lines: dict[tuple[Citation, Path, str], list[int]] = {}
    for rule in own:
        lines.setdefault((rule.citation, rule.file, rule.rule), []).append(rule.line)
    rows = [
        (_within(citation), code(rule), ", ".join(place(file, line) for line in numbers))
        for (citation, file, rule), numbers in lines.items()
    ]
    yield markdown.table(("applied as", "rule", "where"), rows)
    shown = [(_within(test.citation), code(test.test), place(test.file, test.line)) for test in its]
    yield markdown.table(("tested as", "test", "where"), shown) if its else "**No test was written from it.**"


def _within(citation: Citation) -> str:
    """A citation under the heading of its law."""
    return str(citation).removeprefix(citation.law)


def _in_table(file: Path) -> Iterator[Applied]:
    """Rows of a TOML table whose `basis` is nothing but citations."""
    text = file.read_text(encoding="utf-8")
    blocks = re.split(r"^(?=\[)", text, flags=re.MULTILINE)
    line = 1
    for block in blocks:
        header = block.partition("\n")[0].strip("[] ")
        for number, entry in enumerate(block.splitlines()):
            if found := re.fullmatch(r'basis\s*=\s*"(.+)"', entry.strip()):
                for citation in _citations(found[1]):
                    yield Applied(citation, file, line + number, f"{header} {_named(block)}".strip())
        line += block.count("\n")


def _in_sheet(file: Path) -> Iterator[Applied]:
    """Rows of a CSV table whose `basis` is nothing but citations; none of them has a line feed in it."""
    with file.open(encoding="utf-8") as lines:
        for number, row in enumerate(csv.DictReader(lines), start=2):
            for citation in _citations(row.get("basis", "")):
                yield Applied(citation, file, number, f"{row['rule']} {row['zh']}")


def _named(block: str) -> str:
    """A row's own name, and what it is called."""
    row: Any = tomllib.loads(block)
    while isinstance(row, dict) and len(row) == 1:
        (row,) = row.values()
        row = row[0] if isinstance(row, list) else row
    return " ".join(str(row[key]) for key in ("name", "zh") if key in row)


def _in_code(file: Path) -> list[Applied]:
    """Where citations are used in a module: in place, or by the name of a constant of some module."""
    reading = _Reading(file, _constants_in_reach(_tree(file)))
    reading.visit(_tree(file))
    return reading.found


class _Reading(ast.NodeVisitor):
    """Walks a module with the name of the rule that it is in."""

    def __init__(self, file: Path, constants: dict[str, str]) -> None:
        self.found: list[Applied] = []
        self._file = file
        self._constants = constants
        self._within: list[str] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._enter(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._enter(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._enter(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        # What stands outside of every rule is a constant, and counts where it is used.
        if isinstance(node.value, str) and self._within:
            self._note(node.value, node.lineno)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id in self._constants:
            self._note(self._constants[node.id], node.lineno)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if (name := ast.unparse(node)) in self._constants:
            self._note(self._constants[name], node.lineno)
        self.generic_visit(node)

    def _enter(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._within.append(node.name)
        self.generic_visit(node)
        self._within.pop()

    def _note(self, text: str, line: int) -> None:
        rule = ".".join(self._within) or "the module"
        self.found += [Applied(citation, self._file, line, rule) for citation in _citations(text)]


def _constants_in_reach(tree: ast.Module) -> dict[str, str]:
    """Citations by the names under which a module can use them: its own, and those it imports."""
    found = dict(_constants_of(tree))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("services.", "libs.")):
            for alias in node.names:
                found |= _imported(str(node.module), alias)
    return found


def _imported(module: str, alias: ast.alias) -> dict[str, str]:
    name = alias.asname or alias.name
    inner = _file_of(f"{module}.{alias.name}")
    if inner is not None:
        return {f"{name}.{constant}": text for constant, text in _constants_of(_tree(inner)).items()}
    outer = _file_of(module)
    constants = _constants_of(_tree(outer)) if outer else {}
    return {name: constants[alias.name]} if alias.name in constants else {}


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _file_of(module: str) -> Path | None:
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return file if file.exists() else None


def _constants_of(tree: ast.Module) -> dict[str, str]:
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
        if _citations(node.value.value)
    }


def _citations(text: str) -> tuple[Citation, ...]:
    try:
        return basis.read(text)
    except ValueError:
        return ()
