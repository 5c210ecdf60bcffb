"""The description of the API (OpenAPI): what stands beside a route as data, and what is true of every one.

A route says in its `responses` what its success carries and where that leads (`created`, `versioned`,
`leading`), and which refusals are its own (`CONDITIONAL`, `refusing`). `complete` adds what the plumbing does
to every operation, so that no route need say it: a status that is not described is never answered.
"""

from __future__ import annotations

import http
from collections.abc import Iterator, Mapping
from typing import Any

from libs.common.web import problems

#: What FastAPI takes as a route's `responses`.
Responses = dict[int | str, dict[str, Any]]
Links = Mapping[str, Mapping[str, Any]]

_TEXT = {"schema": {"type": "string"}}
_ETAG = {
    "description": "版本；作为 If-Match 或 If-None-Match 送回",
    "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
}
_HEADERS: Mapping[str, Mapping[str, Any]] = {
    "401": {"WWW-Authenticate": {"required": True, **_TEXT}},
    "503": {
        "Retry-After": {
            "required": True,
            "description": "秒",
            "schema": {"type": "string", "pattern": "^[0-9]+$"},
        }
    },
}
_REPLAYED = {"description": "以前存下的答复", "schema": {"type": "string", "enum": ["true"]}}
_TRACE = {"required": True, "description": "W3C Trace Context", **_TEXT}


def leads(*operations: str, **parameters: str) -> Links:
    """Links to these operations; `parameters` are JSON Pointers into the answer, by path parameter.

    What begins with `$` is a runtime expression (OpenAPI 3.1, 4.8.20.4) and stays as it is.
    """
    given = {
        f"path.{name}": place if place.startswith("$") else f"$response.body#{place}"
        for name, place in parameters.items()
    }
    return {operation: {"operationId": operation, "parameters": given} for operation in operations}


def leading(*links: Links) -> Responses:
    """An answer that leads on."""
    return {200: {"links": _merged(links)}}


def versioned(*links: Links) -> Responses:
    """An answer with the version of what it shows; who has that version already is told so."""
    headers = {"ETag": {"required": True, **_ETAG}}
    return {
        200: {"headers": headers, "links": _merged(links)},
        304: {"description": "If-None-Match 所指的版本仍是最新的", "headers": headers},
    }


def created(*links: Links) -> Responses:
    """An answer that says what there is now, its version, and where it stands."""
    headers = {
        "ETag": {"required": True, **_ETAG},
        "Location": {"required": True, "schema": {"type": "string", "pattern": "^/v1/"}},
    }
    return {201: {"headers": headers, "links": _merged(links)}}


def refusing(*statuses: int) -> Responses:
    """Refusals that are a route's own."""
    return {status: _problem(status) for status in statuses}


def _merged(links: tuple[Links, ...]) -> dict[str, Any]:
    return {operation: dict(link) for some in links for operation, link in some.items()}


def _problem(status: int) -> dict[str, Any]:
    content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    said = _SAID.get(status, http.HTTPStatus(status).phrase)
    return {"description": said, "content": content, "headers": _HEADERS.get(str(status), {})}


#: Title of the class of refusals that has this status.
_SAID = {status: kind.title for kind, status in problems.STATUS.items()}

#: A state is moved here: If-Match must say which version the caller has seen.
CONDITIONAL: Responses = refusing(428)


def complete(described: dict[str, Any]) -> None:
    """Add to FastAPI's description what is true of every operation."""
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = dict(problems.SCHEMA)
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which nobody is answered with
        schemas.pop(unused, None)
    operations = {operation["operationId"]: operation for operation in _operations(described)}
    for operation in operations.values():
        answers = operation["responses"]
        for status in _refused_by_plumbing(operation):
            answers[str(status)] = _problem(status)
        for answer in answers.values():
            answer["headers"] = {"traceparent": _TRACE, **answer.get("headers", {})}
        _complete_write(operation)
    for operation in operations.values():
        _carry_versions(operation, operations)


def _operations(described: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in described["paths"].values():
        yield from methods.values()


def _refused_by_plumbing(operation: Mapping[str, Any]) -> Iterator[int]:
    """Every route refuses odd queries; who must be known, may be refused; who writes, may come too late."""
    yield 422
    if "security" in operation:
        yield from (401, 403, 404, 503)
    if "requestBody" in operation:
        yield from (413, 415)
    if _parameter(operation, "Idempotency-Key"):
        yield from (409, 412)


def _complete_write(operation: dict[str, Any]) -> None:
    """A key is asked for by our own hand, which names it, so FastAPI takes it for optional."""
    if not (key := _parameter(operation, "Idempotency-Key")):
        return
    key["required"] = True
    success = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
    success["headers"]["Idempotency-Replayed"] = _REPLAYED
    if "428" in operation["responses"] and (seen := _parameter(operation, "If-Match")):
        seen["required"] = True


def _carry_versions(operation: Mapping[str, Any], operations: Mapping[str, Any]) -> None:
    """A link to a move hands on the version that the caller has just seen."""
    for answer in operation["responses"].values():
        for link in answer.get("links", {}).values():
            if "428" in operations[link["operationId"]]["responses"] and "ETag" in answer["headers"]:
                parameters = link["parameters"]
                link["parameters"] = {**parameters, "header.If-Match": "$response.header.ETag"}


def _parameter(operation: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    found = (one for one in operation.get("parameters", ()) if one["name"].lower() == name.lower())
    return next(found, None)
