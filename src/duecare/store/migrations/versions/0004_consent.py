"""Subjects, purposes, notices, answers and grants: tables that are only ever added to."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_MOMENT = sa.DateTime(timezone=True)
_NAME = sa.String(60)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_STANDING: dict[str, Any] = {
    "sqlite_where": sa.text("ended_at IS NULL"),
    "postgresql_where": sa.text("ended_at IS NULL"),
}

_ONCE = {"grants": "ended_at", "subjects": "salt"}
"""The columns that may be set once: a grant's end from null, a subject's salt to null."""

_COLUMNS = {
    "subjects": ("id", "created_at"),
    "personal_fields": (),
    "purposes": (),
    "purpose_ends": (),
    "notices": (),
    "notice_answers": (),
    "grants": (
        "id", "record", "act", "subject", "purpose", "purpose_version", "notice", "notice_version",
        "separate", "language", "how", "screen", "given_at",
    ),
    "grant_ends": (),
}  # fmt: skip
"""Every table, in the order in which they are made; with the columns that stay where others may be set."""

_END_SQLITE = """CREATE TRIGGER grants_ended AFTER INSERT ON grant_ends
    BEGIN UPDATE grants SET ended_at = NEW.ended_at WHERE id = NEW.grant_id; END"""

_MARK_SQLITE = """CREATE TRIGGER grants_marked BEFORE UPDATE OF ended_at ON grants
    WHEN NOT EXISTS (SELECT 1 FROM grant_ends WHERE grant_id = OLD.id AND ended_at = NEW.ended_at)
    BEGIN SELECT RAISE(ABORT, 'grants end by a row in grant_ends'); END"""

_BORN_SQLITE = """CREATE TRIGGER grants_born BEFORE INSERT ON grants WHEN NEW.ended_at IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'grants end by a row in grant_ends'); END"""

_POSTGRESQL = (
    """CREATE FUNCTION consent_refuse() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION '% is never changed or deleted', TG_TABLE_NAME; END $$""",
    # By statement, not by row: a purpose may end for a million people at once.
    """CREATE FUNCTION grants_end() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN
         UPDATE grants SET ended_at = fresh.ended_at FROM fresh WHERE grants.id = fresh.grant_id;
         RETURN NULL;
       END $$""",
    """CREATE FUNCTION grants_mark() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN
         IF EXISTS (SELECT 1 FROM fresh LEFT JOIN grant_ends ON grant_ends.grant_id = fresh.id
                    WHERE fresh.ended_at IS DISTINCT FROM grant_ends.ended_at) THEN
           RAISE EXCEPTION 'grants end by a row in grant_ends';
         END IF;
         RETURN NULL;
       END $$""",
    """CREATE FUNCTION grants_unborn() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION 'grants end by a row in grant_ends'; END $$""",
    """CREATE TRIGGER grants_born BEFORE INSERT ON grants FOR EACH ROW WHEN (NEW.ended_at IS NOT NULL)
       EXECUTE FUNCTION grants_unborn()""",
    """CREATE TRIGGER grants_ended AFTER INSERT ON grant_ends REFERENCING NEW TABLE AS fresh
       FOR EACH STATEMENT EXECUTE FUNCTION grants_end()""",
    """CREATE TRIGGER grants_marked AFTER UPDATE ON grants REFERENCING NEW TABLE AS fresh
       FOR EACH STATEMENT EXECUTE FUNCTION grants_mark()""",
)


def upgrade() -> None:
    _make_people()
    _make_declared()
    _make_answers()
    _make_grants()
    sqlite = op.get_context().dialect.name == "sqlite"
    for statement in (_BORN_SQLITE, _END_SQLITE, _MARK_SQLITE) if sqlite else _POSTGRESQL:
        op.execute(statement)
    for table in _COLUMNS:
        for statement in _refusals(table, sqlite=sqlite):
            op.execute(statement)


def _make_people() -> None:
    op.create_table(
        "subjects",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("salt", sa.String(64)),
        sa.Column("created_at", _MOMENT, nullable=False),
    )


def _make_declared() -> None:
    op.create_table(
        "personal_fields",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("declaration", sa.Text, nullable=False),
        sa.Column("declared_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "purposes",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("notice", _NAME, nullable=False),
        sa.Column("basis", sa.String(30), nullable=False),
        sa.Column("special", sa.Boolean, nullable=False),
        sa.Column("required", sa.Boolean, nullable=False),
        sa.Column("declaration", sa.Text, nullable=False),
        sa.Column("declared_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "purpose_ends",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "notices",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("published_at", _MOMENT, nullable=False),
    )


def _make_answers() -> None:
    op.create_table(
        "notice_answers",
        sa.Column("id", _ID, sa.Identity(), primary_key=True, autoincrement=True),
        sa.Column("subject", sa.String(32), sa.ForeignKey("subjects.id"), nullable=False),
        sa.Column("notice", _NAME, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("accepted", sa.Boolean, nullable=False),
        sa.Column("how", sa.String(200), nullable=False),
        sa.Column("screen", sa.String(200), nullable=False),
        sa.Column("answered_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["notice", "number"], ["notices.name", "notices.number"]),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notice_answers_of", "notice_answers", ["notice", "number", "subject", "id"])
    op.create_index("ix_notice_answers_by", "notice_answers", ["subject", "notice", "number"])


def _make_grants() -> None:
    op.create_table(
        "grants",
        sa.Column("id", _ID, sa.Identity(), primary_key=True, autoincrement=True),
        sa.Column("record", sa.String(36), nullable=False),
        sa.Column("act", sa.String(36), nullable=False),
        sa.Column("subject", sa.String(32), sa.ForeignKey("subjects.id"), nullable=False),
        sa.Column("purpose", _NAME, nullable=False),
        sa.Column("purpose_version", sa.Integer, nullable=False),
        sa.Column("notice", _NAME, nullable=False),
        sa.Column("notice_version", sa.Integer, nullable=False),
        sa.Column("separate", sa.Boolean, nullable=False),
        sa.Column("language", sa.String(5), nullable=False),
        sa.Column("how", sa.String(200), nullable=False),
        sa.Column("screen", sa.String(200), nullable=False),
        sa.Column("given_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
        sa.ForeignKeyConstraint(["purpose", "purpose_version"], ["purposes.name", "purposes.number"]),
        sa.ForeignKeyConstraint(["notice", "notice_version"], ["notices.name", "notices.number"]),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_grants_standing", "grants", ["purpose", "subject"], unique=True, **_STANDING)
    op.create_index("ix_grants_subject", "grants", ["subject", "purpose"])
    op.create_table(
        "grant_ends",
        sa.Column("grant_id", _ID, sa.ForeignKey("grants.id"), primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("how", sa.String(200), nullable=False),
        sa.Column("screen", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=False),
    )


def _refusals(table: str, *, sqlite: bool) -> Iterator[str]:
    """What makes ``table`` append-only but for its one column, which is set once."""
    once, when = _ONCE.get(table), ""
    if once:
        differs = "IS NOT" if sqlite else "IS DISTINCT FROM"
        wrong = [f'OLD."{column}" {differs} NEW."{column}"' for column in _COLUMNS[table]]
        wrong.append(f"OLD.{once} IS NOT NULL" if table == "grants" else f"NEW.{once} IS NOT NULL")
        when = f"WHEN ({' OR '.join(wrong)})"
    if sqlite:
        yield f"""CREATE TRIGGER {table}_kept BEFORE UPDATE ON {table} {when}
                  BEGIN SELECT RAISE(ABORT, '{table} is never changed or deleted'); END"""
        yield f"""CREATE TRIGGER {table}_never_deleted BEFORE DELETE ON {table}
                  BEGIN SELECT RAISE(ABORT, '{table} is never changed or deleted'); END"""
        return
    refuse = "EXECUTE FUNCTION consent_refuse()"
    yield f"CREATE TRIGGER {table}_kept BEFORE UPDATE ON {table} FOR EACH ROW {when} {refuse}"
    yield f"CREATE TRIGGER {table}_never_deleted BEFORE DELETE ON {table} FOR EACH ROW {refuse}"
    yield f"CREATE TRIGGER {table}_never_emptied BEFORE TRUNCATE ON {table} {refuse}"


def downgrade() -> None:
    for table in reversed(_COLUMNS):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        for function in ("consent_refuse", "grants_end", "grants_mark", "grants_unborn"):
            op.execute(f"DROP FUNCTION {function}()")
