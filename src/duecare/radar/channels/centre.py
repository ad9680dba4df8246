"""The message centre: messages that members read in their own pages here.

The rule of this module: one delivery is one message, held by a unique constraint.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from duecare.errors import BadInput
from duecare.radar.channels.channel import Envelope
from duecare.radar.models import Message
from duecare.store.home import Home


class Centre:
    """Writes to the database; needs no address."""

    name = "centre"
    concurrency = 1

    def __init__(self, home: Home) -> None:
        self._home = home

    @property
    def missing(self) -> str:
        return ""

    @classmethod
    def check(cls, address: str, secret: str) -> tuple[str, str]:
        if address or secret:
            raise BadInput(f"The message centre takes no address, but {address!r} was given.", hint="Leave it out.")
        return "", ""

    async def send(self, envelope: Envelope) -> None:
        with self._home.database.session() as session:
            self.place(session, [envelope])

    def place(self, session: Session, envelopes: Sequence[Envelope]) -> None:
        """Place all in the caller's transaction; one that is there already stays as it is."""
        if not envelopes:
            return
        at = self._home.clock.now()
        statement: Insert
        if session.get_bind().dialect.name == "postgresql":
            statement = postgresql.insert(Message).on_conflict_do_nothing(index_elements=["delivery_id"])
        else:
            statement = sqlite.insert(Message).on_conflict_do_nothing(index_elements=["delivery_id"])
        session.execute(
            statement,
            [
                {
                    "member_id": envelope.member_id,
                    "delivery_id": envelope.delivery_id,
                    "subject": envelope.letter.subject,
                    "body": envelope.letter.text,
                    "created_at": at,
                }
                for envelope in envelopes
            ],
        )

    async def close(self) -> None:
        pass
