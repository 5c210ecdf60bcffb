"""The three dashboards: how the agencies work together, clocks and delivery, the backbone itself.

A panel whose metric is not measured yet is kept in the list and left out of the file.
"""

from __future__ import annotations

from libs.common.contracts.notify import NoticeIssued, NoticeReceived
from tools.operators import promql
from tools.operators.grafana import Dashboard, Panel
from tools.operators.promql import BEHIND, DEPARTMENT, REQUESTS, TOWNSHIP, called, once, or_zero, quantile

WEEK = "7d"


def _open(kind: str) -> str:
    return once(f"liandong_cases_open{{{kind}}}", "agency", "stage")


def _transfers(kind: str, side: str, state: str) -> str:
    return once(f'liandong_transfers{{{kind}, side="{side}", state="{state}"}}', "agency")


def _grown(series: str, window: str, *by: str) -> str:
    """By how much something that only grows has grown: whole numbers, where `delta` estimates."""
    return once(f"max_over_time({series}[{window}]) - min_over_time({series}[{window}])", *by)


def _of_a_week(kind: str, side: str, state: str) -> str:
    """How many came to this state within a week."""
    return _grown(f'liandong_transfers{{{kind}, side="{side}", state="{state}"}}', WEEK, "agency")


def _rate(counter: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) (rate({counter}[$__rate_interval]))"


_ALL = 'kind!=""'
_ANSWERED = _grown('liandong_transfers{side="to", state!="waiting"}', "1d", "agency", "state")

COORDINATION = Dashboard(
    uid="liandong-coordination",
    title="联动 · 协同",
    says="各乡镇（街道）和部门手中有多少案件、多少移送在等答复。数字与协同态势（/v1/picture）相同。",
    since="now-7d",
    panels=(
        Panel(
            "全县未结案件",
            "number",
            {"件": f"sum({_open(_ALL)})"},
            "登记线索之后、结案或不予立案之前的案件，每件恰有一个承办单位。",
            width=6,
        ),
        Panel(
            "等待答复的移送",
            "number",
            {"件": f"sum({_transfers(_ALL, 'to', 'waiting')})"},
            "已提出，尚未接收、退回或撤回；在此期间仍由移送机关承办。",
            width=6,
        ),
        Panel(
            "等得最久的移送",
            "number",
            {"时长": "max(liandong_transfer_waiting_seconds)"},
            "最早一件等待答复的移送已经等了多久；超过四日为红色。",
            unit="s",
            width=6,
            red=4 * 86400,
        ),
        Panel(
            "近七日退回",
            "number",
            {"件": f"sum({_of_a_week(_ALL, 'to', 'returned')})"},
            "退回都写明理由、依据和建议的管辖机关。",
            width=6,
        ),
        Panel(
            "未结案件，按阶段",
            "stack",
            {"{{stage}}": f"sum by (stage) ({_open(_ALL)})"},
            "registered 线索已登记，filed 已立案，investigating 调查中，decided 已决定。",
            width=12,
        ),
        Panel(
            "等待答复的移送，按应答机关",
            "stack",
            {"{{name}}": called(_transfers(_ALL, "to", "waiting"))},
            "持续增高的机关需要联席会议关注。",
            width=12,
        ),
        Panel(
            "乡镇（街道）承办的未结案件",
            "bars",
            {"{{name}}": called(_open(TOWNSHIP))},
            "按现在的承办单位计。",
        ),
        Panel(
            "等待乡镇（街道）答复的移送",
            "bars",
            {"{{name}}": called(_transfers(TOWNSHIP, "to", "waiting"))},
            "移送给该乡镇（街道）、尚未答复的件数。",
        ),
        Panel(
            "乡镇（街道）移出后被退回，近七日",
            "bars",
            {"{{name}}": called(_of_a_week(TOWNSHIP, "by", "returned"))},
            "反复被退回，说明管辖判断需要辅导。",
        ),
        Panel(
            "部门承办的未结案件",
            "bars",
            {"{{name}}": called(_open(DEPARTMENT))},
            "按现在的承办单位计。",
        ),
        Panel(
            "等待部门答复的移送",
            "bars",
            {"{{name}}": called(_transfers(DEPARTMENT, "to", "waiting"))},
            "移送给该部门、尚未答复的件数。",
        ),
        Panel(
            "部门退回的移送，近七日",
            "bars",
            {"{{name}}": called(_of_a_week(DEPARTMENT, "to", "returned"))},
            "该部门退回给移送机关的件数。",
        ),
        Panel(
            "最早一件移送已等待，按应答机关",
            "bars",
            {"{{name}}": called(once("liandong_transfer_waiting_seconds", "agency"))},
            "没有等待的移送为 0；超过四日为红色。",
            unit="s",
            width=12,
            red=4 * 86400,
        ),
        Panel(
            "移送的答复，每日",
            "lines",
            {"{{state}}": f"sum by (state) ({_ANSWERED})"},
            "accepted 接收，returned 退回，withdrawn 撤回；每一点为此前一日之内的件数。",
            width=12,
        ),
    ),
)

