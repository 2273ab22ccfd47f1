"""Copies of requests that are part of an assignment of traffic"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("traffic_assignment", sa.Column("mirror", sa.JSON(), nullable=True))
