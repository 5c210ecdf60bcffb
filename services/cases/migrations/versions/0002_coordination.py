"""Coordination: assistance."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    # The last release's code goes on inserting without these, so the database knows what they begin as.
    op.add_column("cases", sa.Column("assistance_count", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "assistances",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("case", sa.String(), nullable=False),
        sa.Column("from_agency", sa.String(), nullable=False),
        sa.Column("to_agency", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("letter_no", sa.String(), nullable=False),
        sa.Column("form", sa.String(), nullable=False),
        sa.Column("power", sa.String(), nullable=False),
        sa.Column("items", _JSON, nullable=False),
        sa.Column("ground", sa.String(), nullable=False),
        sa.Column("names_party", sa.Boolean(), nullable=False),
        sa.Column("due", sa.Date(), nullable=True),
        sa.Column("until", sa.Date(), nullable=True),
        sa.Column("extension_reason", sa.String(), nullable=False),
        sa.Column("answers", _JSON, nullable=False),
        sa.Column("refusal_ground", sa.String(), nullable=False),
        sa.Column("refusal_basis", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("requested_on", sa.Date(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_assistances_case", "assistances", ["case"], unique=False)
    op.create_index("ix_assistances_to_agency", "assistances", ["to_agency"], unique=False)
