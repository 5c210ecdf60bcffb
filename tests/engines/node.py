"""node with the JavaScript library of Standard Webhooks, as a department's own system may have it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.engines import server

LIBRARY = "standardwebhooks@1.1.1"
#: Seconds for its installation.
PATIENCE = 120

_VERIFY = """
const { Webhook } = require("standardwebhooks");
const { secret, headers, body } = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(new Webhook(secret).verify(body, headers)));
"""


class Node:
    """The library, installed once into a directory."""

    def __init__(self, directory: Path) -> None:
        """Raises Unavailable where node or npm is missing, or the library cannot be had."""
        missing = [name for name in ("node", "npm") if shutil.which(name) is None]
        if missing:
            raise server.Unavailable(f"not installed here: {' and '.join(missing)}")
        self._directory = directory
        if not (directory / "node_modules" / "standardwebhooks").exists():
            self._install()

    def verified(self, secret: str, headers: Mapping[str, str], body: bytes) -> object | None:
        """What the library reads in a message whose signature it believes; None for any other."""
        given = json.dumps({"secret": secret, "headers": dict(headers), "body": body.decode()})
        run = subprocess.run(
            ["node", "-e", _VERIFY],
            input=given,
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode and "WebhookVerificationError" not in run.stderr:
            raise AssertionError(run.stderr)
        return None if run.returncode else json.loads(run.stdout)

    def close(self) -> None:
        """Nothing runs."""

    def _install(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", LIBRARY]
        try:
            subprocess.run(install, cwd=self._directory, capture_output=True, check=True, timeout=PATIENCE)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as why:
            raise server.Unavailable(f"npm could not install {LIBRARY}: {why}") from why
