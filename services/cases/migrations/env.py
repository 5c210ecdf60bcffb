"""What Alembic executes to migrate the database of `cases`."""

from __future__ import annotations

from libs.common.store import migrate
from services.cases.migrations import METADATA

migrate.migrate(METADATA)
