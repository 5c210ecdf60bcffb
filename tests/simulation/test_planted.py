"""Each planted bug is found within the seeds that are said of it, and the product has none of them there."""

from __future__ import annotations

import re

import pytest

from tests.simulation.parts import Databases
from tests.simulation.planted import BUGS, Bug
from tests.simulation.seeds import Seeds


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(databases: Databases, bug: Bug) -> None:
    ill, well = Seeds(databases, bug.parts), Seeds(databases)
    played = next((played for seed in bug.within if (played := ill.play(seed)).outcome.broken), None)
    assert played, f"not within seeds {bug.within.start} to {bug.within.stop - 1}"
    assert re.search(bug.breaks, "\n".join(played.outcome.broken)), str(played)
    assert not well.play(played.seed).outcome.broken
