"""The daily digest (监控日报): what was found for a member since the last one, at their hour in their zone.

It draws from the deliveries that wait for it, which are rows and do not expire: a digest that fell due while nothing
ran is sent once on the next start and holds all that waited, however much that is.

The rule of this module: every delivery that waits goes into exactly one digest, whole; and "today" is said only where
all of it was found since yesterday's hour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import literal_column, select, update
from sqlalchemy.orm import Session

from duecare.radar.channels.channel import Letter
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
from duecare.radar.told import told_before
from duecare.radar.wording import Row, as_json, count_words, markdown, render, row, sort_key
from duecare.registers.sections import Category
from duecare.store.home import Home

_AT_ONCE = 50
_WAITS = (Delivery.state == literal_column("'due'"), Delivery.mode == literal_column("'digest'"))


@dataclass(frozen=True)
class Sum:
    """What a digest amounts to. ``since``: the day of the oldest item, where that was before the last digest's hour.

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


def due_day(member: Member, now: datetime) -> tuple[date, datetime]:
    """The member's day whose digest fell due last, and the moment it did (UTC). ``now`` is aware.

    An hour that a change to summer time leaves out falls due when it would have come; one that comes twice, the first
    time.
    """
    zone = ZoneInfo(member.zone)
    day = now.astimezone(zone).date()
    moment = _moment(member, day)
    if moment > now:
        day -= timedelta(days=1)
        moment = _moment(member, day)
    return day, moment


def compose_due(home: Home, lexicon: Lexicon, *, now: datetime | None = None, member: str | None = None) -> int:
    """Compose every digest that is due at ``now`` (the clock's time) and owe it to its address; how many.

    A member for whom nothing waits gets none. Safe to kill anywhere and to run in several processes at once.
    """
    now = now or home.clock.now()
    with home.database.session() as session:
        query = select(Member.id).where(Member.id.in_(select(Delivery.member_id).where(*_WAITS))).order_by(Member.id)
        if member is not None:
            query = query.where(Member.name == member)
        waiting = list(session.scalars(query))
    composed = 0
    for start in range(0, len(waiting), _AT_ONCE):
        with home.database.session() as session:
            for one in waiting[start : start + _AT_ONCE]:
                composed += _compose(session, one, now, home.clock.now(), lexicon)
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


