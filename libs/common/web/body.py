"""Strict JSON: bytes that two readers could understand differently are refused, and so are too many."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common import errors, wording


class TooLarge(errors.Refusal):
    """The body is larger than the service reads."""

    code = "too-large"
    title = "请求内容过大"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a body is read."""

    size: int = 1 << 20  #: bytes
    depth: int = 32  #: containers within one another
    nodes: int = 10_000  #: values, containers included


@dataclass(frozen=True, slots=True)
class _Flaw:
    """Stands in the parsed value where something is wrong, until the walk that knows its pointer finds it."""

    code: str
    detail: str


#: Where a value stands: the place of its container, and its key there.
_Place = tuple["_Place", str | int] | None

#: PostgreSQL refuses NUL, UTF-8 refuses surrogates: neither may come further than here.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

#: Possessive, and content with a string that does not end: the time is linear whatever the text.
_STRING_OR_COMMA = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|,', re.DOTALL)


def parse(raw: bytes, limits: Limits = Limits()) -> object:
    """The one value that these bytes mean, or Malformed with the pointer of what is wrong.

    Refused beyond RFC 8259: bytes other than UTF-8, a byte order mark, NaN and infinities, duplicate keys,
    lone surrogates, NUL, integers beyond 64 bits, and more depth or nodes than the limits allow.
    """
    text = _text(raw)
    if _is_crowded(text, limits.nodes):
        _refuse(None, "too-many-values", f"值的总数不得超过 {limits.nodes} 个")
    try:
        value: object = _DECODER.decode(text)
    except json.JSONDecodeError as why:
        _refuse(None, "json-invalid", f"第 {why.lineno} 行第 {why.colno} 列起不是合法的 JSON")
    except RecursionError:
        _refuse(None, "too-deep", f"嵌套不得超过 {limits.depth} 层")
    _inspect(value, limits)
    return value


def _text(raw: bytes) -> str:
    if raw.startswith(b"\xef\xbb\xbf"):
        _refuse(None, "byte-order-mark", "开头不得有字节顺序标记（BOM）")
    try:
        text = raw.decode()
    except UnicodeDecodeError as why:
        _refuse(None, "not-utf-8", f"第 {why.start + 1} 个字节起不是 UTF-8 编码")
    if not text.strip():
        _refuse(None, "empty", "内容为空")
    return text


def _is_crowded(text: str, most: int) -> bool:
    """Whether commas alone show more values: to build them first would hold up everybody for 0.1 s."""
    if text.count(",") < most:
        return False
    commas = (found for found in _STRING_OR_COMMA.finditer(text) if found[0] == ",")
    return next(itertools.islice(commas, most - 1, None), None) is not None


def _inspect(value: object, limits: Limits) -> None:
    """Walks the value without recursion, in the order of the document."""
    nodes = 1
    todo: list[tuple[object, int, _Place]] = [(value, 1, None)]
    while todo:
        value, depth, place = todo.pop()
        _inspect_leaf(value, place)
        if not isinstance(value, dict | list):
            continue
        if depth > limits.depth:
            _refuse(place, "too-deep", f"嵌套不得超过 {limits.depth} 层")
        nodes += len(value)
        if nodes > limits.nodes:
            _refuse(place, "too-many-values", f"值的总数不得超过 {limits.nodes} 个")
        items: Iterable[tuple[str | int, object]] = (
            value.items() if isinstance(value, dict) else enumerate(value)
        )
        todo.extend(reversed([(item, depth + 1, (place, key)) for key, item in items]))


def _inspect_leaf(value: object, place: _Place) -> None:
    if isinstance(value, _Flaw):
        _refuse(place, value.code, value.detail)
    if isinstance(value, str) and _UNSTORABLE.search(value):
        _refuse(place, "unstorable-character", "字符串含有空字符（NUL）或不成对的代理码位")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object] | _Flaw:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        return _Flaw("duplicate-key", f"字段“{wording.shown(twice)}”重复")
    if any(map(_UNSTORABLE.search, found)):
        return _Flaw("unstorable-character", "字段名含有空字符（NUL）或不成对的代理码位")
    return found


def _integer(digits: str) -> int | _Flaw:
    # 20 characters hold every 64-bit integer; converting a longer text is work that a stranger could order.
    if len(digits) <= 20 and -(1 << 63) <= (value := int(digits)) < 1 << 63:
        return value
    return _Flaw("integer-too-large", "整数超出 64 位")


def _float(text: str) -> float | _Flaw:
    value = float(text)
    return value if math.isfinite(value) else _Flaw("number-too-large", "数字过大")


def _constant(name: str) -> _Flaw:
    return _Flaw("not-a-number", f"{name} 不是合法的 JSON 值")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def _refuse(place: _Place, code: str, detail: str) -> NoReturn:
    path: list[str | int] = []
    while place is not None:
        place, key = place
        path.append(key)
    found = wording.fault(wording.pointer(reversed(path)), code, detail)
    raise errors.Malformed(f"请求内容不是可接受的 JSON：{detail}", errors=(found,)) from None


#: A body of so many bytes is read without asking for room.
SMALL = 64 * 1024


class Cap:
    """ASGI middleware that stops a body at its limit, whether its length was announced or comes in chunks.

    All bodies that are being read have `room` bytes together; where it is used up, the large ones are refused
    for the moment, so that neither many nor slow ones can fill the memory.
    """

    def __init__(self, app: ASGIApp, size: int, room: int) -> None:
        self._app = app
        self._size = size
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = _announced(scope)
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                read += size
                self._room -= size
                if max(read, announced) > self._size:
                    raise TooLarge(f"请求内容不得超过 {self._size} 字节", limit=self._size)
                if read > SMALL and self._room < 0:
                    raise errors.Busy
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._room += read


def _announced(scope: Scope) -> float:
    """Content-Length in bytes, 0 when it is missing or no number (then the bytes themselves are counted)."""
    length = Headers(scope=scope).get("content-length", "")
    if not length.isdecimal():
        return 0
    return int(length) if len(length) < 19 else math.inf
