"""The daily digest (监控日报): what was found for a member since the last one, at their hour in their zone.

It draws from the deliveries that wait for it, which are rows and do not expire: a digest that fell due while nothing
ran is sent once on the next start and holds all that waited, however much that is.

The rule of this module: every delivery that waits goes into exactly one digest, whole; and "today" is said only on the
day that the digest is of, where all of it was found since the hour of the day before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, insert, literal_column, select, update
from sqlalchemy.orm import Session

from duecare.radar.channels.channel import Letter
from duecare.radar.disputes import undisputed
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
from duecare.radar.told import Owed, Told, told_before
from duecare.radar.wording import Row, Rows, count_words, render, sort_key
from duecare.registers.sections import Category
from duecare.store.database import parts
from duecare.store.home import Home

_AT_ONCE = 500
_WAITS = (Delivery.state == literal_column("'due'"), Delivery.mode == literal_column("'digest'"))


@dataclass(frozen=True)
class Sum:
    """What a digest amounts to. ``since``: the day of the oldest item, where "today" would not be true.

    Corrections of ours are no changes of a company and are counted apart.
    """

    companies: int
    changes: int
    corrections: int
    categories: dict[str, int]
    since: date | None = None

    def as_json(self) -> dict[str, Any]:
        """As kept with the digest."""
        return {**self.__dict__, "since": self.since.isoformat() if self.since else None}


@dataclass(frozen=True)
class _Written:
    headline: Sum
    subject: str
    text: str
    html: str


@dataclass(frozen=True)
class _Waiting:
    """A delivery that waits for a digest, ``since`` when."""

    id: int
    member_id: int
    address_id: int
    alert_id: int = 0
    since: datetime = datetime(1, 1, 1, tzinfo=UTC)


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

    A member for whom nothing waits gets none. Safe to kill anywhere and to run in several processes at once.
    """
    now = now or home.clock.now()
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


def digest_letters(session: Session, asked: Sequence[tuple[Digest, Reader]], rows: Rows) -> dict[int, Letter]:
    """The letters of digests, by digest id, in every form; text and HTML are as composed."""
    contents: dict[int, list[tuple[Alert, Owed]]] = {}
    corrected: dict[int, Told] = {}
    if asked:
        of_these = Delivery.digest_id.in_([digest.id for digest, _ in asked])
        columns = (Delivery.id, Delivery.member_id, Delivery.address_id, Delivery.digest_id)
        carried = session.execute(
            select(Alert, *columns)
            .join(Delivery, Delivery.alert_id == Alert.id)
            .where(of_these, Delivery.mode == DeliveryMode.DIGEST.value)
        )
        for alert, one, member, address, digest_id in carried:
            contents.setdefault(int(digest_id or 0), []).append((alert, _Waiting(one, member, address)))
        corrected = told_before(session, [pair for pairs in contents.values() for pair in pairs])
    letters: dict[int, Letter] = {}
    for digest, reader in asked:
        pairs = sorted(contents.get(digest.id, []), key=lambda pair: sort_key(pair[0]))
        forms = [rows.forms(alert, reader, corrected.get(owed.id)) for alert, owed in pairs]
        counts = " · ".join(f"{word} {number}" for word, number in count_words(digest.counts["categories"], reader))
        letters[digest.id] = Letter(
            subject=digest.subject,
            text=digest.body_text,
            html=digest.body_html,
            short=f"{digest.subject}。{counts}。" if reader.language == "zh" else f"{digest.subject}. {counts}.",
            markdown="\n\n".join([f"**{digest.subject}**\n{counts}", *(marked for marked, _ in forms)]),
            data={
                "type": "digest.created",
                "timestamp": digest.created_at.isoformat(),
                "data": {
                    "day": digest.day.isoformat(),
                    "zone": digest.zone,
                    "counts": digest.counts,
                    "alerts": [data for _, data in forms],
                },
            },
        )
    return letters


