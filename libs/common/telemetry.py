"""What operators see: a JSON line per happening, a trace through everything, metrics with bounded labels."""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pythonjsonlogger.orjson import OrjsonFormatter

from libs.common import clock
from libs.common.clock import Trace
from libs.common.law.limits import Light

_trace: ContextVar[Trace | None] = ContextVar("trace", default=None)
_service: ContextVar[str] = ContextVar("service", default="")

#: W3C Trace Context, version 00; a trace or parent of only zeros is invalid.
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


def new_trace(traceparent: str = "") -> Trace:
    """The trace of a new request, which goes on the caller's if theirs is valid.

    The correlation is always our own: a caller must not be able to mix two requests up in the journal.
    """
    correlation = secrets.token_hex(16)
    theirs = _TRACEPARENT.fullmatch(traceparent)
    trace, flags = theirs.groups() if theirs else (correlation, "00")
    return Trace(correlation, traceparent=f"00-{trace}-{secrets.token_hex(8)}-{flags}")


def current_trace() -> Trace:
    """The trace of what runs now; outside of any, a new one."""
    return _trace.get() or new_trace()


@contextmanager
def traced(trace: Trace) -> Iterator[None]:
    """What runs within belongs to this trace: a request's, or that of the event being applied."""
    token = _trace.set(trace)
    try:
        yield
    finally:
        _trace.reset(token)


@contextmanager
def speaking(service: str) -> Iterator[None]:
    """What is logged within, and by tasks started within, is said by this service."""
    token = _service.set(service)
    try:
        yield
    finally:
        _service.reset(token)


#: JSON escapes C0 controls itself; these too move a terminal's cursor, or break and reorder lines.
_UNSEEMLY = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class OneLine(OrjsonFormatter):
    """A record as one line of JSON, with the service and the trace that it belongs to."""

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Ours first, in this order; then what the call gave as `extra`."""
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        log_data["level"] = record.levelname
        log_data["service"] = _service.get()
        log_data["logger"] = record.name
        log_data["action"] = ""
        log_data["message"] = record.getMessage()
        if trace := _trace.get():
            log_data["trace_id"] = trace.correlation
            log_data["traceparent"] = trace.traceparent
        super().add_fields(log_data, record, message_dict)

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """The line."""
        try:
            line: str = super().jsonify_log_record(log_data)
        except TypeError:  # half a character, a number beyond 64 bits
            line = json.dumps(log_data, ensure_ascii=False, default=str)
        return _UNSEEMLY.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


class Quieter(logging.Filter):
    """Lets a few records a window through for each noisy logger, and says how many it kept back.

    During an outage aiokafka alone warns about 200 times a second.
    """

    def __init__(
        self,
        noisy: tuple[str, ...] = ("aiokafka",),
        *,
        burst: int = 5,
        window: float = 10.0,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        """`window` is in seconds."""
        super().__init__()
        self._noisy = noisy
        self._burst = burst
        self._window = window
        self._monotonic = monotonic
        self._windows: dict[str, _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is let through."""
        if record.name.partition(".")[0] not in self._noisy:
            return True
        now = self._monotonic()
        seen = self._windows.setdefault(record.name, _Window(now))
        if now - seen.began >= self._window:
            record.kept_back = seen.kept_back
            seen = self._windows[record.name] = _Window(now)
        seen.let_through += 1
        if seen.let_through <= self._burst:
            return True
        seen.kept_back += 1
        return False


@dataclass(slots=True)
class _Window:
    began: float
    let_through: int = 0
    kept_back: int = 0


