"""Access tokens: short JWTs believed only on a pinned issuer's key, and those that we issue ourselves.

A token comes in the Authorization header and nowhere else. People and systems are vouched for by one issuer;
each service vouches for its own loops, which may then be a service and nothing more.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import anyio
import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from fastapi.security import HTTPBearer
from starlette.requests import Request

from libs.common import clock, errors
from libs.common.law import codes
from libs.common.permit import Actor, Role
from libs.common.seal import Seal, encoded
from libs.common.settings import Name, Settings
from libs.common.web import body

_log = logging.getLogger(__name__)

#: Longest token that is looked at, and longest set of keys that is read, in bytes.
_TOKEN_BYTES = 16 * 1024
_JWKS_BYTES = 256 * 1024

#: The one algorithm that each kind of key may be used with.
_PINNED = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256", ("RSA", ""): "RS256"}
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
#: Header members that name another key, or change what the signature covers.
_REFUSED = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc"})

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey


class Unauthenticated(errors.Refusal):
    """No token, or none that we believe. `challenge` is the WWW-Authenticate header (RFC 6750)."""

    code = "unauthenticated"
    title = "身份凭证缺失或无效"
    challenge = 'Bearer realm="liandong", error="invalid_token"'


class Missing(Unauthenticated):
    """The request carries no token at all."""

    challenge = 'Bearer realm="liandong"'


class _Unreadable(Exception):
    """A set of keys cannot be had or understood."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and the one algorithm that it may be used with."""

    algorithm: str
    public: PublicKey


def read_jwks(raw: bytes) -> dict[str, Key]:
    """The keys of a JWKS (RFC 7517) that may be believed under tokens, by id; others are passed over."""
    try:
        document = body.parse(raw)
    except errors.Malformed as why:
        raise _Unreadable(why.detail) from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise _Unreadable("没有 keys 数组")
    found: dict[str, Key] = {}
    ambiguous: set[str] = set()
    for jwk in listed:
        key = _read_key(jwk) if isinstance(jwk, dict) else None
        if key is not None:
            ambiguous |= {jwk["kid"]} & found.keys()
            found[jwk["kid"]] = key
    return {kid: key for kid, key in found.items() if kid not in ambiguous}


