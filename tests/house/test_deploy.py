"""What is deployed fits what is written: the image, the compose file, the settings and the databases."""

from __future__ import annotations

import importlib.util
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema import builtin_schemas

from libs.common import settings
from tests.engines.postgres import Postgres

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES: Mapping[str, Mapping[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "liandong"}
LASTING = {name: service for name, service in SERVICES.items() if service["restart"] != "no"}

VARIABLE = re.compile(r"\$\{(\w+)(:[-?][^}]*)?\}")


def _with_values(text: str) -> str:
    """As compose would read it, with an invented password wherever one must be given."""

    def value(found: re.Match[str]) -> str:
        otherwise = found[2] or ""
        return otherwise[2:] if otherwise.startswith(":-") else f"invented-{found[1].lower()}"

    return VARIABLE.sub(value, text)


def test_the_compose_file_keeps_to_the_published_schema() -> None:
    schema = builtin_schemas.get_builtin_schema("vendor.compose-spec")
    validator = jsonschema.validators.validator_for(schema)(schema)
    whole = yaml.safe_load(COMPOSE)
    validator.validate(whole)
    # A validator of another draft would let everything pass.
    whole["services"]["cases"]["comand"] = ["a misspelling"]
    assert not validator.is_valid(whole)


@pytest.mark.parametrize("name", SERVICES)
def test_whoever_waits_waits_for_something_that_can_happen(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            assert other in LASTING
            assert SERVICES[other]["healthcheck"]["test"]
        else:
            assert wait["condition"] == "service_completed_successfully"
            assert other not in LASTING


@pytest.mark.parametrize("name", LASTING)
def test_whatever_lasts_is_watched(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= check.keys()


@pytest.mark.parametrize("name", ["cases", "notify", "sharing"])
def test_a_service_starts_after_its_own_migrations_keys_and_topics(name: str) -> None:
    assert SERVICES[name]["depends_on"].keys() == {f"migrate-{name}", "keys", "topics"}
    assert SERVICES[f"migrate-{name}"]["environment"] == SERVICES[name]["environment"]


@pytest.mark.parametrize("name", OURS)
def test_its_settings_are_settings_and_choose_the_distributed_engine(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in OURS[name]["environment"].items():
        monkeypatch.setenv(variable, _with_values(value))
    assert settings.load().engine == "distributed"


@pytest.mark.parametrize("name", ["cases", "notify", "sharing"])
def test_a_service_listens_where_the_others_look_for_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in OURS[name]["environment"].items():
        monkeypatch.setenv(variable, _with_values(value))
    here = settings.load()
    service: settings.Name = name  # type: ignore[assignment]
    assert here.base_url(service) == f"http://{name}:{here.port(service)}"
    assert OURS[name]["ports"] == [f"127.0.0.1:{here.port(service)}:{here.port(service)}"]


@pytest.mark.parametrize("name", OURS)
def test_its_command_is_a_program_of_ours(name: str) -> None:
    python, dash_m, module, *_ = OURS[name]["command"]
    assert (python, dash_m) == ("python", "-m")
    spec = importlib.util.find_spec(module)
    assert spec is not None
    if spec.submodule_search_locations is not None:
        assert importlib.util.find_spec(f"{module}.__main__") is not None


@pytest.mark.parametrize("verb", sorted({s["command"][3] for s in OURS.values() if len(s["command"]) > 3}))
def test_a_job_is_a_verb_of_the_command_line(verb: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.cli", verb, "--help"], cwd=ROOT, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def _leaves(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(f"{key}={value}" if isinstance(value, str) else value)
    elif isinstance(node, list):
        for value in node:
            yield from _leaves(value)
    elif isinstance(node, str):
        yield node


def test_the_repository_holds_no_password() -> None:
    for text in _leaves(SERVICES):
        if "PASSWORD=" in text:
            assert re.fullmatch(r"(\w+)=\$\{\1:\?[^}]+\}", text)
        if "://" in text and "@" in text:
            assert re.search(r"//\w+:\$\{\w+_PASSWORD:\?[^}]+\}@", text)


def test_make_up_invents_every_password_that_is_asked_for(
    tmp_path: Path,
) -> None:
    file = tmp_path / ".env"
    subprocess.run([sys.executable, ROOT / "deploy/passwords.py", file], check=True)
    made = dict(line.split("=", 1) for line in file.read_text().splitlines())
    asked = {name for name, otherwise in VARIABLE.findall(COMPOSE) if otherwise.startswith(":?")}
    assert made.keys() == asked
    assert len(set(made.values())) == len(made)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_release_that_asks_for_more_passwords_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("POSTGRES_PASSWORD=known to the database\nLIANDONG_ISSUER=county")
    subprocess.run([sys.executable, ROOT / "deploy/passwords.py", file], check=True)
    made = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert made["POSTGRES_PASSWORD"] == "known to the database"
    assert made["LIANDONG_ISSUER"] == "county"
    assert made["GF_SECURITY_ADMIN_PASSWORD"]
    before = file.read_text()
    subprocess.run([sys.executable, ROOT / "deploy/passwords.py", file], check=True)
    assert file.read_text() == before


def test_every_volume_is_declared_and_every_mounted_file_exists() -> None:
    declared = yaml.safe_load(COMPOSE)["volumes"].keys()
    mounted = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert {source for source in mounted if not source.startswith(".")} == declared
    assert all((ROOT / source).exists() for source in mounted if source.startswith("."))


def test_the_linter_has_nothing_to_say_of_the_dockerfile() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [linter, ROOT / "deploy/Dockerfile"], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout.decode()


def test_the_image_gets_what_it_copies_and_gives_up_root() -> None:
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    wanted = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    sources = {source for line in wanted for source in line.split()}
    let_in = re.findall(r"^!(.+)$", (ROOT / "deploy/Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert sources == set(let_in)
    assert all((ROOT / source).exists() for source in sources)
    last_stage = dockerfile.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last_stage, re.MULTILINE)


def test_each_service_gets_a_database_that_the_others_cannot_enter(postgres: Postgres) -> None:
    # A cluster of its own: the script makes roles, and roles belong to the whole cluster.
    fresh = Postgres()
    try:
        environment = {f"{name}_DATABASE_PASSWORD": "it's" for name in ("CASES", "NOTIFY", "SHARING")} | {
            "PATH": f"{fresh.programs}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(fresh.port),
        }
        subprocess.run(["bash", ROOT / "deploy/postgres/databases.sh"], check=True, env=environment)
        for role in ("cases", "notify", "sharing"):
            for database in ("cases", "notify", "sharing"):
                probe = [str(fresh.programs / "psql"), "-U", role, "-d", database, "-qtc", "SELECT 1"]
                done = subprocess.run(probe, check=False, env=environment, capture_output=True)
                assert (done.returncode == 0) == (role == database), done.stderr.decode()
    finally:
        fresh.close()
