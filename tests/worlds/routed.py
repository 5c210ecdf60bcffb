"""The routes of a composed service."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import FastAPI
from starlette.routing import BaseRoute


def routes(app: FastAPI) -> Iterator[BaseRoute]:
    """Every route, also those that a router brought."""
    for route in app.routes:
        included = getattr(route, "original_router", None)
        yield from included.routes if included is not None else (route,)
