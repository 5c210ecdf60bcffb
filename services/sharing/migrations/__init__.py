"""The database of `sharing`: its tables as the code knows them, and the steps that lead there."""

from __future__ import annotations

from libs.common.store import schema
from services.sharing.board import tables as board
from services.sharing.clocks import tables as clocks
from services.sharing.feeds import tables as feeds
from services.sharing.picture import tables as picture
from services.sharing.readers import tables as readers

METADATA = schema.service_metadata(*feeds.ROWS, *clocks.ROWS, *readers.ROWS, *picture.ROWS, *board.ROWS)
