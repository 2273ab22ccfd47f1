"""Earlier changes of alerts, and the flapping alerts of a group's message"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alert_instance", sa.Column("changes", sa.JSON(), nullable=True))
    op.add_column("alert_group", sa.Column("flaps", sa.JSON(), server_default="[]", nullable=False))
