"""A real Prometheus for the tests, from Debian's package, unpacked and not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.engines import server

PACKAGE = "prometheus"


class Prometheus:
    """Its programs; a server runs as long as somebody gives it something to watch."""

    def __init__(self, cache: Path) -> None:
        self._programs = _programs(cache)
        self._place = server.workplace("prometheus")

    def promtool(self, *arguments: str) -> tuple[bool, str]:
        """Whether it is content, and what it said."""
        done = subprocess.run(
            [self._programs / "promtool", *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode == 0, done.stdout

    @contextmanager
    def watching(self, configuration: str) -> Iterator[Watching]:
        """A server with this configuration, on empty data, until the block ends."""
        place = Path(tempfile.mkdtemp(dir=self._place))
        port = server.free_port()
        (place / "prometheus.yml").write_text(configuration, encoding="utf-8")
        running = server.Server(
            [
                str(self._programs / "prometheus"),
                f"--config.file={place / 'prometheus.yml'}",
                f"--storage.tsdb.path={place / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            log=place / "server.log",
        )
        found = Watching(f"http://127.0.0.1:{port}")
        running.start(found.is_ready)
        try:
            yield found
        finally:
            running.stop()

    def close(self) -> None:
        """Remove what its servers have left."""
        shutil.rmtree(self._place, ignore_errors=True)


class Watching:
    """A server that runs, asked over its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def ask(self, query: str) -> list[tuple[Mapping[str, str], float]]:
        """The value of an expression now, by labels. Raises ValueError with what is wrong with it."""
        found = self._get("query", query=query)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(sample["metric"], float(sample["value"][1])) for sample in found["result"]]

    def rules(self) -> list[dict[str, Any]]:
        """Each rule with its health and its state."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **query: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=query, trust_env=False, timeout=30.0).json()
        if answer["status"] != "success":
            raise ValueError(answer["error"])
        return answer["data"]


def _programs(cache: Path) -> Path:
    """The directory of prometheus and promtool: this machine's own, or unpacked once into the cache."""
    installed = shutil.which("prometheus")
    if installed and shutil.which("promtool"):
        return Path(installed).parent
    unpacked = cache / "unpacked"
    if not unpacked.is_dir():
        _unpack(cache, unpacked)
    return unpacked / "usr" / "bin"


def _unpack(cache: Path, unpacked: Path) -> None:
    """Half a fetch never looks like a whole one."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise server.Unavailable(f"Prometheus: not installed, and there is no {program} to fetch it with")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as half:
        said = _fetch(Path(half))
        packages = list(Path(half).glob(f"{PACKAGE}_*.deb"))
        if not packages:
            raise server.Unavailable(f"Prometheus: apt-get could not fetch it\n{said}")
        contents = Path(half, "contents")
        subprocess.run(["dpkg-deb", "-x", packages[0], contents], check=True)
        try:
            contents.rename(unpacked)
        except OSError:
            # Another run was faster, and its programs are the same.
            if not unpacked.is_dir():
                raise


def _fetch(where: Path) -> str:
    """Fetch the package; on a fresh machine root brings the lists first. Gives what apt-get said."""
    said = _apt(["download", PACKAGE], where)
    if not list(where.glob("*.deb")) and os.geteuid() == 0:
        said += _apt(["update", "--quiet"], where) + _apt(["download", PACKAGE], where)
    return said[-2000:]


def _apt(arguments: list[str], where: Path) -> str:
    done = subprocess.run(
        ["apt-get", *arguments],
        check=False,
        cwd=where,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout
