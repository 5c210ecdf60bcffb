"""What Alembic executes to migrate the database of `sharing`."""

from __future__ import annotations

from libs.common.store import migrate
from services.sharing.migrations import METADATA

migrate.migrate(METADATA)
