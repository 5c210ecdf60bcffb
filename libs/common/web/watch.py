"""The outermost layer of a service: a trace for every request; headers, a line and metrics for its answer."""

from __future__ import annotations

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common import clock, telemetry
from libs.common.telemetry import Metrics

_log = logging.getLogger(__name__)

#: Headers of every answer; a route that sets one itself keeps its own.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}

#: Asked every few seconds by machines; a line for each would bury the others.
_CHATTER = frozenset({"/healthz", "/readyz", "/metrics"})

#: The status of a request whose caller went away before there was an answer, as nginx counts it.
_NO_ANSWER = 499

#: An answer of this kind lasts as long as somebody takes it: what it took is the time to its beginning.
_GOES_ON = "text/event-stream"


class Watch:
    """ASGI middleware; must stand outside of everything that may answer or fail."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        trace = telemetry.new_trace(Headers(scope=scope).get("traceparent", ""))
        began, status, seconds = clock.monotonic(), _NO_ANSWER, 0.0

        async def sending(message: Message) -> None:
            nonlocal status, seconds
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in {**HEADERS, "traceparent": trace.traceparent}.items():
                    headers.setdefault(name, value)
                if headers.get("content-type", "").startswith(_GOES_ON):
                    seconds = clock.monotonic() - began
            await send(message)

        with telemetry.speaking(self._metrics.service), telemetry.traced(trace):
            try:
                await self._app(scope, receive, sending)
            finally:
                self._tell(scope, status, seconds or clock.monotonic() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = _template(scope), scope["method"]
        self._metrics.answered(route, method, status, seconds)
        _log.log(
            logging.DEBUG if scope["path"] in _CHATTER else logging.INFO,
            "%s %s %d",
            method,
            scope["path"],
            status,
            extra={"action": "http.answered", "route": route, "status": status, "seconds": round(seconds, 4)},
        )


def _template(scope: Scope) -> str:
    """The route's address with its parameters as names: a bounded label, unlike the path."""
    return str(getattr(scope.get("route"), "path_format", "unmatched"))
