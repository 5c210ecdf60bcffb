#!/usr/bin/env python3
"""Checks a proof of a case (留痕证明), or a receipt (签收回执), with Python's standard library alone.

    python3 verify.py FILE [--key JWKS]... [--witness FILE]... [--json]

FILE is what `GET /v1/cases/{id}/proof` or `GET /v1/receipts/{id}` answered, - for standard input; no part of
the system need be running or even exist any more. It is a second, independent reading of what
libs/common/proof.py writes, and imports nothing of it.

    proof    {"format": "liandong-proof-1", "stream", "entries": [entry...], "head": {"stream", "seq",
              "digest", "at"}, "signature": {"key", "value"}, "keys": JWKS, "receipts": [receipt...]}
    entry    {"public", "private_digest", "record": {"salt", "private"} (where it may be read), "digest"}
    receipt  {"receipt": {"format": "liandong-receipt-1", ...}, "signature": {"key", "value"}, "keys": JWKS
              (in a file of its own)}

    digest(n) = SHA-256( digest(n-1) | SHA-256(public) | private_digest ), the first upon 32 zero bytes
    private_digest = SHA-256( salt | private )

`public` and `private` are texts, and each is canonical JSON: sorted keys, no spaces, no floats. Signatures
are Ed25519 over the canonical JSON of head and receipt. A key id is the key's thumbprint (RFC 7638).

What a proof proves depends on whose keys are believed: whoever can write the file can put a key of their own
in it and sign anew. `--key` names keys that came another way (the service's /.well-known/jwks.json, kept
earlier); `--witness` a head that another service saw (`GET /v1/witnesses` of notify or sharing), which a
chain computed anew cannot meet.

Exit code: 0 it holds, 1 it does not, 2 it cannot be read.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import functools
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

PROOF = "liandong-proof-1"
RECEIPT = "liandong-receipt-1"
GENESIS = bytes(32)

HOLDS, FAILS, UNREADABLE = 0, 1, 2

_DIGEST = re.compile("[0-9a-f]{64}")
_NUMBER = re.compile("[1-9][0-9]{0,17}")
_SALT = re.compile("(?:[0-9a-f]{2}){16,64}")
#: An escape that may stand for half a character; whether it does is looked at only where there is one.
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")

_PROOF_PARTS = frozenset({"format", "stream", "entries", "head", "signature", "keys", "receipts"})
_ENTRY_PARTS = frozenset({"public", "private_digest", "digest"})
_HEAD_PARTS = frozenset({"stream", "seq", "digest", "at"})
_RECEIPT_PARTS = frozenset(
    ["format", "receipt", "notice", "agency", "event", "about", "event_chain", "notice_digest", "signed_at"]
)


class Unreadable(Exception):
    """This is no proof and no receipt, or it cannot be read as one."""


class Misfit(Exception):
    """It can be read and does not hold. `entry` counts from 1; `seq` is what the entry calls itself."""

    def __init__(self, code: str, detail: str, *, entry: int | None = None, seq: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.entry = entry
        self.seq = seq

    def __str__(self) -> str:
        if self.entry is None:
            return self.detail
        own = f"（seq {self.seq}）" if self.seq is not None else ""
        return f"第 {self.entry} 条{own}{self.detail}"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    holds: bool
    text: str
    misfit: Misfit | None = None


@dataclass(slots=True)
class Report:
    """What all checks found, in order."""

    kind: str
    about: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)

    def check(self, name: str, look: Callable[..., str], *of: Any) -> None:
        """Run one check: it says what it found, or raises Misfit."""
        try:
            self.findings.append(Finding(name, True, look(*of)))
        except Misfit as misfit:
            self.findings.append(Finding(name, False, str(misfit), misfit))


def read_json(raw: bytes) -> Any:
    """The one value that these bytes mean. Raises Unreadable.

    Refused: bytes other than UTF-8, a byte order mark, duplicate keys, floats, NaN, integers beyond 64 bits,
    lone surrogates.
    """
    if raw.startswith(b"\xef\xbb\xbf"):
        raise Unreadable("开头不得有字节顺序标记（BOM）")
    try:
        text = raw.decode()
        try:
            value = _DECODER.decode(text)
        except Unreadable as why:
            raise Unreadable(f"{why}{_break_of(text, raw)}") from None
        if _SURROGATE_ESCAPE.search(text):
            _refuse_surrogates(value)
    except UnicodeDecodeError as why:
        place = _break_of(raw[: why.start].decode(), raw)
        raise Unreadable(f"第 {why.start + 1} 个字节起不是 UTF-8 编码{place}") from None
    except json.JSONDecodeError as why:
        place = _break_of(why.doc, raw)
        raise Unreadable(f"第 {why.lineno} 行第 {why.colno} 列起不是合法的 JSON{place}") from None
    except RecursionError:
        raise Unreadable("JSON 嵌套过深") from None
    return value


def _break_of(broken: str, raw: bytes) -> str:
    """At which entry of a proof a text breaks; nothing where there are no entries."""
    whole: list[bool] = []

    def counted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = _object(pairs)
        whole.append("private_digest" in found)
        return found

    with contextlib.suppress(json.JSONDecodeError, Unreadable):
        _strict(counted).decode(broken)
    # One broken byte spoils one of these names at most.
    begun = max(raw.count(name) for name in (b'"public"', b'"private_digest"', b'"digest"'))
    if not begun:
        return ""
    return f"：断在第 {sum(whole) + 1} 条" if sum(whole) < begun else "：断在各条之后"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise Unreadable(f"JSON 字段重复：{next(key for key in keys if keys.count(key) > 1)}")
    return found


def _integer(digits: str) -> int:
    if len(digits) <= 20 and -(1 << 63) <= (value := int(digits)) < 1 << 64:
        return value
    raise Unreadable("JSON 整数超出 64 位")


def _refuse_number(text: str) -> NoReturn:
    raise Unreadable(f"JSON 中不得有 {text}：只用整数和字符串")


def _strict(made: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> json.JSONDecoder:
    """A decoder that refuses what has no canonical form; `made` makes each object of its members."""
    return json.JSONDecoder(
        object_pairs_hook=made,
        parse_float=_refuse_number,
        parse_int=_integer,
        parse_constant=_refuse_number,
    )


_DECODER = _strict(_object)


def _refuse_surrogates(value: Any) -> None:
    if isinstance(value, str) and _SURROGATE.search(value):
        raise Unreadable("JSON 字符串含有不成对的代理码位")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_surrogates(key)
            _refuse_surrogates(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_surrogates(item)


def canonical(value: Any) -> bytes:
    """The one writing of a value that digests and signatures cover."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# Ed25519 of RFC 8032, 5.1, on integers. A point is (X, Y, Z, T) with x = X/Z, y = Y/Z, x*y = T/Z.
