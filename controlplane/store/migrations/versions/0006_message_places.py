"""Message places"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("alert_group", schema=None) as batch_op:
        batch_op.add_column(sa.Column("root_place", sa.String(), nullable=True))
    # As the Slack notifier writes it: it was the only one whose messages had a place.
    op.execute("UPDATE alert_group SET root_place = root_channel || '/' || root_ts WHERE root_ts IS NOT NULL")
    with op.batch_alter_table("alert_group", schema=None) as batch_op:
        batch_op.drop_column("root_ts")
        batch_op.drop_column("root_channel")
