"""The fictional county: as large as was promised, well formed, and nobody's."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from tools.demo import county
from tools.demo.county import County

TODAY = date(2026, 11, 24)


@pytest.fixture(scope="module")
def qinghe() -> County:
    return county.load()


def test_it_has_a_government_eight_departments_and_twelve_townships(qinghe: County) -> None:
    kinds = [("government",), ("department",), ("township", "street")]
    assert [len(qinghe.of_kind(*kind)) for kind in kinds] == [1, 8, 12]
    assert qinghe.office.short == "县政府"


def test_every_agency_has_officers_enough_and_one_certificate_has_run_out(qinghe: County) -> None:
    assert all(len(qinghe.certified(short, TODAY)) >= 3 for short in qinghe.agencies)
    assert [officer.id for short in qinghe.agencies for officer in qinghe.expired(short, TODAY)] == ["qh3404"]


def test_powers_are_granted_to_some_townships_and_not_to_others(qinghe: County) -> None:
    held = {
        agency.short: sum(qinghe.holds(agency.short, code, TODAY) for code in qinghe.powers)
        for agency in qinghe.of_kind("township", "street")
    }
    assert sorted(held.values()) == [0, 0, 0, 4, 5, 5, 5, 5, 9, 9, 9, 9]
    assert {grant.mode for grant in qinghe.grants} == {"conferred", "delegated"}


def test_a_power_that_was_taken_back_is_not_held(qinghe: County) -> None:
    road = qinghe.power("造成公路路面损坏、污染或者影响公路畅通").code
    assert qinghe.holds("石桥镇", road, date(2026, 6, 30))
    assert not qinghe.holds("石桥镇", road, date(2026, 7, 1))


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("agencies", {"id": "11331221000000019E"}),
        ("agencies", {"division": "330727"}),
        ("agencies", {"coordinates": False}),
        ("officers", {"certificate": "虚构0102"}),
        ("officers", {"agency": "县某局"}),
        ("powers", {"code": "330117901000"}),
        ("powers", {"code": "330217001000"}),
        ("powers", {"basis": "某条例"}),
        ("powers", {"department": "青溪镇"}),
        ("grants", {"agency": "县水利局"}),
        ("grants", {"power": "330217999000"}),
        ("grants", {"document": "青政发〔2025〕7号"}),
        ("grants", {"agency": "禾东街道"}),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(table: str, row: dict[str, Any], qinghe: County) -> None:
    rows = getattr(qinghe, table)
    if isinstance(rows, dict):
        key, first = next(iter(rows.items()))
        spoilt: Any = {**rows, key: replace(first, **row)}
    else:
        spoilt = (replace(rows[0], **row), *rows[1:])
    changed: dict[str, Any] = {table: spoilt}
    with pytest.raises(county.BadTable):
        county.check(replace(qinghe, **changed))
