"""The tree is the charter: no drawers, the same rooms in every chapter, and a sentence on every module."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("libs", "services", "tools", "tests", "deploy", "benchmarks")

ROOMS = frozenset({"rules", "tables", "loads", "api", "reacts", "runs"})
#: Folders of a service that are no chapters: tables of law, migrations, what a browser is given.
NOT_CHAPTERS = frozenset({"law", "migrations", "page", "__pycache__"})

SERVICES = sorted(p.parent for p in (ROOT / "services").glob("*/__main__.py"))
CHAPTERS = sorted(
    folder
    for service in SERVICES
    for folder in service.iterdir()
    if folder.is_dir() and folder.name not in NOT_CHAPTERS
)


def python() -> list[Path]:
    return sorted(
        file for top in CODE for file in (ROOT / top).rglob("*.py") if "__pycache__" not in file.parts
    )


@cache
def read(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def named(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def contracts() -> list[dict[str, Any]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return found


def test_there_are_no_drawers() -> None:
    drawers = {"utils", "util", "helpers", "helper", "base", "misc", "shared", "core", "stuff"}
    assert [named(file) for file in python() if drawers & {file.stem, *file.relative_to(ROOT).parts}] == []


def test_no_class_is_named_for_its_layer() -> None:
    layer = re.compile(r"Base[A-Z]\w*|\w*(Base|Manager|Helper|Util|Utils|Impl|Service|Abstract)")
    found = [
        f"{named(file)}: {node.name}"
        for file in python()
        for node in ast.walk(read(file))
        if isinstance(node, ast.ClassDef) and layer.fullmatch(node.name)
    ]
    assert found == []


def test_what_is_left_to_do_says_where_it_is_tracked() -> None:
    left = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b(?!.*(?:#\d+|ADR-\d{4}))")
    found = [
        f"{named(file)}:{number}"
        for file in python()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if left.search(line)
    ]
    assert found == []


def test_there_are_no_banners() -> None:
    banner = re.compile(r"^\s*#\s*[-=*#~]{3,}", re.MULTILINE)
    assert [named(file) for file in python() if banner.search(file.read_text(encoding="utf-8"))] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        named(file)
        for file in python()
        if not ast.get_docstring(read(file)) and not is_empty_marker(file) and "versions" not in file.parts
    ]
    assert silent == []


def is_empty_marker(file: Path) -> bool:
    return file.name == "__init__.py" and not read(file).body


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_service_opens_with_its_charter(service: Path) -> None:
    charter = ast.get_docstring(read(service / "__init__.py")) or ""
    assert [word for word in ("Owns", "Says", "Hears") if not re.search(rf"^{word} ", charter, re.M)] == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: f"{chapter.parent.name}.{chapter.name}")
def test_a_chapter_has_these_rooms_and_no_other(chapter: Path) -> None:
    rooms = {file.stem for file in chapter.glob("*.py")} - {"__init__"}
    assert rooms <= ROOMS
    others = [file.name for file in chapter.iterdir() if file.suffix not in (".py", ".toml", ".csv", "")]
    assert others == []
    assert [folder for folder in chapter.iterdir() if folder.is_dir() and folder.name != "__pycache__"] == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: f"{chapter.parent.name}.{chapter.name}")
def test_a_chapter_says_which_part_of_the_charter_it_is(chapter: Path) -> None:
    assert (ast.get_docstring(read(chapter / "__init__.py")) or "").startswith("Chapter: ")


def test_every_chapter_is_under_the_contract_of_rooms() -> None:
    (rooms,) = (contract for contract in contracts() if contract["id"] == "rooms")
    assert sorted(rooms["containers"]) == sorted(
        f"services.{chapter.parent.name}.{chapter.name}" for chapter in CHAPTERS
    )


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_every_chapter_has_its_place_in_the_order_of_its_service(service: Path) -> None:
    (order,) = (contract for contract in contracts() if contract["id"] == f"chapters-of-{service.name}")
    placed = [name for layer in order["layers"] for name in layer.split(" | ")]
    assert sorted(placed) == sorted(c.name for c in CHAPTERS if c.parent == service)


def decisions() -> Iterator[tuple[Path, ast.FunctionDef]]:
    for chapter in CHAPTERS:
        if (chapter / "rules.py").exists():
            for node in ast.walk(read(chapter / "rules.py")):
                if isinstance(node, ast.FunctionDef):
                    yield chapter / "rules.py", node


def test_rules_are_synchronous_and_short_enough_to_be_read_at_once() -> None:
    waiting = [
        named(chapter / "rules.py")
        for chapter in CHAPTERS
        if (chapter / "rules.py").exists()
        for node in ast.walk(read(chapter / "rules.py"))
        if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert waiting == []
    long = [
        f"{named(file)}: {node.name} has {lines} lines"
        for file, node in decisions()
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > 60
    ]
    assert long == []


def test_importing_a_module_starts_nothing() -> None:
    """Engines, clients and servers are made where a process is composed, never where a module is read."""
    makers = re.compile(r"(Engine|Client|Log|Store|Server|Thread)$")
    found = [
        f"{named(file)}: {call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)}"
        for file in python()
        if file.relative_to(ROOT).parts[0] in ("libs", "services")
        for statement in read(file).body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for call in ast.walk(statement)
        if isinstance(call, ast.Call) and makers.search(ast.unparse(call.func))
    ]
    assert found == []
