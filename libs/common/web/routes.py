"""The one kind of route: it knows who asks before it reads, and reads nothing that it does not expect."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from libs.common import errors, wording
from libs.common.web import body, tokens

_CONTROLS = re.compile("[\x00-\x1f\x7f]")


class UnsupportedMediaType(errors.Refusal):
    """The body is of a type that this route does not read."""

    code = "unsupported-media-type"
    title = "请求内容应为 application/json"


class StrictRequest(Request):
    """A request whose JSON is read by `body.parse`."""

    async def json(self) -> Any:
        """The body's one value, or Malformed."""
        if not hasattr(self, "_json"):
            self._json = body.parse(await self.body(), self.app.state.limits)
        return self._json


class StrictRoute(APIRoute):
    """Refuses a stranger first, then query parameters that it has not, then a body that is not strict JSON.

    Query parameters are those that the route and its own dependencies declare; a router's `dependencies`
    may have none.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind the checks, which must come before it reads the body."""
        answer = super().get_route_handler()
        names = frozenset(_query_names(self.dependant))
        asks_who = tokens.actor in _calls(self.dependant)
        reads_body = self.body_field is not None

        async def strict(plain: Request) -> Response:
            request = StrictRequest(plain.scope, plain.receive)
            if asks_who:
                await tokens.actor(request)
            _refuse_odd_path(request)
            _refuse_odd_query(request, names)
            if reads_body and await request.body():
                _refuse_odd_media(request)
                await request.json()
            return await answer(request)

        return strict


def router(prefix: str = "/v1", tag: str = "") -> APIRouter:
    """A router of strict routes; the whole prefix stands here, so that a route's template is its address."""
    return APIRouter(prefix=prefix, route_class=StrictRoute, tags=[tag] if tag else None)


def _calls(dependant: Dependant) -> set[object]:
    found: set[object] = {dependant.call}
    return found.union(*map(_calls, dependant.dependencies))


def _query_names(dependant: Dependant) -> Iterator[str]:
    for field in get_flat_params(dependant):
        if getattr(field.field_info, "in_", None) == ParamTypes.query:
            yield field.alias


def _refuse_odd_path(request: Request) -> None:
    # No id of ours has controls in it, and PostgreSQL would choke on NUL: such a thing does not exist.
    if any(_CONTROLS.search(str(value)) for value in request.path_params.values()):
        raise errors.NotFound()


def _refuse_odd_query(request: Request, names: frozenset[str]) -> None:
    given = request.query_params.multi_items()
    often = Counter(name for name, _ in given)
    found = [
        *(_query_fault(name, "unknown-parameter", "没有这个查询参数") for name in often if name not in names),
        *(_query_fault(name, "repeated-parameter", "查询参数重复") for name, n in often.items() if n > 1),
        *(
            _query_fault(name, "unreadable-character", "含有控制字符")
            for name, v in given
            if _CONTROLS.search(v)
        ),
    ]
    if found:
        raise errors.Malformed("查询参数不符合要求", errors=tuple(found[:50]))


def _query_fault(name: str, code: str, detail: str) -> dict[str, str]:
    return wording.fault(f"query:{wording.shown(name)}", code, detail)


def _refuse_odd_media(request: Request) -> None:
    kind, *parameters = (part.strip().lower() for part in request.headers.get("content-type", "").split(";"))
    encoding = request.headers.get("content-encoding", "identity").lower()
    if kind != "application/json" or set(parameters) - {"charset=utf-8", ""} or encoding != "identity":
        raise UnsupportedMediaType()
