"""A second reading of docs/trace.md: the chain by the page alone, with nothing but the standard library.

It shares no line and no shape with what it is held against: it writes canonical JSON letter by letter, and
folds a chain instead of walking it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, count
from typing import Any

_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HEX = frozenset("0123456789abcdef")


def canonical(value: Any) -> str:
    """The one text of a JSON value. Raises ValueError where there is none."""
    match value:
        case None | True | False:
            return {None: "null", True: "true", False: "false"}[value]
        case int() if -(1 << 63) <= value < 1 << 64:
            return str(value)
        case str():
            return '"' + "".join(map(_letter, value)) + '"'
        case list() | tuple():
            return "[" + ",".join(map(canonical, value)) + "]"
        case dict():
            members = (canonical(name) + ":" + canonical(value[name]) for name in sorted(value))
            return "{" + ",".join(members) + "}"
    raise ValueError(f"no canonical text for {value!r}")


def _letter(letter: str) -> str:
    return _SHORT.get(letter) or (f"\\u{ord(letter):04x}" if letter < " " else letter)


def links(entries: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """The digest of each entry, given its public text and the digest of its private record."""
    return list(accumulate(entries, lambda before, entry: linked(before, *entry), initial=bytes(32)))[1:]


def linked(before: bytes, public: bytes, hidden: bytes) -> bytes:
    """The digest of the entry that follows."""
    return _sha256(before, _sha256(public), hidden)


def hidden(salt: bytes, private: bytes) -> bytes:
    """What the chain holds of a private record."""
    return _sha256(salt, private)


def first_misfit(stream: str, entries: Sequence[Any]) -> int | None:
    """The first entry of a proof that is not what the page says, counted from 1; None if all are."""
    readable = [_parts(entry) for entry in entries]
    broken = next((n for n, parts in enumerate(readable, 1) if parts is None), len(readable) + 1)
    whole = [parts for parts in readable[: broken - 1] if parts]
    rows = zip(count(1), entries, whole, links(whole), strict=False)
    wrong = (n for n, entry, (public, _), link in rows if not _stands(stream, n, entry, public, link))
    return next(wrong, broken if broken <= len(entries) else None)


def _parts(entry: Any) -> tuple[bytes, bytes] | None:
    """The public text and the private digest; None where the entry has not its form."""
    match entry:
        case {"public": str(public), "private_digest": str(digest), "digest": str(own), **more}:
            if more.keys() - {"record"} or not (_is_digest(digest) and _is_digest(own)):
                return None
            if "record" in more and not _opens(more["record"], digest):
                return None
            return public.encode(), bytes.fromhex(digest)
    return None


def _opens(record: Any, digest: str) -> bool:
    """Whether this is the record that the digest stands for."""
    match record:
        case {"salt": str(salt), "private": str(private), **more} if not more:
            is_salt = set(salt) <= _HEX and len(salt) % 2 == 0 and 32 <= len(salt) <= 128
            return is_salt and hidden(bytes.fromhex(salt), private.encode()).hex() == digest
    return False


def _stands(stream: str, n: int, entry: Mapping[str, Any], public: bytes, link: bytes) -> bool:
    """Whether the entry is the n-th of this stream, by its digest and by its own words."""
    try:
        told = json.loads(public)
        is_canonical = canonical(told).encode() == public
    except (ValueError, RecursionError):
        return False
    own = {"id": f"{stream}/{n}", "subject": stream, "sequence": n}
    return (
        entry["digest"] == link.hex()
        and is_canonical
        and isinstance(told, dict)
        and {name: told.get(name) for name in own} == own
        and type(told["sequence"]) is int
    )


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= _HEX


def _sha256(*parts: bytes) -> bytes:
    running = hashlib.sha256()
    for part in parts:
        running.update(part)
    return running.digest()
