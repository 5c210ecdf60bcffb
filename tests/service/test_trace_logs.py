"""A trace id leads from a request to its event, and from there to every effect in the other services."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libs.common import telemetry
from tests.worlds import cast
from tests.worlds.deployment import on_embedded

pytestmark = pytest.mark.anyio


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the process logs, as operators get it."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(telemetry.OneLine())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield said
    root.setLevel(before)
    root.removeHandler(handler)


async def test_one_trace_leads_from_the_request_to_the_notice_and_the_feed(
    tmp_path: Path, lines: io.StringIO
) -> None:
    async with on_embedded(tmp_path) as county:
        await cast.register(county)
        await county.drain()  # else the offer may be heard first, and its notice waits for the agency
        township = county.ask("cases", cast.TOWNSHIP)
        case = await cast.a_case(township)
        seen = await cast.etag(township, f"/v1/cases/{case}")
        answer = await township.post(
            f"/v1/cases/{case}/transfers", json=cast.an_offer(), headers={"if-match": seen}
        )
        assert answer.status_code == 201
        await county.drain()

    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    (committed,) = [line for line in said if line.get("for") == "transfer.offer"]
    assert committed["events"] == [f"case/{case}/2"]
    trace = [line for line in said if line.get("trace_id") == committed["trace_id"]]
    assert _has(trace, service="cases", action="http.answered")
    assert _has(trace, service="notify", action="applied", event=f"case/{case}/2")
    assert _has(trace, service="sharing", action="applied", event=f"case/{case}/2")
    notices = [line for line in trace if str(line.get("event", "")).startswith("notice/")]
    assert notices, "the notice that the event became is of the same trace"
    assert answer.headers["traceparent"] in {line["traceparent"] for line in trace}


def _has(lines: list[dict[str, Any]], **wanted: str) -> bool:
    return any(wanted.items() <= line.items() for line in lines)
