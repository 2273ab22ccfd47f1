"""Contents of versions, and approvals of their files"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "version_content",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.String(), nullable=False),
        sa.Column("fault", sa.String(), nullable=False),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.Column("snapshot", sa.String(), nullable=False),
        sa.Column("stored_at", sa.Float(), nullable=True),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version_content")),
        sa.UniqueConstraint(
            "model", "version", "kind", "place", name=op.f("uq_version_content_model_version_kind_place")
        ),
    )
    op.create_index(op.f("ix_version_content_snapshot"), "version_content", ["snapshot"])
    op.create_table(
        "version_approval",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("base", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("rollout_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version_approval")),
    )
    op.create_index(op.f("ix_version_approval_model"), "version_approval", ["model", "version", "id"])
