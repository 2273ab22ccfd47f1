"""Silences, acknowledgements, and the held alerts of groups"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "silence",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("matchers", sa.JSON(), nullable=False),
        sa.Column("starts_at", sa.Float(), nullable=False),
        sa.Column("ends_at", sa.Float(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("reminders", sa.Integer(), nullable=False),
        sa.Column("reminded_at", sa.Float(), nullable=True),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("request", sa.String(), nullable=False),
        sa.Column("format", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silence")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_silence_idempotency_key")),
    )
    op.create_index(op.f("ix_silence_ends_at"), "silence", ["ends_at"])
    op.create_table(
        "acknowledgement",
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("fired_at", sa.Float(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("format", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_acknowledgement")),
    )
    op.add_column("alert_group", sa.Column("held", sa.JSON(), server_default="[]", nullable=False))
