"""Members, watches, what was decided of each change, alerts, deliveries, digests, notices of error."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_MOMENT = sa.DateTime(timezone=True)
_BYTES: dict[str, Any] = {"postgresql_ops": {"entity": "varchar_pattern_ops"}}


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    op.create_table(
        "members",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("subject", sa.String(32), unique=True),
        sa.Column("language", sa.String(5), nullable=False),
        sa.Column("zone", sa.String(60), nullable=False),
        sa.Column("digest_hour", sa.Integer, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("left_at", _MOMENT),
    )
    op.create_table(
        "channel_addresses",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("member_id", sa.Integer, sa.ForeignKey("members.id"), nullable=False),
        sa.Column("channel", sa.String(20), nullable=False),
        sa.Column("commitment", sa.String(71), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
    )
    op.create_index("ix_channel_addresses_member_id", "channel_addresses", ["member_id", "state"])
    op.create_table(
        "watches",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("member_id", sa.Integer, sa.ForeignKey("members.id"), nullable=False, index=True),
        sa.Column("entity", sa.String(300), nullable=False),
        sa.Column("source", sa.String(100)),
        sa.Column("categories", sa.String(200), nullable=False),
        sa.Column("channels", sa.String(200), nullable=False),
        sa.Column("realtime", sa.Boolean, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
    )
    op.create_index(
        "uq_watches_active", "watches", ["entity", "member_id"], unique=True, **_BYTES, **_where("ended_at IS NULL")
    )
    op.create_index(
        "ix_watches_fan_out",
        "watches",
        ["entity", "member_id", "source", "categories", "channels", "realtime"],
        **_BYTES,
        **_where("ended_at IS NULL"),
    )
    op.create_table(
        "screenings",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("change_id", sa.String(32), nullable=False, unique=True),
        sa.Column("batch_id", sa.String(64), nullable=False),
        sa.Column("source", sa.String(100), nullable=False),
        sa.Column("entity", sa.String(300), nullable=False, index=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("section", sa.String(60), nullable=False),
        sa.Column("fact_key", sa.Text, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("moved", sa.String(10), nullable=False),
        sa.Column("late", sa.Boolean, nullable=False),
        sa.Column("sensitive", sa.Boolean, nullable=False),
        sa.Column("category", sa.String(20), nullable=False),
        sa.Column("risk", sa.String(10), nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("effective_on", sa.Date),
        sa.Column("not_before", _MOMENT),
        sa.Column("not_after", _MOMENT, nullable=False),
        sa.Column("snapshot", sa.String(64), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("baseline", sa.String(20), nullable=False),
        sa.Column("verification", sa.String(20), nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("hold_id", sa.Integer),
        sa.Column("decided_at", _MOMENT),
        sa.Column("decided_by", sa.String(200), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_index("ix_screenings_batch_id", "screenings", ["batch_id", "state"])
    op.create_index("ix_screenings_state", "screenings", ["state", "section"])
    op.create_table(
        "screening_summaries",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("batch_id", sa.String(64), nullable=False, index=True),
        sa.Column("section", sa.String(60), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("changes", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
    )
    op.create_table(
        "holds",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("batch_id", sa.String(64), nullable=False),
        sa.Column("source", sa.String(100), nullable=False),
        sa.Column("section", sa.String(60), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("observed", sa.Integer, nullable=False),
        sa.Column("expected", sa.Float, nullable=False),
        sa.Column("low", sa.Float, nullable=False),
        sa.Column("high", sa.Float, nullable=False),
        sa.Column("tail", sa.Float, nullable=False),
        sa.Column("history", sa.JSON, nullable=False),
        sa.Column("state", sa.String(10), nullable=False, index=True),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("decided_at", _MOMENT),
        sa.Column("decided_by", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.UniqueConstraint("batch_id", "section", "kind", name=op.f("uq_holds_batch_id_section_kind")),
    )
    op.create_table(
        "verifications",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("change_id", sa.String(32), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("snapshot", sa.String(64), nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("contradictions", sa.JSON, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("next_at", _MOMENT, index=True),
        sa.UniqueConstraint("change_id", "attempt", name=op.f("uq_verifications_change_id_attempt")),
    )
    op.create_table(
        "alerts",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("change_id", sa.String(64), nullable=False),
        sa.Column("batch_id", sa.String(64), nullable=False),
        sa.Column("entity", sa.String(300), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("source", sa.String(100), nullable=False),
        sa.Column("section", sa.String(60), nullable=False),
        sa.Column("fact_key", sa.Text, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("category", sa.String(20), nullable=False),
        sa.Column("risk", sa.String(10), nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("effective_on", sa.Date),
        sa.Column("not_before", _MOMENT),
        sa.Column("not_after", _MOMENT, nullable=False),
        sa.Column("snapshot", sa.String(64), nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("verification", sa.String(20), nullable=False),
        sa.Column("verification_id", sa.Integer),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("corrects_id", sa.Integer),
        sa.Column("wording", sa.JSON),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
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
        sa.UniqueConstraint("alert_id", "address_id", name=op.f("uq_deliveries_alert_id_address_id")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER SEQUENCE deliveries_id_seq CACHE 32")
    op.create_index("ix_deliveries_digest_id", "deliveries", ["digest_id"], **_where("digest_id IS NOT NULL"))
    op.create_index("ix_deliveries_due", "deliveries", ["next_at"], **_where("state = 'due' AND mode <> 'digest'"))
    op.create_index(
        "ix_deliveries_gathering", "deliveries", ["member_id"], **_where("state = 'due' AND mode = 'digest'")
    )
    op.create_index("ix_deliveries_given_up", "deliveries", ["id"], **_where("state = 'given_up'"))
    op.create_index(
        "ix_deliveries_sending", "deliveries", ["claimed_until"], **_where("state = 'sending' AND mode <> 'digest'")
    )
    op.create_table(
        "digests",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("member_id", sa.Integer, sa.ForeignKey("members.id"), nullable=False, index=True),
        sa.Column("address_id", sa.Integer, sa.ForeignKey("channel_addresses.id"), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("zone", sa.String(60), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("body_text", sa.Text, nullable=False),
        sa.Column("body_html", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.UniqueConstraint("address_id", "day", name=op.f("uq_digests_address_id_day")),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("member_id", sa.Integer, sa.ForeignKey("members.id"), nullable=False, index=True),
        sa.Column("delivery_id", sa.Integer, nullable=False, unique=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("read_at", _MOMENT),
    )
    op.create_table(
        "notices_of_error",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("entity", sa.String(300), nullable=False, index=True),
        sa.Column("source", sa.String(100), nullable=False),
        sa.Column("section", sa.String(60), nullable=False),
        sa.Column("fact_key", sa.Text, nullable=False),
        sa.Column("claimant", sa.Text, nullable=False),
        sa.Column("statement", sa.Text, nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("state", sa.String(10), nullable=False, index=True),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("decided_at", _MOMENT),
        sa.Column("decided_by", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("correction_alert_id", sa.Integer),
    )


def downgrade() -> None:
    for table in (
        "notices_of_error",
        "messages",
        "digests",
        "deliveries",
        "alerts",
        "verifications",
        "holds",
        "screening_summaries",
        "screenings",
        "watches",
        "channel_addresses",
        "members",
    ):
        op.drop_table(table)
