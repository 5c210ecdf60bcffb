"""A county with something in every place, for input that means harm: known ids reach further than unknown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from libs.common.permit import Role
from libs.common.settings import Name
from libs.common.web import tokens
from services.notify.channels import rules as webhooks
from tests.worlds import cast
from tests.worlds.deployment import County, on_embedded, until

#: What a token of a person may carry: all of it, so that the input is what is refused.
PEOPLE = tuple(role for role in Role if role is not Role.SERVICE)
#: Long enough for a nightly run.
SECONDS = 40_000

#: Who gets furthest with an operation; the others are the township's, which holds the cases.
BY: Mapping[str, str] = {
    **dict.fromkeys(("register_agency", "register_officer", "publish_power"), cast.OFFICE),
    **dict.fromkeys(("effect_grant", "recall_grant"), cast.OFFICE),
    **dict.fromkeys(("picture", "bottlenecks", "township", "department"), cast.OFFICE),
    **dict.fromkeys(("accept", "give_back"), cast.DEPARTMENT),
    **dict.fromkeys(("accept_dispute", "forward", "name_lead", "rule"), cast.OFFICE),
    **dict.fromkeys(("reply_to_dispute",), cast.DEPARTMENT),
    **dict.fromkeys(("set_limit", "put_policy", "supervise", "return_reply", "close"), cast.OFFICE),
    **dict.fromkeys(("list_supervisions", "read_supervision"), cast.OFFICE),
    **dict.fromkeys(("reply",), cast.DEPARTMENT),
    **dict.fromkeys(("assist", "refuse_assistance", "extend_assistance"), cast.DEPARTMENT),
}
#: Only a service may.
OF_SERVICES = frozenset({"journal"})

Operation = Mapping[str, Any]


@dataclass(frozen=True)
class Call:
    """One operation of a service, as its description has it."""

    service: Name
    method: str
    path: str
    said: Operation

    @property
    def name(self) -> str:
        return str(self.said["operationId"])

    @property
    def id(self) -> str:
        """What a test of it is called."""
        return f"{self.service}-{self.name}"

    @property
    def body(self) -> Operation | None:
        """The schema of its body."""
        if "requestBody" not in self.said:
            return None
        schema: Operation = self.said["requestBody"]["content"]["application/json"]["schema"]
        return schema

    @property
    def statuses(self) -> frozenset[int]:
        """What it says that it answers."""
        return frozenset(map(int, self.said["responses"]))

    def names(self, place: str) -> list[str]:
        """Of its parameters in the path, the query or the header."""
        return [str(one["name"]) for one in self.said.get("parameters", ()) if one["in"] == place]


@dataclass
class Ground:
    """The county, what is known of it, and who may ask what."""

    county: County
    #: Ids that exist, by the names of path parameters,
    known: Mapping[str, Sequence[str]]
    #: and where an operation means another thing by the name.
    meant: Mapping[str, Mapping[str, str]]

    def schema(self, service: Name) -> dict[str, Any]:
        return self.county.apps[service].openapi()

    def schemas(self, service: Name) -> Mapping[str, Any]:
        """What its description calls by name."""
        found: Mapping[str, Any] = self.schema(service)["components"]["schemas"]
        return found

    def calls(self, service: Name) -> list[Call]:
        """Every operation of the service."""
        paths = self.schema(service)["paths"]
        return [
            Call(service, method.upper(), path, said)
            for path, methods in paths.items()
            for method, said in methods.items()
        ]

    def token(self, operation: str) -> str:
        """Of the one who gets furthest with it."""
        if operation in OF_SERVICES:
            settings, part = self.county.settings, self.county.parts["notify"]
            issuer = tokens.service_issuer(settings, "notify", part.keyring.tokens)
            return issuer.issue_for_service("notify", 600)
        return self.county.issuer.issue("p1", BY.get(operation, cast.TOWNSHIP), PEOPLE, SECONDS)

    def address(self, call: Call, **spoilt: str) -> str:
        """Its address, with something that exists in each place that is not spoilt."""
        known = {name: self.known[name][0] for name in call.names("path")}
        return call.path.format_map({**known, **self.meant.get(call.name, {}), **spoilt})

    def client(self, service: Name) -> httpx.AsyncClient:
        """Somebody without a token; what goes wrong inside is a 500, as it would be on a socket."""
        app = httpx.ASGITransport(self.county.apps[service], raise_app_exceptions=False)
        return httpx.AsyncClient(transport=app, base_url=self.county.settings.base_url(service))


@asynccontextmanager
async def prepared(directory: Path) -> AsyncIterator[Ground]:
    """A county in which a case was filed, one offered, one accepted, and its notices received or not."""
    async with on_embedded(directory) as county:
        known = await _filled(county)
        meant = {
            "township": {"code": cast.PLACE},
            "read_rebuild": {"id": known["id"][1]},
            "remove_endpoint": {"endpoint": known["endpoint"][1]},
        }
        yield Ground(county, known, meant)


_AN_ENDPOINT = {"name": "业务系统", "url": "https://hook.invalid/"}


async def _filled(county: County) -> Mapping[str, Sequence[str]]:
    grant = await cast.register(county)
    holder = county.ask("cases", cast.TOWNSHIP, *PEOPLE)
    plain, offered, crossed, disputed = [await cast.a_case(holder) for _ in range(4)]
    transfer, accepted = [await cast.an_offered(holder, case) for case in (offered, crossed)]
    assistance = await cast.post(holder, f"/v1/cases/{plain}/assistance", cast.a_letter())
    recipient = county.ask("cases", cast.DEPARTMENT, *PEOPLE)
    dispute = await cast.a_dispute(holder, recipient, disputed)
    await cast.post(recipient, f"/v1/transfers/{accepted}/acceptance", {})
    office = county.ask("sharing", cast.OFFICE, *PEOPLE)
    rebuild = str((await office.post("/v1/rebuilds", json={})).json()["id"])
    await county.drain()
    inbox = county.ask("notify", cast.TOWNSHIP, *PEOPLE)
    endpoints = [await cast.post(inbox, "/v1/endpoints", _AN_ENDPOINT) for _ in range(2)]
    message = webhooks.challenge_id(endpoints[0]["id"], 1)
    async with county.running():
        await until(lambda: _is_done(office, rebuild))
        await until(lambda: _was_tried(inbox, message))
    notices = [str(one["id"]) for one in (await inbox.get("/v1/inbox")).json()["data"]]
    receipt = (await cast.post(inbox, f"/v1/notices/{notices[-1]}/receipt", {}))["receipt"]["receipt"]
    coordinator = county.ask("notify", cast.OFFICE, *PEOPLE)
    letter = {"kind": "supervision", "agency": cast.DEPARTMENT, "title": "x", "items": ["x"]}
    supervision = (await cast.post(coordinator, "/v1/supervisions", letter))["id"]
    clocks = (await coordinator.get("/v1/obligations")).json()["data"]
    return {
        "year": ["2027", "2026"],
        "rule": ["col.sign"],
        "policy": ["days"],
        "supervision": [str(supervision)],
        "obligation": [str(one["id"]) for one in clocks],
        "endpoint": [str(one["id"]) for one in endpoints],
        "message": [message],
        "delivery": [f"{message}.1"],
        "case": [plain, offered, crossed],
        "transfer": [transfer, accepted],
        "dispute": [dispute],
        "assistance": [str(assistance["id"])],
        "grant": [grant],
        "agency": [cast.TOWNSHIP, cast.DEPARTMENT],
        "officer": cast.officers(cast.TOWNSHIP),
        "code": [cast.POWER, cast.PLACE],
        "uscc": [cast.DEPARTMENT],
        "notice": notices,
        "receipt": [str(receipt)],
        "feed": ["all", "cases"],
        "id": ["1", rebuild],
        "page": ["1"],
    }


async def _was_tried(inbox: httpx.AsyncClient, message: str) -> bool:
    return bool((await inbox.get(f"/v1/messages/{message}/deliveries")).json()["data"])


async def _is_done(office: httpx.AsyncClient, rebuild: str) -> bool:
    return bool((await office.get(f"/v1/rebuilds/{rebuild}")).json()["state"] == "done")