Point = tuple[int, int, int, int]

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
_NEUTRAL: Point = (0, 1, 1, 0)


@functools.lru_cache(maxsize=256)  # a receipt may be repeated, and a drill checks many copies of one proof
def is_genuine(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the holder of this public key signed this message.

    Only canonical encodings pass (RFC 8032, 5.1.3 and 5.1.7). A key of small order is refused too: under it
    one signature fits many messages.
    """
    key = _decoded_point(public)
    if key is None or len(signature) != 64 or _equal(_times(8, key), _NEUTRAL):
        return False
    commitment, scalar = signature[:32], int.from_bytes(signature[32:], "little")
    if scalar >= _ORDER:
        return False
    digest = hashlib.sha512(commitment + public + message).digest()
    challenge = int.from_bytes(digest, "little") % _ORDER
    x, y, z, t = key
    sum_ = _plus(_times(scalar, _GENERATOR), _times(challenge, (_P - x, y, z, _P - t)))
    return _encoded_point(sum_) == commitment


def _plus(one: Point, other: Point) -> Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _doubled(point: Point) -> Point:
    x, y, z, _ = point
    a, b = x * x % _P, y * y % _P
    h = a + b
    e = h - (x + y) * (x + y) % _P
    g = a - b
    f = 2 * z * z + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(scalar: int, point: Point) -> Point:
    sum_ = _NEUTRAL
    for bit in bin(scalar)[2:]:
        sum_ = _doubled(sum_)
        if bit == "1":
            sum_ = _plus(sum_, point)
    return sum_


def _equal(one: Point, other: Point) -> bool:
    return (one[0] * other[2] - other[0] * one[2]) % _P == 0 == (one[1] * other[2] - other[1] * one[2]) % _P


def _encoded_point(point: Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _decoded_point(raw: bytes) -> Point | None:
    if len(raw) != 32:
        return None
    number = int.from_bytes(raw, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= _P:
        return None
    x = _x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % _P)


def _x_of(y: int, sign: int) -> int | None:
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if square == 0:
        return None if sign else 0
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if (x * x - square) % _P:
        return None
    return _P - x if x & 1 != sign else x


def _generator() -> Point:
    y = 4 * pow(5, -1, _P) % _P
    x = _x_of(y, 0)
    assert x is not None
    return x, y, 1, x * y % _P


_GENERATOR = _generator()


def _base64url(text: Any, what: str, size: int) -> bytes:
    """Bytes of this size; only the one canonical writing passes."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (TypeError, ValueError, binascii.Error):
        raise Misfit("encoding", f"{what}不是 base64url") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text or len(raw) != size:
        raise Misfit("encoding", f"{what}应为 {size} 字节的 base64url")
    return raw


def thumbprint(x: str) -> str:
    """The id of an Ed25519 key by RFC 7638."""
    members = canonical({"crv": "Ed25519", "kty": "OKP", "x": x})
    return base64.urlsafe_b64encode(hashlib.sha256(members).digest()).rstrip(b"=").decode()


def enclosed_keys(jwks: Any) -> dict[str, bytes]:
    """The keys that a file brings along, by id, each whole and named rightly."""
    listed = jwks.get("keys") if isinstance(jwks, dict) and len(jwks) == 1 else None
    if not isinstance(listed, list):
        raise Misfit("keys", "keys 不是公钥集（JWKS）")
    found = {}
    for jwk in listed:
        fixed = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "seal"}
        if (
            not isinstance(jwk, dict)
            or {**fixed, **jwk, **fixed} != jwk
            or jwk.keys() - fixed != {"x", "kid"}
        ):
            raise Misfit("keys", "keys 中有不是 Ed25519 印章公钥的内容")
        public = _base64url(jwk["x"], "公钥", 32)
        if thumbprint(jwk["x"]) != jwk["kid"]:
            raise Misfit("keys", f"公钥与其编号不符：{jwk['kid']}")
        found[jwk["kid"]] = public
    return found


