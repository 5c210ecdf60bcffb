"""What operators are given fits what is deployed and written: dashboards, alerts, runbook, compose file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as Schema

from libs.common.telemetry import METRICS
from tests.engines.prometheus import Prometheus
from tools.docs import settings
from tools.operators import alerts, grafana, promql
from tools.operators.alerts import Alert
from tools.operators.dashboards import DASHBOARDS
from tools.operators.grafana import COLUMNS, Dashboard

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
#: Metrics that panels and rules wait for.
AWAITED = {
    name
    for expression in (
        *(alert.expression for alert in alerts.ALERTS),
        *(query for board in DASHBOARDS for panel in board.panels for query in panel.queries.values()),
    )
    for name in promql.named(expression)
} - set(METRICS)

boards = pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
rules = pytest.mark.parametrize("alert", alerts.active(), ids=lambda alert: alert.name)


def with_all(board: Dashboard) -> dict[str, Any]:
    """The dashboard as it will be when everything is measured."""
    found: dict[str, Any] = json.loads(grafana.page(board, {*METRICS, *AWAITED}))
    return found


def unknown(given: Any, read: Any, path: str = "") -> Iterator[str]:
    """What Grafana's schema has not taken over."""
    if isinstance(given, dict):
        for name, value in given.items():
            if not isinstance(read, dict) or name not in read:
                yield f"{path}/{name}"
            else:
                yield from unknown(value, read[name], f"{path}/{name}")
    elif isinstance(given, list):
        assert len(given) == len(read), path
        for number, (one, other) in enumerate(zip(given, read, strict=True)):
            yield from unknown(one, other, f"{path}/{number}")
    elif given != read:
        yield path


def read_by_grafana(given: dict[str, Any]) -> Any:
    plugins.register_default_plugins()
    return json.loads(JSONEncoder().encode(Schema.from_json(given)))


@boards
def test_grafana_knows_every_field_of_a_dashboard(board: Dashboard) -> None:
    given = with_all(board)
    assert list(unknown(given, read_by_grafana(given))) == []
    given["panels"][0]["gridpos"] = {"a": "misspelling"}
    given["panels"][0]["targets"][0]["expression"] = "up"
    assert list(unknown(given, read_by_grafana(given))) == [
        "/panels/0/targets/0/expression",
        "/panels/0/gridpos",
    ]


