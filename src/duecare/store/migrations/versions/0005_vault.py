"""Keys, sealed values, openings, erasures, retention and legal holds; what is gone cannot come back."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_MOMENT = sa.DateTime(timezone=True)
_HEX = sa.String(32)
_NAME = sa.String(60)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_FORWARD = {
    "vault_keys": "OLD.state = 'erased' OR (OLD.state = 'erasing' AND NEW.state = 'live') "
    "OR OLD.id <> NEW.id OR OLD.subject <> NEW.subject OR OLD.purpose <> NEW.purpose OR OLD.slot <> NEW.slot",
    "vault_values": "(OLD.state <> 'held' AND (NEW.state = 'held' OR NEW.ciphertext IS NOT NULL)) "
    "OR OLD.id <> NEW.id OR OLD.subject <> NEW.subject OR OLD.field <> NEW.field OR OLD.digest <> NEW.digest",
    "erasures": "(OLD.state <> 'begun' AND NEW.state = 'begun') OR OLD.subject <> NEW.subject "
    "OR OLD.purpose <> NEW.purpose OR OLD.entry <> NEW.entry",
    "legal_holds": "OLD.lifted_at IS NOT NULL OR OLD.article <> NEW.article OR OLD.placed_at <> NEW.placed_at",
    "openings": "",
    "opening_subjects": "",
    "retention_events": "",
}
"""Tables whose rows stay; and the changes that are refused, none: all."""

_TABLES = (
    "vault_keys", "vault_values", "vault_wraps", "vault_index_keys", "vault_lookups", "openings", "opening_subjects",
    "erasures", "retention_events", "legal_holds", "vault_marks",
)  # fmt: skip


def upgrade() -> None:
    _make_keys()
    _make_values()
    _make_openings()
    _make_erasures()
    _make_retention()
    sqlite = op.get_context().dialect.name == "sqlite"
    if not sqlite:
        op.execute(
            """CREATE FUNCTION vault_refuse() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION '% only goes forward', TG_TABLE_NAME; END $$"""
        )
    for table, change in _FORWARD.items():
        for statement in _refusals(table, change, sqlite=sqlite):
            op.execute(statement)
    op.execute("INSERT INTO vault_marks (id, erasures, adopted) VALUES (1, 0, 0)")


def _index(name: str, table: str, *columns: str, where: str, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, list(columns), unique=unique, sqlite_where=condition, postgresql_where=condition)


def _make_keys() -> None:
    op.create_table(
        "vault_keys",
        sa.Column("id", _HEX, primary_key=True),
        sa.Column("subject", _HEX, nullable=False),
        sa.Column("purpose", _NAME, nullable=False),
        sa.Column("grant_id", sa.BigInteger, nullable=False),
        sa.Column("slot", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("made_at", _MOMENT, nullable=False),
        sa.Column("act", _HEX),
        sa.Column("erased_at", _MOMENT),
        sa.UniqueConstraint("grant_id"),
    )
    _index("uq_vault_keys_live", "vault_keys", "subject", "purpose", where="state = 'live'", unique=True)
    _index("ix_vault_keys_purpose", "vault_keys", "purpose", "subject", where="state = 'live'")
    _index("ix_vault_keys_erasing", "vault_keys", "id", where="state = 'erasing'")
    op.create_index("ix_vault_keys_subject", "vault_keys", ["subject", "purpose"])
    _index("ix_vault_keys_act", "vault_keys", "act", where="act IS NOT NULL")
    op.create_table(
        "vault_index_keys",
        sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("id", _HEX, nullable=False),
        sa.Column("slot", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("made_at", _MOMENT, nullable=False),
    )
    op.create_table(
        "vault_marks",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("erasures", sa.BigInteger, nullable=False),
        sa.Column("adopted", sa.BigInteger, nullable=False),
    )


def _make_values() -> None:
    op.create_table(
        "vault_values",
        sa.Column("id", _HEX, primary_key=True),
        sa.Column("subject", _HEX, nullable=False),
        sa.Column("field", _NAME, nullable=False),
        sa.Column("form", sa.String(5), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary),
        sa.Column("blob", sa.Boolean, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("salt", sa.String(64), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("sealed_at", _MOMENT, nullable=False),
        sa.Column("act", _HEX),
        sa.Column("gone_at", _MOMENT),
    )
    op.create_index("ix_vault_values_subject", "vault_values", ["subject", "field"])
    _index("ix_vault_values_act", "vault_values", "act", where="act IS NOT NULL")
    _index("ix_vault_values_left", "vault_values", "id", where="blob AND state <> 'held'")
    op.create_table(
        "vault_wraps",
        sa.Column("key_id", _HEX, primary_key=True),
        sa.Column("field", _NAME, primary_key=True),
        sa.Column("value_id", _HEX, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_vault_wraps_value", "vault_wraps", ["value_id"])
    op.create_table(
        "vault_lookups",
        sa.Column("value_id", _HEX, primary_key=True),
        sa.Column("field", _NAME, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
    )
    op.create_index("ix_vault_lookups_digest", "vault_lookups", ["field", "digest"])
    op.create_index("ix_vault_lookups_generation", "vault_lookups", ["generation"])


def _make_openings() -> None:
    op.create_table(
        "openings",
        sa.Column("entry", _ID, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("purpose", _NAME, nullable=False),
        sa.Column("fields", sa.Text, nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("subject", _HEX),
        sa.Column("subjects", sa.Integer, nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
    )
    _index("ix_openings_subject", "openings", "subject", where="subject IS NOT NULL")
    op.create_table(
        "opening_subjects",
        sa.Column("subject", _HEX, primary_key=True),
        sa.Column("entry", _ID, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )


def _make_erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", _HEX, primary_key=True),
        sa.Column("act", _HEX, nullable=False),
        sa.Column("subject", _HEX, nullable=False),
        sa.Column("purpose", _NAME, nullable=False),
        sa.Column("reason", sa.String(20), nullable=False),
        sa.Column("article", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("places", sa.Text, nullable=False),
        sa.Column("last", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("begun_at", _MOMENT, nullable=False),
        sa.Column("erased_at", _MOMENT),
        sa.Column("entry", sa.BigInteger),
        sa.Column("certificate", sa.Text),
    )
    op.create_index("ix_erasures_subject", "erasures", ["subject"])
    op.create_index("ix_erasures_act", "erasures", ["act", "subject"])
    _index("ix_erasures_open", "erasures", "state", where="state <> 'certified'")


def _make_retention() -> None:
    op.create_table(
        "retention_events",
        sa.Column("id", _ID, sa.Identity(), primary_key=True, autoincrement=True),
        sa.Column("subject", _HEX, nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("ref", sa.String(100), nullable=False),
        sa.Column("on", sa.Date),
        sa.Column("recorded_at", _MOMENT, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_retention_events_subject", "retention_events", ["subject", "name", "ref"])
    op.create_index("ix_retention_events_on", "retention_events", ["name", "on"])
    op.create_table(
        "legal_holds",
        sa.Column("id", _ID, sa.Identity(), primary_key=True, autoincrement=True),
        sa.Column("subject", _HEX),
        sa.Column("purpose", _NAME),
        sa.Column("article", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("placed_by", sa.String(200), nullable=False),
        sa.Column("placed_at", _MOMENT, nullable=False),
        sa.Column("lifted_by", sa.String(200)),
        sa.Column("lift_reason", sa.Text),
        sa.Column("lifted_at", _MOMENT),
        sqlite_autoincrement=True,
    )
    _index("ix_legal_holds_standing", "legal_holds", "subject", "purpose", where="lifted_at IS NULL")


def _refusals(table: str, change: str, *, sqlite: bool) -> Iterator[str]:
    when = f"WHEN ({change})" if change else ""
    if sqlite:
        yield f"""CREATE TRIGGER {table}_forward BEFORE UPDATE ON {table} {when}
                  BEGIN SELECT RAISE(ABORT, '{table} only goes forward'); END"""
        yield f"""CREATE TRIGGER {table}_never_deleted BEFORE DELETE ON {table}
                  BEGIN SELECT RAISE(ABORT, '{table} only goes forward'); END"""
        return
    refuse = "EXECUTE FUNCTION vault_refuse()"
    yield f"CREATE TRIGGER {table}_forward BEFORE UPDATE ON {table} FOR EACH ROW {when} {refuse}"
    yield f"CREATE TRIGGER {table}_never_deleted BEFORE DELETE ON {table} FOR EACH ROW {refuse}"
    yield f"CREATE TRIGGER {table}_never_emptied BEFORE TRUNCATE ON {table} {refuse}"


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION vault_refuse()")
