"""What is read from source because nothing else tells it: comments of fields, and every module there is."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from tools.docs.markdown import ROOT


def files(*folders: str, suffix: str = ".py") -> Iterator[Path]:
    """The files under these folders, in a stable order; migrations are history, and left out."""
    for folder in folders:
        for file in sorted((ROOT / folder).rglob(f"*{suffix}")):
            if "versions" not in file.parts:
                yield file


def modules(*packages: ModuleType) -> list[ModuleType]:
    """Every module of these packages but the programs: importing any of these does nothing."""
    names = [
        module.name
        for package in packages
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    return [importlib.import_module(name) for name in names if not _runs(name)]


def comments(model: type) -> dict[str, str]:
    """The `#:` comment of each annotated field of a class: behind it, or in the lines above it."""
    source = textwrap.dedent(inspect.getsource(model))
    lines = [line.strip() for line in source.splitlines()]
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    return {
        node.target.id: _behind(lines[(node.end_lineno or node.lineno) - 1]) or _above(lines, node.lineno - 1)
        for node in body.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def first_sentence(documented: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(documented.__doc__ or "").partition("\n\n")[0].split())


def _runs(name: str) -> bool:
    return name.endswith((".__main__", ".migrations.env")) or ".migrations.versions" in name


def _behind(line: str) -> str:
    return line.partition("#:")[2].strip()


def _above(lines: list[str], field: int) -> str:
    first = field
    while first and lines[first - 1].startswith("#:"):
        first -= 1
    return " ".join(line.removeprefix("#:").strip() for line in lines[first:field])
