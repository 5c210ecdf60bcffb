"""Each planted bug is noticed by the test that is named for it; `docs/mutants.md` is the list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import conftest
from tests.faults import planted
from tests.faults.planted import Mutant

#: What a bug's engine asks of the machine; `both` is shown on SQLite and the embedded log.
MARKS = {
    "both": (),
    "PostgreSQL": (pytest.mark.connected, pytest.mark.postgres),
    "Kafka": (pytest.mark.connected, pytest.mark.kafka, pytest.mark.nightly),
}


def planted_bugs() -> list[object]:
    """Every bug, marked by what its test needs."""
    return [pytest.param(bug, id=bug.name, marks=MARKS[bug.engine]) for bug in planted.mutants()]


@pytest.mark.parametrize("mutant", planted_bugs())
def test_a_planted_bug_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    tree = planted.copied(tmp_path)
    mutant.plant(tree)
    verdict = planted.tried(tree, mutant.test, conftest.CACHE)
    if verdict.skipped and not conftest.ENGINES_REQUIRED:
        pytest.skip(verdict.skipped[0])
    assert verdict.caught, f"{mutant.bug}\n{verdict.failures}\n{verdict.output}"


def test_there_are_enough_of_them_and_each_is_listed() -> None:
    assert len(planted.mutants()) >= 14
    text = planted.PAGE.read_text(encoding="utf-8")
    assert text == planted.page(), "docs/mutants.md is stale; `python -m tests.faults.planted` writes it"


def test_a_patch_that_no_longer_fits_says_so(tmp_path: Path) -> None:
    """Neither one that fits nowhere, nor one that fits twice, is planted somewhere by chance."""
    tree = planted.copied(tmp_path)
    for text in ("no line of it reads so\n", "\n"):
        hunk = planted.Hunk("libs/common/proof.py", text, "")
        with pytest.raises(planted.Misplaced, match=r"proof\.py"):
            Mutant("m", "b", "e", "t", [hunk]).plant(tree)
