"""The database of `cases`: its tables as the code knows them, and the steps that lead there."""

from __future__ import annotations

from libs.common.store import schema
from services.cases.assistance import tables as assistance
from services.cases.dispute import tables as dispute
from services.cases.handover import tables as handover
from services.cases.intake import tables as intake
from services.cases.people import tables as people
from services.cases.register import tables as register
from services.cases.trace import tables as trace

METADATA = schema.service_metadata(
    *register.ROWS,
    *people.ROWS,
    *intake.ROWS,
    *dispute.ROWS,
    *handover.ROWS,
    *assistance.ROWS,
    *trace.ROWS,
)
