"""`liandong verify`: beside the services that run, and on the files of services that have ended."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from libs.common.permit import Role
from libs.common.seal import Keyring
from libs.common.settings import Name
from libs.common.web import tokens
from tests.worlds import cast, trail
from tests.worlds.trail import Trail
from tools.demo import engine

#: Exit codes of the command.
HOLDS, FAILS, REFUSED = 0, 1, 78


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Trail:
    return trail.lived(tmp_path_factory.mktemp("county"))


def verified(here: Trail, *arguments: str, ports: engine.Ports | None = None) -> tuple[int, str]:
    """What `liandong verify cases` says, and its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", "verify", "cases", *arguments],
        check=False,
        capture_output=True,
        cwd=engine.ROOT,
        encoding="utf-8",
        env=engine.environment(here.directory / "data", ports or engine.free_ports(), cast.OFFICE),
    )
    return done.returncode, done.stdout + done.stderr


def kept(here: Trail) -> list[str]:
    """The heads that were kept elsewhere, as options."""
    options = []
    witnesses: tuple[Name, ...] = ("notify", "sharing")
    for witness in witnesses:
        file = here.directory / f"{witness}.json"
        file.write_text(json.dumps({"data": here.heads[witness, "cases"], "next": None}))
        options += ["--witness", str(file)]
    return options


def test_beside_the_running_services_it_asks_the_witnesses(lived: Trail, tmp_path: Path) -> None:
    here, ports = lived.copied(tmp_path), engine.free_ports()
    signing = Keyring.at(here.settings.key_directory).tokens
    issuer = tokens.Issuer(signing, here.settings.issuer, here.settings.audience)
    token = issuer.issue("p1", cast.OFFICE, [Role.OPERATOR], 600)
    with engine.running(here.directory / "data", ports, coordinator=cast.OFFICE):
        code, said = verified(here, "--token", token, ports=ports)
    assert (code, said.splitlines()[-1]) == (HOLDS, "核验通过")
    assert f"与见证的 {len(lived.witnesses('cases'))} 个链首核对" in said
    assert "没有见证" not in said


def test_a_database_that_was_put_back_is_found_by_the_heads_that_were_kept(
    lived: Trail, tmp_path: Path
) -> None:
    here = lived.copied(tmp_path)
    shutil.copy(lived.early, here.directory / "data" / "cases.db")
    code, said = verified(here)
    assert code == HOLDS
    assert "没有见证" in said
    code, said = verified(here, *kept(here))
    assert code == FAILS
    named = [line for line in said.splitlines() if line.startswith("✗ case/")]
    assert len(named) == 6
    assert all("第 1 条：缺失" in line or "第 3 条：缺失" in line for line in named)


def test_what_cannot_be_verified_is_said_and_makes_nothing(lived: Trail, tmp_path: Path) -> None:
    here = lived.copied(tmp_path)
    odd = here.directory / "odd.json"
    odd.write_text('{"data": [{"source": "notify", "stream": "case/1", "seq": 1, "digest": "00"}]}')
    assert verified(here, "--witness", str(odd))[0] == REFUSED
    (here.directory / "data" / "cases.db").unlink()
    code, said = verified(here)
    assert code == REFUSED
    assert "没有数据库文件" in said
    assert not (here.directory / "data" / "cases.db").exists()
