"""The outbox of evidence, whose rows nobody may change or delete."""

import sqlalchemy as sa
from alembic import op

from duecare.store.database import Moment

revision = "0002"
down_revision = "0001"

_KEPT = ("id", "kind", "subject", "at", "body")

_SQLITE = (
    """CREATE TRIGGER evidence_kept BEFORE UPDATE ON evidence
       WHEN OLD.leaf_index IS NOT NULL OR {changed}
       BEGIN SELECT RAISE(ABORT, 'evidence is never changed'); END""",
    """CREATE TRIGGER evidence_never_deleted BEFORE DELETE ON evidence
       BEGIN SELECT RAISE(ABORT, 'evidence is never deleted'); END""",
)

_POSTGRESQL = (
    """CREATE FUNCTION evidence_refuse() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION 'evidence is never changed or deleted'; END $$""",
    """CREATE TRIGGER evidence_kept BEFORE UPDATE ON evidence FOR EACH ROW
       WHEN (OLD.leaf_index IS NOT NULL OR {changed}) EXECUTE FUNCTION evidence_refuse()""",
    """CREATE TRIGGER evidence_never_deleted BEFORE DELETE ON evidence FOR EACH ROW
       EXECUTE FUNCTION evidence_refuse()""",
)


def upgrade() -> None:
    op.create_table(
        "evidence",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("at", Moment(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), nullable=True),
        sa.UniqueConstraint("leaf_index", name="uq_evidence_leaf_index"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_evidence_subject", "evidence", ["subject"])
    op.create_index(
        "ix_evidence_waiting",
        "evidence",
        ["id"],
        sqlite_where=sa.text("leaf_index IS NULL"),
        postgresql_where=sa.text("leaf_index IS NULL"),
    )
    sqlite = op.get_context().dialect.name == "sqlite"
    changed = " OR ".join(f'OLD."{name}" IS {"NOT" if sqlite else "DISTINCT FROM"} NEW."{name}"' for name in _KEPT)
    for statement in _SQLITE if sqlite else _POSTGRESQL:
        op.execute(statement.format(changed=changed))


def downgrade() -> None:
    op.drop_table("evidence")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION evidence_refuse()")
