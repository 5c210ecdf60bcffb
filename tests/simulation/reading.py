"""Those who follow a feed, and a process of `sharing` as they reach it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from fastapi import Request

from libs.common.permit import Actor, Role
from libs.common.web.asked import Here
from services.sharing.readers.loads import Arrivals
from services.sharing.readers.reacts import Followers
from tests.simulation import story
from tests.simulation.network import Network
from tests.simulation.processes import Process


class Gone(Exception):
    """The process that was asked has died, or has no answer now."""


class Caller(Request):
    """A request as the route sees it; nobody hangs up."""

    def __init__(self, serving: Serving, network: Network) -> None:
        state = {"here": serving.here, "arrivals": serving.arrivals, "following": serving.followers.following}
        app = SimpleNamespace(state=SimpleNamespace(**state))
        super().__init__({"type": "http", "app": app, "headers": []})
        self._process = serving.process
        self._network = network

    async def is_disconnected(self) -> bool:
        await self._network.travel(self._process)
        return False


@dataclass(eq=False, slots=True)
class Serving:
    """A process of `sharing`, as its readers reach it."""

    process: Process
    here: Here
    arrivals: Arrivals
    followers: Followers
    #: Answers that readers wait for.
    open: list[asyncio.Future[Any]] = field(default_factory=list)
    is_closed: bool = False

    def close(self) -> None:
        """Nobody is answered any longer."""
        self.is_closed = True
        for answer in self.open:
            self.refuse(answer)

    @staticmethod
    def refuse(answer: asyncio.Future[Any]) -> None:
        """Have no answer, if there is none yet and somebody waits for it."""
        if not answer.done():
            answer.set_exception(Gone())


@dataclass(eq=False, slots=True)
class Reader:
    """Somebody who follows a feed, and goes on from where they stood whatever happens to whom they ask."""

    feed: str
    actor: Actor
    seen: list[dict[str, Any]] = field(default_factory=list)

    @property
    def after(self) -> str:
        return str(self.seen[-1]["id"]) if self.seen else "0"


#: Who follows what: one reader in a run. The department may see some of it only.
FOLLOWING = (
    ("all", Actor("li", story.OFFICE, frozenset({Role.COORDINATOR}))),
    ("cases", Actor("wang", story.DEPARTMENT, frozenset({Role.HANDLER}))),
)
