"""Files of what the services gave, and what tools/verify.py says of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VERIFIER = Path(__file__).parents[1] / "verify.py"


class Papers:
    """A folder of files for the verifier."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def keep(self, name: str, content: Any) -> Path:
        """A file of what was fetched."""
        path = self._folder / name
        as_given = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        path.write_text(as_given, encoding="utf-8")
        return path

    def forge(self, paper: Path, at: bytes) -> Path:
        """The same file with one byte changed: the last of the first place where it reads so."""
        raw = bytearray(paper.read_bytes())
        raw[bytes(raw).index(at) + len(at) - 1] ^= 1
        path = paper.with_stem(f"{paper.stem}-forged")
        path.write_bytes(raw)
        return path


def verified(paper: Path, *, keys: Sequence[Path] = (), witnesses: Sequence[Path] = ()) -> tuple[int, str]:
    """The verdict of the verifier, run alone and without the repository: exit code and text."""
    options = [*(f"--key={key}" for key in keys), *(f"--witness={witness}" for witness in witnesses)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(VERIFIER), str(paper), *options],
        check=False,
        capture_output=True,
        encoding="utf-8",
        env={"PYTHONIOENCODING": "utf-8"},
    )
    return done.returncode, done.stdout or done.stderr
