"""Logs are one line that nobody can break, traces lead through, and metrics are those that are documented."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import generate_latest

from libs.common import clock, errors, telemetry
from libs.common.law.limits import Light
from libs.common.store.reading import Reader
from tests.worlds import deployment


def line(message: object, *args: object, exc_info: Any = None, **extra: object) -> str:
    record = logging.getLogger("x").makeRecord(
        "x", logging.INFO, "x.py", 1, message, args, exc_info, extra=extra
    )
    return telemetry.OneLine().format(record)


def test_a_line_says_who_what_and_in_which_trace() -> None:
    trace = clock.Trace("c0", "case/1/2", "00-t0")
    with telemetry.speaking("notify"), telemetry.traced(trace):
        said = json.loads(line("签收 %s", "张三", action="receipt.signed", count=3))
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "INFO",
        "service": "notify",
        "logger": "x",
        "action": "receipt.signed",
        "message": "签收 张三",
        "trace_id": "c0",
        "traceparent": "00-t0",
        "count": 3,
    }


@pytest.mark.parametrize(
    "hostile",
    [
        "a\nb",
        "a\r\nb",
        "a\x1b[2Jb",
        "a\x00b",
        "a\x7fb",
        "a\x9bb",
        "a\u2028b",
        "a\u202eb",
        "a\ud800b",
        "\ufeff",
    ],
)
def test_no_text_breaks_its_line_or_moves_a_terminal(hostile: str) -> None:
    written = line("%s", hostile, detail=hostile, **{"key" + hostile: 1})
    written.encode()
    assert all(character.isprintable() for character in written)
    assert json.loads(written)["detail"] == hostile


def test_chinese_stays_readable() -> None:
    assert "青禾县" in line("青禾县")


def test_a_stack_is_in_the_same_line() -> None:
    try:
        raise ValueError("两\n行")
    except ValueError as why:
        written = line("a bug", exc_info=(type(why), why, why.__traceback__))
    assert "\n" not in written
    assert "ValueError" in json.loads(written)["exc_info"]


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0１",
    ],
)
def test_an_invalid_trace_is_replaced(traceparent: str) -> None:
    found = telemetry.new_trace(traceparent)
    assert found.traceparent.split("-")[1] == found.correlation
    assert len(found.correlation) == 32


def test_a_noisy_logger_is_kept_back_and_says_how_much() -> None:
    time = 0.0
    quieter = telemetry.Quieter(burst=2, window=10, monotonic=lambda: time)

    def through(name: str) -> int | None:
        record = logging.LogRecord(name, logging.WARNING, "x.py", 1, "down", None, None)
        return vars(record).get("kept_back", 0) if quieter.filter(record) else None

    assert [through("aiokafka.conn") for _ in range(4)] == [0, 0, None, None]
    assert [through("aiokafka.producer"), through("libs.x"), through("aiokafkaesque")] == [0, 0, 0]
    time = 10.0
    assert [through("aiokafka.conn") for _ in range(3)] == [2, 0, None]


def test_every_metric_is_exposed_as_it_is_documented() -> None:
    metrics = telemetry.Metrics("cases")
    metrics.answered("/v1/cases", "GET", 200, 0.1)
    for result in get_args(telemetry.Commit):
        metrics.committed(result)
    metrics.outbox(1.5, 3)
    metrics.published(2)
    metrics.publish_failed(1)
    metrics.lease("relay", True)
    metrics.lag({("liandong.cases.v1", 0): 7})
    metrics.applied("liandong.case.filed.v1")
    metrics.held(1)
    metrics.parked(1)
    metrics.unroutable("liandong.case.filed.v1", 1)
    metrics.obligations({("decision-90-days", Light.YELLOW): 2})
    metrics.escalated(1, False)
    metrics.agency("113307990026000025", "县水利局", "department", "330799")
    metrics.holding("113307990026000025", "department", "filed", 4)
    metrics.transfers("113307990026000025", "department", "to", "waiting", 1)
    metrics.waiting("113307990026000025", "department", 60.0)
    metrics.delivery("delivered", 0.1)
    metrics.endpoints("enabled", 1)
    metrics.feed_lag("cases", "batch", 3)
    metrics.seen(0.2)
    metrics.alarms("topic-recreated", 1)
    with metrics.reading("county"):
        exposed = {family.name: family for family in metrics.registry.collect()}
    for name, metric in telemetry.METRICS.items():
        family = exposed.pop(name.removesuffix("_total"))
        assert family.type == metric.kind
        assert family.documentation == metric.help
        samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        assert samples, f"nothing says {name}"
        assert {"service", *metric.labels} <= set(samples[0].labels)
        assert {sample.labels["service"] for sample in samples} == {"cases"}
    assert not exposed
    assert generate_latest(metrics.registry)


def test_labels_are_bounded() -> None:
    metrics = telemetry.Metrics("cases")
    for method in ("PROPFIND", "BREW", "x" * 1000):
        metrics.answered("unmatched", method, 405, 0)
    (family,) = [found for found in metrics.registry.collect() if found.name == "liandong_http_requests"]
    assert {sample.labels["method"] for sample in family.samples} == {"other"}
    with pytest.raises(ValueError, match="no such result"):
        metrics.committed("case 17")  # type: ignore[arg-type]


def test_a_partition_that_went_to_another_process_is_said_no_longer() -> None:
    metrics = telemetry.Metrics("notify")

    def behind(partition: str) -> float | None:
        labels = {"service": "notify", "topic": "liandong.cases.v1", "partition": partition}
        return metrics.registry.get_sample_value("liandong_consumer_lag", labels)

    metrics.lag({("liandong.cases.v1", 0): 7, ("liandong.cases.v1", 1): 900})
    metrics.lag({("liandong.cases.v1", 0): 6})
    assert (behind("0"), behind("1")) == (6, None)


def test_readers_leave_the_gauge_when_they_go() -> None:
    metrics = telemetry.Metrics("sharing")

    def readers() -> float | None:
        labels = {"service": "sharing", "feed": "county"}
        return metrics.registry.get_sample_value("liandong_feed_readers", labels)

    with metrics.reading("county"), metrics.reading("county"):
        assert readers() == 2
    assert readers() == 0


@pytest.mark.anyio
async def test_what_a_service_cannot_count_hides_nothing_that_wakes_people(tmp_path: Path) -> None:
    async def fails(read: Reader) -> None:
        raise errors.Transient("too large to be counted in time")

    async with deployment.on_embedded(tmp_path) as county:
        loops = county.loops("sharing")
        loops.also_measure = fails
        with pytest.raises(errors.Transient):
            await loops.measure()
        labels = {"service": "sharing", "kind": "open_gap"}
        assert loops.metrics.registry.get_sample_value("liandong_alarms", labels) == 0
