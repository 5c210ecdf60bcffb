"""The route table: what is refused when it is loaded, and whom it reaches."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from importlib import resources
from typing import Any, ClassVar

import pytest

from libs.common.contracts import cases as said
from libs.common.contracts import sharing
from libs.common.contracts.event import CATALOGUE, Event
from services.notify.routing import loads, rules
from services.notify.routing.rules import COORDINATORS, DEFAULT, BadTable, Directory, Sheet
from tests.worlds import desk

Raw = dict[str, Any]

OFFERED = "liandong.transfer.offered.v1"
WRITTEN: Raw = tomllib.loads(
    resources.files("services.notify.routing").joinpath("routes.toml").read_text("utf-8")
)


def a_directory(*known: str, fallback: str | None = None) -> Directory:
    agencies = {code: desk.an_addressee(code) for code in known}
    return Directory(agencies, fallback)


def place_of(raw: Raw, event: str) -> int:
    """The number of the first row for this event."""
    return next(number for number, row in enumerate(raw["route"]) if row["event"] == event)


def offered(raw: Raw) -> Raw:
    row: Raw = raw["route"][place_of(raw, OFFERED)]
    return row


def forget_offers(raw: Raw) -> None:
    raw["route"] = [row for row in raw["route"] if row["event"] != OFFERED]


def test_the_table_of_this_release_reaches_somebody_with_everything_that_is_heard() -> None:
    table = loads.table()
    assert {*table.routes, *table.silent} == set(CATALOGUE)
    assert not table.routes.keys() & table.silent.keys()


def test_only_word_of_our_own_may_be_told_to_nobody() -> None:
    raw = copy.deepcopy(WRITTEN)
    forget_offers(raw)
    raw["silent"].append({"event": OFFERED, "reason": "不必知道"})
    with pytest.raises(BadTable) as refused:
        rules.read(raw)
    assert {fault["code"] for fault in refused.value.errors} == {"not-silent"}


def test_what_is_told_is_not_silent_too() -> None:
    raw = copy.deepcopy(WRITTEN)
    raw["silent"].append({"event": "liandong.obligation.warned.v1", "reason": "不必知道"})
    with pytest.raises(BadTable, match="不告知的事件"):
        rules.read(raw)


@pytest.mark.parametrize(
    ("spoil", "code", "place"),
    [
        (forget_offers, "reaches-nobody", "/route"),
        (lambda raw: offered(raw).update(to=[]), "nobody", "to"),
        (lambda raw: offered(raw).update(event="liandong.transfer.lost.v1"), "unknown-event", "event"),
        (lambda raw: offered(raw).update(to=["holder"]), "unknown-recipient", "to"),
        (lambda raw: offered(raw).update(to=["case"]), "unknown-recipient", "to"),
        (lambda raw: offered(raw).update(to=["everybody"]), "unknown-recipient", "to"),
        (lambda raw: offered(raw).update(to=["to_agency", "to_agency"]), "told-twice", "to"),
        (lambda raw: raw["route"].append(copy.deepcopy(offered(raw))), "told-twice", "to"),
        (lambda raw: offered(raw).update(title="{decided_on}"), "unknown-field", "title"),
        (lambda raw: offered(raw).update(body="{}"), "unknown-field", "body"),
        (lambda raw: offered(raw).update(body="{0}"), "unknown-field", "body"),
        (lambda raw: offered(raw).update(body="{case.__class__}"), "unknown-field", "body"),
        (lambda raw: offered(raw).update(body="{case!r}"), "unknown-field", "body"),
        (lambda raw: offered(raw).update(body="{case:>9}"), "unknown-field", "body"),
        (lambda raw: offered(raw).update(body="{case"), "bad-template", "body"),
        (lambda raw: offered(raw).update(body="case}"), "bad-template", "body"),
        (lambda raw: raw["words"]["urgency"].pop("urgent"), "no-word", "body"),
        (lambda raw: raw["words"].update(weather={"wet": "雨"}), "unknown-field", "/words/weather"),
        (lambda raw: offered(raw).update(severity="loud"), "literal-error", "severity"),
        (lambda raw: offered(raw).update(sign="yes"), "bool-type", "sign"),
        (lambda raw: offered(raw).update(reason="  "), "string-too-short", "reason"),
        (lambda raw: offered(raw).pop("reason"), "missing", "reason"),
        (lambda raw: offered(raw).update(cc=["holder"]), "extra-forbidden", "cc"),
        (lambda raw: raw.pop("route"), "missing", "/route"),
    ],
)
def test_a_bad_table_is_refused_and_names_the_row(spoil: Callable[[Raw], Any], code: str, place: str) -> None:
    raw = copy.deepcopy(WRITTEN)
    number = place_of(raw, OFFERED)
    spoil(raw)
    with pytest.raises(BadTable) as refused:
        rules.read(raw)
    found = {(fault["code"], fault["pointer"]) for fault in refused.value.errors}
    rows = [pointer for fault, pointer in found if fault == code]
    assert rows, found
    if place.startswith("/"):
        assert place in rows
    else:
        last = len(WRITTEN["route"])
        assert f"/route/{number}/{place}" in rows or f"/route/{last}/{place}" in rows
    assert all(pointer in str(refused.value) for pointer in rows)


def test_every_bad_row_is_named_at_once() -> None:
    raw = copy.deepcopy(WRITTEN)
    for row in raw["route"][:3]:
        row["title"] = "{nonsense}"
    with pytest.raises(BadTable) as refused:
        rules.read(raw)
    assert [fault["pointer"] for fault in refused.value.errors] == [f"/route/{n}/title" for n in range(3)]


def test_an_event_that_somebody_adds_and_nobody_routes_is_refused() -> None:
    class Novelty(Event):
        """新事件."""

        SOURCE: ClassVar[str] = sharing.SOURCE

    catalogue: dict[str, type[Event]] = {**CATALOGUE, "liandong.novelty.said.v1": Novelty}
    with pytest.raises(BadTable, match=r"liandong\.novelty\.said\.v1"):
        rules.check(Sheet.model_validate(WRITTEN), catalogue)


def test_every_recipient_is_a_field_of_some_event_and_has_a_name() -> None:
    fields = {name for model in CATALOGUE.values() for name in model.model_fields}
    assert set(rules.RECIPIENTS) - rules.OFFICES <= fields


def test_an_offer_is_told_to_the_one_it_is_offered_to() -> None:
    calls = rules.calls(loads.table(), desk.an_offer())
    assert [(call.addressee, call.why, call.route.sign) for call in calls] == [
        (desk.DEPARTMENT, "to_agency", True)
    ]


@pytest.mark.parametrize(("urgency", "severity"), [("normal", "action"), ("urgent", "urgent")])
def test_an_urgent_event_is_told_as_urgent(urgency: str, severity: str) -> None:
    event = desk.an_offer(urgency=urgency)
    route = loads.table().routes[OFFERED][0]
    assert rules.severity(route, event) == severity


def test_an_alarm_stays_an_alarm_though_the_event_is_urgent() -> None:
    route = loads.table().routes[OFFERED][0].model_copy(update={"severity": "alarm"})
    assert rules.severity(route, desk.an_offer(urgency="urgent")) == "alarm"


def test_who_is_named_by_two_rows_is_told_by_the_first() -> None:
    filed = said.CaseFiled(
        case="c1",
        case_no="青罚立〔2026〕第1号",
        holder=desk.TOWNSHIP,
        in_name_of=desk.TOWNSHIP,
        power="330215000000",
        territory="330726101",
        filed_on="2026-03-02",  # type: ignore[arg-type]
    )
    assert [call.why for call in rules.calls(loads.table(), filed)] == ["holder"]
    delegated = filed.model_copy(update={"in_name_of": desk.DEPARTMENT})
    assert [call.why for call in rules.calls(loads.table(), delegated)] == ["holder", "in_name_of"]


def test_each_of_several_agencies_is_told_and_whoever_is_named_twice_once() -> None:
    ruled = said.DisputeRuled(
        case="c1",
        dispute="c1.d1",
        parties=(desk.TOWNSHIP, desk.DEPARTMENT),
        coordinator=desk.OFFICE,
        former_holder=desk.TOWNSHIP,
        competent_agency=desk.DEPARTMENT,
        opinion_no="协意〔2026〕1号",
        basis="行政处罚法第二十三条",
    )
    calls = rules.calls(loads.table(), ruled)
    assert [(call.addressee, call.why, call.route.severity) for call in calls] == [
        (desk.DEPARTMENT, "competent_agency", "action"),
        (desk.TOWNSHIP, "former_holder", "info"),
    ]
    text = rules.filled("{parties}", ruled, loads.table(), a_directory(desk.TOWNSHIP, desk.DEPARTMENT))
    assert text == "青山镇、县水利局"


def test_a_text_calls_agencies_by_name_days_by_day_and_codes_by_word() -> None:
    event = said.GrantEffected(
        grant="g1",
        power="330215000000",
        agency=desk.TOWNSHIP,
        department=desk.STRANGER,
        mode="delegated",
        effective_on="2026-03-02",  # type: ignore[arg-type]
    )
    directory = a_directory(desk.TOWNSHIP)
    text = rules.filled("{agency}|{department}|{mode}|{effective_on}", event, loads.table(), directory)
    assert text == f"青山镇|{desk.STRANGER}|委托|2026年3月2日"


def test_a_field_that_holds_braces_is_not_read_as_a_template() -> None:
    event = desk.an_offer(case="{power}")
    assert rules.filled("{case}", event, loads.table(), a_directory()) == "{power}"


@pytest.mark.parametrize(
    ("known", "fallback", "addressee", "reached"),
    [
        ([desk.OFFICE, desk.OTHER], None, desk.OTHER, [desk.OTHER]),
        ([desk.OFFICE], None, desk.OTHER, []),
        ([desk.OFFICE, desk.OTHER], None, COORDINATORS, [desk.OFFICE]),
        ([desk.OTHER], None, COORDINATORS, []),
        ([desk.OFFICE, desk.OTHER], None, DEFAULT, [desk.OFFICE]),
        ([desk.OFFICE, desk.OTHER], desk.OTHER, DEFAULT, [desk.OTHER]),
        ([desk.OFFICE], desk.OTHER, DEFAULT, [desk.OFFICE]),
        ([], desk.OTHER, DEFAULT, []),
    ],
)
def test_an_addressee_is_the_registered_agencies_behind_it(
    known: list[str], fallback: str | None, addressee: str, reached: list[str]
) -> None:
    assert list(a_directory(*known, fallback=fallback).reached(addressee)) == reached


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        (OFFERED, "移送"),
        ("liandong.case.filed.v1", "立案"),
        ("liandong.picture.rebuilt.v1", "协同态势重建"),
        ("liandong.unheard.of.v1", "liandong.unheard.of.v1"),
    ],
)
def test_an_event_type_has_a_chinese_name(type_: str, name: str) -> None:
    assert rules.called(type_) == name
