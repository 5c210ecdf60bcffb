"""A county that has worked for a while, put away as files: what was stored, proved and witnessed."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from libs.common.permit import Role
from libs.common.settings import Name, Settings
from libs.common.store import audit
from libs.common.store.audit import Audit, Witness
from services import parts
from tests.worlds import cast, deployment
from tests.worlds.deployment import County


@dataclass(frozen=True)
class Trail:
    """The files of a county whose services have ended, and what others got from it while they ran."""

    directory: Path
    #: An older copy of the file of `cases`, taken when half of the cases had been handled.
    early: Path
    #: Proofs as they were answered, to the byte: for who handles the case, and for who reads it masked.
    proofs: tuple[bytes, ...]
    #: What each service had heard of each other one in the end, by (witness, source).
    heads: Mapping[tuple[Name, Name], tuple[dict[str, Any], ...]]
    #: The key set of `cases`, kept elsewhere.
    jwks: Mapping[str, Any]

    def copied(self, to: Path) -> Trail:
        """The same on files of its own."""
        shutil.copytree(self.directory, to, dirs_exist_ok=True)
        return replace(self, directory=to)

    @property
    def settings(self) -> Settings:
        return Settings(data=self.directory / "data")

    def witnesses(self, source: Name, *by: Name) -> list[Witness]:
        """What these services witnessed of the source; all of them, if none is named."""
        return [
            Witness(name, head["stream"], head["seq"], bytes.fromhex(head["digest"]))
            for (name, of), heads in self.heads.items()
            for head in heads
            if of == source and (not by or name in by)
        ]

    async def audited(self, service: Name, witnesses: Iterable[Witness] = ()) -> Audit:
        """What the product finds in the files."""
        async with parts.stored(self.settings, service) as store:
            return await audit.audit(store, service, witnesses)


def lived(directory: Path) -> Trail:
    """Let a county work in this directory, and end it. It blocks; not for a thread with an event loop."""
    return asyncio.run(_live(directory))


async def _live(directory: Path) -> Trail:
    async with deployment.on_embedded(directory) as county:
        await cast.register(county)
        cases = [await work(county) for work in (_accepted, _returned, _waiting)]
        await county.drain()
        early = _backed_up(directory / "data" / "cases.db", directory / "early.db")
        await _taken(county, cases[-1])
        cases += [await work(county) for work in (_closed, _waiting, _accepted, _returned, _closed)]
        await _rebuilt(county)
        await county.drain()
        for agency in (cast.DEPARTMENT, cast.TOWNSHIP):
            await _sign(county.ask("notify", agency))
        await county.drain()
        handler = county.ask("cases", cast.TOWNSHIP)
        coordinator = county.ask("cases", cast.OFFICE, Role.COORDINATOR)
        proofs = [
            await _got(who, f"/v1/cases/{case}/proof") for case in cases for who in (handler, coordinator)
        ]
        heads = {
            (by, of): tuple([head async for head in heard(county, by, of)])
            for by in parts.NAMES
            for of in parts.NAMES
            if by != of
        }
        return Trail(directory, early, tuple(proofs), heads, county.parts["cases"].keyring.jwks)


def _backed_up(file: Path, to: Path) -> Path:
    """A copy of a database that is in use."""
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(to)) as copy:
        source.backup(copy)
    return to


async def _rebuilt(county: County) -> None:
    """Make `sharing` say something of its own."""
    operator = county.ask("sharing", cast.OFFICE, Role.OPERATOR)
    asked = await operator.post("/v1/rebuilds", json={})
    assert asked.status_code == 202, asked.text

    async def done() -> bool:
        return bool((await operator.get(asked.headers["location"])).json()["state"] == "done")

    async with county.loops("sharing").running():
        await deployment.until(done)


async def heard(county: County, by: Name, of: Name) -> AsyncIterator[dict[str, Any]]:
    """All that one service has heard of another, page by page."""
    operator = county.ask(by, cast.OFFICE, Role.OPERATOR)
    query = {"source": of}
    while True:
        page = (await operator.get("/v1/witnesses", params=query)).json()
        for head in page["data"]:
            yield head
        if page["next"] is None:
            return
        query["cursor"] = page["next"]


async def _got(who: httpx.AsyncClient, path: str) -> bytes:
    answer = await who.get(path)
    assert answer.status_code == 200, answer.text
    return answer.content


async def _sign(who: httpx.AsyncClient) -> None:
    inbox = (await who.get("/v1/inbox", params={"state": "unread", "limit": 100})).json()["data"]
    asked = [notice["id"] for notice in inbox if notice["sign"]]
    if asked:
        await cast.post(who, "/v1/inbox/receipts", {"notices": asked})


async def _waiting(county: County) -> str:
    """An offer that nobody has answered."""
    township = county.ask("cases", cast.TOWNSHIP)
    case = await cast.a_case(township, summary='占道"堆放"渣土，屡教不改 \\ 😀')
    await cast.an_offered(township, case)
    return case


async def _accepted(county: County) -> str:
    case = await _waiting(county)
    await _taken(county, case)
    return case


async def _taken(county: County, case: str) -> None:
    """The department accepts what it is offered, and files it."""
    department = county.ask("cases", cast.DEPARTMENT)
    await cast.post(department, f"/v1/transfers/{case}.t1/acceptance", {})
    await _moved(department, case, cast.a_filing(cast.DEPARTMENT))


async def _returned(county: County) -> str:
    township, department = county.ask("cases", cast.TOWNSHIP), county.ask("cases", cast.DEPARTMENT)
    case = await cast.a_case(township)
    transfer = await cast.an_offered(township, case)
    declined = {"reason": "not_competent", "basis": "某条例第三条", "proposed_agency": cast.TOWNSHIP}
    await cast.post(department, f"/v1/transfers/{transfer}/return", declined)
    again = await cast.an_offered(township, case)
    await cast.post(township, f"/v1/transfers/{again}/withdrawal", {})
    return case


async def _closed(county: County) -> str:
    township = county.ask("cases", cast.TOWNSHIP)
    approver = county.ask("cases", cast.TOWNSHIP, Role.APPROVER, person="head")
    case = await cast.a_case(township)
    await _moved(township, case, cast.a_filing(cast.TOWNSHIP))
    await _moved(township, case, {"move": "investigate", "officers": cast.officers(cast.TOWNSHIP)})
    await _moved(approver, case, {"move": "decide", "decision": "penalty"})
    await _moved(township, case, {"move": "close", "reason": "罚款已缴纳"})
    return case


async def _moved(who: httpx.AsyncClient, case: str, body: Mapping[str, Any]) -> None:
    seen = await cast.etag(who, f"/v1/cases/{case}")
    await cast.post(who, f"/v1/cases/{case}/transitions", body, seen=seen)
