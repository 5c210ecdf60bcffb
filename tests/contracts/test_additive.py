"""Within one version of an event, things are added and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from libs.common.contracts.event import CATALOGUE
from tests.contracts import shapes

ACCEPTED = "liandong.transfer.accepted.v1"
RECEIVED = "liandong.notice.issued.v1"
OFFERED = "liandong.transfer.offered.v1"

Shapes = dict[str, Any]
NOW: Shapes = {type_: shapes.shape(model) for type_, model in CATALOGUE.items()}


def test_nothing_that_was_written_down_is_broken() -> None:
    assert shapes.breaks(shapes.written(), NOW) == []


def test_every_event_is_written_down() -> None:
    missing = "python -m tests.contracts.shapes writes down what is new"
    assert shapes.written() == NOW, missing


def rename(events: Shapes) -> None:
    fields = events[ACCEPTED]["fields"]
    fields["receiver"] = fields.pop("to_agency")


def require(events: Shapes) -> None:
    events[ACCEPTED]["fields"]["stage"] = {"type": "string"}
    events[ACCEPTED]["required"].append("stage")


def choose_more(events: Shapes) -> None:
    events[OFFERED]["fields"]["urgency"]["enum"].append("flagrant")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda events: events.pop(ACCEPTED), "is gone"),
        (lambda events: events[ACCEPTED].update(source="/services/notify"), "said by another service"),
        (rename, "to_agency is gone"),
        (lambda events: events[ACCEPTED]["fields"]["case"].update(type="integer"), "case is of another kind"),
        (lambda events: events[ACCEPTED]["required"].remove("case"), "case is not as sure"),
        (lambda events: events[RECEIVED]["required"].append("sign"), "sign is not as sure"),
        (require, "stage is new and not optional"),
        (choose_more, "urgency is of another kind"),
    ],
)
def test_a_change_that_breaks_a_reader_is_noticed(change: Callable[[Shapes], Any], complaint: str) -> None:
    changed = copy.deepcopy(NOW)
    change(changed)
    (found,) = shapes.breaks(NOW, changed)
    assert complaint in found


def test_an_optional_field_and_a_new_event_may_be_added() -> None:
    changed = copy.deepcopy(NOW)
    changed[ACCEPTED]["fields"]["stage"] = {"default": "", "type": "string"}
    changed["liandong.transfer.lost.v1"] = NOW[ACCEPTED]
    assert shapes.breaks(NOW, changed) == []
