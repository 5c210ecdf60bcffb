"""No forged token opens a route, and what its bearer is told does not help them to forge a better one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest
from fastapi import FastAPI

from libs.common import seal
from libs.common.settings import Name, Settings
from libs.common.web import tokens
from services import embedded, parts
from tests.authorisation.asking import Ask, tell
from tests.worlds import cast, forgery

pytestmark = pytest.mark.anyio

#: A route of each service that asks who it is, and one that would do something.
ROUTES: tuple[tuple[Name, Ask], ...] = (
    ("cases", Ask("GET", "/v1/cases")),
    ("cases", Ask("POST", "/v1/clues", body=cast.a_clue())),
    ("notify", Ask("GET", "/v1/inbox")),
    ("sharing", Ask("GET", "/v1/feeds/all", {"timeout": "30000"})),
)
#: What the issuer itself signed may be told what it lacks; others are told the first of these.
DETAILS = {
    "身份凭证缺失或无效",
    "身份凭证已过期",
    "身份凭证的有效期不得超过 600 秒",
    "身份凭证含有不认识的角色",
    "签发方无权授予该角色",
    "身份凭证中的机关代码不正确",
}


@pytest.fixture(scope="module")
async def apps(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mapping[str, FastAPI]]:
    """The three services, which believe the issuer whose keys the forger knows."""
    place = tmp_path_factory.mktemp("county")
    (place / "jwks.json").write_text(json.dumps(forgery.JWKS))
    believing = forgery.verifier(tokens.Keys(place / "jwks.json"))
    async with parts.embedded(Settings(data=place / "data")) as three:
        yield {name: embedded.CREATE[name](replace(three[name], verifier=believing)) for name in parts.NAMES}


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


def spoiled(token: str) -> str:
    """The same words under a signature that is none."""
    head, dot, _ = token.rpartition(".")
    return f"{head}{dot}{seal.encoded(bytes(64))}"


async def test_a_good_token_opens_them(apps: Mapping[str, FastAPI]) -> None:
    for service, ask in ROUTES[:3]:
        told = await tell(apps[service], ask, bearer(forgery.forge()))
        assert told.status in (200, 403), f"{ask}: {told.body.decode()}"


@pytest.mark.parametrize("mutation", forgery.MUTATIONS)
async def test_no_forged_token_opens_a_route(apps: Mapping[str, FastAPI], mutation: str) -> None:
    token = forgery.MUTATIONS[mutation]()
    for service, ask in ROUTES:
        plain = await tell(apps[service], ask, bearer("x.y.z"))
        told = await tell(apps[service], ask, bearer(token))
        assert (plain.status, told.status) == (401, 401), f"{ask}: {told.body.decode()}"
        assert {**told.json, "trace_id": "", "detail": ""} == {**plain.json, "trace_id": "", "detail": ""}
        assert told.json["detail"] in DETAILS
        unsigned = await tell(apps[service], ask, bearer(spoiled(token)))
        assert unsigned.bare == plain.bare, "who cannot sign is told what is wrong with the rest"


#: Where a good token is no token.
ELSEWHERE: Mapping[str, tuple[Mapping[str, str], Mapping[str, str], str]] = {
    "in the query": ({"access_token": "{token}"}, {}, ""),
    "in a cookie": ({}, {"cookie": "access_token={token}"}, ""),
    "in another header": ({}, {"x-authorization": "Bearer {token}"}, ""),
    "for a proxy": ({}, {"proxy-authorization": "Bearer {token}"}, ""),
    "as a name and password": ({}, {}, "Basic {token}"),
    "of another scheme": ({}, {}, "DPoP {token}"),
    "with no scheme": ({}, {}, "{token}"),
    "with two blanks": ({}, {}, "Bearer  {token}"),
    "behind a comma": ({}, {}, "Bearer x.y.z, Bearer {token}"),
    "beside another": ({}, {"authorization": "Bearer {token}"}, "Bearer {token}"),
}


@pytest.mark.parametrize("place", ELSEWHERE)
async def test_a_token_counts_where_it_belongs_and_nowhere_else(
    apps: Mapping[str, FastAPI], place: str
) -> None:
    query, headers, authorization = ELSEWHERE[place]
    token = forgery.forge()
    for service, ask in ROUTES:
        hidden = replace(
            ask,
            query={name: value.format(token=token) for name, value in query.items()},
            headers={name: value.format(token=token) for name, value in headers.items()},
        )
        told = await tell(apps[service], hidden, authorization.format(token=token).encode() or None)
        assert told.status == 401, f"{ask}: {told.body.decode()}"


@pytest.mark.parametrize(
    "claim",
    ["x-user", "x-forwarded-user", "x-agency", "x-roles", "x-client-cert", "remote-user", "on-behalf-of"],
)
async def test_no_header_stands_for_a_token(apps: Mapping[str, FastAPI], claim: str) -> None:
    for service, ask in ROUTES:
        told = await tell(apps[service], replace(ask, headers={claim: forgery.AGENCY}), None)
        assert told.status == 401, f"{ask}: {told.body.decode()}"


def test_there_are_enough_of_them() -> None:
    assert len(forgery.MUTATIONS) + len(ELSEWHERE) >= 60