def trusted_keys(jwks: Any) -> dict[str, bytes]:
    """The Ed25519 keys of a JWKS that the user vouches for; keys of other kinds and uses are left out."""
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(listed, list):
        raise Unreadable("不是公钥集（JWKS）")
    found = {}
    for jwk in listed:
        if not isinstance(jwk, dict) or (jwk.get("kty"), jwk.get("crv")) != ("OKP", "Ed25519"):
            continue
        if jwk.get("use", "seal") == "seal":
            try:
                found[str(jwk.get("kid") or thumbprint(str(jwk.get("x"))))] = _base64url(
                    jwk.get("x"), "公钥", 32
                )
            except Misfit as why:
                raise Unreadable(str(why)) from None
    if not found:
        raise Unreadable("公钥集中没有 Ed25519 印章公钥")
    return found


@dataclass(frozen=True, slots=True)
class Keys:
    """Which keys are believed: those that the user named, else those that came with the file."""

    enclosed: Any
    trusted: Mapping[str, bytes] | None

    def require(self, signature: Any, message: bytes, what: str) -> str:
        """The id of the key that signed. Raises Misfit."""
        enclosed = enclosed_keys(self.enclosed)
        if not isinstance(signature, dict) or signature.keys() != {"key", "value"}:
            raise Misfit("signature", f"{what}的签名格式不符")
        key_id, value = signature["key"], _base64url(signature["value"], f"{what}的签名", 64)
        keys = enclosed if self.trusted is None else self.trusted
        if not isinstance(key_id, str) or key_id not in keys:
            where = "文件所附的公钥" if self.trusted is None else "--key 给出的公钥"
            raise Misfit("unknown-key", f"{what}由公钥 {key_id} 签名，{where}中没有它")
        if not is_genuine(keys[key_id], value, message):
            raise Misfit("signature", f"{what}的签名与内容不符")
        return key_id

    @property
    def source(self) -> str:
        return "文件本身" if self.trusted is None else "--key"


