"""Each alert fires when it must and is silent when it may, by promtool's clock; those that wait, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engines.prometheus import Prometheus
from tools.operators import alerts

ALARMS = 'liandong_alarms{service="notify", kind="%s"}'
LEASE = 'liandong_lease_held{service="cases", lease="relay", instance="%s"}'
LAG = 'liandong_consumer_lag{service="notify", topic="liandong.cases.v1", partition="%s"}'
ANSWERS = 'liandong_http_requests_total{service="cases", route="/v1/cases", status="%s"}'
SECONDS = 'liandong_http_request_seconds_bucket{service="sharing", route="%s", le="%s"}'
SEEN_IN_TIME = 'liandong_filed_to_seen_seconds_bucket{service="sharing", le="5.0"}'
SEEN = 'liandong_filed_to_seen_seconds_count{service="sharing"}'
UNROUTABLE = 'liandong_events_unroutable{service="notify", type="liandong.case.filed.v1"}'
WAITING, FOLLOWED = "/v1/feeds/{feed}", "/v1/picture"
NOTIFY = {"service": "notify"}
CASES = {"service": "cases"}


@dataclass(frozen=True)
class Case:
    """What is measured, step by step; what the alert says at some time, or nothing."""

    why: str
    alert: str
    series: Mapping[str, str]
    at: str
    says: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    step: str = "1m"


CASES_OF_ALERTS = (
    Case(
        "a process is gone",
        "ServiceDown",
        {'up{job="liandong", instance="cases:8001"}': "1x3 0x5", 'up{job="other", instance="x"}': "0x9"},
        "6m",
        "cases:8001 不答复指标请求",
        {"instance": "cases:8001"},
    ),
    Case(
        "a process was restarted",
        "ServiceDown",
        {'up{job="liandong", instance="cases:8001"}': "1 1 0 1x5"},
        "3m",
    ),
    Case(
        "the log was replaced",
        "ConsumerStopped",
        {ALARMS % "consumer_stopped": "0 1"},
        "1m",
        "notify 的日志被替换，消费已停止",
        NOTIFY,
    ),
    Case(
        "another alarm sounds",
        "ConsumerStopped",
        {ALARMS % "consumer_stopped": "0x5", ALARMS % "open_gap": "1x5"},
        "5m",
    ),
    Case(
        "two processes tell of the same two streams",
        "StreamParked",
        {
            'liandong_keys_parked{service="notify", instance="a"}': "0 2",
            'liandong_keys_parked{service="notify", instance="b"}': "0 2",
        },
        "1m",
        "notify 有 2 个流被搁置",
        NOTIFY,
    ),
    Case(
        "a stream was taken up again",
        "StreamParked",
        {'liandong_keys_parked{service="notify", instance="a"}': "2 0"},
        "1m",
    ),
    Case(
        "somebody wrote into the topic",
        "UnreadableRecord",
        {ALARMS % "unreadable_record": "3"},
        "0m",
        "notify 的主题中有 3 条无法读取的记录",
        NOTIFY,
    ),
    Case("nobody did", "UnreadableRecord", {ALARMS % "unreadable_record": "0x3"}, "3m"),
    Case(
        "the source has less than it said",
        "GapOpen",
        {ALARMS % "open_gap": "0 1"},
        "1m",
        "notify 有 1 处缺口补不上",
        NOTIFY,
    ),
    Case("the gap was filled", "GapOpen", {ALARMS % "open_gap": "1 0"}, "1m"),
    Case(
        "an earlier event does not come",
        "EventsHeld",
        {'liandong_events_held{service="notify"}': "3x10"},
        "6m",
        "notify 有 3 个事件一直在等前序事件",
        NOTIFY,
    ),
    Case("it came", "EventsHeld", {'liandong_events_held{service="notify"}': "3x3 0x7"}, "6m"),
    Case(
        "one more than an hour before",
        "EventUnroutable",
        {UNROUTABLE: "1x60 2x10"},
        "62m",
        "一小时内有 1 个 liandong.case.filed.v1 事件没有送达全部应收机关",
        {"type": "liandong.case.filed.v1"},
    ),
    Case(
        "the first of a type that was not known",
        "EventUnroutable",
        {UNROUTABLE: "_x60 1x5"},
        "62m",
        "一小时内有 1 个 liandong.case.filed.v1 事件没有送达全部应收机关",
        {"type": "liandong.case.filed.v1"},
    ),
    Case("as many as an hour before", "EventUnroutable", {UNROUTABLE: "2x130"}, "125m"),
    Case(
        "nothing is published any more",
        "OutboxStuck",
        {'liandong_outbox_age_seconds{service="cases"}': "0+60x10"},
        "4m",
        "cases 最早一条未发布的事实已等待 4m 0s",
        CASES,
    ),
    Case(
        "Kafka was restarted",
        "OutboxStuck",
        {'liandong_outbox_age_seconds{service="cases"}': "70 130 1x10"},
        "4m",
    ),
    Case(
        "none of two processes holds it",
        "LeaseNotHeldOnce",
        {LEASE % "a": "1x2 0x5", LEASE % "b": "0x7"},
        "5m",
        "cases 的租约 relay 有 0 个持有者，应为 1 个",
        {"service": "cases", "lease": "relay"},
    ),
    Case(
        "both hold it",
        "LeaseNotHeldOnce",
        {LEASE % "a": "1x9", LEASE % "b": "1x9"},
        "5m",
        "cases 的租约 relay 有 2 个持有者，应为 1 个",
        {"service": "cases", "lease": "relay"},
    ),
    Case(
        "it went from one to the other",
        "LeaseNotHeldOnce",
        {LEASE % "a": "1 0x9", LEASE % "b": "0 0 1x8"},
        "2m",
    ),
    Case(
        "more come than are applied",
        "ConsumerBehind",
        {LAG % "0": "0+400x20", LAG % "1": "0+100x20"},
        "10m",
        "notify 落后 5000 个事件，且没有减少",
        NOTIFY,
    ),
    Case("it catches up", "ConsumerBehind", {LAG % "0": "9000-300x20"}, "10m"),
    Case(
        "the first bug of a process",
        "BugAnswered",
        {ANSWERS % "500": "_x5 1x5", ANSWERS % "200": "0+9x20"},
        "6m",
        "cases 答复了 500：程序错误",
        CASES,
    ),
    Case(
        "one more bug",
        "BugAnswered",
        {ANSWERS % "500": "3x10 4x5", ANSWERS % "200": "0+9x20"},
        "12m",
        "cases 答复了 500：程序错误",
        CASES,
    ),
    Case("an old bug", "BugAnswered", {ANSWERS % "500": "3x20", ANSWERS % "200": "0+9x20"}, "15m"),
    Case("other refusals", "BugAnswered", {ANSWERS % "409": "0+5x20", ANSWERS % "503": "0+5x20"}, "15m"),
    Case(
        "two of a hundred",
        "RequestsRefusedAsBusy",
        {ANSWERS % "503": "0+2x20", ANSWERS % "200": "0+98x20"},
        "10m",
        "cases 有 2% 的请求得到 503",
        CASES,
    ),
    Case(
        "one of two hundred",
        "RequestsRefusedAsBusy",
        {ANSWERS % "503": "0+1x20", ANSWERS % "200": "0+199x20"},
        "10m",
    ),
    Case(
        "four of a hundred take long",
        "RequestsSlow",
        {
            SECONDS % (FOLLOWED, "1.0"): "0+96x20",
            SECONDS % (FOLLOWED, "2.5"): "0+100x20",
            SECONDS % (FOLLOWED, "+Inf"): "0+100x20",
        },
        "12m",
        "sharing 请求耗时的第 99 百分位为 2.125s",
        {"service": "sharing"},
    ),
    Case(
        "readers of a feed wait",
        "RequestsSlow",
        {
            SECONDS % (WAITING, "1.0"): "0+1x20",
            SECONDS % (WAITING, "30.0"): "0+100x20",
            SECONDS % (WAITING, "+Inf"): "0+100x20",
        },
        "12m",
    ),
    Case(
        "a fifth is late",
        "FiledSeenLateFast",
        {SEEN_IN_TIME: "0+8x80", SEEN: "0+10x80"},
        "70m",
        "近一小时立案的案件有 20% 未按时可见，两日内将用完全月的余量",
    ),
    Case(
        "a fifth was late, and none is now",
        "FiledSeenLateFast",
        {SEEN_IN_TIME: "0+5x30 160+10x40", SEEN: "0+10x80"},
        "65m",
    ),
    Case(
        "two of two are late",
        "FiledSeenLateFast",
        {SEEN_IN_TIME: "0x80", SEEN: "0x58 1 2x20"},
        "60m",
    ),
    Case("a twelfth is late", "FiledSeenLateFast", {SEEN_IN_TIME: "0+92x400", SEEN: "0+100x400"}, "380m"),
    Case(
        "a twelfth is late",
        "FiledSeenLate",
        {SEEN_IN_TIME: "0+92x400", SEEN: "0+100x400"},
        "380m",
        "近六小时立案的案件有 8% 未按时可见，五日内将用完全月的余量",
    ),
    Case("a fiftieth is late", "FiledSeenLate", {SEEN_IN_TIME: "0+98x400", SEEN: "0+100x400"}, "380m"),
    Case(
        "a fiftieth is late",
        "FiledSeenLateSlow",
        {SEEN_IN_TIME: "0+98x80", SEEN: "0+100x80"},
        "73h",
        "近三日立案的案件有 2% 未按时可见，全月将达不到目标",
        step="1h",
    ),
    Case(
        "one of two hundred",
        "FiledSeenLateSlow",
        {SEEN_IN_TIME: "0+199x80", SEEN: "0+200x80"},
        "73h",
        step="1h",
    ),
    Case(
        "a level came after its time",
        "EscalationLate",
        {'liandong_escalations_total{level="1", late="true"}': "0 0 1 1"},
        "3m",
        "一小时内有时限升级晚于其时刻，系统恢复后补发",
    ),
    Case(
        "levels come in time",
        "EscalationLate",
        {
            'liandong_escalations_total{level="1", late="false"}': "0+1x70",
            'liandong_escalations_total{level="1", late="true"}': "2x70",
        },
        "65m",
    ),
    Case(
        "an agency's system is down",
        "EndpointFailing",
        {'liandong_endpoints{service="notify", state="failing"}': "0x9 2x80"},
        "75m",
        "有 2 个推送端点一小时没有送达",
    ),
    Case(
        "it came back",
        "EndpointFailing",
        {'liandong_endpoints{service="notify", state="failing"}': "0x9 2x40 0x40"},
        "75m",
    ),
    Case(
        "a name leads into our own network",
        "DeliveryForbidden",
        {'liandong_deliveries_total{outcome="forbidden"}': "0 1"},
        "1m",
        "有推送地址解析到了不允许的网络",
    ),
    Case(
        "long ago",
        "DeliveryForbidden",
        {
            'liandong_deliveries_total{outcome="forbidden"}': "2x90",
            'liandong_deliveries_total{outcome="delivered"}': "0+5x90",
        },
        "80m",
    ),
    Case(
        "deliveries pile up",
        "DeliveryBacklog",
        {'liandong_delivery_backlog{service="notify"}': "900+100x40"},
        "30m",
        "有 3900 件推送到期未送，且没有减少",
    ),
    Case(
        "they are being made up for",
        "DeliveryBacklog",
        {'liandong_delivery_backlog{service="notify"}': "9000-100x40"},
        "30m",
    ),
    Case(
        "a reader sleeps",
        "FeedReaderBehind",
        {'liandong_feed_lag{service="sharing", feed="cases", form="stream"}': "2000x80"},
        "40m",
        "订阅源 cases 有读者落后 2000 条，且没有减少",
        {"feed": "cases"},
    ),
    Case(
        "a reader catches up",
        "FeedReaderBehind",
        {'liandong_feed_lag{service="sharing", feed="cases", form="stream"}': "9000-50x80"},
        "40m",
    ),
)


def asked(case: Case, rules: Path) -> dict[str, Any]:
    """The case as promtool reads it."""
    (alert,) = [alert for alert in alerts.ALERTS if alert.name == case.alert]
    expected = {
        "exp_labels": {**case.labels, "severity": alert.severity, "owner": alert.owner},
        "exp_annotations": {
            "summary": case.says,
            "runbook": f"docs/runbook.md#{alerts.anchor(alert.runbook)}",
        },
    }
    test = {
        "interval": case.step,
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "alert_rule_test": [
            {
                "eval_time": case.at,
                "alertname": case.alert,
                "exp_alerts": [expected] if case.says else [],
            }
        ],
    }
    return {"rule_files": [str(rules)], "evaluation_interval": case.step, "tests": [test]}


@pytest.mark.parametrize("case", CASES_OF_ALERTS, ids=lambda case: f"{case.alert}-{case.why}")
def test_an_alert_fires_or_is_silent_as_it_should(case: Case, prometheus: Prometheus, tmp_path: Path) -> None:
    rules, test = tmp_path / "rules.yml", tmp_path / "test.yml"
    rules.write_text(alerts.page(alerts.ALERTS), encoding="utf-8")
    test.write_text(yaml.safe_dump(asked(case, rules), allow_unicode=True), encoding="utf-8")
    fine, said = prometheus.promtool("test", "rules", str(test))
    assert fine, said


@pytest.mark.parametrize("alert", alerts.ALERTS, ids=lambda alert: alert.name)
def test_an_alert_is_seen_to_fire_and_to_be_silent(alert: alerts.Alert) -> None:
    assert {bool(case.says) for case in CASES_OF_ALERTS if case.alert == alert.name} == {True, False}
