"""People of the county, speaking to the three services over HTTP as any department's program would."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from libs.common.clock import monotonic
from libs.common.permit import Role
from libs.common.seal import Keyring
from libs.common.settings import Name, Settings
from libs.common.web import tokens
from tools.demo.county import Agency
from tools.demo.receiver import Receiver

T = TypeVar("T")

#: Seconds after which waiting for word to arrive, or for a busy service, is given up.
PATIENCE = 60.0


#: Seconds that our tokens are good for, the longest that an installation's own may be.
TOKEN_SECONDS = 12 * 60 * 60


class Unexpected(Exception):
    """A service answered otherwise than the story needs; the text says what was asked and what came."""


@dataclass(frozen=True, slots=True)
class Person:
    """An official, as their token names them."""

    id: str
    agency: Agency
    roles: tuple[Role, ...]
    title: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered."""

    asked: str
    status: int
    body: Any
    headers: Mapping[str, str]

    def need(self, *statuses: int) -> Any:
        """The body, if the status is one of these. Raises Unexpected."""
        if self.status not in statuses:
            raise Unexpected(f"{self.asked} 得到 {self.status}：{self.body}")
        return self.body

    @property
    def version(self) -> str:
        """The ETag, for If-Match."""
        return self.headers["etag"]

    @property
    def is_replay(self) -> bool:
        """Whether this is the stored answer to an earlier request with the same Idempotency-Key."""
        return "idempotency-replayed" in self.headers


class Deployment:
    """The three services, wherever they run. With several processes of a service, each is asked in turn."""

    def __init__(
        self,
        addresses: Mapping[Name, Sequence[str]],
        issue: Callable[[Person], str],
        *,
        hands: Path | None = None,
        system: Receiver | None = None,
    ) -> None:
        """`issue` gives an access token for a person.

        `hands` is the file that moves the services' clock, `system` a department's system.
        """
        self.hands = hands
        self.system = system
        self.addresses = {name: tuple(urls) for name, urls in addresses.items()}
        self._turns = {name: itertools.cycle(urls) for name, urls in self.addresses.items()}
        self._issue = issue
        self._client = httpx.Client(timeout=30.0, trust_env=False)

    def token(self, person: Person) -> str:
        return self._issue(person)

    def caller(self, person: Person) -> Caller:
        return Caller(self, person)

    def send(
        self,
        service: Name,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
    ) -> Answer:
        """One request; a service that is busy or away is asked again. Raises Unexpected."""
        until = monotonic() + PATIENCE
        while True:
            url = next(self._turns[service]) + path
            try:
                got = self._client.request(method, url, headers=headers, params=params, json=body)
                if got.status_code != httpx.codes.SERVICE_UNAVAILABLE or monotonic() > until:
                    return Answer(f"{method} {url}", got.status_code, _read(got), got.headers)
            except httpx.TransportError as why:
                if monotonic() > until:
                    raise Unexpected(f"{method} {url} 没有回答：{why!r}") from why
            time.sleep(0.2)

    def close(self) -> None:
        self._client.close()


class Caller:
    """One person, with a token."""

    def __init__(self, deployment: Deployment, person: Person) -> None:
        self.person = person
        self._deployment = deployment
        self._headers = {"authorization": f"Bearer {deployment.token(person)}"}

    @property
    def agency(self) -> Agency:
        return self.person.agency

    def get(self, service: Name, path: str, *, accept: str = "*/*", **params: Any) -> Answer:
        headers = {**self._headers, "accept": accept}
        given = {name: value for name, value in params.items() if value is not None}
        return self._deployment.send(service, "GET", path, headers=headers, params=given)

    def post(self, service: Name, path: str, body: Any, *, key: str, version: str | None = None) -> Answer:
        """`key` is the Idempotency-Key, `version` what was read, as If-Match."""
        headers = {**self._headers, "idempotency-key": key, **({"if-match": version} if version else {})}
        return self._deployment.send(service, "POST", path, headers=headers, body=body)

    def pages(self, service: Name, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Every row of a list, page after page."""
        cursor: str | None = None
        while True:
            page = self.get(service, path, limit=200, cursor=cursor, **params).need(200)
            yield from page["data"]
            cursor = page["next"]
            if cursor is None:
                return


def issuer(data: Path) -> Callable[[Person], str]:
    """Issues tokens with the key of the installation on this data, as `liandong token` does."""
    settings = Settings(data=data)
    keys = Keyring.at(settings.key_directory)
    own = tokens.Issuer(keys.tokens, settings.issuer, settings.audience)
    return lambda person: own.issue(person.id, person.agency.id, person.roles, TOKEN_SECONDS)


def until(look: Callable[[], T | None], what: str) -> T:
    """Look again and again until there is something. Raises Unexpected."""
    end = monotonic() + PATIENCE
    while not (found := look()):
        if monotonic() > end:
            raise Unexpected(f"等了 {PATIENCE:.0f} 秒仍未见到：{what}")
        time.sleep(0.05)
    return found


def _read(got: httpx.Response) -> Any:
    try:
        return got.json()
    except ValueError:
        return got.text
