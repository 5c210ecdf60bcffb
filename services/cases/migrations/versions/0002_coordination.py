"""Coordination: assistance and disputes."""

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
    op.add_column("cases", sa.Column("returns", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("cases", sa.Column("dispute_count", sa.Integer(), nullable=False, server_default="0"))
    for name in ("open_dispute", "lead", "ruled_to"):
        op.add_column("cases", sa.Column(name, sa.String(), nullable=False, server_default=""))
    for name in ("new_facts", "dispute"):
        op.add_column("transfers", sa.Column(name, sa.String(), nullable=False, server_default=""))
    # A case that came back before this release has come back as often as its transfers say.
    op.execute(
        "UPDATE cases SET returns ="
        " (SELECT count(*) FROM transfers WHERE transfers.\"case\" = cases.id AND state = 'returned')"
    )
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
    op.create_table(
        "disputes",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("case", sa.String(), nullable=False),
        sa.Column("transfer", sa.String(), nullable=False),
        sa.Column("from_agency", sa.String(), nullable=False),
        sa.Column("to_agency", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("coordinator", sa.String(), nullable=False),
        sa.Column("opened_by", sa.String(), nullable=False),
        sa.Column("ground", sa.String(), nullable=False),
        sa.Column("opened_on", sa.Date(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("proposals", _JSON, nullable=False),
        sa.Column("forwarded_to", sa.String(), nullable=False),
        sa.Column("papers", _JSON, nullable=False),
        sa.Column("due", sa.Date(), nullable=True),
        sa.Column("reply", sa.String(), nullable=False),
        sa.Column("reply_basis", sa.String(), nullable=False),
        sa.Column("lead", sa.String(), nullable=False),
        sa.Column("danger", sa.String(), nullable=False),
        sa.Column("competent_agency", sa.String(), nullable=False),
        sa.Column("opinion_no", sa.String(), nullable=False),
        sa.Column("opinion_basis", sa.String(), nullable=False),
        sa.Column("opinion", sa.String(), nullable=False),
        sa.Column("closed_on", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_disputes_case", "disputes", ["case"], unique=False)
