"""One server process: started apart from us, and killed, paused and resumed as faults demand."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

#: How long a server may take to come up or to go, in seconds.
PATIENCE = 60.0


class Unavailable(Exception):
    """The engine cannot be had on this machine; the text says what is missing."""


class NotReady(Exception):
    """A server did not come up in time, or died while starting; the text ends with its log."""


class Server:
    """A process in a session of its own, so that a Ctrl-C meant for the tests does not reach it."""

    def __init__(self, argv: Sequence[str], *, log: Path, user: int | None = None) -> None:
        self._argv = list(argv)
        self._log = log
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Return once `is_ready` says so; a server that runs already is left as it is."""
        if self._process is not None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._user,
                group=self._user,
                extra_groups=None if self._user is None else [],
            )
        try:
            self._await(is_ready)
        except BaseException:
            self.kill()
            raise

    def _await(self, is_ready: Callable[[], bool]) -> None:
        assert self._process is not None
        until = time.monotonic() + PATIENCE
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > until:
                raise NotReady(f"{self._argv[0]} did not come up\n{self.tail()}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end and wait; a server that will not end is killed."""
        if self._process is None:
            return
        self.resume()
        self._process.send_signal(how)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """Take it away with its children, as a power cut would."""
        if self._process is None:
            return
        family = self._family()
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self._process.wait(PATIENCE)
        while any(map(_lives, family)):
            time.sleep(0.005)
        self._process = None

    def pause(self) -> None:
        """Stop it where it stands: connections stay open and nothing answers."""
        for member in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                member.suspend()

    def resume(self) -> None:
        """Let it go on after `pause`."""
        for member in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                member.resume()

    def tail(self, size: int = 4000) -> str:
        """The end of its log."""
        return self._log.read_bytes()[-size:].decode(errors="replace")

    def _family(self) -> list[psutil.Process]:
        """The process, then its children: PostgreSQL puts each of them in a session of its own."""
        if self._process is None or self._process.poll() is not None:
            return []
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]


def _lives(process: psutil.Process) -> bool:
    """An orphan may stay a zombie for seconds where nobody reaps it; it holds nothing any more."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    """A port on the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Whether somebody listens on this port of the loopback address."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def workplace(engine: str) -> Path:
    """A fresh directory for one server, after removing what killed test runs have left of theirs."""
    prefix = f"liandong-{engine}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        owner = left.name.removeprefix(prefix).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            _clear(left)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))


def _clear(left: Path) -> None:
    """End the servers that were given this directory, and no others, and remove it."""
    for process in psutil.process_iter(["cmdline"]):
        if any(word.startswith(str(left)) for word in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()
    shutil.rmtree(left, ignore_errors=True)
