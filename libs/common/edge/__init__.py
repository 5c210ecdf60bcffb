"""The two edges: a command over HTTP and a batch of events, both load -> decide -> commit.

`command` is what every POST goes through, `consume` every batch that a consumer was given; `drain` is the
second way for events in, when a gap has been filled or a parked key is tried again. They alone decide again
after a conflict, and they alone know what a refusal means.

`commanding` is the edge of requests, `hearing` and `draining` are the edge of events; what the latter cannot
apply now becomes the rows of `parking`. What happens after `conflicts` is the same at both.
"""

from libs.common.edge.commanding import Loaded, Outcome, Rendered, Request, Verb, command, scope
from libs.common.edge.conflicts import PATIENCE
from libs.common.edge.draining import MOST, drain, isolating
from libs.common.edge.hearing import Broken, Hears, Leave, Reaction, Report, consume, fold, together
from libs.common.edge.parking import reread, source_of

__all__ = [
    "MOST",
    "PATIENCE",
    "Broken",
    "Hears",
    "Leave",
    "Loaded",
    "Outcome",
    "Reaction",
    "Rendered",
    "Report",
    "Request",
    "Verb",
    "command",
    "consume",
    "drain",
    "fold",
    "isolating",
    "reread",
    "scope",
    "source_of",
    "together",
]
