"""Leaving: a member goes, and with them everything that says who they were and what they were sent.

The rows of their watches, addresses and deliveries stay, because they count who was told; nothing ties them to a
person any more. So a correction that comes later cannot reach them.

The rule of this module: whichever way the erasure was ordered (leaving, a request, a schedule), what it takes out here
is the same, in the transaction in which it begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, cast, delete, func, literal, select, update
from sqlalchemy.orm import Session

from duecare.clock import BEIJING
from duecare.radar.models import AddressState, ChannelAddress, Delivery, DeliveryState, Digest, Member, Message, Watch
from duecare.radar.purposes import MEMBER_LEFT, WATCH_DELIVERY
from duecare.radar.watches import LEFT, find_member
from duecare.store.database import in_order, parts
from duecare.vault.places import Erasing, Place, Served

if TYPE_CHECKING:
    from duecare.vault.erasure import Outcome
    from duecare.vault.records import Vault

_SAID = "The member has left."
_WITH_DELIVERY = Served(frozenset({WATCH_DELIVERY}))


def leave(vault: Vault, name: str, *, how: str = "leaving", screen: str = "duecare watch members leave") -> Outcome:
    """The member called ``name`` leaves: nothing is sent to them any more, and what is held of them is erased.

    Call it outside of any transaction. Killed in between, it is asked for again, or the schedule finishes it. Raises
    ``UnknownName``.
    """
    from duecare.vault.erasure import withdraw
    from duecare.vault.retention import event

    at = vault.clock.now()
    with vault.database.session() as session:
        member = find_member(session, name)
        assert member.subject is not None, "only a member of whom all was erased has none, and no name either"
        if member.left_at is None:
            event(session, member.subject, MEMBER_LEFT, at.astimezone(BEIJING).date(), at=at)
        _retire(session, [member.id], at)
    return withdraw(vault, member.subject, WATCH_DELIVERY, how=how, screen=screen)


def places() -> list[Place]:
    """The places of the radar."""
    return [_Membership()]


@dataclass(frozen=True)
class _Membership:
    """A member's messages and digests, which go; and their row, which stays without their subject and name."""

    name: str = "watching"
    served: Served = _WITH_DELIVERY
    in_database: bool = True

    def count(self, erasing: Erasing, session: Session | None) -> Mapping[str, int]:
        assert session is not None
        found: Counter[str] = Counter()
        for part in parts(self.served.subjects(erasing)):
            mine = Member.subject.in_(part)
            for of in (Message, Digest):
                asked = select(Member.subject, func.count()).join(of, of.member_id == Member.id).where(mine)
                found.update(
                    {str(subject): number for subject, number in session.execute(asked.group_by(Member.subject))}
                )
            found.update(str(subject) for subject in session.scalars(select(Member.subject).where(mine)))
        return found

    def erase(self, erasing: Erasing, session: Session | None) -> None:
        assert session is not None
        nameless = literal(LEFT).concat(cast(Member.id, String))
        for part in parts(self.served.subjects(erasing)):
            members = session.scalars(select(Member.id).where(Member.subject.in_(part))).all()
            _retire(session, members, erasing.home.clock.now())
            # What a server said of a delivery is in its own words, and may be of the reader.
            answered = Delivery.member_id.in_(members) & (Delivery.state != DeliveryState.CANCELLED.value)
            _do(session, update(Delivery).where(answered).values(last_error=""))
            for of in (Message, Digest):
                _do(session, delete(of).where(of.member_id.in_(members)))
            _do(session, update(Member).where(Member.id.in_(members)).values(subject=None, name=nameless))


def _retire(session: Session, members: Sequence[int], at: datetime) -> None:
    """End the watches and addresses of ``members``, and cancel what is still due to them.

    Addresses first: whoever places a message in a centre holds them meanwhile. Then the members: whoever composes a
    digest holds those. So what both wrote is there to be erased, and neither writes afterwards.
    """
    ended = {"state": AddressState.ENDED.value, "ended_at": at}
    theirs = ChannelAddress.member_id.in_(members) & (ChannelAddress.state != AddressState.ENDED.value)
    in_order(session, select(ChannelAddress.id).where(theirs).order_by(ChannelAddress.id))
    _do(session, update(ChannelAddress).where(theirs).values(ended))
    _do(session, update(Member).where(Member.id.in_(members), Member.left_at.is_(None)).values(left_at=at))
    _do(session, update(Watch).where(Watch.member_id.in_(members), Watch.ended_at.is_(None)).values(ended_at=at))
    due = Delivery.member_id.in_(members) & Delivery.state.in_((DeliveryState.DUE.value, DeliveryState.WAITING.value))
    _do(session, update(Delivery).where(due).values(state=DeliveryState.CANCELLED.value, last_error=_SAID))


def _do(session: Session, statement: Any) -> None:
    session.execute(statement.execution_options(synchronize_session=False))
