"""The chain that makes the journal evidence: canonical JSON and digests.

digest(n) = SHA-256( digest(n-1) | SHA-256(public) | SHA-256(salt | private) ), the first of a stream upon
32 zero bytes. Others verify without the private part, so erasing it leaves the chain whole. Canonical
JSON holds no floats, so that any standard library writes the same bytes (compare RFC 8785).
`tools/verify.py` is a second, independent reading of this page.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

#: Bytes of a digest.
SIZE = 32
#: What the first entry of every stream is chained upon.
GENESIS = bytes(SIZE)

_CANONICAL = orjson.OPT_SORT_KEYS
_EXACT = frozenset({str, int, bool, type(None)})


def canonical(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys, no spaces and no escapes beyond the needful.

    Raises TypeError for what has no canonical form: floats, integers beyond 64 bits, half characters.
    """
    _refuse_inexact(value)
    return orjson.dumps(value, option=_CANONICAL)


def private_digest(salt: bytes, private: bytes) -> bytes:
    """The commitment to the private record; the salt keeps short records from being guessed."""
    return hashlib.sha256(salt + private).digest()


def chained(previous: bytes, public: bytes, hidden: bytes) -> bytes:
    """The digest of an entry: `hidden` is its `private_digest`, `public` its canonical public part."""
    return hashlib.sha256(previous + hashlib.sha256(public).digest() + hidden).digest()


def _refuse_inexact(value: Any) -> None:
    """Only what JSON itself knows: a float has many spellings, and a date is no JSON at all."""
    inner = value.values() if type(value) is dict else value if type(value) in (list, tuple) else (value,)
    for item in inner:
        kind = type(item)
        if kind is dict or kind is list or kind is tuple:
            _refuse_inexact(item)
        elif kind not in _EXACT:
            raise TypeError(f"{kind.__name__} has no canonical form; use integers or strings")
