"""Batches, their counts, the true lake versions, disputes, the home's identity."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table("home", sa.Column("id", sa.String(36), primary_key=True))
    op.create_table(
        "batches",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False, unique=True),
        sa.Column("source", sa.String(100), nullable=False, index=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("late", sa.Boolean, nullable=False),
        sa.Column("observed_at", _MOMENT, nullable=False),
        sa.Column("recorded_at", _MOMENT, nullable=False),
        sa.Column("parser", sa.String(50), nullable=False),
        sa.Column("snapshot", sa.String(64), nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("sections", sa.JSON, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("screened", sa.Boolean, nullable=False, index=True),
    )
    op.create_table(
        "batch_counts",
        sa.Column("batch_id", sa.String(64), sa.ForeignKey("batches.id"), primary_key=True),
        sa.Column("section", sa.String(60), primary_key=True),
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("source", sa.String(100), nullable=False),
        sa.Column("changes", sa.Integer, nullable=False),
        sa.Column("entities", sa.Integer, nullable=False),
    )
    op.create_index("ix_batch_counts_history", "batch_counts", ["source", "section", "kind"])
    op.create_table(
        "lake_versions",
        sa.Column("source", sa.String(100), primary_key=True),
        sa.Column("table_name", sa.String(30), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_table(
        "disputes",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("source", sa.String(100), nullable=False),
        sa.Column("entity", sa.String(300), nullable=False, index=True),
        sa.Column("section", sa.String(60), nullable=False),
        sa.Column("fact_key", sa.Text, nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("closed_at", _MOMENT),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("effective_on", sa.Date),
    )


def downgrade() -> None:
    for table in ("disputes", "lake_versions", "batch_counts", "batches", "home"):
        op.drop_table(table)
