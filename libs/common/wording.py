"""How a fault in the input is named: where it is, a stable code, and a Chinese sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

#: Faults that are named: a hostile text may be wrong in thousands of places, and a person reads the first.
FIRST = 50

#: What pydantic's own findings are called; `{...}` are members of the finding's `ctx`.
SAID: Mapping[str, str] = {
    "missing": "缺少必填项",
    "extra_forbidden": "不认识的字段",
    "invalid_key": "字段名应为字符串",
    "model_type": "应为对象",
    "model_attributes_type": "应为对象",
    "dict_type": "应为对象",
    "mapping_type": "应为对象",
    "list_type": "应为数组",
    "tuple_type": "应为数组",
    "set_type": "应为数组",
    "frozen_set_type": "应为数组",
    "too_short": "不得少于 {min_length} 项",
    "too_long": "不得多于 {max_length} 项",
    "none_required": "应为 null",
    "string_type": "应为字符串",
    "string_too_short": "不得少于 {min_length} 个字符",
    "string_too_long": "不得多于 {max_length} 个字符",
    "string_pattern_mismatch": "格式不正确",
    "bool_type": "应为 true 或 false",
    "bool_parsing": "应为 true 或 false",
    "int_type": "应为整数",
    "int_parsing": "应为整数",
    "int_parsing_size": "整数过大",
    "int_from_float": "应为整数",
    "float_type": "应为数字",
    "float_parsing": "应为数字",
    "finite_number": "应为有限的数字",
    "greater_than": "应大于 {gt}",
    "greater_than_equal": "不得小于 {ge}",
    "less_than": "应小于 {lt}",
    "less_than_equal": "不得大于 {le}",
    "multiple_of": "应为 {multiple_of} 的倍数",
    "enum": "应为下列之一：{expected}",
    "literal_error": "应为下列之一：{expected}",
    "union_tag_not_found": "缺少类型标记 {discriminator}",
    "union_tag_invalid": "类型标记 {tag} 应为下列之一：{expected_tags}",
    "uuid_type": "应为 UUID",
    "uuid_parsing": "应为 UUID",
    "uuid_version": "应为第 {expected_version} 版 UUID",
    "decimal_type": "应为十进制数的字符串",
    "decimal_parsing": "应为十进制数的字符串",
    "decimal_max_places": "小数不得多于 {decimal_places} 位",
    "decimal_max_digits": "不得多于 {max_digits} 位数字",
    "decimal_whole_digits": "整数部分不得多于 {whole_digits} 位",
    "url_type": "应为网址",
    "url_parsing": "应为网址",
    "url_scheme": "网址的协议应为 {expected_schemes}",
}

#: What is said of a finding of pydantic's own that has no sentence above.
OTHERWISE = "内容不符合要求"


def fault(pointer: str, code: str, detail: str) -> dict[str, str]:
    """One fault, in the shape that problems carry."""
    return {"pointer": pointer, "code": code, "detail": detail}


def pointer(path: Iterable[str | int]) -> str:
    """The JSON Pointer (RFC 6901) to this place, empty for the whole; a stranger's long key is cut short."""
    return "".join("/" + _cut(str(part), 100).replace("~", "~0").replace("/", "~1") for part in path)


def shown(text: str) -> str:
    """Text of the caller's as an answer or a log may repeat it: short, and without control characters."""
    plain = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
    return _cut(plain, 40)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def faults(findings: Iterable[Mapping[str, Any]]) -> tuple[dict[str, str], ...]:
    """Each of the first of these entries of `ValidationError.errors()` as a fault."""
    return tuple(
        fault(pointer(found["loc"]), code(found), explain(found)) for found in islice(findings, FIRST)
    )


def said(faults: Iterable[Mapping[str, str]]) -> str:
    """Faults in one sentence, each with its place."""
    return "；".join(f"{fault['pointer']} {fault['detail']}".strip() for fault in faults)


def explain(finding: Mapping[str, Any]) -> str:
    """The Chinese sentence for one entry of `ValidationError.errors()`."""
    context: Mapping[str, Any] = finding.get("ctx") or {}
    kind = finding["type"]
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error") or OTHERWISE)
    if kind in SAID:
        return SAID[kind].format_map({name: _listed(value) for name, value in context.items()})
    # A custom error carries its own sentence; an English one is pydantic's and has no place here.
    message = str(finding.get("msg", ""))
    return OTHERWISE if message.isascii() else message


def code(finding: Mapping[str, Any]) -> str:
    """The stable code of one entry of `ValidationError.errors()`."""
    return str(finding["type"]).replace("_", "-")


def _listed(value: object) -> str:
    """pydantic lists choices as "'a', 'b' or 'c'"."""
    return (
        shown(str(value)) if "'" not in str(value) else str(value).replace(" or ", "、").replace(", ", "、")
    )
