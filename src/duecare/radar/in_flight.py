"""What was on its way when its correction was filed: whether it arrives decides who must hear the correction.

    the delivery of the wrong alert, at the filing        the correction to the same reader
    due                   → cancelled                     none
    sent, or unanswered                                   due at once
    sending                                               waits until the delivery ends:
        sent                                                  due
        refused for good, or cancelled                        cancelled, or due where an earlier attempt was unanswered
        not taken this time → cancelled, not tried again      the same
        its worker was killed → cancelled, not tried again    due: it may have arrived
    in a digest that was composed and has not left        none: the digest is taken apart and composed without it
    in a digest that is being sent, or is unanswered      waits until the digest is sent or given up

A digest that has not left is taken apart too where a notice of error was opened against what it tells; it is composed
without that, which waits for the decision.

A digest that may have arrived goes out again as it was, under its key, because what else it tells must arrive; the
correction comes after it, so that it has the last word.

The rule of this module: an outcome and what it means for a waiting correction commit together.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, literal_column, or_, select, update
from sqlalchemy.orm import Session, aliased

from duecare.evidence.outbox import Act, record_all
from duecare.radar.disputes import disputed_alerts
from duecare.radar.models import (
    Alert,
    AlertState,
    ChannelAddress,
    Delivery,
    DeliveryMode,
    DeliveryState,
    Digest,
    alerts_at_once,
    called,
    carriers,
    delivery_id,
    may_have_been_told,
    of_alert,
    of_alerts,
)
from duecare.store.database import parts

_COMPOSED_ANEW = "Composed anew without an alert that was wrong."
_DISPUTED = "Composed anew without an alert of a disputed fact."
_WRONG = "The alert was wrong and is not sent any more."
_WAITING, _DUE, _SENDING = DeliveryState.WAITING.value, DeliveryState.DUE.value, DeliveryState.SENDING.value
_CORRECTED = AlertState.CORRECTED.value
_CANCELLED = DeliveryState.CANCELLED.value
_CARRIED = Delivery.mode == DeliveryMode.DIGEST.value
_NEVER_LEFT = (Delivery.state == _DUE, ~Delivery.unanswered)


def stop(session: Session, alert: Alert, now: datetime) -> None:
    """Cancel what is due of ``alert``, take apart the digests with it that have not left, and let no outcome of what is
    on its way be noted before the caller commits. The alert's state says already that it was wrong.

    An outcome that is just being noted is waited for, and may make the delivery due again: hence the loop.
    """
    columns = (Delivery.id, Delivery.state, Delivery.mode, Delivery.digest_id)
    not_over = select(*columns).where(of_alert(alert.id), Delivery.state.in_((_DUE, _SENDING)))
    held = set[int]()
    while True:
        rows = session.execute(not_over).all()
        due = [row.id for row in rows if row.state == _DUE]
        sending = [row for row in rows if row.state == _SENDING]
        digests = {row.digest_id for row in sending if row.mode == DeliveryMode.DIGEST.value}
        moving = {row.id for row in sending if row.mode != DeliveryMode.DIGEST.value} | digests
        if not due and moving <= held:
            break
        lock(session, list(moving))
        held |= moving
        _cancel_due(session, due)
    for part in parts(sorted(digests)):
        _take_apart(session, part, now)


def _cancel_due(session: Session, ids: Sequence[int]) -> None:
    """Cancel ``ids``, which were due, or none of them where some are no longer.

    A worker that is just claiming one, or composing a digest with it, holds its row and is waited for. What is no
    longer due then is let go of again: whoever holds a digest waits for what it carries, never the other way round.
    """
    with session.connection().begin_nested() as point:
        lock(session, ids)
        for part in parts(ids):
            those = update(Delivery).where(Delivery.id.in_(part), Delivery.state == _DUE).returning(Delivery.id)
            if len(session.scalars(those.values(state=_CANCELLED, last_error=_WRONG)).all()) < len(part):
                point.rollback()
                return


def lock(session: Session, ids: Sequence[int]) -> None:
    """Hold the rows until the transaction ends. In the order of their ids, so that no two wait for each other."""
    for part in parts(sorted(ids)):
        session.execute(select(Delivery.id).where(Delivery.id.in_(part)).order_by(Delivery.id).with_for_update())


def stop_abandoned(session: Session, now: datetime) -> None:
    """Alerts that were taken back while a worker that is no more was sending them: they may have arrived, and are not
    sent again."""
    stopped = list(
        session.scalars(
            select(Delivery.id)
            .where(Delivery.state == literal_column("'sending'"), Delivery.mode != literal_column("'digest'"))
            .where(Delivery.claimed_until <= now, _taken_back(Delivery.alert_id))
            .with_for_update(skip_locked=True)
        )
    )
    if stopped:
        _do(session, update(Delivery).where(Delivery.id.in_(stopped)).values(unanswered=True, state=_DUE))
        settle(session, stopped, now)


def settle(session: Session, ids: Sequence[int], now: datetime) -> None:
    """Bring about what the state of ``ids`` means for corrections that wait for them: an outcome was just noted, or a
    claim given back. Their rows are held by the caller's transaction."""
    digests = carriers(ids)
    wrong = [
        *_wrong(session, Delivery.id.in_(ids)),
        *(_wrong(session, and_(Delivery.digest_id.in_(digests), _CARRIED)) if digests else ()),
    ]
    if not wrong:
        return
    again = select(Delivery.id).where(Delivery.id.in_([one for one, _, _ in wrong]), ~_CARRIED, Delivery.state == _DUE)
    _cancel(session, again, _WRONG, now)
    _take_apart(session, digests, now)
    _answer(session, {alert for _, alert, _ in wrong}, {member for _, _, member in wrong}, now)


