"""Canonical JSON: what we write fast, the standard library writes byte for byte the same."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import proof

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(values)
def test_the_standard_library_writes_the_same_bytes(value: Any) -> None:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert proof.canonical(value) == text.encode()


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        2**64,
        Decimal(1),
        date(2026, 1, 1),
        datetime(2026, 1, 1, tzinfo=UTC),
        b"1",
        "\ud800",
    ],
)
def test_what_has_more_than_one_spelling_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        proof.canonical({"nested": [value]})
