"""The clocks that run, links to the board; what pictured cases say more, which a rebuild fills in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "running_clocks",
        sa.Column("obligation", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("awaits", sa.String(), nullable=False),
        sa.Column("about", sa.String(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("yellow_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("black_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("provisional", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("obligation"),
    )
    op.create_index("ix_running_clocks_about", "running_clocks", ["about"])
    op.create_index("running_clocks_of_agency", "running_clocks", ["agency", "due_at"])
    op.create_index("running_clocks_awaited", "running_clocks", ["awaits", "due_at"])
    op.create_index("running_clocks_due", "running_clocks", ["due_at"])
    op.create_table(
        "board_links",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("agency", sa.String(), nullable=False),
        sa.Column("roles", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in (
        sa.Column("case_no", sa.String(), nullable=False, server_default=""),
        sa.Column("returns", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("dispute", sa.String(), nullable=False, server_default=""),
        sa.Column("disputants", sa.String(), nullable=False, server_default=""),
        sa.Column("disputed_at", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("picture_cases", column)
    op.create_index("picture_disputed", "picture_cases", ["generation", "dispute"])