def _wrong(session: Session, which: ColumnElement[bool]) -> list[tuple[int, int, int]]:
    """Delivery, alert and member of those of ``which`` whose alert was taken back."""
    found = select(Delivery.id, Delivery.alert_id, Delivery.member_id).join(Alert, Alert.id == Delivery.alert_id)
    rows = session.execute(found.where(which, Alert.state != AlertState.SENT.value))
    return [(one, int(alert or 0), member) for one, alert, member in rows]


def _taken_back(alert_id: Any) -> ColumnElement[bool]:
    return exists().where(Alert.id == alert_id, Alert.state != AlertState.SENT.value)


def put_off_disputed(session: Session, now: datetime) -> None:
    """Take apart the digests that certainly never arrived and tell of a disputed fact. Those that a worker is just
    claiming are left to the next call."""
    for part in alerts_at_once(disputed_alerts(session)):
        within = select(Delivery.digest_id).where(of_alerts(part), _CARRIED, Delivery.state == _SENDING)
        of_these = Delivery.digest_id.in_(within) & (Delivery.mode == DeliveryMode.CARRIER.value)
        held = select(Delivery.id).where(of_these, *_NEVER_LEFT).order_by(Delivery.id)
        for digests in parts(session.scalars(held.with_for_update(skip_locked=True)).all()):
            _undo(session, digests, _DISPUTED, now)


def _take_apart(session: Session, digests: Sequence[int], now: datetime) -> None:
    """Of ``digests`` those that certainly never arrived and hold a wrong alert."""
    inside = aliased(Delivery)
    wrong = exists().where(
        inside.digest_id == Delivery.id,
        inside.mode == DeliveryMode.DIGEST.value,
        _taken_back(inside.alert_id),
    )
    found = session.scalars(select(Delivery.id).where(Delivery.id.in_(digests), *_NEVER_LEFT, wrong)).all()
    if found:
        _undo(session, found, _COMPOSED_ANEW, now)


def _undo(session: Session, digests: Sequence[int], why: str, now: datetime) -> None:
    """What ``digests`` hold waits for a digest again, which is composed at the next run, for the same day; but for what
    was taken back."""
    held = and_(Delivery.digest_id.in_(digests), _CARRIED)
    gone, waits = {"state": _CANCELLED, "last_error": _WRONG, "digest_id": None}, {"state": _DUE, "digest_id": None}
    _do(session, update(Delivery).where(held, _taken_back(Delivery.alert_id)).values(gone))
    _do(session, update(Delivery).where(held, Delivery.state == _SENDING).values(waits))
    _cancel(session, select(Delivery.id).where(Delivery.id.in_(digests)), why, now)
    _do(session, update(Delivery).where(Delivery.id.in_(digests)).values(digest_id=None))
    _do(session, delete(Digest).where(Digest.id.in_(digests)))


def _answer(session: Session, alerts: set[int], members: set[int], now: datetime) -> None:
    """What ``members`` wait for about ``alerts``, as far as it is known now: it goes out, or they were never told."""
    for part in alerts_at_once(alerts):
        _answer_part(session, part, members, now)


def _answer_part(session: Session, alerts: Sequence[int], members: set[int], now: datetime) -> None:
    first, same = aliased(Delivery), aliased(Delivery)
    direct = exists().where(same.id == delivery_id(-Delivery.alert_id, Delivery.address_id))
    # One that goes to the centre because an address has ended speaks of what was sent to any address. By the ids that
    # these can have, so that each is looked up by its key.
    decides = and_(
        ChannelAddress.member_id == Delivery.member_id,
        first.id == delivery_id(-Delivery.alert_id, ChannelAddress.id),
        or_(ChannelAddress.id == Delivery.address_id, ~direct.correlate(Delivery)),
    )
    told = or_(first.state == DeliveryState.SENT.value, and_(first.unanswered, first.state != _SENDING))
    waits = (
        of_alerts([-alert for alert in alerts]),
        Delivery.member_id.in_(members),
        Delivery.state == _WAITING,
    )
    _do(session, update(Delivery).where(*waits, exists().where(decides, told).correlate(Delivery)).values(state=_DUE))
    open_still = exists().where(decides, first.state == _SENDING).correlate(Delivery)
    if not _cancel(session, select(Delivery.id).where(*waits, ~open_still), "The alert never arrived.", now):
        return
    # Where none of them was told after all, there is nothing to correct: the alert was stopped in time.
    reached = set(session.scalars(select(Delivery.alert_id).where(of_alerts(alerts), may_have_been_told()).distinct()))
    corrected = and_(Alert.id.in_([one for one in alerts if one not in reached]), Alert.state == _CORRECTED)
    _do(session, update(Alert).where(corrected).values(state=AlertState.WITHDRAWN.value))


def _cancel(session: Session, which: Any, why: str, now: datetime) -> int:
    """Cancel the deliveries of the query ``which``, with evidence; how many."""
    chosen = session.execute(select(Delivery.id, Delivery.unanswered).where(Delivery.id.in_(which))).all()
    if chosen:
        ids = [one for one, _ in chosen]
        values = {"state": _CANCELLED, "last_error": why, "claimed_by": None, "claimed_until": None}
        _do(session, update(Delivery).where(Delivery.id.in_(ids)).values(values))
        record_all(
            session,
            [Act("delivery:cancel", called(one), {"may_have_arrived": bool(maybe)}, now) for one, maybe in chosen],
        )
    return len(chosen)


def _do(session: Session, statement: Any) -> None:
    session.execute(statement.execution_options(synchronize_session=False))