def headline(total: Sum, reader: Reader) -> str:
    """The line of sum: 今天共 N 家企业发生了 M 条变更."""
    if not total.changes:
        few = "is 1 correction" if total.corrections == 1 else f"are {total.corrections} corrections"
        return reader.say(f"今天有 {total.corrections} 条更正", f"Today there {few}")
    when = (
        reader.say("今天", "Today")
        if total.since is None
        else reader.say(f"自 {total.since} 以来", f"Since {total.since},")
    )
    changes = f"{total.changes} change{'' if total.changes == 1 else 's'}"
    line = reader.say(
        f"{when}共 {total.companies} 家企业发生了 {total.changes} 条变更",
        f"{when} {total.companies} of your companies had {changes}",
    )
    if total.corrections:
        more = f"{total.corrections} correction{'' if total.corrections == 1 else 's'}"
        line += reader.say(f"，另有 {total.corrections} 条更正", f"; {more}")
    return line


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
    alerts, corrected = _alerts(session, waiting)
    written: dict[tuple[Any, ...], _Written] = {}
    made: list[tuple[int, list[_Waiting], dict[str, Any]]] = []
    for address, items in sorted(waiting.items()):
        if address in out or not addresses[address].active:
            continue  # today's is out already; what came late goes into tomorrow's
        member = members[items[0].member_id]
        pairs = sorted(((alerts[one.alert_id], one) for one in items), key=lambda pair: sort_key(pair[0]))
        kind = (member.id, tuple(one.alert_id for one in items))
        if kind not in written:
            written[kind] = _fill(member, due[member.id][0], max(now, at), pairs, rows, corrected)
        made.append((address, items, _as_row(written[kind], member, address, due[member.id][0], at)))
    if made:
        _owe(session, made, {address: addresses[address].channel for address, _, _ in made}, at)
    return len(made)


def _waiting(session: Session, members: Sequence[int]) -> list[_Waiting]:
    """What waits for a digest and is not disputed. Held until the transaction ends; in the order of the ids, as
    everybody holds deliveries who holds several."""
    columns = (Delivery.id, Delivery.member_id, Delivery.address_id, Delivery.alert_id, Delivery.created_at)
    asked = select(*columns).where(*_WAITS, Delivery.member_id.in_(members), undisputed(session, Delivery.alert_id))
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


def _alerts(session: Session, waiting: Mapping[int, list[_Waiting]]) -> tuple[dict[int, Alert], dict[int, Told]]:
    """The alerts that wait, by id, and what those of them that are corrections correct, by delivery."""
    ids = sorted({one.alert_id for items in waiting.values() for one in items})
    alerts: dict[int, Alert] = {}
    for part in parts(ids, _AT_ONCE):
        alerts |= {alert.id: alert for alert in session.scalars(select(Alert).where(Alert.id.in_(part)))}
    corrections = [
        (alerts[one.alert_id], one)
        for items in waiting.values()
        for one in items
        if alerts[one.alert_id].corrects_id is not None
    ]
    return alerts, told_before(session, corrections)


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


def _fill(
    member: Member,
    day: date,
    at: datetime,
    pairs: Sequence[tuple[Alert, _Waiting]],
    rows: Rows,
    corrected: Mapping[int, Told],
) -> _Written:
    """What the digest of ``day``, composed ``at``, says; a member's addresses with the same content share it."""
    reader = Reader(member.language, ZoneInfo(member.zone))
    since = min(one.since for _, one in pairs)
    late = at.astimezone(reader.zone).date() != day or since < _moment(
        member.zone, member.digest_hour, day - timedelta(days=1)
    )
    total = _sum((alert for alert, _ in pairs), since.astimezone(reader.zone).date() if late else None)
    return _write(day, total, [rows.row(alert, reader, corrected.get(one.id)) for alert, one in pairs], reader)


def _as_row(made: _Written, member: Member, address: int, day: date, at: datetime) -> dict[str, Any]:
    return {
        "member_id": member.id, "address_id": address, "day": day, "zone": member.zone, "subject": made.subject,
        "counts": made.headline.as_json(), "body_text": made.text, "body_html": made.html, "created_at": at,
    }  # fmt: skip


def _sum(alerts: Iterable[Alert], since: date | None) -> Sum:
    found = list(alerts)
    changes = [alert for alert in found if alert.corrects_id is None]
    categories = Counter(alert.category for alert in changes)
    return Sum(
        companies=len({alert.entity for alert in changes}),
        changes=len(changes),
        corrections=len(found) - len(changes),
        categories={category.value: categories[category.value] for category in Category},
        since=since,
    )


def _write(day: date, total: Sum, rows: Sequence[Row], reader: Reader) -> _Written:
    line = headline(total, reader)
    given = {
        "headline": line,
        "counts": count_words(total.categories, reader),
        "note": reader.say(
            f"监控日报 {day}。“发生了”指我们看到来源所载有了变化；"
            "事情何时发生，以每条的登记日期为准，来源没有给出的写作“日期不详”。",
            f"Daily digest of {day}. We count what we saw differ; only the register's date says when a thing happened.",
        ),
    }
    return _Written(
        total,
        reader.say(f"监控日报 {day}：{line}", f"Daily digest {day}: {line}"),
        render("txt", reader, rows=rows, **given),
        render("html", reader, rows=rows, **given),
    )
