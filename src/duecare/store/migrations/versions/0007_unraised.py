"""The batches whose alerts are to be raised."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "unraised_batches",
        sa.Column("batch_id", sa.String(64), primary_key=True),
        sa.Column("mark", sa.Integer, nullable=False),
    )
    op.execute(
        "INSERT INTO unraised_batches (batch_id, mark) SELECT DISTINCT batch_id, 1 FROM screenings s "
        "WHERE state = 'passed' AND NOT EXISTS (SELECT 1 FROM alerts a WHERE a.id = s.id)"
    )


def downgrade() -> None:
    op.drop_table("unraised_batches")
