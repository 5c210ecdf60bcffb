"""The ledger: every request that was made and what came of it, in a file that outlives who wrote it.

One JSON object a line, appended only. `do` says what happened to the request of this `key`:

    invoke   it is about to be sent: service, agency, verb, path, the SHA-256 of its body
    ok       it was done: status, the SHA-256 of the answer, and what the answer told
    refused  it was refused: status and code
    unknown  no answer, or 503: it may have been done or not, and is sent again under the same key
    bug      a service answered 5xx other than 503; what came of the request is as unknown as above
    broken, mended, well   of the key "fault <n>": what the nemesis did, and when it was overcome
    again    an answer that was known was asked for once more under the same key: status, SHA-256
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libs.common.clock import Clock


class Ledger:
    """Appends to one file; callers that wait together share one fsync."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._out = file.open("ab", buffering=0)
        self._clock = Clock()
        self._turn = asyncio.Lock()
        self._waiting: list[bytes] = []
        self._written = 0
        self._durable = 0

    async def write(self, do: str, key: str, **told: Any) -> None:
        """Return once the line is on disk."""
        line = {"at": self._clock.now().isoformat(timespec="milliseconds"), "do": do, "key": key, **told}
        self._waiting.append(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        self._written += 1
        own = self._written
        async with self._turn:
            if self._durable < own:
                lines, self._waiting, upto = self._waiting, [], self._written
                await asyncio.to_thread(self._append, b"".join(lines))
                self._durable = upto

    def close(self) -> None:
        self._out.close()

    def _append(self, lines: bytes) -> None:
        self._out.write(lines)
        os.fsync(self._out.fileno())


@dataclass(slots=True)
class Request:
    """One request as the ledger tells of it."""

    key: str
    service: str = ""
    agency: str = ""
    verb: str = ""
    path: str = ""
    #: ok, refused, or unknown while it has not been resolved.
    outcome: str = "unknown"
    status: int = 0
    code: str = ""
    #: What the answer told: ids, version, state.
    told: Mapping[str, Any] = field(default_factory=dict)
    #: SHA-256 of every answer that was ok, in the order in which they came.
    answers: list[str] = field(default_factory=list)
    bugs: int = 0
    #: Its lines, as they stand in the file.
    lines: list[str] = field(default_factory=list)


def read(file: Path) -> dict[str, Request]:
    """Every request by its key, in the order of their first lines; half a last line is left out."""
    return fold(file.read_text(encoding="utf-8").splitlines(keepends=True))


def fold(lines: Iterable[str]) -> dict[str, Request]:
    """The requests that these lines tell of."""
    found: dict[str, Request] = {}
    for line in lines:
        if not line.endswith("\n"):
            break
        told = json.loads(line)
        request = found.setdefault(told["key"], Request(told["key"]))
        request.lines.append(line.rstrip())
        _learn(request, told)
    return found


def _learn(request: Request, told: Mapping[str, Any]) -> None:
    match told["do"]:
        case "invoke":
            request.service, request.agency = told["service"], told["agency"]
            request.verb, request.path = told["verb"], told["path"]
        case "ok":
            request.outcome, request.status, request.told = "ok", told["status"], told["told"]
            request.answers.append(told["sha256"])
        case "refused":
            request.outcome, request.status, request.code = "refused", told["status"], told["code"]
        case "again":
            request.answers.append(told["sha256"])
        case "bug":
            request.bugs += 1
