"""What an error means over HTTP: RFC 9457, `application/problem+json`, in Chinese, without a stack."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from libs.common import errors, telemetry, wording
from libs.common.web import body, routes, tokens

_log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

#: The status of each refusal; a class that is not here has that of its nearest ancestor.
STATUS: Mapping[type[errors.Refusal], int] = {
    tokens.Unauthenticated: 401,
    errors.NotPermitted: 403,
    errors.NotFound: 404,
    errors.Refusal: 409,
    errors.Stale: 412,
    body.TooLarge: 413,
    routes.UnsupportedMediaType: 415,
    errors.Malformed: 422,
    errors.Unconditional: 428,
}

#: Code and title of what the framework says; other statuses of its own are malformed requests.
_FRAMEWORK: Mapping[int, tuple[str, str]] = {
    405: ("method-not-allowed", "该资源不支持此方法"),
}

#: The schema of a problem, for the API's description.
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "title": "Problem",
    "required": ["type", "title", "status", "detail", "trace_id"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:liandong:problem:not-found"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "basis": {"type": "string", "description": "the article that refuses"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {name: {"type": "string"} for name in ("pointer", "code", "detail")},
            },
        },
        "trace_id": {"type": "string"},
    },
}


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    basis: str = "",
    errors: Sequence[Mapping[str, str]] = (),
    facts: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer that says so; `facts` are members beside the standard ones, which they cannot replace."""
    members: dict[str, Any] = {
        **(facts or {}),
        "type": f"urn:liandong:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        **({"basis": basis} if basis else {}),
        **({"errors": list(errors)} if errors else {}),
        "trace_id": telemetry.current_trace().correlation,
    }
    return Response(orjson.dumps(members, default=str), status, headers, MEDIA_TYPE)


def status_of(refusal: type[errors.Refusal]) -> int:
    """The status that this class of refusals is answered with."""
    return next(STATUS[ancestor] for ancestor in refusal.__mro__ if ancestor in STATUS)


def of_refusal(refusal: errors.Refusal) -> Response:
    """The problem for a refusal."""
    if isinstance(refusal, errors.NotFound):
        # What does not exist and what may not be known of must look the same to the last byte, whatever the
        # place that refused had to say.
        return problem(404, errors.NotFound.code, errors.NotFound.title, errors.NotFound.title)
    return problem(
        status_of(type(refusal)),
        refusal.code,
        refusal.title,
        refusal.detail,
        basis=refusal.basis if isinstance(refusal, errors.RuleBroken) else "",
        errors=refusal.errors if isinstance(refusal, errors.Malformed) else (),
        facts=refusal.facts,
        headers=_headers(refusal),
    )


def of_transient(why: errors.Transient) -> Response:
    """The problem for a dependency that is down, or for too much at once."""
    code, title = ("busy", "系统繁忙") if isinstance(why, errors.Busy) else ("unavailable", "服务暂不可用")
    return problem(503, code, title, why.detail, headers={"Retry-After": str(why.retry_after)})


def install(app: FastAPI) -> None:
    """Makes every error that leaves a route a problem."""
    app.add_exception_handler(errors.Refusal, _refused)
    app.add_exception_handler(errors.Transient, _transient)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unknown)


async def _refused(_: Request, why: Exception) -> Response:
    assert isinstance(why, errors.Refusal)
    return of_refusal(why)


async def _transient(_: Request, why: Exception) -> Response:
    assert isinstance(why, errors.Transient)
    _log.warning("a dependency is down", extra={"action": "http.transient", "detail": why.detail})
    return of_transient(why)


async def _invalid(_: Request, why: Exception) -> Response:
    assert isinstance(why, RequestValidationError)
    return of_refusal(malformed(why.errors()))


async def _framework(_: Request, why: Exception) -> Response:
    assert isinstance(why, HTTPException)
    if why.status_code == 404:
        return of_refusal(errors.NotFound())
    code, title = _FRAMEWORK.get(why.status_code, (errors.Malformed.code, errors.Malformed.title))
    return problem(why.status_code, code, title, title, headers=why.headers)


async def _gone(_: Request, why: Exception) -> Response:
    return problem(400, "disconnected", "请求未发送完整", "请求未发送完整")


async def _unknown(request: Request, why: Exception) -> Response:
    _log.error("a bug", exc_info=why, extra={"action": "http.bug", "path": request.url.path})
    return problem(500, "internal", "服务内部错误", "请求未能完成；请将 trace_id 告知运维人员")


def malformed(findings: Iterable[Mapping[str, Any]]) -> errors.Malformed:
    """The refusal for what validation found: places in the body as JSON Pointers, others by their kind."""
    found = tuple(
        wording.fault(_where(finding["loc"]), wording.code(finding), wording.explain(finding))
        for finding in findings
    )
    # A hostile body may be wrong in thousands of places; a person reads the first.
    return errors.Malformed(errors=found[:50])


def _where(place: Sequence[str | int]) -> str:
    kind, *path = place
    if kind == "body":
        return wording.pointer(path)
    return f"{kind}:{'.'.join(map(str, path))}"


def _headers(refusal: errors.Refusal) -> dict[str, str]:
    if isinstance(refusal, tokens.Unauthenticated):
        return {"WWW-Authenticate": refusal.challenge}
    if isinstance(refusal, body.TooLarge):
        # The rest of the body is not read, so nothing can follow on this connection.
        return {"Connection": "close"}
    return {}