_HEARD = 'liandong_events_applied_total{{service="sharing", type="{}"}}'

_CLOCKS = once("liandong_obligations", "rule", "light")
_OVERDUE = once('liandong_obligations{light=~"red|black"}', "rule", "light")

DELIVERY = Dashboard(
    uid="liandong-delivery",
    title="联动 · 时限与送达",
    says="时限走到哪里，督促到了哪一级；通知、推送和订阅是否到达。",
    panels=(
        Panel(
            "时限的灯",
            "stack",
            {"{{light}}": f"sum by (light) ({_CLOCKS})"},
            "正在计时的时限义务：green 绿灯，yellow 将届满，red 已届满，black 已报县政府。",
            width=12,
        ),
        Panel(
            "已届满的时限，按规则",
            "bars",
            {"{{rule}}": or_zero(f"sum by (rule) ({_OVERDUE})", f"sum by (rule) ({_CLOCKS})")},
            "亮红灯和黑灯的时限义务，按适用的规则。",
            width=12,
            red=1,
        ),
        Panel(
            "升级，每小时",
            "lines",
            {"第 {{level}} 级": "sum by (level) (increase(liandong_escalations_total[1h]))"},
            "每一级对每个时限义务恰好一次。",
            width=12,
        ),
        Panel(
            "补发的升级，近一日",
            "number",
            {"次": 'sum(increase(liandong_escalations_total{late="true"}[1d])) or vector(0)'},
            "系统停止期间到时、恢复后补发的升级。",
            width=12,
            red=1,
        ),
        Panel(
            "通知与签收，每小时",
            "lines",
            {
                "发出通知": f"sum(increase({_HEARD.format(NoticeIssued.TYPE)}[1h]))",
                "签收": f"sum(increase({_HEARD.format(NoticeReceived.TYPE)}[1h]))",
            },
            "签收长期少于应签收的通知，说明有机关没有查看收件箱。",
            width=12,
        ),
        Panel(
            "未送达全部应收机关的事件",
            "bars",
            {"{{type}}": f"topk(8, {once('liandong_events_unroutable', 'type')})"},
            "改送默认机关的事件，按类型，最多的八种；应全部为 0。",
            width=12,
            red=1,
        ),
        Panel(
            "推送，按结果",
            "lines",
            {"{{outcome}}": _rate("liandong_deliveries_total", "outcome")},
            "每秒推送次数，按结果。",
            unit="reqps",
            width=12,
        ),
        Panel(
            "推送端点，按状态",
            "lines",
            {"{{state}}": once("liandong_endpoints", "state")},
            "failing 为最近一次没有送达的端点，三日不成则停用。",
            width=12,
        ),
        Panel(
            "推送耗时，第 99 百分位",
            "lines",
            {"推送": quantile(0.99, "liandong_delivery_seconds", window="1h")},
            "接收系统十秒内没有答复即作未送达。",
            unit="s",
            width=12,
        ),
        Panel(
            "推送积压",
            "lines",
            {"到期未送": "max(liandong_delivery_backlog)"},
            "已到时间而还没有送出的推送。",
            width=12,
        ),
        Panel(
            "正在读取订阅源的读者",
            "lines",
            {"{{feed}}": "sum by (feed) (liandong_feed_readers)"},
            "正在读取或等待新记录的请求，按订阅源。",
        ),
        Panel(
            "读者落后的条数",
            "lines",
            {"{{feed}} {{form}}": once("liandong_feed_lag", "feed", "form")},
            "落后最多的读者离末尾还有多少条，按订阅源和形式。",
        ),
        Panel(
            "读取订阅源的请求",
            "lines",
            {"{{route}} {{status}}": _rate(f'{REQUESTS}{{route=~"/v1/feeds.*"}}', "route", "status")},
            "每秒请求数，按路由和状态。",
            unit="reqps",
        ),
    ),
)

