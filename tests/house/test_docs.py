"""Docs say what is: generated pages are fresh, names documented, words in use, and links lead somewhere."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from libs.common import telemetry
from libs.common.law import basis
from libs.common.settings import Settings
from libs.common.telemetry import METRICS
from tools.docs import events, law, problems, settings, source
from tools.docs.__main__ import PAGES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ADRS = sorted((DOCS / "adr").glob("*.md"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = {contract["id"] for contract in PROJECT["tool"]["importlinter"]["contracts"]}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_says_what_the_code_says(name: str) -> None:
    assert read(name) == PAGES[name](), f"{name} is stale; `make fix` writes it"


def test_every_article_that_a_rule_applies_is_tested() -> None:
    untested = law.untested(law.applied(), law.tested())
    assert [
        f"{rule.citation}: {rule.file.relative_to(ROOT)}:{rule.line} {rule.rule}" for rule in untested
    ] == []


def test_a_rule_without_a_test_would_be_noticed() -> None:
    (rule, *_) = law.applied()
    assert law.untested([rule], []) == [rule]
    assert law.untested([rule], [law.Tested(rule.citation, rule.file, 1, "test_it")]) == []


@pytest.mark.parametrize(
    ("tested", "applied", "covers"),
    [
        ("行政处罚法第四十二条第一款", "行政处罚法第四十二条第一款", True),
        ("行政处罚法第四十二条", "行政处罚法第四十二条第一款", True),
        ("行政处罚法第四十二条第一款", "行政处罚法第四十二条", True),
        ("行政处罚法第四十二条第二款", "行政处罚法第四十二条第一款", False),
        ("行政处罚法第四十三条", "行政处罚法第四十二条", False),
        ("行政强制法第四十二条", "行政处罚法第四十二条", False),
    ],
)
def test_a_test_covers_the_article_from_which_it_was_written(tested: str, applied: str, covers: bool) -> None:
    assert law.covers(basis.read(tested)[0], basis.read(applied)[0]) is covers


def test_the_rules_of_law_are_found_where_they_stand() -> None:
    """Of each way to cite: in tables of both kinds, by a constant of the module or of another one."""
    for rule in law.applied():
        line = rule.file.read_text(encoding="utf-8").splitlines()[rule.line - 1]
        cited = str(rule.citation) in line
        by_name = re.search(r"\b[A-Z][A-Z_]+\b", line) is not None
        assert cited or by_name, f"{rule.file}:{rule.line}"
    assert {rule.file.suffix for rule in law.applied()} == {".csv", ".py", ".toml"}


@pytest.mark.parametrize("name", METRICS)
def test_the_runbook_says_what_to_do_about_a_metric(name: str) -> None:
    assert f"`{name}" in read("docs/runbook.md")


@pytest.mark.parametrize("kind", settings.alarms())
def test_the_runbook_says_what_to_do_about_an_alarm(kind: str) -> None:
    assert re.search(rf'`{kind}`|kind="{kind}"', read("docs/runbook.md"))


def test_a_problem_that_the_edge_says_by_itself_is_documented() -> None:
    said = set()
    for name in ("libs/common/web/problems.py", "libs/common/web/health.py"):
        for node in ast.walk(ast.parse(read(name))):
            said |= set(re.findall(r"'([a-z]+(?:-[a-z]+)*)', '[\u4e00-\u9fff]", ast.unparse(node)))
    assert said == set(problems.SAID_BY_THE_EDGE)


def test_every_setting_has_its_meaning_and_does_something() -> None:
    meanings = source.comments(Settings)
    assert [name for name in Settings.model_fields if not meanings.get(name)] == []
    code = "\n".join(file.read_text(encoding="utf-8") for file in source.files("libs", "services"))
    idle = [name for name in Settings.model_fields if not re.search(rf"\.{name}\b", code)]
    assert idle == []


def test_every_metric_is_measured_by_somebody() -> None:
    code = "\n".join(
        file.read_text(encoding="utf-8")
        for file in source.files("libs", "services")
        if file != Path(inspect.getfile(telemetry))
    )
    verbs = [name for name in vars(telemetry.Metrics) if not name.startswith("_")]
    assert [verb for verb in verbs if not re.search(rf"metrics\.{verb}\b", code)] == []


@pytest.mark.parametrize("type_", events.catalogue())
def test_every_event_is_heard_by_somebody_beside_its_speaker(type_: str) -> None:
    assert set(events.hearers(type_)) - {events.speaker(events.catalogue()[type_])}


def test_every_verb_of_make_is_documented() -> None:
    verbs = re.findall(r"^([a-z-]+):.*## ", read("Makefile"), re.MULTILINE)
    assert verbs
    told = read("README.md") + read("CONTRIBUTING.md")
    assert [verb for verb in verbs if f"make {verb}" not in told] == []


class Word(NamedTuple):
    name: str
    chinese: str
    meaning: str
    place: str


def glossary() -> list[Word]:
    entries = re.findall(r"^- (.+)$", read("docs/glossary.md"), re.MULTILINE)
    form = re.compile(r"\*\*([\w-]+)\*\* \(([^)]+)\) — (.+\.) `([\w./]+)`")
    found = [form.fullmatch(entry) for entry in entries]
    assert [entry for entry, match in zip(entries, found, strict=True) if match is None] == []
    return [Word(*match.groups()) for match in found if match]


@pytest.mark.parametrize("word", glossary(), ids=lambda word: word.name)
def test_a_word_of_the_glossary_is_in_use_where_it_is_said_to_live(word: Word) -> None:
    text = read(word.place)
    assert re.search(rf"(?i)(?<![a-z]){word.name}", text) or word.chinese in text
    assert re.search("[\u4e00-\u9fff]", word.chinese)


def test_a_word_has_one_entry_and_one_translation() -> None:
    words = glossary()
    assert len({word.name for word in words}) == len(words)
    assert len({word.chinese for word in words}) == len(words)


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [adr.name[:5] for adr in ADRS] == [f"{n:04}-" for n in range(1, len(ADRS) + 1)]


@pytest.mark.parametrize("adr", ADRS, ids=lambda adr: adr.stem)
def test_a_decision_is_a_page_that_ends_with_the_check_that_enforces_it(adr: Path) -> None:
    text = adr.read_text(encoding="utf-8")
    assert text.startswith(f"# {adr.name[:4]}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Context",
        "Decision",
        "Consequences",
        "Alternatives",
    ]
    assert re.search(r"^## Decision\n\*\*", text, re.MULTILINE), "the line that people will quote comes first"
    assert len(text.splitlines()) <= 50
    last = text.rstrip().rpartition("\n\n")[2]
    assert last.startswith("Enforced by: ")
    named = re.findall(r"`([^`]+)`", last)
    paths = [name for name in named if "/" in name or name.endswith(".toml")]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert paths or CONTRACTS & set(named)


def test_every_import_contract_has_its_reason() -> None:
    told = read("docs/architecture.md")
    assert [contract for contract in sorted(CONTRACTS) if f"`{contract}`" not in told] == []


def test_the_tree_in_the_docs_is_the_tree() -> None:
    told = read("docs/architecture.md").partition("## The tree")[2].partition("## ")[0]
    folders = [folder for top in ("libs/common", "services") for folder in walked(ROOT / top)]
    missing = [folder for folder in folders if not re.search(rf"^\s+{folder.name}/", told, re.MULTILINE)]
    assert missing == []


def walked(top: Path) -> Iterator[Path]:
    for folder in sorted(top.iterdir()):
        if folder.is_dir() and folder.name not in ("__pycache__", "migrations"):
            yield folder
            if top.name == "services":
                yield from walked(folder)


PAGES_WITH_LINKS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


@pytest.mark.parametrize("page", PAGES_WITH_LINKS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def anchors(file: Path) -> set[str]:
    """The anchors of a page's headings, as renderers make them."""
    heads = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


def test_the_changelog_knows_this_version() -> None:
    assert f"## [{PROJECT['project']['version']}]" in read("CHANGELOG.md")