def log_as_json(level: str = "INFO") -> None:
    """All logging of this process goes to standard error, one line each. Called once, at its start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    handler.addFilter(Quieter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Requests are logged by ours, with their trace; the client's lines repeat what its callers say.
    for wordy in ("uvicorn.access", "httpx", "httpcore", "alembic"):
        logging.getLogger(wordy).setLevel(logging.WARNING)


#: How a commit may end, as operators count it.
Commit = Literal["committed", "conflict", "fence_lost"]
#: Whose transfers: offered to an agency, or by it.
Side = Literal["to", "by"]
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as it is documented."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]  #: besides `service`
    help: str
    buckets: tuple[float, ...] = ()


_FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_HOPS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 300.0)

#: Every metric there is. Labels are bounded: routes, types, topics and kinds, never the id of a thing.
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("liandong_http_requests_total", "counter", ("route", "method", "status"), "已答复的请求数"),
        Metric("liandong_http_request_seconds", "histogram", ("route", "method"), "请求耗时（秒）", _FAST),
        Metric("liandong_commits_total", "counter", ("result",), "提交次数，按结果"),
        Metric("liandong_outbox_age_seconds", "gauge", (), "最早一条未发布事实的等待时间（秒）"),
        Metric("liandong_outbox_depth", "gauge", (), "未发布的事实数"),
        Metric("liandong_relay_published_total", "counter", (), "已发布的事件数"),
        Metric("liandong_relay_failed_total", "counter", (), "发布失败次数"),
        Metric("liandong_lease_held", "gauge", ("lease",), "本进程是否持有租约（1 为持有）"),
        Metric("liandong_consumer_lag", "gauge", ("topic", "partition"), "尚未处理的事件数"),
        Metric("liandong_events_applied_total", "counter", ("type",), "已生效的事件数，按类型"),
        Metric("liandong_events_held", "gauge", (), "因前序事件未到而暂存的事件数"),
        Metric("liandong_keys_parked", "gauge", (), "被搁置的流数"),
        Metric("liandong_events_unroutable", "gauge", ("type",), "无路由可送达、改送默认机关的事件数"),
        Metric("liandong_obligations", "gauge", ("rule", "light"), "正在计时的时限数，按规则和灯色"),
        Metric("liandong_escalations_total", "counter", ("level", "late"), "已到的升级级数，按级和是否补发"),
        Metric("liandong_deliveries_total", "counter", ("outcome",), "推送次数，按结果"),
        Metric("liandong_delivery_seconds", "histogram", (), "一次推送的耗时（秒）", _FAST),
        Metric("liandong_endpoints", "gauge", ("state",), "推送端点数，按状态"),
        Metric("liandong_feed_readers", "gauge", ("feed",), "正在读取或等待的订阅者数"),
        Metric("liandong_feed_lag", "gauge", ("feed", "form"), "最落后的订阅者尚未读取的记录数，按形式"),
        Metric(
            "liandong_agency_info", "gauge", ("agency", "name", "kind", "division"), "已登记的机关（恒为 1）"
        ),
        Metric("liandong_cases_open", "gauge", ("agency", "kind", "stage"), "机关承办的未结案件数，按阶段"),
        Metric(
            "liandong_transfers",
            "gauge",
            ("agency", "kind", "side", "state"),
            "移送数，按状态（side：to 为移送给该机关的，by 为该机关移送出的）",
        ),
        Metric(
            "liandong_transfer_waiting_seconds",
            "gauge",
            ("agency", "kind"),
            "等待该机关答复的移送中最早一件已等待的时间（秒）",
        ),
        Metric("liandong_filed_to_seen_seconds", "histogram", (), "从立案到对方可见的时间（秒）", _HOPS),
        Metric("liandong_alarms", "gauge", ("kind",), "当前告警数，按种类"),
    )
}


class Metrics:
    """The metrics of one service: a verb for each thing that happens, and a registry of its own."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for name, metric in METRICS.items():
            self._make(name, metric)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is the template, never the path."""
        method = method if method in _METHODS else "other"
        self._counter("liandong_http_requests_total", route, method, str(status)).inc()
        self._histogram("liandong_http_request_seconds", route, method).observe(seconds)

    def committed(self, result: Commit) -> None:
        """A commit ended so."""
        if result not in get_args(Commit):
            raise ValueError(f"no such result of a commit: {result}")
        self._counter("liandong_commits_total", result).inc()

    def outbox(self, age: float, depth: int) -> None:
        """The oldest unpublished fact has waited `age` seconds, and so many are unpublished."""
        self._gauge("liandong_outbox_age_seconds").set(age)
        self._gauge("liandong_outbox_depth").set(depth)

    def published(self, count: int) -> None:
        """So many events were acknowledged by the log."""
        self._counter("liandong_relay_published_total").inc(count)

    def publish_failed(self, count: int) -> None:
        """So many publications failed and will be tried again."""
        self._counter("liandong_relay_failed_total").inc(count)

    def lease(self, lease: str, held: bool) -> None:
        """This process holds the lease, or no longer."""
        self._gauge("liandong_lease_held", lease).set(held)

    def lag(self, behind: Mapping[tuple[str, int], int]) -> None:
        """So many records of each partition (topic, number) that this process reads are not applied yet.

        Those that are not named are another process's by now, and are said no longer.
        """
        self._gauges["liandong_consumer_lag"].clear()
        for (topic, partition), count in behind.items():
            self._gauge("liandong_consumer_lag", topic, str(partition)).set(count)

    def applied(self, type: str) -> None:
        """An event of this type took effect."""
        self._counter("liandong_events_applied_total", type).inc()

    def held(self, count: int) -> None:
        """So many events wait for an earlier one."""
        self._gauge("liandong_events_held").set(count)

    def parked(self, count: int) -> None:
        """So many streams are parked."""
        self._gauge("liandong_keys_parked").set(count)

    def unroutable(self, type: str, count: int) -> None:
        """So many events of a type found no route and went to the default agency."""
        self._gauge("liandong_events_unroutable", type).set(count)

    def obligations(self, counts: Mapping[tuple[str, Light], int]) -> None:
        """So many clocks run now, by rule and light; those of which there are none any more are 0."""
        gauge = self._gauges["liandong_obligations"]
        gauge.clear()
        for (rule, light), count in counts.items():
            gauge.labels(self.service, rule, light).set(count)

    def escalated(self, level: int, late: bool, *, times: int = 1) -> None:
        """A clock reached this level, late where the system was down at its time."""
        self._counter("liandong_escalations_total", str(level), str(late).lower()).inc(times)

    def delivery(self, outcome: str, seconds: float) -> None:
        """A webhook was tried once, with this outcome."""
        self._counter("liandong_deliveries_total", outcome).inc()
        self._histogram("liandong_delivery_seconds").observe(seconds)

    def endpoints(self, state: str, count: int) -> None:
        """So many endpoints are in a state."""
        self._gauge("liandong_endpoints", state).set(count)

    @contextmanager
    def reading(self, feed: str) -> Iterator[None]:
        """Somebody reads this feed, or waits at it, as long as this lasts."""
        with self._gauge("liandong_feed_readers", feed).track_inprogress():
            yield

    def feed_lag(self, feed: str, form: str, behind: int) -> None:
        """Whoever is furthest behind of those who follow this feed so has so many entries to read."""
        self._gauge("liandong_feed_lag", feed, form).set(behind)

    def agency(self, agency: str, name: str, kind: str, division: str) -> None:
        """An agency of the county: what its code is called."""
        self._gauge("liandong_agency_info", agency, name, kind, division).set(1)

    def holding(self, agency: str, kind: str, stage: str, count: int) -> None:
        """The agency holds so many open cases at this stage."""
        self._gauge("liandong_cases_open", agency, kind, stage).set(count)

    def transfers(self, agency: str, kind: str, side: Side, state: str, count: int) -> None:
        """So many transfers to the agency, or by it, are in this state."""
        self._gauge("liandong_transfers", agency, kind, side, state).set(count)

    def waiting(self, agency: str, kind: str, seconds: float) -> None:
        """The oldest transfer that the agency has not answered has waited so long; 0 where there is none."""
        self._gauge("liandong_transfer_waiting_seconds", agency, kind).set(seconds)

    def seen(self, seconds: float) -> None:
        """A filed case became visible to the other agency after so many seconds."""
        self._histogram("liandong_filed_to_seen_seconds").observe(seconds)

    def alarms(self, kind: str, count: int) -> None:
        """So many alarms of a kind stand now; 0 ends them."""
        self._gauge("liandong_alarms", kind).set(count)

    def _make(self, name: str, metric: Metric) -> None:
        labels = ("service", *metric.labels)
        if metric.kind == "counter":
            self._counters[name] = Counter(name, metric.help, labels, registry=self.registry)
        elif metric.kind == "gauge":
            self._gauges[name] = Gauge(name, metric.help, labels, registry=self.registry)
        else:
            self._histograms[name] = Histogram(
                name, metric.help, labels, buckets=metric.buckets, registry=self.registry
            )
        if metric.kind != "gauge" and not metric.labels:
            # What begins at its first count has, to Prometheus, grown by nothing.
            (self._counters.get(name) or self._histograms[name]).labels(self.service)

    def _counter(self, name: str, *labels: str) -> Counter:
        return self._counters[name].labels(self.service, *labels)

    def _gauge(self, name: str, *labels: str) -> Gauge:
        return self._gauges[name].labels(self.service, *labels)

    def _histogram(self, name: str, *labels: str) -> Histogram:
        return self._histograms[name].labels(self.service, *labels)