BACKBONE = Dashboard(
    uid="liandong-backbone",
    title="联动 · 骨干",
    says="三个服务与它们之间的日志是否正常；目标：三十日内 99% 的案件立案后 5 秒内对方可见。",
    panels=(
        Panel(
            "立案后按时可见，近三十日",
            "number",
            {"比例": "1 - liandong:filed_late:ratio_30d"},
            f"立案后 {promql.SEEN_WITHIN:g} 秒内对方可见的案件所占比例，目标 {promql.OBJECTIVE:.0%}。",
            unit="percentunit",
            width=6,
            red=promql.OBJECTIVE,
            low=True,
        ),
        Panel(
            "剩余的余量，近三十日",
            "number",
            {"比例": f"1 - liandong:filed_late:ratio_30d / {round(1 - promql.OBJECTIVE, 4)}"},
            "允许未按时可见的案件还剩多少；为负即未达到目标。",
            unit="percentunit",
            width=6,
            red=0,
            low=True,
        ),
        Panel(
            "被搁置的流",
            "number",
            {"个": f"sum({once('liandong_keys_parked', 'service')})"},
            "停在一个无法处理的事件上、等人处理的流。",
            width=4,
            red=1,
        ),
        Panel(
            "暂存等待的事件",
            "number",
            {"个": f"sum({once('liandong_events_held', 'service')})"},
            "前序事件还没有到；持续不为 0 见运行手册“缺口未补上”。",
            width=4,
            red=1,
        ),
        Panel(
            "不答复的进程",
            "number",
            {"个": 'sum(up{job="liandong"} == bool 0)'},
            "不答复指标请求的进程。",
            width=4,
            red=1,
        ),
        Panel(
            "当前告警",
            "table",
            {"": 'ALERTS{alertstate=~"pending|firing"}'},
            "处理办法在运行手册中，一节一项；pending 为尚未持续到规定时间。",
            width=12,
            empty="没有告警",
        ),
        Panel(
            "从立案到对方可见",
            "lines",
            {
                f"第 {q * 100:g} 百分位": quantile(q, "liandong_filed_to_seen_seconds", window="1h")
                for q in (0.5, 0.95, 0.99)
            },
            "此前一小时立案的案件：提交、转发、消费三步之和。",
            unit="s",
            width=12,
        ),
        Panel(
            "余量消耗的速度",
            "lines",
            {
                f"近 {window}": f"liandong:filed_late:ratio_{window} / {round(1 - promql.OBJECTIVE, 4)}"
                for window in ("1h", "6h", "3d")
            },
            "1 表示恰好在三十日内用完；告警在 14.4（一小时）、6（六小时）和 1（三日）。",
            width=12,
        ),
        Panel(
            "最早一条未发布的事实",
            "lines",
            {"{{service}}": once("liandong_outbox_age_seconds", "service")},
            "持续上升说明事件发不出去；命令不受影响。",
            unit="s",
            width=12,
        ),
        Panel(
            "未发布的事实",
            "lines",
            {"{{service}}": once("liandong_outbox_depth", "service")},
            "已提交、还没有发布到日志的事实。",
        ),
        Panel(
            "尚未处理的事件",
            "lines",
            {"{{service}}": BEHIND},
            "各服务落后多少；上升后下降为正常。",
        ),
        Panel(
            "发布",
            "lines",
            {
                "{{service}} 已发布": _rate("liandong_relay_published_total", "service"),
                "{{service}} 失败": _rate("liandong_relay_failed_total", "service"),
            },
            "每秒发布到日志的事件；失败的会再发，不会丢失。",
            unit="cps",
        ),
        Panel(
            "提交，按结果",
            "lines",
            {"{{service}} {{result}}": _rate("liandong_commits_total", "service", "result")},
            "conflict 说明多人同时改同一件事；fence_lost 说明分区换了进程。",
            unit="cps",
        ),
        Panel(
            "已生效的事件",
            "stack",
            {"{{type}}": _rate("liandong_events_applied_total", "type")},
            "每秒生效的事件，按类型，三个服务之和。",
            unit="cps",
        ),
        Panel(
            "持有租约的进程",
            "lines",
            {"{{service}} {{lease}}": "sum by (service, lease) (liandong_lease_held)"},
            "每项应恰为 1。",
        ),
        Panel(
            "告警指标，按种类",
            "lines",
            {"{{service}} {{kind}}": once("liandong_alarms", "service", "kind")},
            "大于 0 即有一件事等人处理。",
        ),
        Panel(
            "请求",
            "stack",
            {"{{service}} {{status}}": _rate(REQUESTS, "service", "status")},
            "每秒请求数，按服务和状态。",
            unit="reqps",
        ),
        Panel(
            "请求耗时，第 99 百分位",
            "lines",
            {
                "{{service}}": quantile(
                    0.99,
                    "liandong_http_request_seconds",
                    promql.BRISK,
                    by="service",
                    window="$__rate_interval",
                )
            },
            "不含有意等待新记录的订阅请求。",
            unit="s",
        ),
    ),
)

DASHBOARDS = (COORDINATION, DELIVERY, BACKBONE)
