"""The database of `notify`: its tables as the code knows them, and the steps that lead there."""

from __future__ import annotations

from libs.common.store import schema
from services.notify.channels import tables as channels
from services.notify.inbox import tables as inbox
from services.notify.routing import tables as routing

METADATA = schema.service_metadata(*routing.ROWS, *inbox.ROWS, *channels.ROWS)
