"""The other services' journals: asked for what a gap is missing, with this service's own identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import httpx
import orjson

from libs.common import errors
from libs.common.log import envelope
from libs.common.log.envelope import Heard
from libs.common.settings import Name


class HttpJournals:
    """The journals of the other services, over `GET /v1/journal`."""

    def __init__(
        self,
        urls: Mapping[Name, str],
        token: Callable[[], str],
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`urls` by service name; `token` gives a fresh access token for each question."""
        self._urls = {str(name): url for name, url in urls.items()}
        self._token = token
        self._client = httpx.AsyncClient(timeout=5.0, transport=transport, trust_env=False)

    async def after(self, source: str, stream: str, seq: int) -> Sequence[Heard]:
        """Events of `stream` behind `seq`, in order. Raises errors.Transient when it cannot be asked."""
        if source not in self._urls:
            raise errors.Transient(f"没有来源服务 {source} 的地址")
        try:
            answer = await self._client.get(
                f"{self._urls[source]}/v1/journal",
                params={"stream": stream, "after": seq},
                headers={"authorization": f"Bearer {self._token()}"},
            )
            answer.raise_for_status()
            return [envelope.read_structured(event) for event in orjson.loads(answer.content)]
        except (httpx.HTTPError, envelope.Unreadable, orjson.JSONDecodeError) as error:
            raise errors.Transient(f"无法从 {source} 取得 {stream} 的缺失事件：{error}") from error

    async def close(self) -> None:
        await self._client.aclose()
