"""A token is believed only as its issuer made it: every other writing of it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.lowlevel
import httpx
import pytest

from libs.common import errors, seal
from libs.common.permit import Actor, Role
from libs.common.settings import Settings
from libs.common.web import tokens
from tests.worlds import forgery


@pytest.fixture
def trusting(tmp_path: Path) -> tokens.Verifier:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(forgery.JWKS))
    return forgery.verifier(tokens.Keys(file))


def test_there_are_enough_mutations() -> None:
    assert len(forgery.MUTATIONS) >= 60


@pytest.mark.anyio
@pytest.mark.parametrize("name", forgery.MUTATIONS)
async def test_no_mutation_is_believed(name: str, trusting: tokens.Verifier) -> None:
    with pytest.raises(tokens.Unauthenticated) as refused:
        await trusting.verify(forgery.MUTATIONS[name]())
    assert not refused.value.detail.isascii()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "good",
    [
        pytest.param(lambda: forgery.forge(), id="EdDSA"),
        pytest.param(
            lambda: forgery.forge(header={"kid": "rsa"}, by=forgery.RSA, algorithm="RS256"), id="RS256"
        ),
        pytest.param(
            lambda: forgery.forge(header={"kid": "ec"}, by=forgery.EC, algorithm="ES256"), id="ES256"
        ),
        pytest.param(lambda: forgery.forge(header={"typ": "JWT"}), id="plain typ"),
        pytest.param(
            lambda: forgery.forge(claims={"iat": forgery.now() + 20, "nbf": forgery.now() + 20}),
            id="a clock ahead",
        ),
        pytest.param(
            lambda: forgery.forge(claims={"iat": forgery.now() - 610, "exp": forgery.now() - 10}),
            id="a clock behind",
        ),
        pytest.param(
            lambda: forgery.forge(claims={"jti": "1", "scope": "x"}), id="claims that we do not know"
        ),
    ],
)
async def test_a_good_token_says_who_asks(good: Callable[[], str], trusting: tokens.Verifier) -> None:
    assert await trusting.verify(good()) == Actor("zhang", forgery.AGENCY, frozenset({Role.HANDLER}))


@pytest.mark.anyio
async def test_no_single_changed_character_is_believed(trusting: tokens.Verifier) -> None:
    token = forgery.forge()
    for place in range(0, len(token), 3):
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(tokens.Unauthenticated):
            await trusting.verify(token[:place] + other + token[place + 1 :])


@pytest.mark.anyio
async def test_our_own_tokens_and_those_of_our_services_are_believed(tmp_path: Path) -> None:
    chosen = Settings(data=tmp_path)
    keys = seal.Keyring.at(chosen.key_directory)
    believing = tokens.verifier(chosen)
    people = tokens.Issuer(keys.tokens, chosen.issuer, chosen.audience)
    half_a_day = people.issue("li", forgery.AGENCY, [Role.APPROVER, Role.HANDLER], seconds=43_200)
    service = tokens.service_issuer(chosen, "notify", keys.tokens).issue_for_service("notify")
    assert await believing.verify(half_a_day) == Actor(
        "li", forgery.AGENCY, frozenset({Role.APPROVER, Role.HANDLER})
    )
    assert await believing.verify(service) == Actor("service:notify", "", frozenset({Role.SERVICE}))
    for key in (keys.seal, seal.Seal(forgery.OTHER)):
        with pytest.raises(tokens.Unauthenticated):
            await believing.verify(tokens.Issuer(key, "liandong", "liandong").issue("li", forgery.AGENCY, []))


@pytest.mark.anyio
async def test_a_token_believed_once_is_refused_when_it_has_ended(trusting: tokens.Verifier) -> None:
    """With the issuer's clock 30 seconds ahead at most: this one has some two seconds left."""
    end = forgery.now() - 27
    token = forgery.forge(claims={"iat": end - 600, "exp": end})
    assert await trusting.verify(token) == await trusting.verify(token)
    while forgery.now() <= end + 30:  # noqa: ASYNC110 - nobody tells that time has passed
        await anyio.sleep(0.1)
    with pytest.raises(tokens.Unauthenticated):
        await trusting.verify(token)


