"""The policies as they count now."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from libs.common.store.reading import Known, Reader
from services.notify.calendars import loads as calendars
from services.notify.escalation import rules
from services.notify.escalation.rules import Policy, PolicyFile
from services.notify.escalation.tables import EscalationPolicy


@cache
def shipped() -> Mapping[str, Policy]:
    """The policies of this release. Raises BadPolicy."""
    file = resources.files(__package__).joinpath("policies.toml")
    return rules.read(tomllib.loads(file.read_text("utf-8")))


async def in_force(read: Reader) -> Mapping[str, Policy]:
    """The policies that count, by id."""
    return rules.in_force(shipped(), await read.all(EscalationPolicy))


def known(known: Known) -> Mapping[str, Policy]:
    """The same, for a reaction that wanted EscalationPolicy."""
    return rules.in_force(shipped(), known.all(EscalationPolicy))


async def policy_file(read: Reader, policy: str) -> PolicyFile:
    """A policy's stream, and what it may serve."""
    return PolicyFile(await read.head("policy", policy), await calendars.in_force(read))
