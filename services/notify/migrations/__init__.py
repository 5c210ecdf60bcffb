"""The database of `notify`: its tables as the code knows them, and the steps that lead there."""

from __future__ import annotations

from libs.common.store import schema
from services.notify.calendars import tables as calendars
from services.notify.channels import tables as channels
from services.notify.clocks import tables as clocks
from services.notify.escalation import tables as escalation
from services.notify.inbox import tables as inbox
from services.notify.routing import tables as routing
from services.notify.supervision import tables as supervision

METADATA = schema.service_metadata(
    *routing.ROWS,
    *calendars.ROWS,
    *supervision.ROWS,
    *escalation.ROWS,
    *clocks.ROWS,
    *inbox.ROWS,
    *channels.ROWS,
)