class Source:
    """An issuer's JWKS address that counts its callers and may fail."""

    def __init__(self) -> None:
        self.answer = httpx.Response(200, json={"keys": [forgery.jwk(forgery.ED, "ed")]})
        self.asked = 0
        self.time = 0.0

    def keys(self, **limits: float) -> tokens.Keys:
        return tokens.Keys(
            "https://id.example/jwks",
            transport=httpx.MockTransport(self._serve),
            monotonic=lambda: self.time,
            **limits,
        )

    async def _serve(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        if self.answer.status_code == 500:
            raise httpx.ConnectError("down", request=request)
        return httpx.Response(
            self.answer.status_code, headers=self.answer.headers, content=self.answer.content
        )


@pytest.mark.anyio
async def test_strangers_cannot_make_us_ask_the_issuer_often() -> None:
    source = Source()
    keys = source.keys()
    for attempt in range(100):
        assert await keys.find(f"unknown {attempt}") is None
        source.time += 0.5
    assert source.asked == 5
    assert await keys.find("ed") is not None


@pytest.mark.anyio
async def test_many_callers_at_once_ask_once() -> None:
    source = Source()
    keys = source.keys()
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(keys.find, "ed")
    assert source.asked == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "now_published",
    [
        pytest.param([], id="withdrawn"),
        pytest.param([forgery.jwk(forgery.OTHER, "ed")], id="replaced"),
    ],
)
async def test_a_token_believed_once_is_refused_when_its_key_has_gone(
    now_published: list[dict[str, str]],
) -> None:
    source = Source()
    trusting = forgery.verifier(source.keys())
    token = forgery.forge()
    assert await trusting.verify(token) == await trusting.verify(token)
    source.answer = httpx.Response(200, json={"keys": [*now_published, forgery.jwk(forgery.OTHER, "new")]})
    source.time = 301
    for _ in range(2):
        with pytest.raises(tokens.Unauthenticated):
            await trusting.verify(token)


@pytest.mark.anyio
async def test_a_new_key_is_found_and_a_withdrawn_one_forgotten() -> None:
    source = Source()
    keys = source.keys()
    assert await keys.find("ed")
    source.answer = httpx.Response(200, json={"keys": [forgery.jwk(forgery.OTHER, "new")]})
    source.time = 31
    assert await keys.find("new")
    assert await keys.find("ed") is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(httpx.Response(500), id="unreachable"),
        pytest.param(httpx.Response(404), id="not there"),
        pytest.param(httpx.Response(302, headers={"location": "http://127.0.0.1/"}), id="elsewhere"),
        pytest.param(httpx.Response(200, text="<html>"), id="no json"),
        pytest.param(httpx.Response(200, json=[]), id="no set"),
        pytest.param(httpx.Response(200, json={"keys": {}}), id="no list"),
        pytest.param(httpx.Response(200, content=b'{"keys":[]}' + b" " * 300_000), id="too long"),
        pytest.param(httpx.Response(200, content=b'{"keys":[],"keys":[]}'), id="ambiguous"),
    ],
)
async def test_with_no_keys_to_be_had_nothing_is_believed(answer: httpx.Response) -> None:
    source = Source()
    keys = source.keys()
    source.answer, working = answer, source.answer
    with pytest.raises(errors.Transient):
        await keys.find("ed")
    source.answer = working
    source.time = 31
    assert await keys.find("ed")
    source.answer = answer
    source.time = 3000
    assert await keys.find("ed"), "a short failure of the issuer stops nobody"
    source.time = 3700
    with pytest.raises(errors.Transient):
        await keys.find("ed")


@pytest.mark.anyio
async def test_a_missing_file_of_keys_is_no_bug(tmp_path: Path) -> None:
    keys = tokens.Keys(tmp_path / "jwks.json", pause=0)
    with pytest.raises(errors.Transient):
        await forgery.verifier(keys).verify(forgery.forge())
    (tmp_path / "jwks.json").write_text(json.dumps(forgery.JWKS))
    assert (await forgery.verifier(keys).verify(forgery.forge())).person == "zhang"
