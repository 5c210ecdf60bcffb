"""Keyset paging: a page has a limit, and its cursor is opaque and says what the next page comes after."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from fastapi import Query

from libs.common import errors, wording

#: How many a page may hold.
Limit = Annotated[int, Query(ge=1, le=200)]
#: The `next` of the page before.
Cursor = Annotated[str | None, Query(max_length=200)]


def after(*key: str) -> str:
    """The cursor that stands for what comes after this key; its parts hold no blanks."""
    return base64.urlsafe_b64encode(" ".join(key).encode()).rstrip(b"=").decode()


def key_of(cursor: str, parts: int = 1) -> list[str]:
    """The key that a cursor of ours stands for. Raises Malformed."""
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode().split(" ")
    except (binascii.Error, ValueError):
        key = []
    if len(key) != parts or not all(part and part.isprintable() for part in key):
        raise not_ours()
    return key


def not_ours() -> errors.Malformed:
    """The refusal of a cursor that was not given here."""
    fault = wording.fault("query:cursor", "cursor", "不是本系统给出的游标")
    return errors.Malformed("游标不可识别", errors=(fault,))