def _read_key(jwk: dict[str, Any]) -> Key | None:
    kid, operations = jwk.get("kid"), jwk.get("key_ops", ["verify"])
    algorithm = _PINNED.get((str(jwk.get("kty")), str(jwk.get("crv", ""))))
    usable = (
        isinstance(kid, str)
        and 0 < len(kid) <= 200
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
    )
    if not usable or algorithm is None or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        public = jwt.PyJWK(jwk, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if isinstance(public, RSAPublicKey):
        return Key(algorithm, public) if 2048 <= public.key_size <= 8192 else None
    # What is left may be a private key, which its owner published and so lost.
    return Key(algorithm, public) if isinstance(public, Ed25519PublicKey | EllipticCurvePublicKey) else None


class Keys:
    """An issuer's keys, from a file or over HTTP, read again when they are old or one is unknown.

    Unknown ids are free for strangers to send: they cost the issuer at most one question a `pause`. When the
    source cannot be read, the keys last read serve until they are `stale`; after that nothing is believed.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        fresh: float = 300.0,
        stale: float = 3600.0,
        pause: float | None = None,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        """`fresh`, `stale` and `pause` are in seconds; a file may be looked at more often than an issuer."""
        self._url = str(source) if str(source).startswith(("https://", "http://")) else None
        self._file = Path(source)
        self._transport = transport
        self._fresh = fresh
        self._stale = stale
        self._pause = pause if pause is not None else (10.0 if self._url else 1.0)
        self._monotonic = monotonic
        self._keys: dict[str, Key] = {}
        self._read_at = self._tried_at = float("-inf")
        self._lock = anyio.Lock()

    async def find(self, kid: str) -> Key | None:
        """The key with this id, or None; Transient when it cannot be known."""
        if not self._sure(kid):
            async with self._lock:
                await self._read_again()
        if self._age() > self._stale:
            raise errors.Transient("暂时无法取得凭证签发方的公钥", retry_after=5)
        return self._keys.get(kid)

    def _sure(self, kid: str) -> bool:
        return kid in self._keys and self._age() <= self._fresh

    def _age(self) -> float:
        return self._monotonic() - self._read_at

    async def _read_again(self) -> None:
        if self._monotonic() - self._tried_at < self._pause:
            return
        self._tried_at = self._monotonic()
        try:
            raw = await (self._from_issuer(self._url) if self._url else self._from_file())
            self._keys = read_jwks(raw)
            self._read_at = self._monotonic()
        except (_Unreadable, OSError, httpx.HTTPError, httpx.InvalidURL) as why:
            _log.warning("keys unreadable", extra={"action": "jwks.unreadable", "why": str(why)})

    async def _from_file(self) -> bytes:
        return await anyio.Path(self._file).read_bytes()

    async def _from_issuer(self, url: str) -> bytes:
        # One client a question: they are rare, and no connection outlives the composition.
        async with (
            httpx.AsyncClient(transport=self._transport, timeout=3.0, follow_redirects=False) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != 200:
                raise _Unreadable(f"HTTP {answer.status_code}")
            raw = b""
            async for chunk in answer.aiter_bytes():
                raw += chunk
                if len(raw) > _JWKS_BYTES:
                    raise _Unreadable("内容过大")
            return raw


@dataclass(frozen=True, slots=True)
class Trust:
    """What an issuer is believed: its keys, how long a token may live, and the roles that it may give."""

    issuer: str
    keys: Keys
    seconds: int  #: longest life of a token
    roles: frozenset[Role]


PEOPLE = frozenset(Role) - {Role.SERVICE}
SERVICES = frozenset({Role.SERVICE})


class _Believed(NamedTuple):
    """What was found of a token: only its end, and its issuer's key, can change afterwards."""

    actor: Actor
    trust: Trust
    kid: str
    key: Key
    end: int  #: in seconds since 1970


#: Tokens that are remembered as believed; each is sent many times.
_REMEMBERED = 1024


class Verifier:
    """Says who a token speaks for, or refuses it."""

    def __init__(self, audience: str, trusts: Iterable[Trust], *, leeway: int = 30) -> None:
        """`leeway` is in seconds, how far an issuer's clock may be from ours."""
        self._audience = audience
        self._trusts = {trust.issuer: trust for trust in trusts}
        self._leeway = leeway
        self._believed: dict[str, _Believed] = {}

    async def verify(self, token: str) -> Actor:
        """The actor, or Unauthenticated; Transient when the issuer's keys cannot be had."""
        believed = self._believed.get(token)
        if believed and await self._still(believed):
            return believed.actor
        header, claims = _opened(token)
        trust = self._trusts.get(_text(claims, "iss"))
        if trust is None:
            raise Unauthenticated()
        kid = _vetted(header)
        key = await trust.keys.find(kid)
        if key is None:
            raise Unauthenticated()
        self._check(token, key, trust)
        _check_life(claims, trust.seconds)
        actor = _actor(claims, trust.roles)
        self._remember(token, _Believed(actor, trust, kid, key, claims["exp"]))
        return actor

    async def _still(self, believed: _Believed) -> bool:
        """Whether what was found is still so: a signature does not change, time and keys do."""
        now = clock.Clock().now().timestamp()
        return (
            believed.end > now - self._leeway and await believed.trust.keys.find(believed.kid) == believed.key
        )

    def _remember(self, token: str, believed: _Believed) -> None:
        self._believed.pop(token, None)
        self._believed[token] = believed
        if len(self._believed) > _REMEMBERED:
            del self._believed[next(iter(self._believed))]

    def _check(self, token: str, key: Key, trust: Trust) -> None:
        try:
            jwt.decode(
                token,
                key.public,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=trust.issuer,
                leeway=self._leeway,
                options={"require": ["iss", "aud", "exp", "iat", "sub"], "strict_aud": True},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("身份凭证已过期") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Unauthenticated() from None


def _opened(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, read strictly and not yet believed."""
    parts = token.split(".")
    if len(token) > _TOKEN_BYTES or len(parts) != 3 or not token.isascii():
        raise Unauthenticated()
    try:
        header, claims = (body.parse(_decoded(part)) for part in parts[:2])
        _decoded(parts[2])
    except (errors.Malformed, binascii.Error):
        raise Unauthenticated() from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Unauthenticated()
    return header, claims


def _decoded(part: str) -> bytes:
    """Bytes of one part. Only the one canonical writing passes, so that no token has a second form."""
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if encoded(raw) != part:
        raise binascii.Error("not canonical")
    return raw


def _vetted(header: Mapping[str, Any]) -> str:
    """The id of the key that the header names."""
    kind, kid = header.get("typ"), header.get("kid")
    if _REFUSED & header.keys() or not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise Unauthenticated()
    if not isinstance(kid, str):
        raise Unauthenticated()
    return kid


def _check_life(claims: Mapping[str, Any], longest: int) -> None:
    times = [claims[name] for name in ("iat", "exp", "nbf") if name in claims]
    if any(type(time) is not int for time in times):
        raise Unauthenticated()
    if not 0 < claims["exp"] - claims["iat"] <= longest:
        raise Unauthenticated(f"身份凭证的有效期不得超过 {longest} 秒")


def _actor(claims: Mapping[str, Any], grantable: frozenset[Role]) -> Actor:
    named = claims.get("roles")
    if not isinstance(named, list) or not all(isinstance(role, str) for role in named):
        raise Unauthenticated()
    try:
        roles = frozenset(map(Role, named))
    except ValueError:
        raise Unauthenticated("身份凭证含有不认识的角色") from None
    if not roles <= grantable:
        raise Unauthenticated("签发方无权授予该角色")
    if Role.SERVICE in roles:
        # A service acts for no agency, and nothing may lend it one.
        if len(roles) > 1 or "agency" in claims:
            raise Unauthenticated()
        return Actor(_text(claims, "sub"), "", roles)
    agency = _text(claims, "agency")
    if not codes.is_uscc(agency):
        raise Unauthenticated("身份凭证中的机关代码不正确")
    return Actor(_text(claims, "sub"), agency, roles)


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise Unauthenticated()
    return value


class Issuer:
    """Issues tokens with a key of our own."""

    def __init__(self, seal: Seal, issuer: str, audience: str) -> None:
        self._seal = seal
        self._issuer = issuer
        self._audience = audience

    def issue(self, person: str, agency: str, roles: Iterable[Role], seconds: int = 600) -> str:
        """A token for a person at an agency, good for so long from now, in real time."""
        return self._signed({"sub": person, "agency": agency, "roles": sorted(roles)}, seconds)

    def issue_for_service(self, service: Name, seconds: int = 300) -> str:
        """A token for a loop of a service, which may read journals and acts for no agency."""
        return self._signed({"sub": f"service:{service}", "roles": [Role.SERVICE]}, seconds)

    def _signed(self, claims: Mapping[str, Any], seconds: int) -> str:
        now = int(clock.Clock().now().timestamp())
        header = {"alg": "EdDSA", "kid": self._seal.key_id, "typ": "at+jwt"}
        stamped = {**claims, "iss": self._issuer, "aud": self._audience, "iat": now, "exp": now + seconds}
        text = ".".join(encoded(json.dumps(part).encode()) for part in (header, stamped))
        return f"{text}.{encoded(self._seal.sign(text.encode()))}"


def verifier(settings: Settings) -> Verifier:
    """Whom this installation believes: the issuer of people's tokens, and its own three services."""
    own = settings.key_directory / "jwks.json"
    people = Trust(settings.issuer, Keys(settings.jwks or own), settings.token_seconds, PEOPLE)
    services = [_trust_in(settings.base_url(name), settings) for name in get_args(Name)]
    return Verifier(settings.audience, [people, *services], leeway=settings.token_leeway_seconds)


def _trust_in(address: str, settings: Settings) -> Trust:
    # With tokens of our own the key directory is shared; else every service publishes its keys.
    source = f"{address}/.well-known/jwks.json" if settings.jwks else settings.key_directory / "jwks.json"
    return Trust(address, Keys(source), 600, SERVICES)


def service_issuer(settings: Settings, service: Name, seal: Seal) -> Issuer:
    """What signs the tokens of a service's own loops; the others know it by the service's address."""
    return Issuer(seal, settings.base_url(service), settings.audience)


class Bearer(HTTPBearer):
    """FastAPI dependency: who asks. The token is verified once a request, before its body is read."""

    async def __call__(self, request: Request) -> Actor:  # type: ignore[override]
        """The actor, or Unauthenticated."""
        known = request.scope.get("liandong.actor")
        if isinstance(known, Actor):
            return known
        found = request.scope["liandong.actor"] = await self.again(request)
        return found

    async def again(self, request: Request) -> Actor:
        """The same, judged now: an answer that goes on asks whether its token is still good."""
        given = request.headers.getlist("authorization")
        if not given:
            raise Missing("请在 Authorization 请求头中提供 Bearer 凭证")
        scheme, _space, token = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer":
            raise Unauthenticated()
        verifier: Verifier = request.app.state.verifier
        return await verifier.verify(token)


actor = Bearer(scheme_name="HTTPBearer", description="访问凭证（JWT）")
