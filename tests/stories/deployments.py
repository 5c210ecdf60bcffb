"""The services as processes of their own, several of each, on PostgreSQL and Kafka."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from libs.common.clock import monotonic
from libs.common.settings import Name
from tests.engines import server
from tests.engines.kafka import Kafka
from tests.engines.postgres import Postgres
from tools.demo import engine

#: Processes of each service.
TWINS = 2
#: Seconds that all of them get to come up.
PATIENCE = 90.0

Addresses = Mapping[Name, Sequence[str]]


@contextmanager
def distributed(
    place: Path, postgres: Postgres, kafka: Kafka, *, coordinator: str, twins: int = TWINS
) -> Iterator[Addresses]:
    """Every service in `twins` processes, ready, until the block ends. Keys and logs are in `place`."""
    for service in engine.NAMES:
        postgres.database(f"story_{service}")
    ports = {service: [server.free_port() for _ in range(twins)] for service in engine.NAMES}
    found = {service: [f"http://127.0.0.1:{port}" for port in ports[service]] for service in engine.NAMES}
    settings = {
        "LIANDONG_DATABASE": postgres.url("story_{service}"),
        "LIANDONG_KAFKA": kafka.bootstrap,
        "LIANDONG_PARTITIONS": "3",
        "LIANDONG_DATA": str(place),
        "LIANDONG_DEFAULT_AGENCY": coordinator,
        # Whichever process is asked, a service is known to the others by one address.
        **{f"LIANDONG_{service.upper()}_URL": urls[0] for service, urls in found.items()},
    }
    prepare(place, settings)
    with ExitStack() as stack:
        for service in engine.NAMES:
            for port in ports[service]:
                own = {**settings, f"LIANDONG_{service.upper()}_PORT": str(port)}
                log = place / f"{service}-{port}.log"
                stack.enter_context(_running([f"services.{service}"], own, log))
        _await_ready([url for urls in found.values() for url in urls], place)
        yield found


def prepare(place: Path, settings: Mapping[str, str]) -> None:
    """Keys, topics and migrations, as an operator makes them, at the same time."""
    place.mkdir(parents=True, exist_ok=True)
    verbs = [["keys"], ["topics"], *(["migrate", service] for service in engine.NAMES)]
    started = [(verb, start(["services.cli", *verb], settings, subprocess.PIPE)) for verb in verbs]
    for verb, process in started:
        said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, f"liandong {' '.join(verb)}: {said.decode()}"


@contextmanager
def _running(module: list[str], settings: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("ab") as out:
        process = start(module, settings, out.fileno())
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def start(module: list[str], settings: Mapping[str, str], out: int) -> subprocess.Popen[bytes]:
    """A process of ours with these settings; what it says goes to `out`."""
    return subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=engine.ROOT,
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
    )


def _await_ready(urls: list[str], place: Path) -> None:
    until = monotonic() + PATIENCE
    while waiting := [url for url in urls if not engine.is_ready(url)]:
        assert monotonic() < until, f"not ready: {waiting}; logs are in {place}"
        time.sleep(0.1)
