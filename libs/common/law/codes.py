"""The codes that the State gives, and whether one is well formed; the register says whether it exists."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: GB 32100-2015, table 2: no I, O, S, V, Z, which look like digits or one another.
_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_VALUE = {character: value for value, character in enumerate(_ALPHABET)}
_WEIGHTS = tuple(pow(3, place, 31) for place in range(17))
_USCC = re.compile(rf"[{_ALPHABET}]{{2}}[0-9]{{6}}[{_ALPHABET}]{{10}}")

_DIVISION = re.compile(r"[1-9][0-9]{5}(?:[0-9]{3})?")
#: Province or 00 (set by the State), type of matter, department, main and sub serial.
_POWER = re.compile(r"([0-9]{2})(0[1-9]|10|20|99)([0-9]{2})([0-9]{3})([0-9]{3})")

#: Digits 3-4 of a power code.
POWER_TYPES = {
    "01": "行政许可",
    "02": "行政处罚",
    "03": "行政强制",
    "04": "行政征收",
    "05": "行政给付",
    "06": "行政检查",
    "07": "行政确认",
    "08": "行政奖励",
    "09": "行政裁决",
    "10": "其他行政权力",
    "20": "公共服务",
    "99": "其他",
}


@dataclass(frozen=True, slots=True)
class PowerCode:
    """What the twelve digits of a 职权事项编码 say."""

    province: str  #: 2 digits of GB/T 2260, or 00 for a matter set by the State
    type: str  #: a key of POWER_TYPES
    department: str  #: 2 digits
    serial: str  #: 3 digits, the main matter
    sub: str  #: 3 digits, 000 when the matter is not split


def with_check_digit(first: str) -> str:
    """The 统一社会信用代码 whose first 17 characters these are (GB 32100-2015, annex A)."""
    total = sum(_VALUE[character] * weight for character, weight in zip(first, _WEIGHTS, strict=True))
    return first + _ALPHABET[-total % 31]


def is_uscc(text: str) -> bool:
    """Whether this is a 统一社会信用代码 with its right check digit."""
    return _USCC.fullmatch(text) is not None and with_check_digit(text[:17]) == text


def is_division(text: str) -> bool:
    """Whether this is a division code: 6 digits down to a county, 9 down to a township or street."""
    return _DIVISION.fullmatch(text) is not None


def is_power(text: str) -> bool:
    """Whether this is a 职权事项编码 of twelve digits."""
    return _POWER.fullmatch(text) is not None


def read_power(text: str) -> PowerCode:
    """The parts of a power code; ValueError if it is not one."""
    found = _POWER.fullmatch(text)
    if found is None:
        raise ValueError(f"not a power code: {text!r}")
    return PowerCode(*found.groups())