def digest_letters(session: Session, asked: Sequence[tuple[Digest, Reader]], lexicon: Lexicon) -> dict[int, Letter]:
    """The letters of digests, by digest id, in every form; text and HTML are as composed."""
    contents: dict[int | None, list[tuple[Alert, Delivery]]] = {}
    for alert, delivery in session.execute(
        select(Alert, Delivery)
        .join(Delivery, Delivery.alert_id == Alert.id)
        .where(Delivery.digest_id.in_([digest.id for digest, _ in asked]), Delivery.mode == DeliveryMode.DIGEST.value)
    ):
        contents.setdefault(delivery.digest_id, []).append((alert, delivery))
    letters: dict[int, Letter] = {}
    for digest, reader in asked:
        pairs = sorted(contents.get(digest.id, []), key=lambda pair: sort_key(pair[0]))
        rows = _rows(session, pairs, reader, lexicon)
        counts = " · ".join(f"{word} {number}" for word, number in count_words(digest.counts["categories"], reader))
        letters[digest.id] = Letter(
            subject=digest.subject,
            text=digest.body_text,
            html=digest.body_html,
            short=f"{digest.subject}。{counts}。" if reader.language == "zh" else f"{digest.subject}. {counts}.",
            markdown="\n\n".join([f"**{digest.subject}**\n{counts}", *(markdown(one, reader) for one in rows)]),
            data={
                "type": "digest.created",
                "timestamp": digest.created_at.isoformat(),
                "data": {
                    "day": digest.day.isoformat(),
                    "zone": digest.zone,
                    "counts": digest.counts,
                    "alerts": [as_json(alert, one) for (alert, _), one in zip(pairs, rows, strict=True)],
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


def _moment(member: Member, day: date) -> datetime:
    return datetime.combine(day, time(member.digest_hour), tzinfo=ZoneInfo(member.zone)).astimezone(ZoneInfo("UTC"))


def _compose(session: Session, member_id: int, now: datetime, at: datetime, lexicon: Lexicon) -> int:
    """Compose the digests of one member, one for each address with something waiting."""
    member = session.scalar(select(Member).where(Member.id == member_id).with_for_update(skip_locked=True))
    if member is None:
        return 0  # another process is composing theirs
    day, moment = due_day(member, now)
    waits = (*_WAITS, Delivery.member_id == member_id, Delivery.created_at <= moment)
    addresses = session.execute(
        select(ChannelAddress, Digest.id)
        .outerjoin(Digest, (Digest.address_id == ChannelAddress.id) & (Digest.day == day))
        .where(ChannelAddress.id.in_(select(Delivery.address_id).where(*waits)))
        .order_by(ChannelAddress.id)
    ).all()
    reader = Reader(member.language, ZoneInfo(member.zone))
    written: dict[tuple[int, ...], _Written] = {}
    composed = 0
    for address, has in addresses:
        if address.state != AddressState.ACTIVE.value:
            session.execute(
                update(Delivery)
                .where(*waits, Delivery.address_id == address.id)
                .values(state=DeliveryState.CANCELLED.value, last_error="The member's address has ended.")
            )
            continue
        if has is not None:
            continue  # today's is out already; what came late goes into tomorrow's
        digest = Digest(
            member_id=member_id,
            address_id=address.id,
            day=day,
            zone=member.zone,
            subject="",
            counts={},
            body_text="",
            body_html="",
            created_at=at,
        )
        session.add(digest)
        session.flush()
        session.execute(
            update(Delivery)
            .where(*waits, Delivery.address_id == address.id)
            .values(state=DeliveryState.SENDING.value, digest_id=digest.id)
            .execution_options(synchronize_session=False)
        )
        _fill(session, digest, member, reader, lexicon, written)
        session.add(
            Delivery(
                member_id=member_id,
                address_id=address.id,
                channel=address.channel,
                mode=DeliveryMode.CARRIER.value,
                created_at=at,
                next_at=at,
                digest_id=digest.id,
            )
        )
        composed += 1
    session.flush()
    return composed


def _fill(
    session: Session,
    digest: Digest,
    member: Member,
    reader: Reader,
    lexicon: Lexicon,
    written: dict[tuple[int, ...], _Written],
) -> None:
    """Write the digest from the deliveries that are now its own; addresses with the same content share the text."""
    pairs = sorted(
        (
            (alert, delivery)
            for alert, delivery in session.execute(
                select(Alert, Delivery)
                .join(Delivery, Delivery.alert_id == Alert.id)
                .where(Delivery.digest_id == digest.id, Delivery.mode == DeliveryMode.DIGEST.value)
            )
        ),
        key=lambda pair: sort_key(pair[0]),
    )
    kind = tuple(alert.id for alert, _ in pairs)
    if kind not in written:
        since = min(delivery.created_at for _, delivery in pairs)
        last = _moment(member, digest.day - timedelta(days=1))
        total = _sum((alert for alert, _ in pairs), since.astimezone(reader.zone).date() if since < last else None)
        written[kind] = _write(digest.day, total, _rows(session, pairs, reader, lexicon), reader)
    made = written[kind]
    digest.subject, digest.counts = made.subject, made.headline.as_json()
    digest.body_text, digest.body_html = made.text, made.html


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
        render("letter.txt.j2", reader, rows=rows, **given),
        render("letter.html.j2", reader, rows=rows, **given),
    )


def _rows(session: Session, pairs: Sequence[tuple[Alert, Delivery]], reader: Reader, lexicon: Lexicon) -> list[Row]:
    corrected = told_before(session, pairs)
    return [row(alert, reader, lexicon, corrected.get(delivery.id)) for alert, delivery in pairs]
