"""Unknown alerts"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("alert_instance", schema=None) as batch_op:
        batch_op.add_column(sa.Column("unknown_since", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("away", sa.JSON(), nullable=False, server_default="[]"))
