"""What operators see while the county works: a real Prometheus answers every panel and every rule."""

from __future__ import annotations

import io
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from libs.common.clock import monotonic
from tests.engines import server
from tests.engines.prometheus import Prometheus, Watching
from tools.demo import callers, county, engine, performance, receiver
from tools.demo.callers import Deployment
from tools.demo.telling import Telling
from tools.operators import alerts
from tools.operators.alerts import Condition, Recorded
from tools.operators.dashboards import COORDINATION, DASHBOARDS
from tools.operators.grafana import Panel

ROOT = Path(__file__).parents[2]
CONFIGURED = ROOT / "deploy" / "prometheus"
#: Seconds that a value gets to appear.
PATIENCE = 30.0

PANELS = [
    pytest.param(panel, legend, query, id=f"{dashboard.uid}-{panel.title}-{legend}")
    for dashboard in DASHBOARDS
    for panel in dashboard.panels
    if panel.exists()
    for legend, query in panel.queries.items()
]
CONDITIONS = [
    pytest.param(condition, id=f"{alert.name}-{number}")
    for alert in alerts.active()
    for number, condition in enumerate(alert.conditions)
]

Found = TypeVar("Found")


@dataclass(frozen=True)
class Operated:
    """A county that works, and Prometheus as it is deployed, looking every second."""

    watching: Watching
    absent: str  #: a process that Prometheus was told of and that is not there

    def values(self, query: str) -> list[tuple[Mapping[str, str], float]]:
        """What the expression gives once it gives a number."""

        def look() -> list[tuple[Mapping[str, str], float]]:
            found = self.watching.ask(query.replace("$__rate_interval", "30s"))
            return found if any(math.isfinite(value) for _, value in found) else []

        return until(look, query)


def until(look: Callable[[], Found], what: str) -> Found:
    """What is found there, once something is."""
    deadline = monotonic() + PATIENCE
    while not (found := look()):
        assert monotonic() < deadline, f"nothing for: {what}"
        time.sleep(0.2)
    return found


def configuration(targets: list[str]) -> str:
    """The deployed configuration, on these targets and every second."""
    deployed: dict[str, Any] = yaml.safe_load((CONFIGURED / "prometheus.yml").read_text(encoding="utf-8"))
    deployed["global"] = dict.fromkeys(deployed["global"], "1s")
    deployed["rule_files"] = [str(CONFIGURED / pattern) for pattern in deployed["rule_files"]]
    (job,) = deployed["scrape_configs"]
    (group,) = job["static_configs"]
    group["targets"] = targets
    return yaml.safe_dump(deployed)


@pytest.fixture(scope="module")
def operated(prometheus: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """The demonstration's story has been played under the eyes of Prometheus, and the services still run."""
    place, ports, qinghe = tmp_path_factory.mktemp("operated"), engine.free_ports(), county.load()
    absent = f"127.0.0.1:{server.free_port()}"
    targets = [*(f"127.0.0.1:{port}" for port in ports.values()), absent]
    with (
        receiver.listening() as system,
        engine.running(place / "data", ports, coordinator=qinghe.office.id, system=system.port),
        prometheus.watching(configuration(targets)) as watching,
        closing(
            Deployment(engine.addresses(ports), callers.issuer(place / "data"), system=system)
        ) as deployment,
    ):
        # Nothing has grown for whoever did not look before.
        until(lambda: watching.ask("sum(liandong_keys_parked)"), "the first look")
        performance.perform(qinghe, deployment, Telling(out=io.StringIO()), place / "papers")
        yield Operated(watching, absent)


@pytest.mark.slow
@pytest.mark.parametrize(("panel", "legend", "query"), PANELS)
def test_a_panel_shows_something_under_the_names_of_its_legend(
    operated: Operated, panel: Panel, legend: str, query: str
) -> None:
    found = operated.values(query)
    wanted = set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert [labels for labels, _ in found if not wanted <= labels.keys()] == []
    if panel.look == "number":
        assert len(found) == 1
    if panel.look != "table":
        legends = [tuple(labels.get(name) for name in sorted(wanted)) for labels, _ in found]
        assert len(set(legends)) == len(legends), "two lines of one name"


@pytest.mark.slow
@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_an_alert_measures_has_a_value(operated: Operated, condition: Condition) -> None:
    assert operated.values(condition.measure)


@pytest.mark.slow
@pytest.mark.parametrize("kept", alerts.RECORDED, ids=lambda kept: kept.name)
def test_what_is_recorded_has_a_value(operated: Operated, kept: Recorded) -> None:
    assert operated.values(kept.name)


@pytest.mark.slow
def test_every_rule_is_evaluated_without_an_error(operated: Operated) -> None:
    rules = until(operated.watching.rules, "rules")
    assert {rule["name"] for rule in rules} == {
        *(kept.name for kept in alerts.RECORDED),
        *(alert.name for alert in alerts.active()),
    }
    assert [rule["name"] for rule in rules if rule.get("lastError")] == []


@pytest.mark.slow
def test_nobody_is_woken_while_the_county_works_but_for_the_process_that_is_missing(
    operated: Operated,
) -> None:
    stirred = [labels for labels, _ in operated.values('ALERTS{alertname!=""}')]
    assert {labels["alertname"] for labels in stirred} == {"ServiceDown"}
    assert {labels["instance"] for labels in stirred} == {operated.absent}


@pytest.mark.slow
def test_what_one_process_does_has_its_holder(operated: Operated) -> None:
    found = operated.values("sum by (service, lease) (liandong_lease_held)")
    holders = {(labels["service"], labels["lease"]): value for labels, value in found}
    assert set(holders.values()) == {1}
    assert {*((service, "relay") for service in engine.NAMES), ("notify", "clocks")} <= holders.keys()


@pytest.mark.slow
def test_the_numbers_are_those_of_the_story(operated: Operated) -> None:
    """Three clues: the township filed one, two crossed to departments, one of them after it was returned."""
    assert shown(operated, "全县未结案件") == {None: 3}
    assert shown(operated, "等待答复的移送") == {None: 0}
    assert shown(operated, "近七日退回") == {None: 1}
    assert shown(operated, "乡镇（街道）承办的未结案件") == {"青禾县青溪镇人民政府": 1}
    departments = {"青禾县水利局": 1, "青禾县综合行政执法局": 1}
    assert shown(operated, "部门承办的未结案件") == departments
    assert shown(operated, "部门退回的移送，近七日") == {"青禾县水利局": 1}
    assert shown(operated, "乡镇（街道）移出后被退回，近七日") == {"青禾县青溪镇人民政府": 1}


def shown(operated: Operated, title: str) -> dict[str | None, float]:
    """What a panel of the first dashboard shows by name, but for noughts among names."""
    (panel,) = [panel for panel in COORDINATION.panels if panel.title == title]
    (query,) = panel.queries.values()
    found = {labels.get("name"): value for labels, value in operated.values(query)}
    return {name: value for name, value in found.items() if value or name is None}
