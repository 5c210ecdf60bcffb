"""One performance on any deployment: the county is entered, the story played, its outcome looked at."""

from __future__ import annotations

from pathlib import Path

from tools.demo import loading, outcome
from tools.demo.callers import Deployment
from tools.demo.county import County
from tools.demo.outcome import Check
from tools.demo.story import Story
from tools.demo.telling import Telling


def perform(county: County, deployment: Deployment, telling: Telling, folder: Path) -> list[Check]:
    """What was looked at, in order; `folder` is for proofs. Raises Unexpected where the story breaks off."""
    story = Story(county, deployment, telling, folder)
    _enter(county, story, telling)
    story.play()
    telling.chapter("核对", "像用户那样读三个服务")
    found = []
    for check in outcome.checks(story):
        telling.verdict(check.holds, check.text)
        found.append(check)
    return found


def _enter(county: County, story: Story, telling: Telling) -> None:
    new = loading.load(county, story.caller(story.cast.registrar))
    coordinator = story.caller(story.cast.coordinator)
    loading.await_heard(county, coordinator)
    counts = (
        f"{len(county.agencies)} 个机关（县政府、{len(county.of_kind('department'))} 个部门、"
        f"{len(county.of_kind('township', 'street'))} 个乡镇街道），{len(county.officers)} 名执法人员，"
        f"{len(county.powers)} 项职权，{len(county.grants)} 项赋权"
    )
    telling.note("名录", counts)
    if new:
        telling.note("", f"经公开接口新登记 {new} 条")
    else:
        earlier = sum(1 for _ in coordinator.pages("cases", "/v1/cases"))
        telling.note("", f"均已登记过；以前的 {earlier} 个案件照旧可查，这一次另演一遍")
