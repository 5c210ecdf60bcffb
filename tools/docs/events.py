"""The page of the published language: every event, its fields, who says it and who hears it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from datetime import date
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic_core import PydanticUndefined

from libs.common import edge
from libs.common.contracts.event import CATALOGUE, Event
from libs.common.log import envelope
from libs.common.settings import Name
from services import parts
from services.notify.routing import loads as routing
from services.notify.routing.rules import RECIPIENTS
from services.sharing.feeds import rules as feeds
from tools.docs import markdown, source
from tools.docs.markdown import code, table

_INTRODUCTION = """A fact that happened, in the past tense: `liandong.<root>.<past participle>.v<major>`.
Data is thin: ids, codes and dates, no personal data. Within one major version fields are only added, and
readers ignore what they do not know; a change that is more than that is a new type. `tests/contracts`
holds every type to its golden sample."""

_ENVELOPE = """CloudEvents 1.0: binary on Kafka (attributes are headers `ce_<name>`, the key is the
subject), structured over HTTP. Attributes that every event has, beside `specversion`:"""

#: What each attribute of the envelope means.
ATTRIBUTES: Mapping[str, str] = {
    "id": "`<subject>/<sequence>`: the same fact has the same id wherever it is read",
    "source": "`/services/<name>`: who says it",
    "type": "a row of the table below",
    "subject": "the stream, `<kind>/<id>`; also Kafka's key and `partitionkey`",
    "sequence": "the fact's number in its stream, dense from 1; consumers gate on it",
    "recordedtime": "when it was recorded, RFC 3339 in UTC; repeated as `time`",
    "actedon": "the day of the act itself, which the law judges; `YYYY-MM-DD`",
    "correlationid": "the request from which everything here follows",
    "chain": "digest of the stream's chain at this fact, hex: whoever hears the event is a witness",
    "privatedigest": "commitment to the private record, hex: with it hearers check that the chain goes on",
}

_OPTIONAL = """Where they apply: `causationid` (the event that caused this one) and `traceparent` (W3C).
Always `dataclassification` is `internal`, and the content type `application/json`. An event is at most 64
kB."""


_FEEDS = """`sharing` gives every event a place in one log. In a feed `id` is that position and `source` the
feed; the event's own are `originid` and `originsource`, and all other attributes stay as they were. An entry
that the reader may not see is a stub: `id`, `source`, and this type:"""


def page() -> str:
    """The page."""
    listed = [
        (f"[{code(type_)}](#{_anchor(type_)})", name(model), code(speaker(model)), _listed(type_))
        for type_, model in catalogue().items()
    ]
    return markdown.page(
        "Events",
        _INTRODUCTION,
        "## The envelope",
        markdown.prose(_ENVELOPE),
        table(("attribute", "meaning"), [(code(name), ATTRIBUTES[name]) for name in envelope.REQUIRED]),
        markdown.prose(_OPTIONAL),
        "## The events",
        table(("type", "中文", "said by", "heard by"), listed),
        "## In feeds",
        markdown.prose(_FEEDS),
        code(feeds.WITHHELD),
        "## Their fields",
        *(part for type_, model in catalogue().items() for part in _described(type_, model)),
    )


def catalogue() -> dict[str, type[Event]]:
    """The events of the contracts by type, one service after the other, whatever was imported first."""
    ours = {t: m for t, m in CATALOGUE.items() if m.__module__.startswith("libs.common.contracts.")}
    return dict(sorted(ours.items(), key=lambda item: parts.NAMES.index(speaker(item[1]))))


def name(model: type[Event]) -> str:
    """The Chinese name of an event: how its docstring begins."""
    return source.first_sentence(model).partition(":")[0].rstrip(".")


def hears(service: Name) -> edge.Hears:
    """What a service hears, as its composition declares it."""
    app = importlib.import_module(f"services.{service}.app")
    declared = getattr(app, "HEARS", None) or app.hears(None)
    assert isinstance(declared, edge.Hears)
    return declared


def speaker(model: type[Event]) -> Name:
    """The service that says it."""
    found: Name = model.SOURCE.rpartition("/")[2]  # type: ignore[assignment]
    return found


def hearers(type_: str) -> list[Name]:
    """The services that react to it."""
    topic = parts.topic(speaker(catalogue()[type_]))
    declared = {service: hears(service) for service in parts.NAMES}
    return [name for name, own in declared.items() if topic in own.topics and type_ in own.reactions]


def _listed(type_: str) -> str:
    return ", ".join(map(code, hearers(type_))) or "nobody"


def _described(type_: str, model: type[Event]) -> Iterator[str]:
    yield f"### {type_}"
    yield source.first_sentence(model)
    yield "\n".join(f"- {line}" for line in (f"said by {code(speaker(model))}", *_told(type_)))
    yield table(("field", "type", "meaning"), _fields(model))


def _fields(model: type[Event]) -> Iterator[tuple[str, str, str]]:
    meanings = source.comments(model)
    for field, declared in model.model_fields.items():
        optional = "" if declared.default is PydanticUndefined else ", may be missing"
        yield code(field), _type(declared.annotation) + optional, meanings.get(field, "")


def _type(annotation: Any) -> str:
    names = {str: "text", int: "integer", bool: "true or false", date: "day"}
    if get_origin(annotation) is Literal:
        return " or ".join(code(str(choice)) for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {_type(get_args(annotation)[0])}"
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_type(part) for part in get_args(annotation) if part is not NoneType)
    return names[annotation]


def _told(type_: str) -> Iterator[str]:
    """Who hears it, and whom `notify` tells of it."""
    yield f"heard by {_listed(type_)}"
    for route in routing.table().routes.get(type_, ()):
        who = "、".join(RECIPIENTS[recipient] for recipient in route.to)
        signed = "，须签收" if route.sign else ""
        yield f"`notify` tells {who} ({route.severity}{signed}): {route.reason}"


def _anchor(heading: str) -> str:
    """As renderers of Markdown make it."""
    return heading.replace(".", "").lower()
