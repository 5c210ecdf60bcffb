"""Both READMEs are true: their commands are run as they stand, and their output is what comes out.

What is run, and how:
- `make demo ARGS=--once`: the command that make would run, on a directory and on ports of its own.
- The tour: in one shell, in order, against the services on the data that this demonstration left; only the
  addresses, the directory and the place of the environment's programs are put in.
- `make demo` and `make test` have no end or take too long: it is looked at what make would run, and that this
  starts (the tests are collected, not run).
- `make up` needs Docker and is not run; tests/house/test_deploy.py reads the compose file.
"""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.common.settings import Settings
from tools.demo import county, engine

ROOT = Path(__file__).parents[2]
READMES = ("README.md", "README.zh.md")
PROGRAMS = Path(sys.executable).parent

#: What make runs for a verb.
RUNS = {
    "make demo": "python -m tools.demo",
    "make demo ARGS=--once": "python -m tools.demo --once",
    "make test": "python -m pytest",
    "make up": "docker compose up",
}
#: Parts the output of one block from the next.
MARK = "--- the block ends ---"


@dataclass(frozen=True)
class Block:
    """Commands, and the output that is shown below them."""

    commands: str
    shown: str

    @property
    def verbs(self) -> list[str]:
        """The verbs of make; a block has these alone, or none."""
        lines = self.commands.splitlines()
        return lines if all(line.startswith("make ") for line in lines) else []


def blocks(name: str) -> list[Block]:
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", text, re.DOTALL | re.MULTILINE)
    return [Block(commands.rstrip("\n"), shown) for commands, shown in found]


def is_as_shown(shown: str, got: str) -> bool:
    """Whether the output is what is shown, where `...` stands for anything."""
    return doctest.OutputChecker().check_output(shown, got, doctest.ELLIPSIS)


def tour() -> list[Block]:
    return [block for block in blocks("README.md") if not block.verbs]


@pytest.fixture(scope="module")
def performance(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demonstration played once: the data that it left, and what it said."""
    data = tmp_path_factory.mktemp("readme") / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "tools.demo", "--once", "--data", data, "--ports", "0,0,0"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return data, done.stdout


def test_the_demonstration_says_what_is_shown(performance: tuple[Path, str]) -> None:
    shown = next(block.shown for block in blocks("README.md") if block.verbs == ["make demo ARGS=--once"])
    _, said = performance
    assert is_as_shown(shown, said), said


@pytest.mark.slow
def test_the_tour_goes_as_it_is_told(performance: tuple[Path, str], tmp_path: Path) -> None:
    if missing := [tool for tool in ("sh", "curl", "python3") if shutil.which(tool) is None]:
        # Where everything has to run, what cannot be run is a failure.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"the tour needs {', '.join(missing)}")
    data, _ = performance
    own = tmp_path / "demo"
    shutil.copytree(data, own)
    ports = engine.free_ports()
    with engine.running(own, ports, coordinator=county.load().office.id):
        said = walk([placed(block.commands, own, ports) for block in tour()])
    for block, got in zip(tour(), said, strict=True):
        assert is_as_shown(block.shown, got), f"{block.commands}\n\n{got}"


def placed(commands: str, data: Path, ports: engine.Ports) -> str:
    """The commands, with what differs between here and a reader's machine."""
    usual = {name: Settings.model_fields[f"{name}_port"].default for name in engine.NAMES}
    for name in engine.NAMES:
        commands = commands.replace(f"http://127.0.0.1:{usual[name]}", f"http://127.0.0.1:{ports[name]}")
    return commands.replace("LIANDONG_DATA=.demo", f"LIANDONG_DATA={data}").replace(
        ".venv/bin", str(PROGRAMS)
    )


def walk(scripts: list[str]) -> list[str]:
    """The output of each script, all run by one shell that stops at the first that fails."""
    text = "set -e\n" + "".join(f"{script}\necho '{MARK}'\n" for script in scripts)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LIANDONG_")}
    done = subprocess.run(
        ["sh"], input=text, cwd=ROOT, env=clean, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout.split(f"{MARK}\n")[:-1]


@pytest.mark.parametrize("name", READMES)
def test_a_verb_of_make_is_what_it_is_said_to_be(name: str) -> None:
    verbs = [verb for block in blocks(name) for verb in block.verbs]
    assert set(verbs) == set(RUNS)
    for verb in verbs:
        done = subprocess.run(
            [*verb.split(), "--dry-run", "--silent"], cwd=ROOT, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert RUNS[verb] in done.stdout


def test_what_make_test_runs_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/house/test_tree.py"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


def test_both_readmes_run_the_same_commands_and_show_the_same() -> None:
    """So that what is run of the one is run of the other; only comments are in the reader's language."""
    english, chinese = (
        [(re.sub(r" +# .*", "", block.commands), block.shown) for block in blocks(name)] for name in READMES
    )
    assert english == chinese


@pytest.mark.parametrize(
    ("shown", "got", "agrees"),
    [("a\n...\nc\n", "a\nb\nb\nc\n", True), ("a\nc\n", "a\nb\nc\n", False), ("...b\n", "x\n", False)],
)
def test_an_output_that_is_not_what_is_shown_is_noticed(shown: str, got: str, agrees: bool) -> None:
    assert is_as_shown(shown, got) is agrees
