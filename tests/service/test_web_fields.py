"""Fields let in only the one form that is stored; codes are checked by the standards that define them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pydantic import TypeAdapter, ValidationError

from libs.common import wording
from libs.common.law import codes
from libs.common.web import fields

Name = Annotated[str, fields.Text(2, 5)]
Prose = Annotated[str, fields.Text(1, 20, lines=True)]


class Form(fields.In):
    colour: Literal["red"]
    days: fields.Items[fields.Day] = ()


def read(kind: Any, value: object) -> Any:
    return TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (Name, " 张三 ", "张三"),
        (Name, "Jose\u0301", "José"),
        (Prose, " 第一行\r\n第二行\n", "第一行\n第二行"),
        (fields.Day, "2024-02-29", date(2024, 2, 29)),
        (fields.Uscc, "91330100799655058B", "91330100799655058B"),
        (fields.Uscc, "914403001922038216", "914403001922038216"),
        (fields.Division, "330106", "330106"),
        (fields.Division, "330106109", "330106109"),
        (fields.PowerCode, "330264041000", "330264041000"),
        (Form, {"colour": "red", "days": ["2026-03-02"]}, Form(colour="red", days=(date(2026, 3, 2),))),
    ],
)
def test_a_good_value_is_let_in_as_it_is_stored(kind: Any, value: object, stored: object) -> None:
    assert read(kind, value) == stored


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Name, "张"),
        (Name, "张三李四王五"),
        (Name, "  \u3000 "),
        (Name, "a\nb"),
        (Name, "a\tb"),
        (Name, "a\u2028b"),
        (Name, "a\u202eb"),
        (Name, "a\u0085b"),
        (Name, b"ab"),
        (Name, 12),
        (Prose, "a\rb"),
        (Prose, "a\x1b[2Jb"),
        (fields.Day, "2026-02-29"),
        (fields.Day, "2026-2-3"),
        (fields.Day, "20260203"),
        (fields.Day, "2026-W01-1"),
        (fields.Day, "2026-02-03T00:00:00"),
        (fields.Day, datetime(2026, 2, 3, tzinfo=UTC)),
        (fields.Day, 1700000000),
        (fields.Uscc, "91330100799655058A"),
        (fields.Uscc, "91330100799655058b"),
        (fields.Uscc, "9133010079965505"),
        (fields.Uscc, "913301007996550588B"),
        (fields.Uscc, "I1330100799655058B"),
        (fields.Uscc, "９1330100799655058B"),
        (fields.Uscc, "91330100799655058B\n"),
        (fields.Division, "33010"),
        (fields.Division, "3301061"),
        (fields.Division, "030106"),
        (fields.Division, "33010６"),
        (fields.Division, 330106),
        (fields.PowerCode, "33026404100"),
        (fields.PowerCode, "331164041000"),
        (fields.PowerCode, "33026404100a"),
        (Form, {"colour": "blue"}),
        (Form, {"colour": "red", "days": "2026-03-02"}),
        (Form, {"colour": "red", "other": 1}),
    ],
)
def test_a_bad_value_is_refused_in_chinese(kind: Any, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        read(kind, value)
    assert not any(wording.explain(finding).isascii() for finding in refused.value.errors())


@given(
    some.text(alphabet="0123456789ABCDEFGHJKLMNPQRTUWXY", min_size=9, max_size=9),
    some.integers(0, 17),
    some.data(),
)
def test_one_wrong_character_is_always_found(body: str, place: int, data: some.DataObject) -> None:
    right = codes.with_check_digit(f"11330106{body}")
    other = data.draw(some.sampled_from("0123456789ABCDEFGHJKLMNPQRTUWXY"))
    wrong = right[:place] + other + right[place + 1 :]
    assert codes.is_uscc(right)
    assert codes.is_uscc(wrong) == (wrong == right)


def test_a_power_code_is_read_by_its_parts() -> None:
    found = codes.read_power("330264041000")
    assert (found.province, codes.POWER_TYPES[found.type], found.department) == ("33", "行政处罚", "64")
    assert (found.serial, found.sub) == ("041", "000")
    with pytest.raises(ValueError, match="not a power code"):
        codes.read_power("3302640410")


def test_the_schema_tells_a_department_what_to_send() -> None:
    class Example(fields.In):
        name: Name
        on: fields.Day
        agency: fields.Uscc

    described = Example.model_json_schema()["properties"]
    pattern = described["name"].pop("pattern")
    assert described["name"] == {"type": "string", "minLength": 2, "maxLength": 5, "title": "Name"}
    assert re.search(pattern, "张三")
    assert not any(re.search(pattern, f"a{odd}b") for odd in "\n\0\u202e\u2028")
    assert described["on"]["format"] == "date"
    assert described["agency"]["maxLength"] == 18
