"""A dashboard as Grafana reads it: panels in rows of 24 columns, each with its queries to Prometheus."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from libs.common.telemetry import METRICS
from tools.operators import promql

#: Columns of a dashboard.
COLUMNS = 24
#: The data source that deploy/grafana/provisioning makes.
SOURCE = {"type": "prometheus", "uid": "liandong"}

#: How a panel looks: lines over time, stacked areas, one number, a bar for each name, a table of labels.
Look = Literal["lines", "stack", "number", "bars", "table"]

_TYPES: Mapping[Look, str] = {
    "lines": "timeseries",
    "stack": "timeseries",
    "number": "stat",
    "bars": "bargauge",
    "table": "table",
}
_HEIGHTS: Mapping[Look, int] = {"lines": 8, "stack": 8, "number": 4, "bars": 10, "table": 8}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `queries` are by legend, in which {{label}} stands for the label's value."""

    title: str
    look: Look
    queries: Mapping[str, str]
    says: str  #: what it shows, and what is good
    unit: str = "short"
    width: int = 8
    red: float | None = None  #: from here on it is shown in red; where `low` is set, below
    low: bool = False
    empty: str = ""  #: what is said where nothing is found

    def exists(self, metrics: Collection[str] = tuple(METRICS)) -> bool:
        """Whether all that it asks for is measured."""
        return all(promql.exists(query, metrics) for query in self.queries.values())


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Panels in the order of reading."""

    uid: str
    title: str
    says: str
    panels: tuple[Panel, ...]
    since: str = "now-24h"


def page(dashboard: Dashboard, metrics: Collection[str] = tuple(METRICS)) -> str:
    """The file that Grafana is given. What is not measured is left out."""
    panels = [panel for panel in dashboard.panels if panel.exists(metrics)]
    shown = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.says,
        "tags": ["liandong"],
        "timezone": "Asia/Shanghai",
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": 41,
        "time": {"from": dashboard.since, "to": "now"},
        "timepicker": {},
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": list(_placed(panels)),
    }
    return json.dumps(shown, ensure_ascii=False, indent=1) + "\n"


def _placed(panels: list[Panel]) -> Iterator[dict[str, Any]]:
    """Panels from left to right; a new row begins where the next does not fit."""
    x = y = tallest = 0
    for number, panel in enumerate(panels, 1):
        height = _HEIGHTS[panel.look]
        if x + panel.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        yield _shown(panel, number, {"h": height, "w": panel.width, "x": x, "y": y})
        x, tallest = x + panel.width, max(tallest, height)


def _shown(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": _TYPES[panel.look],
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [
            _asked(panel, chr(ord("A") + n), legend, query)
            for n, (legend, query) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _OPTIONS[panel.look],
    }


def _asked(panel: Panel, ref: str, legend: str, query: str) -> dict[str, Any]:
    over_time = panel.look in ("lines", "stack")
    return {
        "refId": ref,
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query,
        "legendFormat": legend,
        "range": over_time,
        "instant": not over_time,
        "format": "table" if panel.look == "table" else "time_series",
    }


def _field(panel: Panel) -> dict[str, Any]:
    custom: dict[str, Any] = {}
    if panel.look == "lines":
        custom = {"lineWidth": 2, "fillOpacity": 0, "showPoints": "never"}
    elif panel.look == "stack":
        custom = {
            "lineWidth": 1,
            "fillOpacity": 40,
            "showPoints": "never",
            "stacking": {"mode": "normal", "group": "A"},
        }
    field: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": _steps(panel)},
        "color": {"mode": "thresholds" if panel.look in ("number", "bars") else "palette-classic"},
    }
    if panel.look != "number":
        field["min"] = 0
    if panel.empty:
        field["noValue"] = panel.empty
    return {**field, "custom": custom} if custom else field


def _steps(panel: Panel) -> list[dict[str, Any]]:
    first, then = ("red", "green") if panel.low else ("green", "red")
    steps: list[dict[str, Any]] = [{"value": None, "color": first if panel.red is not None else "blue"}]
    return steps if panel.red is None else [*steps, {"value": panel.red, "color": then}]


_LAST = {"values": False, "calcs": ["lastNotNull"], "fields": ""}
_LINES = {
    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
    "tooltip": {"mode": "multi", "sort": "desc"},
}
_OPTIONS: Mapping[Look, dict[str, Any]] = {
    "lines": _LINES,
    "stack": _LINES,
    "number": {
        "reduceOptions": _LAST,
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "value",
        "justifyMode": "auto",
        "orientation": "auto",
    },
    "bars": {
        "reduceOptions": _LAST,
        "displayMode": "basic",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
}
