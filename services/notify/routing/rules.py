"""Who is told of an event: the route table, which must reach somebody with everything, and what follows."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints, ValidationError

from libs.common import errors, wording
from libs.common.contracts import cases, notify, sharing
from libs.common.contracts.event import CATALOGUE, Event
from libs.common.contracts.notify import Severity
from libs.common.law import limits
from services.notify.routing.tables import Addressee

#: Whose events are heard here, and must reach somebody.
HEARD = (cases.SOURCE, notify.SOURCE, sharing.SOURCE)

#: The offices of the joint meeting, as recipients.
COORDINATORS = "coordinators"
#: The county government, as a recipient.
COUNTY = "county"
#: Whoever receives what the table cannot place.
DEFAULT = "default"

#: What a row may name in `to`: fields of events that hold agencies' codes or names of offices, and offices.
RECIPIENTS: Mapping[str, str] = {
    "holder": "承办单位",
    "in_name_of": "决定所用名义的机关",
    "to_agency": "接收机关",
    "from_agency": "移送机关",
    "proposed_agency": "建议管辖机关",
    "requested_agency": "被请求协助的机关",
    "parties": "争议各方",
    "competent_agency": "被确定管辖的机关",
    "former_holder": "原承办单位",
    "lead": "先行处置机关",
    "agency": "所涉机关",
    "department": "主管部门",
    "awaits": "等候办理的机关",
    "issuer": "发函机关",
    "told": "升级规则写明的机关",
    COORDINATORS: "联席会议协调机关",
    COUNTY: "县政府",
}
OFFICES = frozenset({COORDINATORS, COUNTY})
#: The kind of agency that is the county government.
COUNTY_KIND = "government"

#: Why an event could not be placed.
UNROUTABLE: Mapping[str, str] = {
    "unknown_type": "事件类型不在路由表中",
    "unregistered": "应收机关尚未登记",
    "no_recipient": "事件未写明应收机关",
}

#: From the least to the most.
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

Said = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class BadTable(errors.Malformed):
    """The route table leaves an event with nobody, or names what does not exist."""

    code = "bad-route-table"
    title = "路由表不能使用"


class Route(BaseModel):
    """A row: which recipients are told of an event, how urgently, in what words, and why they."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    event: str
    to: Annotated[tuple[str, ...], Strict(False)]
    severity: Severity
    sign: bool
    title: Said
    body: Said
    reason: Said


