"""The alert rules: what is wrong, for how long, whose it is, and where the runbook says what to do.

A rule whose metric is not measured yet is kept in the list and left out of the file.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from libs.common.telemetry import METRICS
from tools.operators import promql
from tools.operators.promql import REQUESTS, once, or_zero

#: Who acts: whoever runs the machines, mends the program, or speaks to the agencies.
Owner = Literal["值班运维", "软件维护单位", "联席会议办公室"]
#: `page` wakes somebody now; `ticket` waits for the working day.
Severity = Literal["page", "ticket"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A series that Prometheus computes and keeps, because several rules and panels ask for it."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class Condition:
    """What is measured, and when that is too much. The measure by itself always has a value."""

    measure: str
    limit: str

    @property
    def expression(self) -> str:
        # A comparison binds more tightly than these.
        loose = any(f" {word} " in self.measure for word in ("or", "and", "unless"))
        return f"({self.measure}) {self.limit}" if loose else f"{self.measure} {self.limit}"


@dataclass(frozen=True, slots=True)
class Alert:
    """It fires when all its conditions have held for so long."""

    name: str
    owner: Owner
    severity: Severity
    summary: str
    runbook: str  #: the heading in docs/runbook.md
    conditions: tuple[Condition, ...]
    lasting: str = ""

    @property
    def expression(self) -> str:
        return "\nand ".join(condition.expression for condition in self.conditions)


#: Windows over which the share of late cases is kept: long and short for each speed at which a budget burns.
WINDOWS = ("5m", "30m", "1h", "6h", "3d", "30d")
#: Those over which late cases are counted, too.
LONG = ("1h", "6h", "3d")
#: Two late cases are no trend, three are; Prometheus estimates, so the limit lies between.
A_FEW = 2.5

RECORDED = (
    *(Recorded(f"liandong:filed_late:ratio_{window}", promql.late(window)) for window in WINDOWS),
    *(Recorded(f"liandong:filed_late:count_{window}", promql.late_count(window)) for window in LONG),
)


def burning(speed: float, long: str, short: str) -> tuple[Condition, ...]:
    """The budget of the objective burns so many times too fast, for long enough, and still does."""
    too_many = round(speed * (1 - promql.OBJECTIVE), 4)
    return (
        Condition(f"liandong:filed_late:ratio_{long}", f"> {too_many}"),
        Condition(f"liandong:filed_late:ratio_{short}", f"> {too_many}"),
        Condition(f"liandong:filed_late:count_{long}", f"> {A_FEW}"),
    )


def _share_of(status: str) -> str:
    those = f'sum by (service) (rate({REQUESTS}{{status="{status}"}}[5m]))'
    all_ = f"sum by (service) (rate({REQUESTS}[5m]))"
    return f"{or_zero(those, all_)} / {all_}"


def _bugs(window: str) -> str:
    """Answers of 500 within a window; a series that was born in it counts with all that it has."""
    bugs = f'{REQUESTS}{{status="500"}}'
    present = f"sum by (service) ({REQUESTS})"
    grown = or_zero(f"sum by (service) (increase({bugs}[{window}]))", present)
    born = or_zero(f"sum by (service) ({bugs} unless {bugs} offset {window})", present)
    return f"{grown} + {born}"


def _more_than_before(gauge: str, by: str, window: str) -> str:
    """By how much a gauge has grown; one that was not there before counts with all that it has."""
    now, before = once(gauge, by), once(f"{gauge} offset {window}", by)
    return f"{now} - {or_zero(before, now)}"


def _alarm(kind: str) -> str:
    return once(f'liandong_alarms{{kind="{kind}"}}', "service")


ALERTS = (
    Alert(
        "ServiceDown",
        owner="值班运维",
        severity="page",
        summary="{{ $labels.instance }} 不答复指标请求",
        runbook="服务不答复",
        conditions=(Condition('min by (instance) (up{job="liandong"})', "== 0"),),
        lasting="1m",
    ),
    Alert(
        "ConsumerStopped",
        owner="值班运维",
        severity="page",
        summary="{{ $labels.service }} 的日志被替换，消费已停止",
        runbook="消费停止：日志被替换",
        conditions=(Condition(_alarm("consumer_stopped"), "> 0"),),
    ),
    Alert(
        "StreamParked",
        owner="值班运维",
        severity="page",
        summary="{{ $labels.service }} 有 {{ $value }} 个流被搁置",
        runbook="流被搁置",
        conditions=(Condition(once("liandong_keys_parked", "service"), "> 0"),),
    ),
    Alert(
        "UnreadableRecord",
        owner="值班运维",
        severity="ticket",
        summary="{{ $labels.service }} 的主题中有 {{ $value }} 条无法读取的记录",
        runbook="无法读取的记录",
        conditions=(Condition(_alarm("unreadable_record"), "> 0"),),
    ),
    Alert(
        "GapOpen",
        owner="值班运维",
        severity="page",
        summary="{{ $labels.service }} 有 {{ $value }} 处缺口补不上",
        runbook="缺口未补上",
        conditions=(Condition(_alarm("open_gap"), "> 0"),),
    ),
    Alert(
        "EventsHeld",
        owner="值班运维",
        severity="ticket",
        summary="{{ $labels.service }} 有 {{ $value }} 个事件一直在等前序事件",
        runbook="缺口未补上",
        conditions=(Condition(once("liandong_events_held", "service"), "> 0"),),
        lasting="5m",
    ),
    Alert(
        "EventUnroutable",
        owner="联席会议办公室",
        severity="ticket",
        summary="一小时内有 {{ $value }} 个 {{ $labels.type }} 事件没有送达全部应收机关",
        runbook="事件无路由",
        conditions=(Condition(_more_than_before("liandong_events_unroutable", "type", "1h"), "> 0"),),
    ),
    Alert(
        "OutboxStuck",
        owner="值班运维",
        severity="page",
        summary="{{ $labels.service }} 最早一条未发布的事实已等待 {{ $value | humanizeDuration }}",
        runbook="事件发不出去",
        conditions=(Condition(once("liandong_outbox_age_seconds", "service"), "> 60"),),
        lasting="2m",
    ),
    Alert(
        "LeaseNotHeldOnce",
        owner="值班运维",
        severity="page",
        summary="{{ $labels.service }} 的租约 {{ $labels.lease }} 有 {{ $value }} 个持有者，应为 1 个",
        runbook="租约无人持有",
        conditions=(Condition("sum by (service, lease) (liandong_lease_held)", "!= 1"),),
        lasting="1m",
    ),
    Alert(
        "ConsumerBehind",
        owner="值班运维",
        severity="page",
        summary="{{ $labels.service }} 落后 {{ $value }} 个事件，且没有减少",
        runbook="消费落后",
        conditions=(
            Condition(promql.BEHIND, "> 1000"),
            Condition("sum by (service) (deriv(liandong_consumer_lag[5m]))", ">= 0"),
        ),
        lasting="5m",
    ),
    Alert(
        "BugAnswered",
        owner="软件维护单位",
        severity="page",
        summary="{{ $labels.service }} 答复了 500：程序错误",
        runbook="请求失败",
        conditions=(Condition(_bugs("5m"), "> 0"),),
    ),
    Alert(
        "RequestsRefusedAsBusy",
        owner="值班运维",
        severity="page",
        summary="{{ $labels.service }} 有 {{ $value | humanizePercentage }} 的请求得到 503",
        runbook="请求失败",
        conditions=(Condition(_share_of("503"), "> 0.01"),),
        lasting="2m",
    ),
    Alert(
        "RequestsSlow",
        owner="值班运维",
        severity="ticket",
        summary="{{ $labels.service }} 请求耗时的第 99 百分位为 {{ $value | humanizeDuration }}",
        runbook="请求变慢",
        conditions=(
            Condition(
                promql.quantile(
                    0.99, "liandong_http_request_seconds", promql.BRISK, by="service", window="5m"
                ),
                "> 1",
            ),
        ),
        lasting="5m",
    ),
    Alert(
        "FiledSeenLateFast",
        owner="值班运维",
        severity="page",
        summary="近一小时立案的案件有 {{ $value | humanizePercentage }} 未按时可见，两日内将用完全月的余量",
        runbook="立案后对方看得晚",
        conditions=burning(14.4, "1h", "5m"),
    ),
    Alert(
        "FiledSeenLate",
        owner="值班运维",
        severity="page",
        summary="近六小时立案的案件有 {{ $value | humanizePercentage }} 未按时可见，五日内将用完全月的余量",
        runbook="立案后对方看得晚",
        conditions=burning(6, "6h", "30m"),
    ),
    Alert(
        "FiledSeenLateSlow",
        owner="值班运维",
        severity="ticket",
        summary="近三日立案的案件有 {{ $value | humanizePercentage }} 未按时可见，全月将达不到目标",
        runbook="立案后对方看得晚",
        conditions=burning(1, "3d", "6h"),
    ),
    Alert(
        "EscalationLate",
        owner="值班运维",
        severity="ticket",
        summary="一小时内有时限升级晚于其时刻，系统恢复后补发",
        runbook="时限补发",
        conditions=(
            Condition('sum(increase(liandong_escalations_total{late="true"}[1h])) or vector(0)', "> 0"),
        ),
    ),
    Alert(
        "EndpointFailing",
        owner="联席会议办公室",
        severity="ticket",
        summary="有 {{ $value }} 个推送端点一小时没有送达",
        runbook="推送失败",
        conditions=(Condition('max(liandong_endpoints{state="failing"})', "> 0"),),
        lasting="1h",
    ),
    Alert(
        "DeliveryForbidden",
        owner="值班运维",
        severity="ticket",
        summary="有推送地址解析到了不允许的网络",
        runbook="推送失败",
        conditions=(
            Condition(
                'sum(increase(liandong_deliveries_total{outcome="forbidden"}[1h])) or vector(0)', "> 0"
            ),
        ),
    ),
    Alert(
        "DeliveryBacklog",
        owner="值班运维",
        severity="ticket",
        summary="有 {{ $value }} 件推送到期未送，且没有减少",
        runbook="推送积压",
        conditions=(
            Condition("max(liandong_delivery_backlog)", "> 1000"),
            Condition("max(deriv(liandong_delivery_backlog[15m]))", ">= 0"),
        ),
        lasting="15m",
    ),
    Alert(
        "FeedReaderBehind",
        owner="联席会议办公室",
        severity="ticket",
        summary="订阅源 {{ $labels.feed }} 有读者落后 {{ $value }} 条，且没有减少",
        runbook="读者落后",
        conditions=(
            Condition(once("liandong_feed_lag", "feed"), "> 1000"),
            Condition("max by (feed) (deriv(liandong_feed_lag[30m]))", ">= 0"),
        ),
        lasting="30m",
    ),
)


def active(metrics: Collection[str] = tuple(METRICS)) -> tuple[Alert, ...]:
    """The rules whose metrics are measured."""
    return tuple(alert for alert in ALERTS if promql.exists(alert.expression, metrics))


def page(alerts: Collection[Alert] | None = None) -> str:
    """The file of rules: those that are active, unless told otherwise."""
    rules = active() if alerts is None else alerts
    recorded = [{"record": kept.name, "expr": kept.expression} for kept in RECORDED]
    # One group: its rules are asked in order, so that an alert reads what was recorded at the same time.
    groups = [{"name": "liandong", "rules": [*recorded, *(_shown(alert) for alert in rules)]}]
    made = "Made from tools/operators/alerts.py by `python -m tools.docs`: what is changed here is lost."
    return f"# {made}\n{_yaml({'groups': groups})}"


def _shown(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        **({"for": alert.lasting} if alert.lasting else {}),
        "labels": {"severity": alert.severity, "owner": alert.owner},
        "annotations": {"summary": alert.summary, "runbook": f"docs/runbook.md#{anchor(alert.runbook)}"},
    }


def anchor(heading: str) -> str:
    """The anchor of a heading of the runbook, as renderers of Markdown make it."""
    return "".join(sign for sign in heading.lower() if sign.isalnum() or sign in "-_ ").replace(" ", "-")


class _Plainly(yaml.SafeDumper):
    """Lists under their keys, expressions of several lines as they are written."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plainly.add_representer(str, _text)


def _yaml(document: object) -> str:
    return yaml.dump(document, Dumper=_Plainly, allow_unicode=True, sort_keys=False, width=1000)
