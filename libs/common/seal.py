"""Ed25519 keys of our own: made at first run, kept in one directory, and what they sign.

    <keys>/seal.pem      signs receipts and heads of chains
    <keys>/tokens.pem    signs access tokens
    <keys>/webhooks.pem  signs webhooks (v1a); the secrets of endpoints (v1) are derived from it
    <keys>/jwks.json     every public key there ever was, so that what an older key signed stays verifiable

Taking a .pem away makes a new key at the next start; the old one's public half stays in jwks.json. With
webhooks.pem the secrets of all endpoints change.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

#: Value of a JWK's `use` (RFC 7517, 4.2) for keys that must never be believed under a token.
SEALS = "seal"
#: The same for keys under webhooks.
WEBHOOKS = "webhook"
#: Value of a JWK's `use` for keys under tokens.
TOKENS = "sig"


class Seal:
    """A private key that shows nothing but signatures, and what is derived from it."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()  #: 32 bytes
        self.key_id = _thumbprint(self.public)

    @classmethod
    def at(cls, file: Path) -> Seal:
        """The key in this file, which is made, readable by its owner alone, when there is none."""
        if not file.exists():
            _make(file)
        private = serialization.load_pem_private_key(file.read_bytes(), password=None)
        if not isinstance(private, Ed25519PrivateKey):
            raise TypeError(f"{file} holds no Ed25519 key")
        return cls(private)

    def sign(self, message: bytes) -> bytes:
        """64 bytes that `is_genuine` accepts for this message and no other."""
        return self._private.sign(message)

    def derive(self, purpose: str) -> bytes:
        """32 bytes that are the same for this key and purpose, and tell nothing of either (RFC 5869)."""
        derived = HKDF(hashes.SHA256(), length=32, salt=None, info=purpose.encode())
        return derived.derive(self._private.private_bytes_raw())

    def jwk(self, use: str) -> dict[str, str]:
        """The public key as a JWK (RFC 8037)."""
        x = encoded(self.public)
        return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.key_id, "use": use, "alg": "EdDSA"}

    def __repr__(self) -> str:
        return f"Seal({self.key_id})"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of one directory."""

    seal: Seal
    tokens: Seal
    webhooks: Seal
    #: What /.well-known/jwks.json shows.
    jwks: dict[str, Any]

    @classmethod
    def at(cls, directory: Path) -> Keyring:
        """The keys in this directory, made at first run."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        seal, tokens, webhooks = (
            Seal.at(directory / f"{name}.pem") for name in ("seal", "tokens", "webhooks")
        )
        keys = seal.jwk(SEALS), tokens.jwk(TOKENS), webhooks.jwk(WEBHOOKS)
        return cls(seal, tokens, webhooks, _published(directory / "jwks.json", *keys))


def seals(jwks: Mapping[str, Any]) -> dict[str, Any]:
    """Every key that ever sealed, so that what is old stays verifiable; none that signs tokens."""
    return {"keys": [key for key in jwks["keys"] if key.get("use") == SEALS]}


def is_genuine(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the holder of this public key signed this message."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def encoded(raw: bytes) -> str:
    """base64url without padding, as JOSE writes bytes."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _thumbprint(public: bytes) -> str:
    """RFC 7638: the same key has the same id wherever it is named."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": encoded(public)}
    return encoded(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def _make(file: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    draft = file.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(pem)
        out.flush()
        os.fsync(out.fileno())
    try:
        # A link never replaces: of two processes at their first run, both go on with the first one's key.
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _published(file: Path, *current: dict[str, str]) -> dict[str, Any]:
    """The keys of the file and the current ones; the file is written only when one is new."""
    known: list[dict[str, str]] = json.loads(file.read_bytes())["keys"] if file.exists() else []
    new = [key for key in current if key["kid"] not in {old["kid"] for old in known}]
    jwks: dict[str, Any] = {"keys": [*known, *new]}
    if new:
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(jwks, indent=1))
        draft.replace(file)
    return jwks
