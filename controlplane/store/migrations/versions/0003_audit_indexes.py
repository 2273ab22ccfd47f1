"""Indexes for pages of the audit trail"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NOT_REFUSED = sa.text("action <> 'token.refuse'")


def upgrade() -> None:
    op.drop_index("ix_audit_subject", "audit")
    for column in ("actor", "action", "subject"):
        op.create_index(f"ix_audit_{column}", "audit", [column, "id"])
    op.create_index("ix_audit_not_refused", "audit", ["id"], sqlite_where=NOT_REFUSED, postgresql_where=NOT_REFUSED)
