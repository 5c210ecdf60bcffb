"""Bodies that would do: made from an operation's schema, so that a new operation has one by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from libs.common.clock import Clock, day_of
from libs.common.law import codes
from tests.hostile.ground import Call, Operation
from tests.worlds import cast

Path = tuple[str | int, ...]

TODAY = day_of(Clock().now()).isoformat()

#: What fields of these names hold, where their schema does not say enough to make it up.
NAMED: Mapping[str, Any] = {
    "agency": cast.TOWNSHIP,
    "basis": "某条例第三条",
    "code": "330217002000",
    "department": cast.DEPARTMENT,
    "division": "339901103",
    "event": "liandong.case.filed.v1",
    "kind": "township",
    "competent_agency": cast.DEPARTMENT,
    "lead": cast.DEPARTMENT,
    "opinion_no": "协意〔2026〕第1号",
    "letter_no": "协函〔2026〕第1号",
    "move": "file",
    "officers": cast.officers(cast.TOWNSHIP),
    "power": cast.POWER,
    "proposed_agency": cast.DEPARTMENT,
    "stream": "case/1",
    "territory": cast.PLACE,
    "since": "2026-01-01T00:00:00+08:00",
    "to_agency": cast.DEPARTMENT,
    "token": "A" * 32,
    "url": "https://hook.invalid/",
}
#: Where an operation means something of its own by a field, or needs one that its schema lets be left out.
MEANT: Mapping[str, Mapping[str, Any]] = {
    "register_agency": {"id": codes.with_check_digit("11339901MB0000005")},
    "take": {"officers": NAMED["officers"]},
    "request_assistance": {"items": [{"kind": "documents", "what": "x"}]},
    "extend_assistance": {"until": "2099-12-31"},
    "put_calendar": {
        "off": ["2027-01-01", "2027-05-01", "2027-10-01", "2027-10-02", "2027-10-03"],
        "work": [],
    },
    "put_policy": {"level": [{"name": "x", "working_days": 0, "tell": ["county"]}]},
    "simulate_policy": {"rule": "col.accept"},
    "supervise": {"kind": "supervision", "agency": cast.DEPARTMENT},
    "return_reply": {"due_on": "2099-12-31"},
    "redrive": {"dry_run": True, "filter": {"stream": "case/1", "source": "cases", "type": "x"}},
}

MARK = "\ue000"


def body(call: Call, schemas: Mapping[str, Operation]) -> dict[str, Any]:
    """A body with all that is needed."""
    assert call.body is not None
    made = _made(call.body, schemas, "")
    return {**(made or {}), **MEANT.get(call.name, {})}


def places(call: Call, schemas: Mapping[str, Operation]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every place in the body, also of fields that may be left out, with a body that has MARK there."""
    assert call.body is not None
    whole = body(call, schemas)
    known = _properties(call.body, schemas)
    for name in known:
        yield (name,), {**whole, name: MARK}
    yield ("unknown",), {**whole, "unknown": MARK}
    for path in _within(whole):
        if len(path) > 1:
            yield path, _marked(whole, path)


def spliced(marked: Mapping[str, Any], text: bytes) -> bytes:
    """The body as bytes, with this text in the marked place."""
    return (
        json.dumps(marked, ensure_ascii=False)
        .encode()
        .replace(json.dumps(MARK, ensure_ascii=False).encode(), text)
    )


def _made(schema: Operation, schemas: Mapping[str, Operation], name: str) -> Any:
    schema = _resolved(schema, schemas)
    if name in NAMED:
        return NAMED[name]
    if "enum" in schema or "const" in schema:
        return schema.get("enum", [schema.get("const")])[0]
    match schema.get("type"):
        case "object":
            needed = schema.get("required", ())
            return {one: _made(schema["properties"][one], schemas, one) for one in needed}
        case "array":
            return [_made(schema["items"], schemas, name)] * max(1, schema.get("minItems", 0))
        case "integer" | "number":
            return int(schema.get("minimum", 1))
        case "boolean":
            return True
    return TODAY if schema.get("format") == "date" else "x" * max(1, schema.get("minLength", 1))


def _resolved(schema: Operation, schemas: Mapping[str, Operation]) -> Operation:
    if "anyOf" in schema:
        return _resolved(next(one for one in schema["anyOf"] if one.get("type") != "null"), schemas)
    if "$ref" in schema:
        return schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def _properties(schema: Operation, schemas: Mapping[str, Operation]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _resolved(schema, schemas).get("properties", {})
    return found


def _within(value: Any, path: Path = ()) -> Iterator[Path]:
    if path:
        yield path
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, item in items:
        yield from _within(item, (*path, key))


def _marked(value: Any, path: Path) -> Any:
    if not path:
        return MARK
    copy = value.copy()
    copy[path[0]] = _marked(value[path[0]], path[1:])
    return copy
