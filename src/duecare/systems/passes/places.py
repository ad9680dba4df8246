"""Where something about a holder rests besides the vault, and how an erasure takes it out of there.

Visits, conflicts and messages go with the contract, which is the last purpose to end; with it the holder's row forgets
whose it was, and their cards are deleted.

The rule of this module: every table of the system that names a subject is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from duecare.systems.passes.models import Card, Holder
from duecare.systems.passes.purposes import CONTRACT
from duecare.vault.places import Erasing, Place, Served, TableRows

_WITH_CONTRACT = Served(frozenset({CONTRACT}))


@dataclass(frozen=True)
class HolderRows:
    """The rows of holders, which stay for the books without their subject; and the cards, which go."""

    name: str = "holders"
    served: Served = _WITH_CONTRACT
    in_database: bool = True

    def count(self, erasing: Erasing, session: Session | None) -> Mapping[str, int]:
        assert session is not None
        mine = Holder.subject.in_(self.served.subjects(erasing))
        asked = select(Holder.subject, func.count()).where(mine).group_by(Holder.subject)
        return {str(subject): count for subject, count in session.execute(asked)}

    def erase(self, erasing: Erasing, session: Session | None) -> None:
        assert session is not None
        mine = select(Holder.id).where(Holder.subject.in_(self.served.subjects(erasing)))
        session.execute(delete(Card).where(Card.holder_id.in_(mine)))
        session.execute(
            update(Holder).where(Holder.subject.in_(self.served.subjects(erasing))).values(subject=None),
            execution_options={"synchronize_session": False},
        )


def places() -> list[Place]:
    """The places of the pass system."""
    return [
        TableRows("visits", "pass_visits", _WITH_CONTRACT),
        TableRows("messages", "holder_messages", _WITH_CONTRACT),
        TableRows("conflicts", "gate_conflicts", _WITH_CONTRACT),
        HolderRows(),
    ]
