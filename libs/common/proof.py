"""The chain that makes the journal evidence: canonical JSON and digests.

digest(n) = SHA-256( digest(n-1) | SHA-256(public) | SHA-256(salt | private) ), the first of a stream upon
32 zero bytes. Others verify without the private part, so erasing it leaves the chain whole. Canonical
JSON holds no floats, so that any standard library writes the same bytes (compare RFC 8785).
`tools/verify.py` is a second, independent reading of this page.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

#: What the first entry of every stream is chained upon.
GENESIS = bytes(32)


def canonical(value: Any) -> bytes:
    """UTF-8 JSON with sorted keys, no spaces and no escapes beyond the needful; floats are refused."""
    _refuse_floats(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def private_digest(salt: bytes, private: bytes) -> bytes:
    """The commitment to the private record; the salt keeps short records from being guessed."""
    return hashlib.sha256(salt + private).digest()


def chained(previous: bytes, public: bytes, hidden: bytes) -> bytes:
    """The digest of an entry: `hidden` is its `private_digest`, `public` its canonical public part."""
    return hashlib.sha256(previous + hashlib.sha256(public).digest() + hidden).digest()


def _refuse_floats(value: Any) -> None:
    if isinstance(value, float):
        raise TypeError("floats have no canonical form; use integers or decimal strings")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item)
