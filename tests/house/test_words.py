"""Words: nothing of one machine or one registry in the tree, and every refusal said in Chinese."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from libs.common import errors
from tools.docs import problems

ROOT = Path(__file__).parents[2]

#: Written so that this file does not hold what it looks for.
REGISTRIES = re.compile(
    r"py[p]i\.(org|python)|python[h]osted\.org|npm[j]s\.|repo1?\.mave[n]|mave[n]\.org|mirror[s]?\.\w+\.\w+"
    r"|debia[n]\.org|ubunt[u]\.com|(gcr|ghcr|quay)\.i[o]/|--index-ur[l]|extra-inde[x]"
)
PLACES = re.compile(r"(?<![\w.$}])/(work|root|home|Users|mnt|private)/\w")

HAN = re.compile("[\u4e00-\u9fff]")
#: A sentence that a person reads is Chinese if it has Chinese in it at all: names and codes stay as they are.
SAID = ("Transient", "Poison", "Misconfigured", "WrongRevision", "Locked", "TopicMismatch", "Unreadable")


@cache
def files() -> list[Path]:
    """What is, or would be, in the repository."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return [file for name in listed.stdout.decode().split("\0") if name and (file := ROOT / name).is_file()]


def lines() -> Iterator[tuple[str, str]]:
    for file in files():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{file.relative_to(ROOT)}:{number}", line


@pytest.mark.parametrize("pattern", [REGISTRIES, PLACES], ids=["registries", "places"])
def test_nothing_ties_the_tree_to_a_machine_or_a_registry(pattern: re.Pattern[str]) -> None:
    assert [place for place, line in lines() if pattern.search(line)] == []


def test_pinned_lists_hold_no_address() -> None:
    for file in (ROOT / "requirements").iterdir():
        assert "://" not in file.read_text(encoding="utf-8"), file.name


def test_every_refusal_has_a_code_and_a_title_of_its_own() -> None:
    """Or neither: then it is to a caller what its parent is."""
    half = [
        kind.__qualname__
        for kind in problems.refusals()
        if len({"code", "title"} & kind.__dict__.keys()) == 1 or not kind.__doc__
    ]
    assert half == []
    silent = [kind for kind in problems.refusals() if "code" not in kind.__dict__]
    assert [kind.__qualname__ for kind in silent if kind.__bases__ == (errors.Refusal,)] == []


def test_codes_are_unique_and_of_one_form() -> None:
    codes = Counter([*(kind.code for kind in problems.named()), *problems.SAID_BY_THE_EDGE])
    assert [code for code, times in codes.items() if times > 1] == []
    assert [code for code in codes if not re.fullmatch(r"[a-z]+(-[a-z]+)*", code)] == []


def test_titles_are_chinese_and_no_sentences() -> None:
    titles = {kind.__name__: kind.title for kind in problems.refusals()}
    assert [name for name, title in titles.items() if not HAN.search(title) or title.endswith("。")] == []


def test_what_is_said_with_a_refusal_is_chinese() -> None:
    known = {kind.__name__ for kind in problems.refusals()} | set(SAID)
    foreign = [
        f"{file.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call.args[0])}"
        for file, call in raised()
        if name_of(call.func) in known and call.args
        if isinstance(call.args[0], ast.Constant | ast.JoinedStr) and is_foreign(text_of(call.args[0]))
    ]
    assert foreign == []


def raised() -> Iterator[tuple[Path, ast.Call]]:
    for file in files():
        if file.suffix == ".py" and file.relative_to(ROOT).parts[0] in ("libs", "services"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield file, node


def name_of(called: ast.expr) -> str:
    return ast.unparse(called).rpartition(".")[2]


def is_foreign(text: str) -> bool:
    """Whether somebody wrote words and none of them in Chinese; a mere frame around values has no words."""
    return re.search(r"[A-Za-z]{3}", text) is not None and not HAN.search(text)


def text_of(literal: ast.Constant | ast.JoinedStr) -> str:
    parts = literal.values if isinstance(literal, ast.JoinedStr) else [literal]
    return "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))


def test_a_rule_that_law_gives_names_its_article_in_its_facts() -> None:
    """Every RuleBroken is raised with a basis, which its constructor asks for; none has it by default."""
    with pytest.raises(TypeError):
        errors.RuleBroken("没有依据")  # type: ignore[call-arg]


def test_what_a_browser_or_an_official_reads_is_chinese() -> None:
    """Routes are described in Chinese: the first line of a route's docstring is its title at /docs."""
    foreign = [
        f"{file.relative_to(ROOT)}: {node.name}"
        for file in files()
        if file.name in ("api.py", "operations.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.AsyncFunctionDef) and is_route(node)
        if not HAN.search(ast.get_docstring(node) or "")
    ]
    assert foreign == []


def is_route(node: ast.AsyncFunctionDef) -> bool:
    return any(re.match(r"\w*router\.(get|post)\(", ast.unparse(d)) for d in node.decorator_list)
