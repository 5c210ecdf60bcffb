"""The shapes of events as they were released, and what of a change would break somebody who reads them.

`python -m tests.contracts.shapes` writes down the shape of what is new; it refuses a change that breaks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# The catalogue fills as the contracts are read.
from libs.common.contracts import cases, notify, sharing  # noqa: F401
from libs.common.contracts.event import CATALOGUE, Event

FILE = Path(__file__).with_name("shapes.json")

#: Who says it, its fields, and those that are always there.
Shape = Mapping[str, Any]


def shape(model: type[Event]) -> Shape:
    """The shape of an event as its readers depend on it."""
    schema = model.model_json_schema()
    fields = {name: _plain(field) for name, field in schema.get("properties", {}).items()}
    return {"source": model.SOURCE, "fields": fields, "required": sorted(schema.get("required", []))}


def written() -> dict[str, Shape]:
    """The shapes as they were written down."""
    found: dict[str, Shape] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def breaks(old: Mapping[str, Shape], new: Mapping[str, Shape]) -> list[str]:
    """What of the change from `old` to `new` breaks a reader of either."""
    return [f"{type_}: {why}" for type_ in old for why in _breaks(old[type_], new.get(type_))]


def _breaks(old: Shape, new: Shape | None) -> Iterator[str]:
    if new is None:
        yield "is gone"
        return
    if new["source"] != old["source"]:
        yield "is said by another service"
    for name in old["fields"]:
        yield from _breaks_field(name, old, new)
    for name in set(new["required"]) - set(old["fields"]):
        yield f"{name} is new and not optional: events said before have none"


def _breaks_field(name: str, old: Shape, new: Shape) -> Iterator[str]:
    if name not in new["fields"]:
        yield f"{name} is gone"
    # Even a new value of a choice: who reads with the old contract would park it.
    elif new["fields"][name] != old["fields"][name]:
        yield f"{name} is of another kind"
    elif (name in old["required"]) != (name in new["required"]):
        yield f"{name} is not as sure as it was"


def _plain(field: Any) -> Any:
    """A field without what only people read."""
    if isinstance(field, dict):
        return {
            name: _plain(value)
            for name, value in sorted(field.items())
            if name not in ("title", "description")
        }
    return field


def main() -> int:
    """Write down what is new; gives the exit code."""
    now = {type_: shape(model) for type_, model in sorted(CATALOGUE.items())}
    before = written() if FILE.exists() else {}
    if broken := breaks(before, now):
        sys.stderr.write("\n".join(broken) + "\n")
        return 1
    FILE.write_text(json.dumps(now, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
