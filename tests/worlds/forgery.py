"""Tokens as their issuer made them, and every other writing of them."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common import clock, seal
from libs.common.web import tokens

AGENCY = "11330106MB12345675"
Private = Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

ED, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
RSA, SHORT = (rsa.generate_private_key(65537, size) for size in (2048, 1024))
EC, WIDE = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())


def jwk(private: Private, kid: str, **members: Any) -> dict[str, Any]:
    algorithm: Any = jwt.algorithms.OKPAlgorithm
    if isinstance(private, rsa.RSAPrivateKey):
        algorithm = jwt.algorithms.RSAAlgorithm
    elif isinstance(private, ec.EllipticCurvePrivateKey):
        algorithm = jwt.algorithms.ECAlgorithm
    return {**algorithm.to_jwk(private.public_key(), as_dict=True), "kid": kid, "use": "sig", **members}


JWKS: dict[str, Any] = {
    "keys": [
        jwk(ED, "ed"),
        jwk(RSA, "rsa"),
        jwk(EC, "ec"),
        jwk(SHORT, "short"),
        jwk(WIDE, "wide"),
        jwk(OTHER, "seal", use="seal"),
        jwk(OTHER, "encrypts", use="enc"),
        jwk(OTHER, "signs", key_ops=["sign"]),
        jwk(OTHER, "mislabelled", alg="RS256"),
        jwk(OTHER, "leaked", d=seal.encoded(OTHER.private_bytes_raw())),
        jwk(ED, "twice"),
        jwk(OTHER, "twice"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "broken"},
        {"kty": ["OKP"], "kid": 5},
        "no key",
    ]
}


def now() -> int:
    return int(clock.Clock().now().timestamp())


def segment(value: object) -> str:
    return seal.encoded(json.dumps(value).encode())


def forge(
    *,
    header: Mapping[str, Any] | None = None,
    claims: Mapping[str, Any] | None = None,
    without: tuple[str, ...] = (),
    by: Private = ED,
    algorithm: str = "EdDSA",
) -> str:
    """A token that is good unless told otherwise."""
    head = {"typ": "at+jwt", "alg": algorithm, "kid": "ed", **(header or {})}
    good = {"iss": "liandong", "aud": "liandong", "sub": "zhang", "agency": AGENCY, "roles": ["handler"]}
    told = {**good, "iat": now(), "exp": now() + 600, **(claims or {})}
    text = ".".join(
        segment({name: value for name, value in part.items() if name not in without}) for part in (head, told)
    )
    return f"{text}.{seal.encoded(signed(text, by, algorithm))}"


def signed(text: str, by: Private, algorithm: str = "EdDSA") -> bytes:
    signature: bytes = jwt.PyJWS().get_algorithm_by_name(algorithm).sign(text.encode(), by)
    return signature


def raw(header: str, claims: str) -> str:
    """A token of these very texts, rightly signed."""
    text = f"{seal.encoded(header.encode())}.{seal.encoded(claims.encode())}"
    return f"{text}.{seal.encoded(signed(text, ED))}"


def verifier(keys: tokens.Keys) -> tokens.Verifier:
    people = tokens.Trust("liandong", keys, 600, tokens.PEOPLE)
    service = tokens.Trust("http://127.0.0.1:8001", keys, 600, tokens.SERVICES)
    return tokens.Verifier("liandong", [people, service])


def swapped(token: str, place: int, part: str) -> str:
    parts = token.split(".")
    parts[place] = part
    return ".".join(parts)


def malleable(token: str) -> str:
    """The same signature bytes in base64url that sets bits which decoding drops."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


def hmac_with_public_key() -> str:
    text = ".".join(forge(header={"alg": "HS256"}).split(".")[:2])
    secret = ED.public_key().public_bytes_raw()
    return f"{text}.{seal.encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


HEADER = '{"typ":"at+jwt","alg":"EdDSA","kid":"ed"}'


def claims_text(extra: str = "") -> str:
    return (
        f'{{"iss":"liandong","aud":"liandong","sub":"zhang","agency":"{AGENCY}","roles":["handler"],'
        f'"iat":{now()},"exp":{now() + 600}{extra}}}'
    )


