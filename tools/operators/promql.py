"""Expressions that more than one panel or rule needs, and the metrics that an expression names."""

from __future__ import annotations

import re
from collections.abc import Collection

from libs.common.telemetry import METRICS
from services.sharing.picture.rules import TOWNSHIPS

#: Which agencies a line of the picture is about; departments are all the others.
TOWNSHIP = f'kind=~"{"|".join(sorted(TOWNSHIPS))}"'
DEPARTMENT = TOWNSHIP.replace("=~", "!~")

#: Objective of the backbone: this share of the cases filed, over thirty days, is seen by the other agency ...
OBJECTIVE = 0.99
#: ... within so many seconds; one of the histogram's buckets.
SEEN_WITHIN = 5.0

_SUFFIXES = re.compile(r"_(bucket|sum|count)$")


def named(expression: str) -> set[str]:
    """The metrics of ours that an expression names; what rules record is `liandong:…` and no metric."""
    found = re.findall(r"\bliandong_\w+", expression)
    return {name if name in METRICS else _SUFFIXES.sub("", name) for name in found}


def exists(expression: str, metrics: Collection[str] = tuple(METRICS)) -> bool:
    """Whether everything that it names is measured: only then does it stand on a dashboard or in a rule."""
    return named(expression) <= set(metrics)


def once(series: str, *by: str) -> str:
    """What every process of a service measures alike in the same database, counted once."""
    return f"max by ({', '.join(by)}) ({series})"


def called(expression: str) -> str:
    """An expression by agency, with the agency's name in place of its code."""
    info = once("liandong_agency_info", "agency", "name")
    return f"sum by (name) (({expression}) * on (agency) group_left (name) {info})"


def or_zero(expression: str, present: str) -> str:
    """An expression where it has a value, and nought for whatever else `present` has."""
    return f"({expression} or 0 * {present})"


def late(window: str) -> str:
    """The share of the cases filed within a window that were not seen in time; NaN where none was filed."""
    seen, all_ = _seen(window)
    return f"1 - {seen} / {all_}"


def late_count(window: str) -> str:
    """How many those are."""
    seen, all_ = _seen(window)
    return f"{all_} - {seen}"


def _seen(window: str) -> tuple[str, str]:
    histogram = "liandong_filed_to_seen_seconds"
    return (
        f'sum(increase({histogram}_bucket{{le="{SEEN_WITHIN}"}}[{window}]))',
        f"sum(increase({histogram}_count[{window}]))",
    )


def quantile(q: float, histogram: str, selected: str = "", *, by: str = "", window: str) -> str:
    """A quantile of a histogram over a window."""
    labels = f"le, {by}" if by else "le"
    rate = f"sum by ({labels}) (rate({histogram}_bucket{{{selected}}}[{window}]))"
    return f"histogram_quantile({q}, {rate})"


#: Requests that wait on purpose are not slow.
BRISK = 'route!~"/v1/feeds/.*"'
REQUESTS = "liandong_http_requests_total"
BEHIND = f"sum by (service) ({once('liandong_consumer_lag', 'service', 'topic', 'partition')})"
