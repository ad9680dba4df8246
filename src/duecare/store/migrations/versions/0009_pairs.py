"""A delivery is named by its alert and its address, and the one of a digest by the digest.

That a pair comes once is the primary key then, and the second unique index, which cost as much as the row, goes.

Earlier entries of the evidence name deliveries by their old numbers (``delivery:57``), which are below 2^31; those of
pairs are not, and digests are called ``digest:57``. What was sent before under the old number and may not have arrived
goes out under the new one: let ``duecare deliver`` finish before the upgrade.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_MOMENT = sa.DateTime(timezone=True)
_COLUMNS = (
    "alert_id, member_id, address_id, channel, mode, state, attempts, created_at, next_at, first_tried_at, unanswered, "
    "claimed_by, claimed_until, last_error, sent_at, digest_id"
)
# A digest that was composed anew, or erased with the member who left, is gone, and SQLite gave its id to another. What
# remains of its delivery has nothing to be named after but its old number, far below all others.
_NO_DIGEST = """
    UPDATE deliveries SET digest_id = NULL WHERE digest_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM digests WHERE digests.id = deliveries.digest_id AND digests.address_id = deliveries.address_id
    )
"""
_PAIR = (
    f"CASE WHEN alert_id IS NULL THEN coalesce(digest_id, -{2**62} - id) "
    "ELSE CAST(alert_id AS BIGINT) * 2147483648 + address_id END"
)
_INDEXES = (
    ("digest_id", "digest_id", "digest_id IS NOT NULL"),
    ("due", "next_at", "state = 'due' AND mode <> 'digest'"),
    ("gathering", "member_id", "state = 'due' AND mode = 'digest'"),
    ("given_up", "id", "state = 'given_up'"),
    ("sending", "claimed_until", "state = 'sending' AND mode <> 'digest'"),
)
_ASIDE = 2**62


def upgrade() -> None:
    last = op.get_bind().scalar(sa.text("SELECT max(digest_id) FROM deliveries")) or 0
    op.execute(_NO_DIGEST)
    _rename_in_messages(f"SELECT {_PAIR} FROM deliveries WHERE deliveries.id = messages.delivery_id", sa.BigInteger())
    _rebuild_deliveries(_PAIR, sa.Column("id", _big(), primary_key=True, autoincrement=False))
    if _embedded():
        _rebuild_digests(sqlite_autoincrement=True)
        op.execute("DELETE FROM sqlite_sequence WHERE name = 'digests'")
        op.execute(
            f"INSERT INTO sqlite_sequence (name, seq) SELECT 'digests', max({last}, coalesce(max(id), 0)) FROM digests"
        )
    else:
        op.execute("ANALYZE deliveries")


def downgrade() -> None:
    op.create_table(
        "numbers", sa.Column("number", sa.Integer, primary_key=True), sa.Column("pair", _big(), unique=True)
    )
    op.execute("INSERT INTO numbers SELECT row_number() OVER (ORDER BY created_at, id), id FROM deliveries")
    _rename_in_messages("SELECT number FROM numbers WHERE pair = messages.delivery_id", sa.Integer())
    _rebuild_deliveries(
        "(SELECT number FROM numbers WHERE pair = deliveries_before.id)",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.UniqueConstraint("alert_id", "address_id", name=op.f("uq_deliveries_alert_id_address_id")),
    )
    op.drop_table("numbers")
    if _embedded():
        _rebuild_digests()
    else:
        op.execute("SELECT setval('deliveries_id_seq', (SELECT coalesce(max(id), 0) + 1 FROM deliveries), false)")
        op.execute("ALTER SEQUENCE deliveries_id_seq CACHE 32")


def _embedded() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _big() -> Any:
    return sa.Integer() if _embedded() else sa.BigInteger()


def _rename_in_messages(name: str, kind: Any) -> None:
    """Old and new names may be the same numbers: by way of others that are neither."""
    if not _embedded():
        op.alter_column("messages", "delivery_id", type_=sa.BigInteger())
    op.execute(f"UPDATE messages SET delivery_id = coalesce(({name}), -delivery_id) + {_ASIDE}")
    op.execute(f"UPDATE messages SET delivery_id = delivery_id - {_ASIDE}")
    if not _embedded():
        op.alter_column("messages", "delivery_id", type_=kind)


def _rebuild_deliveries(name: str, own: Any, *constraints: Any) -> None:
    for index, _, _ in _INDEXES:
        op.drop_index(f"ix_deliveries_{index}", "deliveries")
    op.rename_table("deliveries", "deliveries_before")
    if not _embedded():
        op.execute("ALTER INDEX pk_deliveries RENAME TO pk_deliveries_before")
    op.create_table(
        "deliveries",
        own,
        sa.Column("alert_id", sa.Integer),
        sa.Column("member_id", sa.Integer, nullable=False),
        sa.Column("address_id", sa.Integer, nullable=False),
        sa.Column("channel", sa.String(20), nullable=False),
        sa.Column("mode", sa.String(10), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("next_at", _MOMENT, nullable=False),
        sa.Column("first_tried_at", _MOMENT),
        sa.Column("unanswered", sa.Boolean, nullable=False),
        sa.Column("claimed_by", sa.String(64)),
        sa.Column("claimed_until", _MOMENT),
        sa.Column("last_error", sa.Text, nullable=False),
        sa.Column("sent_at", _MOMENT),
        sa.Column("digest_id", sa.Integer),
        *constraints,
    )
    op.execute(f"INSERT INTO deliveries (id, {_COLUMNS}) SELECT {name}, {_COLUMNS} FROM deliveries_before")
    op.drop_table("deliveries_before")
    for index, column, condition in _INDEXES:
        where = sa.text(condition)
        op.create_index(f"ix_deliveries_{index}", "deliveries", [column], sqlite_where=where, postgresql_where=where)


def _rebuild_digests(**how: Any) -> None:
    """So that the id of a digest that was composed anew is not given again."""
    with op.batch_alter_table("digests", recreate="always", table_kwargs=how):
        pass
