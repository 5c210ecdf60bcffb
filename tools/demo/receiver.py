"""A department's own system, as small as one can be: it takes webhooks and believes what is signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Bytes of a body that are read; an event of ours is far smaller.
LARGEST = 256 * 1024


class Receiver:
    """What came, apart into what was signed with our secret and what was not (Standard Webhooks, v1)."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/hook"
        self._secret = b""
        self._is_known = threading.Event()
        self.challenge: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self.unsigned = 0

    def believes(self, secret: str) -> None:
        """What is signed with this secret is ours; what has come already waits to be told."""
        self._secret = base64.b64decode(secret.removeprefix("whsec_"))
        self._is_known.set()

    def take(self, headers: dict[str, str], body: bytes) -> None:
        """One message."""
        if not self._is_signed(headers, body):
            self.unsigned += 1
            return
        event = json.loads(body)
        if event["type"] == "liandong.endpoint.challenged.v1":
            self.challenge = event
        else:
            self.events.append(event)

    def _is_signed(self, headers: dict[str, str], body: bytes) -> bool:
        if not self._is_known.wait(timeout=5.0):
            return False
        covered = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        due = base64.b64encode(hmac.digest(self._secret, covered, hashlib.sha256)).decode()
        given = headers["webhook-signature"].split()
        return any(hmac.compare_digest(f"v1,{due}", one) for one in given)


@contextmanager
def listening() -> Iterator[Receiver]:
    """A receiver on a free port of this machine, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = min(int(self.headers.get("content-length", "0")), LARGEST)
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.take(headers, self.rfile.read(length))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """The story tells what came."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
