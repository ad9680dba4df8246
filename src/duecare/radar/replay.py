"""What is done again on an older copy of the database, from the log: who was told since, and who is not to be told.

A delivery that was due in the copy and was sent, given up or cancelled since is not due again. What went into a message
centre is: its messages are lost with the database, and are placed anew. An alert that was taken back is stopped, and
its correction owed to those who had not heard it. A watch and an address that ended have ended.

The rule of this module: nobody is told twice, or at an address that has ended, because of a restore.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, select, update

from duecare.evidence.outbox import LoggedEntry
from duecare.radar.corrections import take_back
from duecare.radar.detour import CENTRE
from duecare.radar.models import AddressState, Alert, AlertState, ChannelAddress, Delivery, DeliveryState, Member, Watch
from duecare.vault.copies import Copy, Replays

_OVER = {"delivery:cancel": DeliveryState.CANCELLED, "delivery:give_up": DeliveryState.GIVEN_UP}
_OPEN = tuple(each.value for each in (DeliveryState.DUE, DeliveryState.SENDING, DeliveryState.WAITING))


def replays() -> Replays:
    """What the radar does again, by kind of evidence."""
    return {
        "alert:send": _send,
        "alert:correct": _correct,
        "watch:end": _end_watch,
        "address:end": _end_address,
        **dict.fromkeys(_OVER, _over),
    }


def _send(copy: Copy, entry: LoggedEntry) -> None:
    """A recipient was told; with the last alert of a digest, the digest was sent."""
    row = copy.session.get(Delivery, int(entry.body["delivery"]))
    if row is None or row.state not in _OPEN or row.created_at > entry.at:
        return
    if row.channel == CENTRE:
        row.unanswered = True  # they may have seen it: it is placed anew, or its correction is
        copy.session.flush()
        return
    reached = copy.session.get_one(ChannelAddress, row.address_id)
    if reached.commitment != entry.body["recipient"]:
        return
    told = Delivery.id == row.id
    if row.digest_id is not None:
        told |= Delivery.id == row.digest_id
    _settle(copy, entry, told, DeliveryState.SENT)


def _correct(copy: Copy, entry: LoggedEntry) -> None:
    """An alert was wrong: it goes to nobody any more, and whoever was told is owed the correction; those to whom it
    went say so in later entries."""
    body = entry.body
    alert = copy.session.get(Alert, body["alert"])
    if alert is None or alert.change_id != body["change"] or alert.state != AlertState.SENT.value:
        return
    # Entries of earlier versions have the reason in one language.
    take_back(copy.session, alert, body["reason"], body.get("reason_en", body["reason"]), entry.at)
    copy.done[entry.kind] += 1


def _over(copy: Copy, entry: LoggedEntry) -> None:
    """It was cancelled or given up, a digest with all that it carried."""
    number = int(entry.subject.partition(":")[2])
    theirs = (Delivery.id == number) | (Delivery.digest_id == number)
    _settle(copy, entry, theirs & (Delivery.created_at <= entry.at), _OVER[entry.kind])


def _settle(copy: Copy, entry: LoggedEntry, which: ColumnElement[bool], state: DeliveryState) -> None:
    sent = {"sent_at": entry.at} if state is DeliveryState.SENT else {}
    values: dict[str, Any] = {"state": state.value, "claimed_by": None, "claimed_until": None, **sent}
    settling = update(Delivery).where(which, Delivery.state.in_(_OPEN)).values(values).returning(Delivery.id)
    if copy.session.scalars(settling).all():
        copy.done[entry.kind] += 1


def _end_watch(copy: Copy, entry: LoggedEntry) -> None:
    row = copy.session.get(Watch, int(entry.subject.removeprefix("watch:")))
    if row is None or row.ended_at is not None or row.created_at > entry.at:
        return
    subject = copy.session.scalar(select(Member.subject).where(Member.id == row.member_id))
    if subject is not None and subject == copy.subject(entry.body.get("member", "")):
        row.ended_at = entry.at
        copy.session.flush()
        copy.done[entry.kind] += 1


def _end_address(copy: Copy, entry: LoggedEntry) -> None:
    row = copy.session.get(ChannelAddress, int(entry.subject.removeprefix("address:")))
    if row is None or row.ended_at is not None or row.commitment != entry.body["recipient"]:
        return
    row.state, row.ended_at = AddressState.ENDED.value, entry.at
    copy.session.flush()
    copy.done[entry.kind] += 1
