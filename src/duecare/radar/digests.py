"""The daily digest (监控日报): what was found for a member since the last one, at their hour in their zone.

It draws from the deliveries that wait for it, which are rows and do not expire: a digest that fell due while nothing
ran is sent once on the next start and holds all that waited, however much that is.

The rule of this module: every delivery that waits goes into exactly one digest, whole; and "today" is said only in a
digest that leaves on the day that it is of, where all of it was found since the hour of the day before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, insert, literal_column, select, update
from sqlalchemy.orm import Session

from duecare.radar.channels.channel import Letter
from duecare.radar.digest_words import Written, letter_of, write
from duecare.radar.disputes import undisputed
from duecare.radar.in_flight import put_off_disputed
from duecare.radar.models import (
    AddressState,
    Alert,
    ChannelAddress,
    Delivery,
    DeliveryMode,
    DeliveryState,
    Digest,
    Member,
)
from duecare.radar.reader import Lexicon, Reader
from duecare.radar.wording import Rows, sort_key
from duecare.store.database import parts
from duecare.store.home import Home

_AT_ONCE = 500
_WAITS = (Delivery.state == literal_column("'due'"), Delivery.mode == literal_column("'digest'"))


@dataclass(frozen=True)
class _Waiting:
    """A delivery that waits for a digest, ``since`` when."""

    id: int
    member_id: int
    address_id: int
    alert_id: int
    since: datetime


def due_day(zone: str, hour: int, now: datetime) -> tuple[date, datetime]:
    """The day in ``zone`` whose digest fell due last, at ``hour``, and the moment it did (UTC). ``now`` is aware.

    An hour that a change to summer time leaves out falls due when it would have come; one that comes twice, the first
    time.
    """
    day = now.astimezone(ZoneInfo(zone)).date()
    moment = _moment(zone, hour, day)
    if moment > now:
        day -= timedelta(days=1)
        moment = _moment(zone, hour, day)
    return day, moment


def compose_due(home: Home, lexicon: Lexicon, *, now: datetime | None = None, member: str | None = None) -> int:
    """Compose every digest that is due at ``now`` (the clock's time) and owe it to its address; how many.

    A member for whom nothing waits gets none; one that has not left and tells of a fact that is disputed since is
    composed anew without it. Safe to kill anywhere and to run in several processes at once.
    """
    now = now or home.clock.now()
    with home.database.session() as session:
        put_off_disputed(session, home.clock.now())
    with home.database.session() as session:
        waiting = _due(session, now, member)
    rows, composed = Rows(lexicon), 0
    for part in parts(waiting, _AT_ONCE):
        with home.database.session() as session:
            composed += _compose(session, part, now, home.clock.now(), rows)
    return composed


def digests(session: Session, *, day: date | None = None, member: str | None = None) -> list[tuple[Digest, str, str]]:
    """Digests with the member's name and the channel, latest first; of one day or member, if given."""
    query = (
        select(Digest, Member.name, ChannelAddress.channel)
        .join(Member, Member.id == Digest.member_id)
        .join(ChannelAddress, ChannelAddress.id == Digest.address_id)
        .order_by(Digest.id.desc())
    )
    if day is not None:
        query = query.where(Digest.day == day)
    if member is not None:
        query = query.where(Member.name == member)
    return [(digest, name, channel) for digest, name, channel in session.execute(query)]


def digest_letters(
    session: Session, asked: Sequence[tuple[Digest, Reader]], rows: Rows, now: datetime
) -> dict[int, Letter]:
    """The letters of digests, by digest id, in every form.

    Text and HTML are as composed; but one that leaves on another day than it was composed for (``now``) is written
    again, in the caller's transaction, and says since when.
    """
    contents: dict[int, list[tuple[Alert, datetime]]] = {}
    if asked:
        of_these = Delivery.digest_id.in_([digest.id for digest, _ in asked])
        carried = session.execute(
            select(Alert, Delivery.created_at, Delivery.digest_id)
            .join(Delivery, Delivery.alert_id == Alert.id)
            .where(of_these, Delivery.mode == DeliveryMode.DIGEST.value)
        )
        for alert, since, digest_id in carried:
            contents.setdefault(int(digest_id or 0), []).append((alert, since))
    letters: dict[int, Letter] = {}
    for digest, reader in asked:
        found = contents.get(digest.id, [])
        alerts = sorted((alert for alert, _ in found), key=sort_key)
        if found and digest.counts["since"] is None and _today(reader, now) != digest.day:
            oldest = min(since for _, since in found)
            _keep(digest, write(digest.day, _today(reader, oldest), alerts, rows, reader))
        letters[digest.id] = letter_of(digest, [rows.forms(alert, reader) for alert in alerts], reader)
    return letters


def _keep(digest: Digest, written: Written) -> None:
    digest.subject, digest.counts = written.subject, written.headline.as_json()
    digest.body_text, digest.body_html = written.text, written.html


def _today(reader: Reader, now: datetime) -> date:
    return now.astimezone(reader.zone).date()


def _moment(zone: str, hour: int, day: date) -> datetime:
    return datetime.combine(day, time(hour), tzinfo=ZoneInfo(zone)).astimezone(ZoneInfo("UTC"))


def _due(session: Session, now: datetime, name: str | None) -> list[int]:
    """The members for whom something has waited since before their hour came; only ``name``, if given.

    Most of the day that is nobody, however many wait for theirs.
    """
    query = (
        select(Member.id, Member.zone, Member.digest_hour, func.min(Delivery.created_at))
        .join(Delivery, Delivery.member_id == Member.id)
        .where(*_WAITS)
        .group_by(Member.id, Member.zone, Member.digest_hour)
        .order_by(Member.id)
    )
    if name is not None:
        query = query.where(Member.name == name)
    rows = session.execute(query).all()
    due = {(zone, hour): due_day(zone, hour, now)[1] for zone, hour in {(row.zone, row.digest_hour) for row in rows}}
    return [one for one, zone, hour, since in rows if since <= due[zone, hour]]


def _compose(session: Session, ids: Sequence[int], now: datetime, at: datetime, rows: Rows) -> int:
    """Compose the digests of the members ``ids``, one for each address with something waiting; how many."""
    found = session.scalars(
        select(Member).where(Member.id.in_(ids)).order_by(Member.id).with_for_update(skip_locked=True)
    )
    members = {member.id: member for member in found}  # what another process is composing is left to it
    due = {member.id: due_day(member.zone, member.digest_hour, now) for member in members.values()}
    waiting: dict[int, list[_Waiting]] = {}
    for one in _waiting(session, list(members)):
        if one.since <= due[one.member_id][1]:
            waiting.setdefault(one.address_id, []).append(one)
    addresses = {one.id: one for one in _addresses(session, list(waiting))}
    ended = [one.id for address, items in waiting.items() if not addresses[address].active for one in items]
    if ended:
        cancelled = {"state": DeliveryState.CANCELLED.value, "last_error": "The member's address has ended."}
        session.execute(update(Delivery), [{"id": one, **cancelled} for one in ended])
    out = _composed_already(session, {address: due[items[0].member_id][0] for address, items in waiting.items()})
    alerts = _alerts(session, waiting)
    written: dict[tuple[Any, ...], Written] = {}
    made: list[tuple[int, list[_Waiting], dict[str, Any]]] = []
    for address, items in sorted(waiting.items()):
        if address in out or not addresses[address].active:
            continue  # today's is out already; what came late goes into tomorrow's
        member = members[items[0].member_id]
        kind = (member.id, tuple(one.alert_id for one in items))
        if kind not in written:
            told, oldest = [alerts[one.alert_id] for one in items], min(one.since for one in items)
            written[kind] = _fill(member, due[member.id][0], max(now, at), told, oldest, rows)
        made.append((address, items, _as_row(written[kind], member, address, due[member.id][0], at)))
    if made:
        _owe(session, made, {address: addresses[address].channel for address, _, _ in made}, at)
    return len(made)


def _waiting(session: Session, members: Sequence[int]) -> list[_Waiting]:
    """What waits for a digest and is not disputed. Held until the transaction ends; in the order of the ids, as
    everybody holds deliveries who holds several."""
    columns = (Delivery.id, Delivery.member_id, Delivery.address_id, Delivery.alert_id, Delivery.created_at)
    asked = select(*columns).where(*_WAITS, Delivery.member_id.in_(members), undisputed(session))
    asked = asked.order_by(Delivery.id)
    return [
        _Waiting(one, member, address, int(alert or 0), since)
        for one, member, address, alert, since in session.execute(asked.with_for_update())
    ]


@dataclass(frozen=True)
class _Address:
    id: int
    channel: str
    active: bool


def _addresses(session: Session, ids: Sequence[int]) -> Iterator[_Address]:
    columns = (ChannelAddress.id, ChannelAddress.channel, ChannelAddress.state)
    for one, channel, state in session.execute(select(*columns).where(ChannelAddress.id.in_(ids))):
        yield _Address(one, channel, state == AddressState.ACTIVE.value)


def _composed_already(session: Session, days: Mapping[int, date]) -> set[int]:
    """Of the addresses those that had the digest of their day."""
    if not days:
        return set()
    asked = select(Digest.address_id, Digest.day).where(Digest.address_id.in_(days), Digest.day >= min(days.values()))
    return {address for address, day in session.execute(asked) if days[address] == day}


def _alerts(session: Session, waiting: Mapping[int, list[_Waiting]]) -> dict[int, Alert]:
    """The alerts that wait, by id."""
    ids = sorted({one.alert_id for items in waiting.values() for one in items})
    alerts: dict[int, Alert] = {}
    for part in parts(ids, _AT_ONCE):
        alerts |= {alert.id: alert for alert in session.scalars(select(Alert).where(Alert.id.in_(part)))}
    return alerts


def _owe(
    session: Session,
    made: Sequence[tuple[int, list[_Waiting], dict[str, Any]]],
    channels: Mapping[int, str],
    at: datetime,
) -> None:
    """Keep the digests, put into each what it holds, and owe it to its address."""
    ids = session.scalars(
        insert(Digest).returning(Digest.id, sort_by_parameter_order=True), [digest for _, _, digest in made]
    ).all()
    sending = DeliveryState.SENDING.value
    session.execute(
        update(Delivery),
        [
            {"id": one.id, "state": sending, "digest_id": digest}
            for digest, (_, items, _) in zip(ids, made, strict=True)
            for one in items
        ],
    )
    session.execute(
        insert(Delivery),
        [
            {
                "member_id": items[0].member_id, "address_id": address, "channel": channels[address],
                "mode": DeliveryMode.CARRIER.value, "created_at": at, "next_at": at, "digest_id": digest,
            }
            for digest, (address, items, _) in zip(ids, made, strict=True)
        ],
    )  # fmt: skip


def _fill(member: Member, day: date, at: datetime, alerts: Sequence[Alert], oldest: datetime, rows: Rows) -> Written:
    """What the digest of ``day``, composed ``at``, says; a member's addresses with the same content share it."""
    reader = Reader(member.language, ZoneInfo(member.zone))
    before = _moment(member.zone, member.digest_hour, day - timedelta(days=1))
    late = _today(reader, at) != day or oldest < before
    since = _today(reader, oldest) if late else None
    return write(day, since, sorted(alerts, key=sort_key), rows, reader)


def _as_row(made: Written, member: Member, address: int, day: date, at: datetime) -> dict[str, Any]:
    return {
        "member_id": member.id, "address_id": address, "day": day, "zone": member.zone, "subject": made.subject,
        "counts": made.headline.as_json(), "body_text": made.text, "body_html": made.html, "created_at": at,
    }  # fmt: skip
