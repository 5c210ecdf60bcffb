"""The embedded engine as a process of its own, for as long as the demonstration lasts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import get_args

import httpx

from libs.common.clock import monotonic
from libs.common.settings import PREFIX, Name

NAMES: tuple[Name, ...] = get_args(Name)
ROOT = Path(__file__).parents[2]
#: Seconds that the services get to come up, and to end.
PATIENCE = 60.0

Ports = Mapping[Name, int]


class NotStarted(Exception):
    """The services did not come up; the text is what they said."""


def addresses(ports: Ports) -> dict[Name, list[str]]:
    """Where the services are on this machine."""
    return {name: [f"http://127.0.0.1:{ports[name]}"] for name in NAMES}


@contextmanager
def running(data: Path, ports: Ports, *, coordinator: str, system: int | None = None) -> Iterator[Path]:
    """The three services on this data, until the block ends; gives the file of their logs.

    Webhooks may reach the port `system` of this machine.
    Raises NotStarted, also where another process uses the data.
    """
    taken = [port for port in ports.values() if not _is_free(port)]
    if taken:
        raise NotStarted(
            f"端口 {'、'.join(map(str, taken))} 已被占用，可能已有一个演示在运行；可用 --ports 另选"
        )
    data.mkdir(parents=True, exist_ok=True)
    log = data / "services.log"
    with log.open("ab") as out:
        begin = out.tell()
        # In a session of its own: a Ctrl-C is ours to hear, and the services end when the block does.
        process = subprocess.Popen(
            [sys.executable, "-m", "services"],
            cwd=ROOT,
            env={**environment(data, ports, coordinator), **_reaching(system)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_ready(process, ports, log, begin)
        yield log
    finally:
        _end(process)
        _stop(hands(data))


def environment(data: Path, ports: Ports, coordinator: str) -> dict[str, str]:
    """Settings of the services; none of the caller's own reaches them."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    return {
        **inherited,
        f"{PREFIX}DATA": str(data.resolve()),
        f"{PREFIX}DEFAULT_AGENCY": coordinator,
        f"{PREFIX}CLOCK": str(hands(data)),
        **{f"{PREFIX}{name.upper()}_PORT": str(ports[name]) for name in NAMES},
    }


def _reaching(system: int | None) -> dict[str, str]:
    """Settings by which webhooks reach a port of this machine, and nothing else."""
    if system is None:
        return {}
    allowed = {"ALLOW": "127.0.0.1/32", "PORTS": str(system), "PLAIN": "true"}
    return {f"{PREFIX}WEBHOOK_{name}": value for name, value in allowed.items()}


def hands(data: Path) -> Path:
    """The file that moves the clock of the services; while there is none, it is now."""
    return data.resolve() / "clock"


def _stop(clock: Path) -> None:
    """Write down the time that it has become, if it was moved: the next process goes on from there."""
    if clock.exists():
        then, moved_at = datetime.fromisoformat(clock.read_text()), clock.stat().st_mtime
        clock.write_text((then + timedelta(seconds=time.time() - moved_at)).isoformat())


def free_ports() -> Ports:
    """Three ports on which nobody listens now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in NAMES]
    try:
        return {name: probe.getsockname()[1] for name, probe in zip(NAMES, probes, strict=True)}
    finally:
        for probe in probes:
            probe.close()


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
        return True
    return False


def _await_ready(process: subprocess.Popen[bytes], ports: Ports, log: Path, begin: int) -> None:
    until = monotonic() + PATIENCE
    waiting = [url for urls in addresses(ports).values() for url in urls]
    while waiting:
        if process.poll() is not None or monotonic() > until:
            raise NotStarted(_last_words(log, begin))
        if not is_ready(waiting[0]):
            time.sleep(0.05)
            continue
        waiting.pop(0)


def is_ready(url: str) -> bool:
    """Whether the service at this address says that it can work."""
    try:
        return httpx.get(f"{url}/readyz", timeout=2.0, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _last_words(log: Path, begin: int) -> str:
    """What the services said for people: logs are JSON, sentences are not."""
    said = log.read_bytes()[begin:].decode(errors="replace").splitlines()
    sentences = [line for line in said if line.strip() and not line.startswith("{")]
    return "\n".join(sentences[-12:]) or f"服务未能启动，日志：{log}"


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
