"""Keys are made once, kept to their owner, and what an older one signed stays verifiable."""

from __future__ import annotations

import stat
from pathlib import Path

from libs.common import seal


def test_keys_are_made_at_first_run_and_kept(tmp_path: Path) -> None:
    first, again = (seal.Keyring.at(tmp_path / "keys") for _ in range(2))
    assert (first.seal.public, first.tokens.public) == (again.seal.public, again.tokens.public)
    assert first.seal.public != first.tokens.public
    assert first.jwks == again.jwks
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "keys").glob("*.pem")} == {0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert sorted(file.name for file in (tmp_path / "keys").iterdir()) == [
        "jwks.json",
        "seal.pem",
        "tokens.pem",
        "webhooks.pem",
    ]


def test_a_new_key_leaves_the_old_ones_public_half(tmp_path: Path) -> None:
    old = seal.Keyring.at(tmp_path)
    (tmp_path / "seal.pem").unlink()
    new = seal.Keyring.at(tmp_path)
    assert {key["kid"] for key in new.jwks["keys"]} == {
        old.seal.key_id,
        old.tokens.key_id,
        old.webhooks.key_id,
        new.seal.key_id,
    }


def test_only_the_signed_message_is_genuine(tmp_path: Path) -> None:
    key = seal.Seal.at(tmp_path / "seal.pem")
    signature = key.sign(b"receipt")
    assert len(signature) == 64
    assert seal.is_genuine(key.public, signature, b"receipt")
    assert not seal.is_genuine(key.public, signature, b"receipt ")
    assert not seal.is_genuine(key.public, signature[:-1], b"receipt")
    assert not seal.is_genuine(b"short", signature, b"receipt")


def test_a_seal_shows_nothing_of_its_secret(tmp_path: Path) -> None:
    key = seal.Seal.at(tmp_path / "seal.pem")
    assert repr(key) == f"Seal({key.key_id})"
    assert "PRIVATE" in (tmp_path / "seal.pem").read_text()


def test_what_is_derived_is_the_same_for_the_same_purpose_alone(tmp_path: Path) -> None:
    key, other = (seal.Seal.at(tmp_path / name) for name in ("a.pem", "b.pem"))
    assert key.derive("one") == seal.Seal.at(tmp_path / "a.pem").derive("one")
    assert len({key.derive("one"), key.derive("two"), other.derive("one")}) == 3
