"""The page of problems: what each refusal is called, what it means and with which status it is answered."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

import libs
import services
from libs.common import errors
from libs.common.web import problems
from tools.docs import markdown, source
from tools.docs.markdown import ROOT, code

_INTRODUCTION = """An error is an `application/problem+json` body (RFC 9457) whose `type` is
`urn:liandong:problem:<code>`. Codes are stable; titles are for people. Where a rule of law refuses,
`basis` names the article. `errors` lists each fault of an input with `pointer`, `code` and `detail`;
`trace_id` leads to the log."""

#: What the web edge says by itself, where no class of ours has been refused: code -> (status, meaning).
SAID_BY_THE_EDGE: Mapping[str, tuple[str, str]] = {
    "busy": ("503", "too many callers want the same streams; nothing was changed"),
    "unavailable": ("503", "a dependency is down; the same request may succeed later"),
    "unready": ("503", "`/readyz`: a check of this process has failed; `checks` names it"),
    "method-not-allowed": ("405", "the address exists, the method does not"),
    "disconnected": ("400", "the caller went away before the request was whole"),
    "internal": ("500", "a bug of ours; the log has it under the `trace_id`"),
}


def page() -> str:
    """The page."""
    rows = [*_refusals(), *((code(name), *told, "", "") for name, told in SAID_BY_THE_EDGE.items())]
    heads = ("code", "status", "meaning", "title (中文)", "said in")
    return markdown.page("Problems", _INTRODUCTION, markdown.table(heads, rows))


def refusals() -> list[type[errors.Refusal]]:
    """Every class of refusal there is."""
    source.modules(libs, services)
    found: list[type[errors.Refusal]] = []
    todo: list[type[errors.Refusal]] = [errors.Refusal]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        # A class that a test has made is none of ours.
        if kind.__module__.startswith(("libs.", "services.")):
            found.append(kind)
    return found


def named() -> list[type[errors.Refusal]]:
    """Those that are a problem of their own; the others are to a caller what their parent is."""
    return sorted((kind for kind in refusals() if "code" in kind.__dict__), key=lambda kind: kind.code)


def _refusals() -> Iterator[tuple[str, str, str, str, str]]:
    for kind in named():
        file = Path(inspect.getfile(kind)).relative_to(ROOT).as_posix()
        status = str(problems.status_of(kind))
        yield code(kind.code), status, source.first_sentence(kind), kind.title, code(file)
