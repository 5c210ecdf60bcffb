"""Keyset paging: a page has a limit, and its cursor is opaque and says what the next page comes after."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import Query

from libs.common import errors, wording
from libs.common.store.schema import Entry

E = TypeVar("E", bound=Entry)

#: How many a page may hold.
Limit = Annotated[int, Query(ge=1, le=200)]
#: The `next` of the page before.
Cursor = Annotated[str | None, Query(max_length=200)]


def after(*key: str) -> str:
    """The cursor that stands for what comes after this key; its parts hold no blanks."""
    return base64.urlsafe_b64encode(" ".join(key).encode()).rstrip(b"=").decode()


def page(found: Sequence[E], limit: int, show: Callable[[E], Mapping[str, Any] | None]) -> dict[str, Any]:
    """A page of a list: what `show` lets out, and an opaque cursor where there is more."""
    shown = [body for one in found[:limit] if (body := show(one)) is not None]
    last: str | None = getattr(found[limit - 1], found[0].KEY[0]) if len(found) > limit else None
    return {"data": shown, "next": after(last) if last else None}


def key_of(cursor: str, parts: int = 1) -> list[str]:
    """The key that a cursor of ours stands for. Raises Malformed."""
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode().split(" ")
    except (binascii.Error, ValueError):
        key = []
    if len(key) != parts or not all(part and part.isprintable() for part in key):
        raise not_ours()
    return key


def instant_of(cursor: str) -> tuple[datetime, str]:
    """The instant in UTC and the id that a cursor of ours stands for. Raises Malformed."""
    at, id_ = key_of(cursor, 2)
    try:
        read = datetime.fromisoformat(at)
        instant = read.astimezone(UTC) if read.tzinfo else None
    except (ValueError, OverflowError):
        instant = None
    if instant is None:
        raise not_ours()
    return instant, id_


def not_ours() -> errors.Malformed:
    """The refusal of a cursor that was not given here."""
    fault = wording.fault("query:cursor", "cursor", "不是本系统给出的游标")
    return errors.Malformed("游标不可识别", errors=(fault,))