def follow(stream: str, entries: Sequence[Any]) -> list[bytes]:
    """The digest of each entry, computed anew. Raises Misfit at the first that does not fit."""
    digests = []
    previous = GENESIS
    for place, entry in enumerate(entries, 1):
        try:
            previous = _entry_digest(stream, place, entry, previous)
        except Misfit as misfit:
            seq = _own_seq(entry)
            raise Misfit(misfit.code, misfit.detail, entry=place, seq=seq) from None
        digests.append(previous)
    return digests


def _entry_digest(stream: str, place: int, entry: Any, previous: bytes) -> bytes:
    public, hidden = _entry_parts(entry)
    try:
        told, flaw = read_json(public), ""
    except Unreadable as why:
        told, flaw = None, str(why)
    seq = told.get("sequence") if isinstance(told, dict) else None
    if type(seq) is int and seq != place:
        raise Misfit("sequence", f"序号不连续：应为 {place}（有条目缺失、多出或调换）")
    digest = hashlib.sha256(previous + hashlib.sha256(public).digest() + hidden).digest()
    if digest.hex() != entry["digest"]:
        raise Misfit("digest", "摘要不符")
    if flaw or canonical(told) != public:
        raise Misfit("canonical", f"公开内容不是规范 JSON：{flaw}" if flaw else "公开内容不是规范 JSON")
    _require_place(told, stream, place)
    return digest


def _entry_parts(entry: Any) -> tuple[bytes, bytes]:
    """The public text, and the digest of the private record: that of the record itself where it is here."""
    if not isinstance(entry, dict) or entry.keys() - {"record"} != _ENTRY_PARTS:
        raise Misfit("shape", "格式不符：应有且仅有 public、private_digest、digest，可有 record")
    hidden, public = entry["private_digest"], entry["public"]
    for name in ("private_digest", "digest"):
        if not isinstance(entry[name], str) or not _DIGEST.fullmatch(entry[name]):
            raise Misfit("shape", f"格式不符：{name} 应为 64 位小写十六进制")
    if not isinstance(public, str):
        raise Misfit("shape", "格式不符：public 应为文本")
    if "record" in entry and _record_digest(entry["record"]) != hidden:
        raise Misfit("record", "内部记录与其摘要（private_digest）不符")
    return public.encode(), bytes.fromhex(hidden)


def _record_digest(record: Any) -> str:
    if not isinstance(record, dict) or record.keys() != {"salt", "private"}:
        raise Misfit("shape", "格式不符：record 应有且仅有 salt、private")
    salt, private = record["salt"], record["private"]
    if not isinstance(salt, str) or not _SALT.fullmatch(salt) or not isinstance(private, str):
        raise Misfit("shape", "格式不符：salt 应为小写十六进制，private 应为文本")
    return hashlib.sha256(bytes.fromhex(salt) + private.encode()).hexdigest()