class Silent(BaseModel):
    """An event of our own that nobody is told of, and why."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    event: str
    reason: Said


class Sheet(BaseModel):
    """A route table as it is written, unchecked."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    route: Annotated[tuple[Route, ...], Strict(False)]
    #: What is word of something itself.
    silent: Annotated[tuple[Silent, ...], Strict(False)] = ()
    #: What the codes of a field are called in texts.
    words: dict[str, dict[str, str]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RouteTable:
    """A checked table: rows by event type."""

    routes: Mapping[str, tuple[Route, ...]]
    words: Mapping[str, Mapping[str, str]]
    silent: Mapping[str, str] = field(default_factory=dict)  #: why nobody is told, by event type

    def row(self, type_: str, why: str) -> Route | None:
        """The row by which `why` is told of this type."""
        return next((route for route in self.routes.get(type_, ()) if why in route.to), None)


@dataclass(frozen=True, slots=True)
class Call:
    """One recipient that a row names: an agency's code, or COORDINATORS."""

    addressee: str
    why: str  #: a key of RECIPIENTS
    route: Route


@dataclass(frozen=True, slots=True)
class Directory:
    """The agencies that can be told, by code, and the one that receives what cannot be placed."""

    agencies: Mapping[str, Addressee]
    fallback: str | None = None

    def reached(self, addressee: str) -> tuple[str, ...]:
        """The registered agencies behind an addressee; none is nobody."""
        if addressee == DEFAULT:
            addressee = self.fallback if self.fallback and self.fallback in self.agencies else COORDINATORS
        if addressee == COORDINATORS:
            return tuple(sorted(code for code, agency in self.agencies.items() if agency.coordinates))
        if addressee == COUNTY:
            return tuple(sorted(code for code, agency in self.agencies.items() if agency.kind == COUNTY_KIND))
        return (addressee,) if addressee in self.agencies else ()

    def knowing(self, agency: Addressee) -> Directory:
        """The same with one more agency."""
        return Directory({**self.agencies, agency.agency: agency}, self.fallback)

    def names_of(self, agency: Addressee) -> list[str]:
        """The addressees that this agency is, or is one of."""
        names = [agency.agency]
        names += [COORDINATORS] if agency.coordinates else []
        names += [COUNTY] if agency.kind == COUNTY_KIND else []
        return names + ([DEFAULT] if agency.coordinates or agency.agency == self.fallback else [])

    def name(self, code: str) -> str:
        """An agency as texts call it; by its code while it is not registered."""
        agency = self.agencies.get(code)
        return agency.name if agency else code


def read(raw: Mapping[str, Any]) -> RouteTable:
    """A table, checked. Raises BadTable, which names every row that is wrong."""
    try:
        sheet = Sheet.model_validate(raw)
    except ValidationError as why:
        raise _bad(wording.faults(why.errors())) from None
    return check(sheet)


def check(sheet: Sheet, catalogue: Mapping[str, type[Event]] = CATALOGUE) -> RouteTable:
    """The table, if everything that can be said to us reaches somebody. Raises BadTable."""
    found = [
        fault for number, route in enumerate(sheet.route) for fault in _row(number, route, sheet, catalogue)
    ]
    found += _repeated(sheet)
    found += _unheard(sheet, catalogue)
    found += _silenced(sheet, catalogue)
    found += _idle_words(sheet, catalogue)
    if found:
        raise _bad(found)
    types = dict.fromkeys(route.event for route in sheet.route)
    routes = {t: tuple(r for r in sheet.route if r.event == t) for t in types}
    return RouteTable(routes, sheet.words, {silent.event: silent.reason for silent in sheet.silent})


def calls(table: RouteTable, event: Event) -> tuple[Call, ...]:
    """Whom the table names for this event; who is named twice is told by the first row."""
    found: dict[str, Call] = {}
    for route in table.routes.get(event.TYPE, ()):
        for why in route.to:
            for addressee in _named(event, why):
                found.setdefault(addressee, Call(addressee, why, route))
    return tuple(found.values())


def _named(event: Event, why: str) -> Iterator[str]:
    """The addressees that a recipient of a row is: one, none, or each of several agencies."""
    value = why if why in OFFICES else getattr(event, why)
    yield from filter(None, value if isinstance(value, tuple) else (value,))


def severity(route: Route, event: Event) -> Severity:
    """How urgently it is told: as the row says, and not less than the event is urgent."""
    least: Severity = "urgent" if urgency(event) == "urgent" else "info"
    return max(route.severity, least, key=SEVERITIES.index)


def urgency(event: Event) -> str:
    """How urgent the event itself is."""
    return str(getattr(event, "urgency", "normal"))


def filled(template: str, event: Event, table: RouteTable, directory: Directory) -> str:
    """A row's text with the event's fields in their places, as a reader in the county would write them."""
    values = {name: _said(name, value, table, directory) for name, value in event}
    return template.format_map(values)


def called(type_: str) -> str:
    """What an event type is called; an unknown one by its type."""
    model = CATALOGUE.get(type_)
    if model is None or not model.__doc__:
        return wording.shown(type_)
    return model.__doc__.partition("\n")[0].partition(":")[0].rstrip(".")


def _said(name: str, value: Any, table: RouteTable, directory: Directory) -> str:
    if isinstance(value, tuple):
        return "、".join(_said(name, one, table, directory) for one in value)
    if name in RECIPIENTS:
        return directory.name(value)
    if name == "rule" and (limit := limits.table().get(value)):
        return limit.zh
    if isinstance(value, date):
        return f"{value.year}年{value.month}月{value.day}日"
    return table.words.get(name, {}).get(str(value), str(value))


def _bad(found: Iterable[dict[str, str]]) -> BadTable:
    faults = tuple(found)[: wording.FIRST]
    return BadTable(wording.said(faults), errors=faults)


def _row(
    number: int, route: Route, sheet: Sheet, catalogue: Mapping[str, type[Event]]
) -> Iterator[dict[str, str]]:
    model = catalogue.get(route.event)
    if model is None or model.SOURCE not in HEARD:
        yield _fault(number, "event", "unknown-event", f"没有“{wording.shown(route.event)}”这种可路由的事件")
        return
    if not route.to:
        yield _fault(number, "to", "nobody", f"“{called(route.event)}”没有写明任何接收者")
    for name in route.to:
        if name not in RECIPIENTS or (name not in OFFICES and name not in model.model_fields):
            yield _fault(number, "to", "unknown-recipient", f"该事件没有机关字段“{wording.shown(name)}”")
    for place, text in (("title", route.title), ("body", route.body)):
        for code, complaint in _template(text, model, sheet.words):
            yield _fault(number, place, code, complaint)


def _template(
    text: str, model: type[Event], words: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        yield "bad-template", "花括号不成对"
        return
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in model.model_fields or spec or conversion:
            yield "unknown-field", f"该事件没有字段“{wording.shown(name)}”"
            continue
        unsaid = [code for code in _codes(model, name) if code not in words.get(name, {})]
        if unsaid:
            yield "no-word", f"字段“{name}”的取值没有中文说法：{'、'.join(unsaid)}"


def _codes(model: type[Event], name: str) -> tuple[str, ...]:
    """The values that a field can have, if they are few and not words."""
    annotation = model.model_fields[name].annotation
    if annotation is bool:
        return ("True", "False")
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _repeated(sheet: Sheet) -> Iterator[dict[str, str]]:
    seen: set[tuple[str, str]] = set()
    for number, route in enumerate(sheet.route):
        for name in route.to:
            if (route.event, name) in seen:
                complaint = f"同一事件的“{wording.shown(name)}”已在前面写明"
                yield _fault(number, "to", "told-twice", complaint)
            seen.add((route.event, name))


def _silenced(sheet: Sheet, catalogue: Mapping[str, type[Event]]) -> Iterator[dict[str, str]]:
    told = {route.event for route in sheet.route}
    for number, silent in enumerate(sheet.silent):
        model = catalogue.get(silent.event)
        if model is None or model.SOURCE != notify.SOURCE or silent.event in told:
            complaint = f"第 {number + 1} 个不告知的事件：只能是本服务自己的、没有路由的事件"
            yield wording.fault(wording.pointer(("silent", number, "event")), "not-silent", complaint)


def _unheard(sheet: Sheet, catalogue: Mapping[str, type[Event]]) -> Iterator[dict[str, str]]:
    named = {route.event for route in sheet.route if route.to} | {silent.event for silent in sheet.silent}
    for type_, model in catalogue.items():
        if model.SOURCE in HEARD and type_ not in named:
            yield wording.fault(
                "/route", "reaches-nobody", f"事件 {type_}（{called(type_)}）不会到达任何机关"
            )


def _idle_words(sheet: Sheet, catalogue: Mapping[str, type[Event]]) -> Iterator[dict[str, str]]:
    fields = {name for model in catalogue.values() for name in model.model_fields}
    for name in sheet.words:
        if name not in fields:
            yield wording.fault(
                wording.pointer(("words", name)), "unknown-field", f"没有事件有字段“{wording.shown(name)}”"
            )


def _fault(number: int, place: str, code: str, complaint: str) -> dict[str, str]:
    return wording.fault(wording.pointer(("route", number, place)), code, f"第 {number + 1} 行：{complaint}")
