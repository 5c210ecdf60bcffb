"""The page of all that an operator sets or sees by name: settings, metrics, alarms, actions in logs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from libs.common.settings import PREFIX, Settings
from libs.common.telemetry import METRICS
from tools.docs import markdown, source
from tools.docs.markdown import ROOT, code, table
from tools.operators import alerts as rules

_INTRODUCTION = """Settings are environment variables, or files of the same names in `/run/secrets`. A
variable that begins with `LIANDONG_` and is not in this table is refused at the start, and so is a value
out of its bounds. With neither `LIANDONG_DATABASE` nor `LIANDONG_KAFKA` the embedded engine runs, with
both the distributed one. What to do when a metric or an alarm moves is in the [runbook](runbook.md)."""

_METRICS = """`GET /metrics` of each service; every metric also has the label `service`. Labels are
bounded: routes are templates, and no label ever holds the id of a thing."""

_ALARMS = "`liandong_alarms{kind=…}` is above zero as long as something waits for a person. The kinds:"

_ALERTS = """Rules of Prometheus over these metrics, `deploy/prometheus/rules`. `page` wakes somebody now,
`ticket` waits for the working day."""

_ACTIONS = """Each line of a log is one JSON object with `time`, `level`, `service`, `logger`, `action`,
`message` and, where it belongs to a request or an event, `trace_id` and `traceparent`. The actions:"""


def page() -> str:
    """The page."""
    return markdown.page(
        "Settings, metrics and alarms",
        _INTRODUCTION,
        "## Settings",
        table(("variable", "default", "value", "meaning"), _settings()),
        "## Metrics",
        markdown.prose(_METRICS),
        table(("metric", "kind", "labels", "meaning"), _metrics()),
        "## Alarms",
        markdown.prose(_ALARMS),
        "\n".join(f"- {code(kind)}" for kind in alarms()),
        "## Alerts",
        markdown.prose(_ALERTS),
        table(("alert", "severity", "owner", "says", "what to do"), _alerts()),
        "## Actions in logs",
        markdown.prose(_ACTIONS),
        table(("action", "said in"), _actions()),
    )


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{field.upper()}"


def alarms() -> list[str]:
    """The kinds of alarms that the code can sound."""
    return sorted(
        {
            kind
            for _, node in _nodes()
            if isinstance(node, ast.Call)
            if isinstance(node.func, ast.Attribute) and node.func.attr == "alarms"
            if (kind := _text(node.args[0]))
        }
    )


def _settings() -> Iterator[tuple[str, str, str, str]]:
    meanings = source.comments(Settings)
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default)
        yield code(variable(name)), code(default), _value(field), meanings[name]


def _value(field: FieldInfo) -> str:
    return _kind(field.annotation) + _bounds([*field.metadata, *_inner_metadata(field.annotation)])


def _kind(annotation: Any) -> str:
    names = {
        str: "text",
        int: "integer",
        float: "number",
        bool: "true or false",
        Path: "path",
        SecretStr: "secret",
    }
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_kind(part) for part in get_args(annotation) if part is not NoneType)
    if get_origin(annotation) is Literal:
        return ", ".join(code(str(choice)) for choice in get_args(annotation))
    return names.get(annotation) or _kind(get_args(annotation)[0])


def _inner_metadata(annotation: Any) -> list[Any]:
    """What stands in an Annotated inside of `... | None`."""
    found = []
    for part in get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ():
        for extra in getattr(part, "__metadata__", ()):
            found += extra.metadata if isinstance(extra, FieldInfo) else [extra]
    return found


def _bounds(metadata: list[Any]) -> str:
    said = [f"at least {m.ge}" for m in metadata if isinstance(m, Ge)]
    said += [f"above {m.gt}" for m in metadata if isinstance(m, Gt)]
    said += [f"at most {m.le}" for m in metadata if isinstance(m, Le)]
    return "".join(f", {bound}" for bound in said)


def _metrics() -> Iterator[tuple[str, str, str, str]]:
    for metric in METRICS.values():
        yield code(metric.name), metric.kind, ", ".join(map(code, metric.labels)), metric.help


def actions() -> dict[str, set[str]]:
    """What log lines call what happened, and the files that say it."""
    found: dict[str, set[str]] = {}
    for file, node in _nodes():
        if isinstance(node, ast.Dict):
            said = {_text(key): _text(value) for key, value in zip(node.keys, node.values, strict=True)}
            if action := said.get("action"):
                found.setdefault(action, set()).add(file.relative_to(ROOT).as_posix())
    return found


def _alerts() -> Iterator[tuple[str, str, str, str, str]]:
    for alert in rules.active():
        section = f"[{alert.runbook}](runbook.md#{rules.anchor(alert.runbook)})"
        # To a reader of the page the labels and the value have no values yet.
        says = re.sub(r"\{\{ \$(?:labels\.)?(\w+)[^}]*\}\}", r"<\1>", alert.summary)
        yield code(alert.name), alert.severity, alert.owner, code(says), section


def _actions() -> list[tuple[str, str]]:
    return [
        (code(action), ", ".join(map(code, sorted(files)))) for action, files in sorted(actions().items())
    ]


def _nodes() -> Iterator[tuple[Path, ast.AST]]:
    for file in source.files("libs", "services"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            yield file, node


def _text(node: ast.AST | None) -> str | None:
    """A literal text; None for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