def _own_seq(entry: Any) -> int | None:
    """What the entry calls itself, if that can be read."""
    try:
        seq = json.loads(entry["public"])["sequence"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return seq if type(seq) is int else None


def _require_place(told: Any, stream: str, place: int) -> None:
    """The public part says where it stands: its stream, its number."""
    if not isinstance(told, dict) or type(told.get("sequence")) is not int:
        raise Misfit("sequence", "公开内容没有序号（sequence）")
    if told.get("subject") != stream:
        raise Misfit("stream", f"属于另一个流：{told.get('subject')}")
    if told.get("id") != f"{stream}/{place}":
        raise Misfit("id", f"事件编号不符：{told.get('id')}")


@dataclass(frozen=True, slots=True)
class Chain:
    """A proof whose entries fit: their digests, and which service wrote them."""

    stream: str
    digests: Sequence[bytes]
    source: str

    def at(self, seq: int) -> str | None:
        """The digest after the entry with this number, hex; None where there is none."""
        return self.digests[seq - 1].hex() if 1 <= seq <= len(self.digests) else None


def check_proof(
    bundle: Mapping[str, Any], trusted: Mapping[str, bytes] | None, witnesses: Sequence[Any]
) -> Report:
    """All checks of a proof. Raises Unreadable where it has not the parts of one."""
    if bundle.keys() != _PROOF_PARTS:
        raise Unreadable(f"留痕证明应有且仅有：{'、'.join(sorted(_PROOF_PARTS))}")
    stream, entries = bundle["stream"], bundle["entries"]
    if (
        not isinstance(stream, str)
        or not isinstance(entries, list)
        or not isinstance(bundle["receipts"], list)
    ):
        raise Unreadable("留痕证明的 stream 应为文本，entries、receipts 应为数组")
    report, keys = Report("proof", stream), Keys(bundle["keys"], trusted)
    chains: list[Chain] = []
    report.check("chain", _followed, stream, entries, chains)
    report.check("head", _ended, stream, entries, bundle["head"])
    report.check("signature", _signed, bundle, keys)
    for chain in chains:
        for receipt in bundle["receipts"]:
            report.check("receipt", _receipt_in, receipt, keys, chain)
        for witness in witnesses:
            report.check("witness", _witnessed, witness, chain)
    if trusted is None and not witnesses:
        report.notes.append("公钥取自文件本身：能改写文件的人也能换掉公钥。请用 --key 或 --witness 另行核对")
    return report


def _followed(stream: str, entries: Sequence[Any], chains: list[Chain]) -> str:
    digests = follow(stream, entries)
    if not digests:
        raise Misfit("empty", "没有任何条目")
    source = str(json.loads(entries[0]["public"]).get("source", "")).rpartition("/")[2]
    chains.append(Chain(stream, digests, source))
    shown = sum("record" in entry for entry in entries)
    records = "全部附有内部记录" if shown == len(entries) else f"其中 {shown} 条附有内部记录"
    return f"{len(entries)} 条首尾相接，序号 1 至 {len(entries)}，摘要全部相符（{records}）"


def _ended(stream: str, entries: Sequence[Any], head: Any) -> str:
    """The head is the last entry: nothing was cut off."""
    if not isinstance(head, dict) or head.keys() != _HEAD_PARTS:
        raise Misfit("head", "链首格式不符：应有且仅有 stream、seq、digest、at")
    if type(head["seq"]) is not int or not isinstance(head["digest"], str):
        raise Misfit("head", "链首格式不符：seq 应为整数，digest 应为文本")
    if head["stream"] != stream:
        raise Misfit("head", f"链首属于另一个流：{head['stream']}")
    last = entries[-1] if entries else {}
    if head["seq"] != len(entries) or not isinstance(last, dict) or head["digest"] != last.get("digest"):
        text = f"链首为 seq {head['seq']}，与最后一条不符（末尾有条目缺失、多出或被改）"
        raise Misfit("head", text, entry=len(entries) or None, seq=_own_seq(last))
    return f"链首即最后一条：seq {head['seq']}，{head['digest'][:16]}…，出具于 {head['at']}"


def _signed(bundle: Mapping[str, Any], keys: Keys) -> str:
    key = keys.require(bundle["signature"], canonical(bundle["head"]), "链首")
    return f"链首签名有效（公钥 {key[:12]}…，取自{keys.source}）"


def _receipt_in(receipt: Any, keys: Keys, chain: Chain) -> str:
    """A receipt that a proof holds is about an entry of this chain, and saw the chain as it is here."""
    if not isinstance(receipt, dict) or receipt.keys() != {"receipt", "signature"}:
        raise Misfit("receipt", "签收回执格式不符")
    signed = _signed_receipt(receipt, keys)
    stream, _, number = signed["event"].rpartition("/")
    if signed["about"] != chain.stream or stream != chain.stream or not _NUMBER.fullmatch(number):
        raise Misfit("receipt", f"签收回执 {signed['receipt']} 不属于这个流")
    digest = chain.at(int(number))
    if digest is None:
        text = f"签收回执 {signed['receipt']} 所签的 seq {number} 不在证明中（末尾被截短）"
        raise Misfit("receipt", text, entry=len(chain.digests))
    if digest != signed["event_chain"]:
        raise Misfit("receipt", "与签收回执当时见到的链不符", entry=int(number), seq=int(number))
    return f"{signed['agency']} 于 {signed['signed_at']} 签收第 {number} 条，签名有效"


def _signed_receipt(receipt: Mapping[str, Any], keys: Keys) -> dict[str, str]:
    signed = receipt["receipt"]
    if not isinstance(signed, dict) or signed.keys() - {"person_digest"} != _RECEIPT_PARTS:
        raise Misfit("receipt", "签收回执的内容不全，或有多余字段")
    if not all(isinstance(value, str) for value in signed.values()) or signed["format"] != RECEIPT:
        raise Misfit("receipt", "签收回执格式不符")
    keys.require(receipt["signature"], canonical(signed), f"签收回执 {signed['receipt']}")
    return signed


def _witnessed(witness: Any, chain: Chain) -> str:
    if witness["stream"] != chain.stream or witness["source"] != chain.source:
        raise Misfit("witness", f"见证的是另一个流：{witness['source']}:{witness['stream']}")
    seq, digest = witness["seq"], chain.at(witness["seq"])
    if digest is None:
        text = f"见证人见过 seq {seq}，证明只到 {len(chain.digests)}（末尾被截短）"
        raise Misfit("witness", text, entry=len(chain.digests))
    if digest != witness["digest"]:
        raise Misfit("witness", "与见证人当时见到的链首不符（整条链被重新计算）", entry=seq, seq=seq)
    return f"与见证一致：seq {seq}，{digest[:16]}…"


def read_witness(witness: Any) -> Any:
    """A head that another service saw. Raises Unreadable."""
    kinds = {"source": str, "stream": str, "seq": int, "digest": str}
    if not isinstance(witness, dict) or any(
        type(witness.get(name)) is not kind for name, kind in kinds.items()
    ):
        raise Unreadable("见证应有 source、stream、seq、digest")
    return witness


def check_receipt(document: Mapping[str, Any], trusted: Mapping[str, bytes] | None) -> Report:
    """All checks of a receipt by itself. Raises Unreadable where it has not the parts of one."""
    if document.keys() != {"receipt", "signature", "keys"}:
        raise Unreadable("签收回执应有且仅有 receipt、signature、keys")
    signed = document["receipt"]
    report = Report("receipt", str(signed.get("receipt")) if isinstance(signed, dict) else "")
    keys = Keys(document["keys"], trusted)
    report.check("receipt", _receipt_alone, document, keys)
    if trusted is None:
        report.notes.append("公钥取自文件本身：能改写文件的人也能换掉公钥。请用 --key 另行核对")
    return report


def _receipt_alone(document: Mapping[str, Any], keys: Keys) -> str:
    signed, key = _signed_receipt(document, keys), document["signature"]["key"]
    return (
        f"{signed['agency']} 于 {signed['signed_at']} 签收事件 {signed['event']}，"
        f"签名有效（公钥 {key[:12]}…，取自{keys.source}）"
    )


def check(raw: bytes, trusted: Mapping[str, bytes] | None = None, witnesses: Sequence[Any] = ()) -> Report:
    """All checks of a file. Raises Unreadable."""
    try:
        document = read_json(raw)
        report = _checked(document, trusted, witnesses)
        as_given = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() == raw
    except RecursionError:
        raise Unreadable("JSON 嵌套过深") from None
    if not as_given:
        # White space and escapes carry no meaning; whoever compares files should know of them all the same.
        report.notes.append("文件的写法（空白、转义）不是服务给出的原样；内容以上述核验为准")
    return report


def _checked(document: Any, trusted: Mapping[str, bytes] | None, witnesses: Sequence[Any]) -> Report:
    if not isinstance(document, dict):
        raise Unreadable("不是留痕证明，也不是签收回执")
    if document.get("format") == PROOF:
        return check_proof(document, trusted, witnesses)
    if "receipt" in document and "format" not in document:
        if witnesses:
            raise Unreadable("--witness 只用于留痕证明")
        return check_receipt(document, trusted)
    raise Unreadable(f"不认识的格式：{document.get('format')!r}")


def told(report: Report) -> str:
    """The report for people."""
    titles = {"proof": "留痕证明", "receipt": "签收回执"}
    lines = [f"{titles[report.kind]} {report.about}"]
    lines += [f"  {'✓' if finding.holds else '✗'} {finding.text}" for finding in report.findings]
    lines += [f"  ! {note}" for note in report.notes]
    lines.append("核验通过" if report.holds else "核验不通过")
    return "\n".join(map(_printable, lines))


def _printable(line: str) -> str:
    """A line in which nothing from the file can break the line or steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def as_json(report: Report) -> str:
    """The report for programs."""
    misfits = [finding.misfit for finding in report.findings if finding.misfit]
    return json.dumps(
        {
            "verified": report.holds,
            "kind": report.kind,
            "about": report.about,
            "checks": [{"check": f.check, "holds": f.holds, "text": f.text} for f in report.findings],
            "misfits": [
                {"code": m.code, "entry": m.entry, "seq": m.seq, "detail": m.detail} for m in misfits
            ],
            "notes": report.notes,
        },
        ensure_ascii=False,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one file; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="verify.py", description="核验留痕证明或签收回执（无须连接任何系统）"
    )
    parser.add_argument("file", help="证明或回执文件，- 为标准输入")
    parser.add_argument("--key", action="append", default=[], metavar="JWKS", help="可信的公钥集文件")
    parser.add_argument("--witness", action="append", default=[], metavar="文件", help="其他服务见证的链首")
    parser.add_argument("--json", action="store_true", help="结果用 JSON 输出")
    given = parser.parse_args(arguments)
    try:
        trusted = _merged(trusted_keys(_read(name)) for name in given.key) if given.key else None
        report = check(_bytes(given.file), trusted, [read_witness(_read(name)) for name in given.witness])
    except (Unreadable, OSError) as why:
        failed = {"verified": False, "error": str(why)}
        print(json.dumps(failed, ensure_ascii=False) if given.json else _printable(f"无法核验：{why}"))
        return UNREADABLE
    print(as_json(report) if given.json else told(report))
    return HOLDS if report.holds else FAILS


def _merged(sets: Iterable[dict[str, bytes]]) -> dict[str, bytes]:
    return {key_id: key for keys in sets for key_id, key in keys.items()}


def _read(name: str) -> Any:
    try:
        return read_json(_bytes(name))
    except Unreadable as why:
        raise Unreadable(f"{name}：{why}") from None


def _bytes(name: str) -> bytes:
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


if __name__ == "__main__":
    # Where the terminal cannot show Chinese, the verdict must still come out.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main())
