"""Asks an application directly through ASGI: thousands of requests, and headers that no client would send."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.types import ASGIApp, Message

_keys = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, apart from who sends it."""

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + (f"?{urlencode(self.query)}" if self.query else "")


@dataclass(frozen=True, slots=True)
class Told:
    """What came back."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def bare(self) -> tuple[int, tuple[tuple[bytes, bytes], ...], bytes]:
        """Without what names this one request: its trace."""
        told, headers = self.body, tuple(pair for pair in self.headers if pair[0] != b"traceparent")
        if (b"content-type", b"application/problem+json") in headers:
            told = orjson.dumps({**self.json, "trace_id": ""})
            headers = tuple(pair for pair in headers if pair[0] != b"content-length")
        return self.status, headers, told


async def tell(app: ASGIApp, ask: Ask, authorization: bytes | None) -> Told:
    """Send it with this Authorization header, byte for byte; every write has its own Idempotency-Key."""
    headers = {"host": "service", **ask.headers}
    content = b"" if ask.body is None else orjson.dumps(ask.body)
    if ask.method not in ("GET", "HEAD"):
        headers.setdefault("idempotency-key", f"asked-{next(_keys)}")
    if content:
        headers |= {"content-type": "application/json", "content-length": str(len(content))}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    if authorization is not None:
        raw.append((b"authorization", authorization))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": ask.method,
        "scheme": "http",
        "path": ask.path,
        "raw_path": ask.path.encode(),
        "root_path": "",
        "query_string": urlencode(ask.query).encode(),
        "headers": raw,
        "server": ("service", 80),
        "client": ("caller", 1),
    }
    said: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message: Message) -> None:
        said.append(message)

    await app(scope, receive, send)
    start, *parts = said
    return Told(start["status"], tuple(start["headers"]), b"".join(part.get("body", b"") for part in parts))