@boards
def test_panels_lie_side_by_side_within_the_page(board: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in with_all(board)["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= COLUMNS
        taken |= cells


@boards
def test_a_panel_says_in_chinese_what_it_shows(board: Dashboard) -> None:
    titles = [panel.title for panel in board.panels]
    assert len(set(titles)) == len(titles)
    for panel in board.panels:
        assert re.search("[\u4e00-\u9fff]", panel.title)
        assert re.search("[\u4e00-\u9fff]", panel.says)


@boards
def test_what_is_not_measured_is_on_no_dashboard_and_comes_when_it_is(board: Dashboard) -> None:
    shown = {query for panel in board.panels if panel.exists() for query in panel.queries.values()}
    assert {name for query in shown for name in promql.named(query)} <= set(METRICS)
    written = json.loads((DEPLOY / "grafana" / "dashboards" / f"{short(board)}.json").read_text("utf-8"))
    assert {target["expr"] for panel in written["panels"] for target in panel["targets"]} == shown
    assert len(with_all(board)["panels"]) == len(board.panels)


def short(board: Dashboard) -> str:
    return board.uid.removeprefix("liandong-")


def test_a_rule_whose_metric_is_not_measured_is_left_out() -> None:
    assert alerts.active(METRICS) == alerts.active()
    assert alerts.active({*METRICS, *AWAITED}) == alerts.ALERTS
    without = alerts.active(set(METRICS) - {"liandong_keys_parked"})
    assert {alert.name for alert in alerts.active()} - {alert.name for alert in without} == {"StreamParked"}


def test_grafana_finds_the_dashboards_and_prometheus_where_they_are() -> None:
    mounted = dict(volume.removesuffix(":ro").split(":") for volume in SERVICES["grafana"]["volumes"])
    provisioned = DEPLOY / "grafana" / "provisioning"
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    (provider,) = loaded(provisioned / "dashboards" / "liandong.yml")["providers"]
    assert provider["options"]["path"] == mounted["./deploy/grafana/dashboards"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / "grafana" / "dashboards" / Path(home).name).exists()
    assert home.startswith(provider["options"]["path"])
    (source,) = loaded(provisioned / "datasources" / "prometheus.yml")["datasources"]
    assert {"type": source["type"], "uid": source["uid"]} == grafana.SOURCE
    assert source["url"] == f"http://prometheus:{container_port('prometheus')}"
    every = loaded(DEPLOY / "prometheus" / "prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == every


def test_prometheus_looks_at_each_service_and_keeps_a_window_of_thirty_days() -> None:
    assert "./deploy/prometheus:/etc/prometheus:ro" in SERVICES["prometheus"]["volumes"]
    (job,) = loaded(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]
    targets = [target for group in job["static_configs"] for target in group["targets"]]
    ours = ("cases", "notify", "sharing")
    assert targets == [f"{service}:{container_port(service)}" for service in ours]
    kept = re.search(r"retention\.time=(\d+)d", " ".join(SERVICES["prometheus"]["command"]))
    assert kept is not None
    assert int(kept[1]) >= 30


@pytest.mark.parametrize("name", [name for name in SERVICES if SERVICES[name]["image"] != "liandong"])
def test_an_image_of_others_is_pinned_by_its_version(name: str) -> None:
    assert re.fullmatch(r"[\w./-]+:v?\d[\w.-]*", SERVICES[name]["image"])


def loaded(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def container_port(service: str) -> str:
    (port,) = SERVICES[service]["ports"]
    return str(port).rpartition(":")[2]


def sections() -> dict[str, str]:
    """The runbook by heading."""
    parts = re.split(r"^## (.+)$", RUNBOOK, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@rules
def test_an_alert_has_an_owner_and_a_section_that_says_what_to_do(alert: Alert) -> None:
    assert alert.owner in get_args(alerts.Owner)
    assert alert.severity in get_args(alerts.Severity)
    assert "**怎么办。**" in sections()[alert.runbook]
    (row,) = [line for line in RUNBOOK.splitlines() if line.startswith("|") and f"`{alert.name}`" in line]
    assert f"[{alert.runbook}](#{alerts.anchor(alert.runbook)})" in row


def test_the_runbook_knows_no_alert_that_is_not_there() -> None:
    table = RUNBOOK.partition("| 告警 |")[2].partition("\n\n")[0]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    named = {name for cell in first for name in re.findall(r"`(\w+)`", cell)}
    assert named == {alert.name for alert in alerts.active()}


@pytest.mark.parametrize("kind", settings.alarms())
def test_every_alarm_that_the_program_sounds_is_an_alert(kind: str) -> None:
    assert [alert.name for alert in alerts.active() if f'kind="{kind}"' in alert.expression]


def test_the_objective_is_a_bucket_of_the_histogram() -> None:
    assert promql.SEEN_WITHIN in METRICS["liandong_filed_to_seen_seconds"].buckets


def test_promtool_accepts_what_is_deployed_and_what_waits(prometheus: Prometheus, tmp_path: Path) -> None:
    fine, said = prometheus.promtool("check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))
    assert fine, said
    assert f"{len(alerts.RECORDED) + len(alerts.active())} rules found" in said
    all_ = tmp_path / "all.yml"
    all_.write_text(alerts.page(alerts.ALERTS), encoding="utf-8")
    fine, said = prometheus.promtool("check", "rules", str(all_))
    assert fine, said
    all_.write_text(alerts.page(alerts.ALERTS).replace("max by (service)", "max by service", 1))
    assert not prometheus.promtool("check", "rules", str(all_))[0]
