"""Sends harm to one operation and writes down what is odd about the answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from libs.common.web import problems
from tests.hostile.ground import Call, Ground

#: Bytes that a refusal may have: what was sent is not sent back.
LONGEST = 20_000

_keys = itertools.count(1)


class Caller:
    """The one who gets furthest with an operation; what is no clear answer goes to `odd`."""

    def __init__(self, ground: Ground, client: httpx.AsyncClient, call: Call) -> None:
        self._client = client
        self._call = call
        self._address = ground.address(call).encode()
        self._token = ground.token(call.name)
        self.odd: list[str] = []

    async def send(
        self,
        name: str,
        body: bytes = b"",
        *,
        target: bytes = b"",
        headers: Mapping[str, bytes] | None = None,
        also: frozenset[int] = frozenset(),
    ) -> httpx.Response:
        """`target` is path and query as they go over the wire; `also` are other statuses that may come."""
        own = {
            **await self._seen(),
            "authorization": f"Bearer {self._token}".encode(),
            "idempotency-key": f"hostile-{next(_keys)}".encode(),
            "content-type": b"application/json",
        }
        answer = await self._client.request(
            self._call.method,
            self._client.base_url.copy_with(raw_path=target or self._address),
            content=body,
            headers=[(key.encode(), value) for key, value in {**own, **(headers or {})}.items()],
        )
        if answer.status_code not in also | self._call.statuses:
            self.odd.append(f"{self._call.id} {name}: {answer.status_code} {answer.text[:200]}")
        self.odd += [f"{self._call.id} {name}: {fault}" for fault in _faults(answer)]
        return answer

    async def _seen(self) -> dict[str, bytes]:
        """The newest version, where it must have been seen; else everything would only be stale."""
        if 428 not in self._call.statuses:
            return {}
        address = self._address.decode()
        thing = address if self._call.method == "PATCH" else address.rpartition("/")[0]
        headers = {"authorization": f"Bearer {self._token}"}
        return {"if-match": (await self._client.get(thing, headers=headers)).headers["etag"].encode()}


def _faults(answer: httpx.Response) -> Iterator[str]:
    if answer.status_code < 400:
        return
    if len(answer.content) > LONGEST:
        yield f"a refusal of {len(answer.content)} bytes"
    if answer.headers["content-type"] != problems.MEDIA_TYPE:
        yield f"a refusal that is {answer.headers['content-type']}"
    elif not _is_problem(answer.json(), answer.status_code):
        yield f"no problem: {answer.text[:200]}"


def _is_problem(said: Mapping[str, Any], status: int) -> bool:
    return said["status"] == status and set(problems.SCHEMA["required"]) <= set(said)
