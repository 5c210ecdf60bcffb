"""What Alembic executes to migrate the database of `notify`."""

from __future__ import annotations

from libs.common.store import migrate
from services.notify.migrations import METADATA

migrate.migrate(METADATA)