#: Each is a writing that nobody may believe, by what is wrong with it.
MUTATIONS: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "dots": lambda: "..",
    "two parts": lambda: ".".join(forge().split(".")[:2]),
    "four parts": lambda: forge() + ".x",
    "five parts": lambda: forge() + ".x.y",
    "no signature": lambda: swapped(forge(), 2, ""),
    "padding": lambda: forge() + "==",
    "blank within": lambda: forge().replace(".", ". ", 1),
    "line feed at the end": lambda: forge() + "\n",
    "not ascii": lambda: forge() + "é",
    "junk that decoding skips": lambda: forge() + "!",
    "second writing of the signature": lambda: malleable(forge()),
    "standard base64": lambda: swapped(forge(), 1, base64.b64encode(claims_text().encode()).decode()),
    "17 KB": lambda: forge(claims={"note": "x" * 16_000}),
    "another's claims": lambda: swapped(forge(), 1, forge(claims={"sub": "li"}).split(".")[1]),
    "another's header": lambda: swapped(forge(), 0, forge(header={"x": 1}).split(".")[0]),
    "flipped signature": lambda: swapped(forge(), 2, seal.encoded(bytes(64))),
    "unknown key": lambda: forge(header={"kid": "nobody"}),
    "another's key": lambda: forge(by=OTHER),
    "no kid": lambda: forge(without=("kid",)),
    "kid not text": lambda: forge(header={"kid": 1}),
    "kid a list": lambda: forge(header={"kid": ["ed"]}),
    "kid a path": lambda: forge(header={"kid": "../../jwks.json"}),
    "none": lambda: swapped(forge(header={"alg": "none"}), 2, ""),
    "None": lambda: swapped(forge(header={"alg": "None"}), 2, ""),
    "none, signed": lambda: forge(header={"alg": "none"}),
    "no alg": lambda: forge(without=("alg",)),
    "alg not text": lambda: forge(header={"alg": ["EdDSA"]}),
    "alg of another case": lambda: forge(header={"alg": "eddsa"}),
    "HS256 with the public key": hmac_with_public_key,
    "RS256 on an Ed25519 key": lambda: forge(header={"kid": "ed"}, by=RSA, algorithm="RS256"),
    "EdDSA on an RSA key": lambda: forge(header={"kid": "rsa"}),
    "PS256 on an RSA key": lambda: forge(header={"kid": "rsa"}, by=RSA, algorithm="PS256"),
    "RS512 on an RSA key": lambda: forge(header={"kid": "rsa"}, by=RSA, algorithm="RS512"),
    "RSA of 1024 bits": lambda: forge(header={"kid": "short"}, by=SHORT, algorithm="RS256"),
    "ES384": lambda: forge(header={"kid": "wide"}, by=WIDE, algorithm="ES384"),
    "key of seals": lambda: forge(header={"kid": "seal"}, by=OTHER),
    "key of encryption": lambda: forge(header={"kid": "encrypts"}, by=OTHER),
    "key that may not verify": lambda: forge(header={"kid": "signs"}, by=OTHER),
    "mislabelled key": lambda: forge(header={"kid": "mislabelled"}, by=OTHER),
    "leaked key": lambda: forge(header={"kid": "leaked"}, by=OTHER),
    "ambiguous key": lambda: forge(header={"kid": "twice"}),
    "ambiguous key, the other": lambda: forge(header={"kid": "twice"}, by=OTHER),
    "symmetric key": lambda: forge(header={"kid": "oct", "alg": "HS256"}),
    "key in the header": lambda: forge(header={"jwk": jwk(OTHER, "ed")}, by=OTHER),
    "key in the header, ours": lambda: forge(header={"jwk": jwk(ED, "ed")}),
    "address of keys": lambda: forge(header={"jku": "http://127.0.0.1/jwks"}),
    "address of a certificate": lambda: forge(header={"x5u": "http://127.0.0.1/x"}),
    "certificate": lambda: forge(header={"x5c": ["AAAA"]}),
    "crit": lambda: forge(header={"crit": ["exp"]}),
    "crit, empty": lambda: forge(header={"crit": []}),
    "b64": lambda: forge(header={"b64": False}),
    "zip": lambda: forge(header={"zip": "DEF"}),
    "no typ": lambda: forge(without=("typ",)),
    "an id token": lambda: forge(header={"typ": "id_token"}),
    "a logout token": lambda: forge(header={"typ": "logout+jwt"}),
    "typ not text": lambda: forge(header={"typ": 1}),
    "header twice": lambda: raw(HEADER.replace("{", '{"alg":"none",', 1), claims_text()),
    "claim twice": lambda: raw(HEADER, claims_text(',"roles":["operator"]')),
    "claims a list": lambda: raw(HEADER, "[]"),
    "header a list": lambda: raw("[]", claims_text()),
    "claims no json": lambda: raw(HEADER, "zhang"),
    "claims with a mark": lambda: raw(HEADER, "\ufeff" + claims_text()),
    "claims with nan": lambda: raw(HEADER, claims_text(',"x":NaN')),
    "another issuer": lambda: forge(claims={"iss": "https://elsewhere"}),
    "issuer with a slash": lambda: forge(claims={"iss": "liandong/"}),
    "issuer of another case": lambda: forge(claims={"iss": "Liandong"}),
    "issuers": lambda: forge(claims={"iss": ["liandong"]}),
    "no issuer": lambda: forge(without=("iss",)),
    "another audience": lambda: forge(claims={"aud": "elsewhere"}),
    "two audiences": lambda: forge(claims={"aud": ["liandong", "elsewhere"]}),
    "audience in a list": lambda: forge(claims={"aud": ["liandong"]}),
    "no audience": lambda: forge(without=("aud",)),
    "expired": lambda: forge(claims={"iat": now() - 700, "exp": now() - 100}),
    "no expiry": lambda: forge(without=("exp",)),
    "expiry as text": lambda: forge(claims={"exp": str(now() + 600)}),
    "expiry as a float": lambda: forge(claims={"exp": now() + 599.5}),
    "expiry true": lambda: forge(claims={"exp": True}),
    "expiry null": lambda: forge(claims={"exp": None}),
    "expiry in milliseconds": lambda: forge(claims={"exp": (now() + 600) * 1000}),
    "lives too long": lambda: forge(claims={"exp": now() + 86_400}),
    "expires before it begins": lambda: forge(claims={"iat": now() + 20, "exp": now() + 10}),
    "no iat": lambda: forge(without=("iat",)),
    "issued in the future": lambda: forge(claims={"iat": now() + 300, "exp": now() + 600}),
    "iat as text": lambda: forge(claims={"iat": str(now())}),
    "iat long ago": lambda: forge(claims={"iat": 0}),
    "not yet valid": lambda: forge(claims={"nbf": now() + 300}),
    "nbf as text": lambda: forge(claims={"nbf": str(now())}),
    "no subject": lambda: forge(without=("sub",)),
    "empty subject": lambda: forge(claims={"sub": ""}),
    "subject a number": lambda: forge(claims={"sub": 1}),
    "subject with a line feed": lambda: forge(claims={"sub": "zhang\nli"}),
    "long subject": lambda: forge(claims={"sub": "z" * 201}),
    "no agency": lambda: forge(without=("agency",)),
    "agency a list": lambda: forge(claims={"agency": [AGENCY]}),
    "agency malformed": lambda: forge(claims={"agency": AGENCY[:-1] + "0"}),
    "agency empty": lambda: forge(claims={"agency": ""}),
    "no roles": lambda: forge(without=("roles",)),
    "roles as text": lambda: forge(claims={"roles": "handler"}),
    "roles an object": lambda: forge(claims={"roles": {"handler": True}}),
    "unknown role": lambda: forge(claims={"roles": ["handler", "admin"]}),
    "role of another case": lambda: forge(claims={"roles": ["HANDLER"]}),
    "role not text": lambda: forge(claims={"roles": [1]}),
    "people's issuer makes a service": lambda: forge(claims={"roles": ["service"]}, without=("agency",)),
    "a service makes a person": lambda: forge(claims={"iss": "http://127.0.0.1:8001"}),
    "a service at an agency": lambda: forge(claims={"iss": "http://127.0.0.1:8001", "roles": ["service"]}),
}
