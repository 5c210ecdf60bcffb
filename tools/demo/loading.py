"""Enters the county in the register over HTTP. Doing it again changes nothing: keys are what they enter."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import date
from typing import Any

from libs.common.settings import Name
from tools.demo.callers import Caller, Unexpected, until
from tools.demo.county import County, Grant


class AnotherCounty(Exception):
    """The register holds another county than that of this release under the same keys."""


def load(county: County, registrar: Caller) -> int:
    """Agencies, officers, powers, grants, in this order; gives how many of them are new."""
    new = 0
    for agency in county.agencies.values():
        new += _enter(registrar, "/v1/agencies", agency.id, _without(asdict(agency), "short"))
    for officer in county.officers:
        row = {**asdict(officer), "agency": county.agencies[officer.agency].id}
        new += _enter(registrar, "/v1/officers", officer.id, row)
    for power in county.powers.values():
        row = {**asdict(power), "department": county.agencies[power.department].id}
        new += _enter(registrar, "/v1/powers", power.code, row)
    for grant in county.grants:
        new += _grant(county, registrar, grant)
    return new


def await_heard(county: County, coordinator: Caller) -> None:
    """Return when notify and sharing know the whole register. Raises Unexpected."""
    for service in ("notify", "sharing"):
        for stream, seq in _streams(county).items():
            await_witnessed(coordinator, service, stream, seq)


def await_witnessed(coordinator: Caller, service: Name, stream: str, seq: int) -> dict[str, Any]:
    """What the service saw of this stream, once it has seen this much. Raises Unexpected."""

    def look() -> dict[str, Any] | None:
        seen = coordinator.get(service, "/v1/witnesses", source="cases", stream=stream)
        told: dict[str, Any] = seen.need(200, 404)
        return told if seen.status == 200 and told["seq"] >= seq else None

    return until(look, f"{service} 见证 {stream} 的第 {seq} 条")


def _streams(county: County) -> dict[str, int]:
    """The streams of agencies and powers, with how many facts each holds at least."""
    grants = Counter(grant.power for grant in county.grants)
    recalls = Counter(grant.power for grant in county.grants if grant.recalled_on)
    return {
        **{f"agency/{agency.id}": 1 for agency in county.agencies.values()},
        **{f"power/{code}": 1 + grants[code] + recalls[code] for code in county.powers},
    }


def _grant(county: County, registrar: Caller, grant: Grant) -> int:
    name = f"{grant.power}-{grant.agency}-{grant.effective_on}"
    row = _without(asdict(grant), "recalled_on", "recall_document")
    row["agency"] = county.agencies[grant.agency].id
    key = f"qinghe-grants-{grant.power}-{row['agency']}-{grant.effective_on}"
    answer = registrar.post("cases", "/v1/grants", _plain(row), key=key)
    id_ = _entered(answer.status, answer.body, name)["id"]
    if grant.recalled_on is None:
        return not answer.is_replay
    recall = _plain({"recalled_on": grant.recalled_on, "document": grant.recall_document})
    taken = registrar.post("cases", f"/v1/grants/{id_}/recall", recall, key=f"qinghe-recall-{id_}")
    _entered(taken.status, taken.body, name)
    return not answer.is_replay


def _enter(registrar: Caller, path: str, id_: str, row: dict[str, Any]) -> int:
    key = f"qinghe-{path.rpartition('/')[2]}-{id_}"
    answer = registrar.post("cases", path, _plain(row), key=key)
    _entered(answer.status, answer.body, id_)
    return not answer.is_replay


def _entered(status: int, body: Any, name: str) -> Any:
    if status in (409, 422):
        raise AnotherCounty(f"{name}：{body.get('detail', body)}")
    if status != 201:
        raise Unexpected(f"登记 {name} 得到 {status}：{body}")
    return body


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON has it."""
    return {name: str(value) if isinstance(value, date) else value for name, value in row.items()}
