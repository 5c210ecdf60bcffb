"""The story of README holds on both engines, and survives what people do to a demonstration."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres
from tests.stories import deployments
from tools.demo import callers, county, engine, performance
from tools.demo.callers import Deployment
from tools.demo.county import County
from tools.demo.outcome import Check
from tools.demo.telling import Telling

#: Seconds that a demonstration without pauses gets.
PATIENCE = 180.0
#: Exit code of services that were refused their start.
REFUSED = 78


@pytest.fixture(scope="module")
def qinghe() -> County:
    return county.load()


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program of ours, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        check=False,
        capture_output=True,
        cwd=engine.ROOT,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        timeout=PATIENCE,
    )


def demonstrate(data: Path) -> subprocess.CompletedProcess[str]:
    """`make demo ARGS=--once`, on ports of its own."""
    return python("tools.demo", "--once", "--data", str(data), "--ports", "0,0,0")


def failed(checks: Sequence[Check]) -> list[str]:
    return [check.text for check in checks if not check.holds]


@pytest.mark.slow
def test_the_demonstration_plays_checks_itself_and_keeps_its_data(tmp_path: Path) -> None:
    first = demonstrate(tmp_path / "demo")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "全部核对通过" in first.stdout
    assert "✗ 第 3 条（seq 3）摘要不符" in first.stdout

    again = demonstrate(tmp_path / "demo")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "均已登记过" in again.stdout
    assert "以前的 4 个案件照旧可查" in again.stdout


@pytest.mark.slow
def test_the_story_holds_on_servers_with_every_service_twice(
    tmp_path: Path, postgres: Postgres, own_kafka: Kafka, qinghe: County
) -> None:
    office = qinghe.office.id
    with (
        deployments.distributed(tmp_path / "data", postgres, own_kafka, coordinator=office) as addresses,
        closing(Deployment(addresses, callers.issuer(tmp_path / "data"))) as deployment,
    ):
        checks = performance.perform(qinghe, deployment, Telling(out=io.StringIO()), tmp_path / "papers")
    assert failed(checks) == []


@contextmanager
def services(data: Path, qinghe: County) -> Iterator[engine.Ports]:
    ports = engine.free_ports()
    with engine.running(data, ports, coordinator=qinghe.office.id):
        yield ports


def test_a_second_process_on_the_data_is_refused_and_the_first_goes_on(
    tmp_path: Path, qinghe: County
) -> None:
    with services(tmp_path, qinghe) as ports:
        second = python("services", **engine.environment(tmp_path, engine.free_ports(), qinghe.office.id))
        assert second.returncode == REFUSED
        assert "正被另一个进程使用" in second.stdout + second.stderr
        assert "Traceback" not in second.stdout + second.stderr
        refused = demonstrate(tmp_path)
        assert refused.returncode == 1
        assert "正被另一个进程使用" in refused.stdout
        assert all(engine.is_ready(url) for urls in engine.addresses(ports).values() for url in urls)


def test_a_demonstration_on_ports_in_use_says_so(tmp_path: Path, qinghe: County) -> None:
    with services(tmp_path / "one", qinghe) as ports:
        given = ",".join(str(port) for port in ports.values())
        second = python("tools.demo", "--once", "--data", str(tmp_path / "two"), "--ports", given)
    assert second.returncode == 1
    assert "已被占用" in second.stdout


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_who_stops_the_demonstration_stops_the_services_too(how: signal.Signals, tmp_path: Path) -> None:
    ports = engine.free_ports()
    given = ",".join(str(port) for port in ports.values())
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.demo", "--data", str(tmp_path), "--ports", given],
        cwd=engine.ROOT,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout as said:
        while "启动" not in said.readline():
            assert process.poll() is None
        process.send_signal(how)
        rest = said.read()
    assert process.wait(PATIENCE) == 0, rest
    assert "已停止" in rest
    assert "Traceback" not in rest
    assert not any(engine.is_ready(url) for urls in engine.addresses(ports).values() for url in urls)
