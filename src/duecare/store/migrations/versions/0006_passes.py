"""What the park sells, holders, cards, visits, gates, messages, refunds."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_MOMENT = sa.DateTime(timezone=True)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _id() -> sa.Column[int]:
    return sa.Column("id", _ID, primary_key=True, autoincrement=True)


def upgrade() -> None:
    _make_sold()
    _make_holders()
    _make_gates()
    _make_rest()


def _make_sold() -> None:
    op.create_table(
        "pass_offers",
        _id(),
        sa.Column("product", sa.String(60), nullable=False),
        sa.Column("method", sa.String(40), nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("days", sa.Integer, nullable=False),
        sa.Column("offered_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
    )
    op.create_index(
        "uq_pass_offers_standing", "pass_offers", ["product", "method"], unique=True, **_where("ended_at IS NULL")
    )
    op.create_table(
        "passes",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("product", sa.String(60), nullable=False),
        sa.Column("sold_at", _MOMENT, nullable=False),
        sa.Column("screen", sa.String(200), nullable=False),
    )
    op.create_table(
        "pass_periods",
        sa.Column("pass_id", sa.String(32), sa.ForeignKey("passes.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("year", sa.Integer, nullable=False),
        sa.Column("first", sa.Date, nullable=False),
        sa.Column("last", sa.Date, nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("persons", sa.Integer, nullable=False),
        sa.Column("way", sa.String(40), nullable=False),
        sa.Column("paid_at", _MOMENT, nullable=False),
    )
    op.create_index("ix_pass_periods_last", "pass_periods", ["last"])
    op.create_table(
        "pass_refunds",
        _id(),
        sa.Column("pass_id", sa.String(32), sa.ForeignKey("passes.id"), nullable=False),
        sa.Column("persons", sa.Integer, nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("days_left", sa.Integer, nullable=False),
        sa.Column("days", sa.Integer, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("paid_on", sa.Date, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
    )
    op.create_index("ix_pass_refunds_pass_id", "pass_refunds", ["pass_id"])


def _make_holders() -> None:
    op.create_table(
        "pass_holders",
        _id(),
        sa.Column("pass_id", sa.String(32), sa.ForeignKey("passes.id"), nullable=False),
        sa.Column("subject", sa.String(32)),
        sa.Column("method", sa.String(40), nullable=False),
        sa.Column("left_on", sa.Date),
    )
    op.create_index("ix_pass_holders_pass_id", "pass_holders", ["pass_id"])
    op.create_index("ix_pass_holders_subject", "pass_holders", ["subject"])
    op.create_table(
        "pass_cards",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("holder_id", _ID, sa.ForeignKey("pass_holders.id"), nullable=False),
        sa.Column("issued_at", _MOMENT, nullable=False),
        sa.Column("lost_at", _MOMENT),
    )
    op.create_index("ix_pass_cards_holder_id", "pass_cards", ["holder_id"])
    op.create_table(
        "pass_visits",
        _id(),
        sa.Column("holder_id", _ID, sa.ForeignKey("pass_holders.id"), nullable=False),
        sa.Column("subject", sa.String(32)),
        sa.Column("gate", sa.String(40), nullable=False),
        sa.Column("method", sa.String(40), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("offline", sa.Boolean, nullable=False),
    )
    op.create_index("ix_pass_visits_subject", "pass_visits", ["subject", "at"])
    op.create_index("ix_pass_visits_holder_id", "pass_visits", ["holder_id"])
    op.create_index("uq_pass_visits_question", "pass_visits", ["gate", "key"], unique=True)


def _make_gates() -> None:
    op.create_table(
        "gates",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("added_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
    )
    op.create_table(
        "gate_answers",
        sa.Column("gate", sa.String(40), primary_key=True),
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("question", sa.String(64), nullable=False),
        sa.Column("opened", sa.Boolean, nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
    )
    op.create_index("ix_gate_answers_at", "gate_answers", ["at"])
    op.create_table(
        "gate_conflicts",
        _id(),
        sa.Column("gate", sa.String(40), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("card", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(32)),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("noted_at", _MOMENT, nullable=False),
        sa.Column("settled_at", _MOMENT),
        sa.Column("settled_by", sa.String(200), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_index("uq_gate_conflicts_question", "gate_conflicts", ["gate", "key", "kind"], unique=True)
    op.create_index("ix_gate_conflicts_subject", "gate_conflicts", ["subject"])


def _make_rest() -> None:
    op.create_table(
        "holder_messages",
        _id(),
        sa.Column("subject", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("channel", sa.String(20), nullable=False),
        sa.Column("said", sa.JSON, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("next_at", _MOMENT, nullable=False),
        sa.Column("sent_at", _MOMENT),
        sa.Column("last_error", sa.Text, nullable=False),
    )
    op.create_index("ix_holder_messages_subject", "holder_messages", ["subject"])
    op.create_index(
        "ix_holder_messages_due", "holder_messages", ["next_at"], **_where("state = 'due' OR state = 'sending'")
    )
    op.create_table(
        "pass_clerks",
        sa.Column("name", sa.String(60), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("added_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT),
    )


def downgrade() -> None:
    for table in (
        "pass_clerks",
        "holder_messages",
        "gate_conflicts",
        "gate_answers",
        "gates",
        "pass_visits",
        "pass_cards",
        "pass_holders",
        "pass_refunds",
        "pass_periods",
        "passes",
        "pass_offers",
    ):
        op.drop_table(table)
