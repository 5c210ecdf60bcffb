"""Who follows a feed, and how far they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "followers",
        sa.Column("feed", sa.String(), nullable=False),
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("form", sa.String(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("feed", "agency", "form"),
    )
