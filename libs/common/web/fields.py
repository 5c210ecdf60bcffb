"""The types of fields in requests: what is let in is already in the one form that we store."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, PydanticKnownError, core_schema

from libs.common.law import codes

T = TypeVar("T")


class In(BaseModel):
    """A request body, or a part of one: unknown fields and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


#: An immutable sequence in an `In`: JSON has only arrays, which strict validation would refuse for a tuple.
Items = Annotated[tuple[T, ...], Strict(False)]

#: Controls, line separators, surrogates, and the marks that reorder text on screen (U+202E and its kin).
_MARKS = r"\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufeff"
_ODD = rf"\u0000-\u001f{_MARKS}"
_ODD_IN_LINES = rf"\u0000-\u0009\u000b-\u001f{_MARKS}"
_UNREADABLE = re.compile(rf"[{_ODD}\ud800-\udfff]")
_UNREADABLE_IN_LINES = re.compile(rf"[{_ODD_IN_LINES}\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Text:
    """Text of people, as in `Annotated[str, Text(1, 60)]`: NFC, without blanks at its ends.

    The length counts characters after that; `lines` allows line feeds within.
    """

    min: int = 1
    max: int = 200
    lines: bool = False

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._tidied, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        pattern = f"^[^{_ODD_IN_LINES if self.lines else _ODD}]*$"
        return {**handler(schema), "minLength": self.min, "maxLength": self.max, "pattern": pattern}

    def _tidied(self, text: str) -> str:
        # Length first: normalising is work, and NFC seldom shortens what is far too long.
        if len(text) > 4 * self.max:
            raise PydanticKnownError("string_too_long", {"max_length": self.max})
        text = unicodedata.normalize("NFC", text.replace("\r\n", "\n") if self.lines else text).strip()
        if (_UNREADABLE_IN_LINES if self.lines else _UNREADABLE).search(text):
            raise PydanticCustomError("unreadable_character", "含有控制字符或不可见的排版字符")
        if not text and self.min > 0:
            raise PydanticCustomError("blank", "不得为空")
        if len(text) < self.min:
            raise PydanticKnownError("string_too_short", {"min_length": self.min})
        if len(text) > self.max:
            raise PydanticKnownError("string_too_long", {"max_length": self.max})
        return text


_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _day(value: object) -> date:
    if type(value) is date:
        return value
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise PydanticCustomError("day", "没有这一天") from None
    raise PydanticCustomError("day", "应为 YYYY-MM-DD 形式的日期")


def _coded(is_one: Callable[[str], bool], code: str, sentence: str) -> AfterValidator:
    def check(text: str) -> str:
        if not is_one(text):
            raise PydanticCustomError(code, sentence)
        return text

    return AfterValidator(check)


def _instant(value: object) -> datetime:
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) and len(value) <= 40 else None
        if read is not None and read.tzinfo is not None:
            return read.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError("instant", "应为带时区的时间，例如 2026-03-02T09:30:00+08:00")


#: An instant (RFC 3339), in UTC.
Instant = Annotated[
    datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})
]

#: A day as YYYY-MM-DD.
Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]

#: An agency or enterprise by its 统一社会信用代码.
Uscc = Annotated[
    str,
    _coded(codes.is_uscc, "uscc", "应为 18 位统一社会信用代码，且校验码正确（GB 32100）"),
    WithJsonSchema({"type": "string", "minLength": 18, "maxLength": 18}),
]

#: A division code, 6 digits (county and above) or 9 (township or street).
Division = Annotated[
    str,
    _coded(codes.is_division, "division", "应为 6 位或 9 位行政区划代码"),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{5}([0-9]{3})?$"}),
]

#: A power by its twelve digits (职权事项编码).
PowerCode = Annotated[
    str,
    _coded(codes.is_power, "power_code", "应为 12 位职权事项编码"),
    WithJsonSchema({"type": "string", "minLength": 12, "maxLength": 12}),
]
