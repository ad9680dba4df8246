"""Members, where they can be reached, and what they watch.

The rule of this module: nothing is deleted. A watch or an address ends; who was told what stays known, so that a
correction reaches everyone who heard the error, even those who have stopped watching (case 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from duecare.consent import grants, subjects
from duecare.errors import BadInput, Busy, UnknownName, UseError
from duecare.evidence.outbox import Act, record, record_all
from duecare.identifiers import spellings
from duecare.radar import contacts, purposes
from duecare.radar.channels.channel import channel_class, channel_names
from duecare.radar.contacts import Point
from duecare.radar.detour import CENTRE
from duecare.radar.models import AddressState, ChannelAddress, Member, Watch
from duecare.registers.sections import Category
from duecare.store.database import alone

if TYPE_CHECKING:
    from duecare.vault.records import Vault

LEFT = "left:"
"""With what the name begins that the row of a member gets who left; no member is called so."""

_TRIES = 10


@dataclass(frozen=True)
class Reach:
    """One way to reach a member. ``secret`` is the signing secret of a webhook; one is made where none is given."""

    channel: str
    address: str = field(repr=False)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class WatchState:
    """A watch for a reader; ``categories`` and ``channels`` empty means all."""

    id: int
    member: str
    entity: str
    source: str | None
    categories: tuple[str, ...]
    channels: tuple[str, ...]
    realtime: bool
    created_at: datetime
    ended_at: datetime | None

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self.__dict__, "categories": list(self.categories), "channels": list(self.channels)}


def add_member(
    vault: Vault,
    session: Session,
    name: str,
    *,
    at: datetime,
    reach: Iterable[Reach] = (),
    language: str = "zh",
    zone: str = "Asia/Shanghai",
    digest_hour: int = 8,
    screen: str = "duecare watch members add",
) -> Member:
    """A new member with a message centre and the addresses of ``reach``, in the caller's transaction.

    By joining, on ``screen``, they agree to be told: that is their grant. Raises ``BadInput``, ``UseError``.
    """
    name = _line("The member's name", name, 200)
    if name.startswith(LEFT):
        raise BadInput(f"{name!r} is how the members are called who left.", hint="Give another name.")
    if language not in ("zh", "en"):
        raise BadInput(f"The language is {language!r}.", hint="Give zh or en.")
    member = Member(
        name=name, language=language, zone=check_zone(zone), digest_hour=check_hour(digest_hour), created_at=at
    )
    ways = {(way.channel, way.address): way for way in (Reach(CENTRE, ""), *(checked(way) for way in reach))}
    if session.scalar(select(Member.id).where(Member.name == name)) is not None:
        raise UseError(f"There is a member {name!r} already.", hint="Give another name, or change that one.")
    version = purposes.announce(session, vault, at)
    member.subject = subjects.add(session, at)
    session.add(member)
    session.flush()
    grants.give(
        session, vault.engine, member.subject, [purposes.WATCH_DELIVERY], notice=purposes.NOTICE, version=version,
        how="joining", screen=screen, at=at, language=language,
    )  # fmt: skip
    points = dict(_enter(session, member, way, at) for way in ways.values())
    contacts.seal(vault, session, member.subject, points)
    return member


def find_member(session: Session, name: str) -> Member:
    """The member called ``name``. Raises ``UnknownName``, also for one who is nobody any more."""
    named = ~Member.name.startswith(LEFT, autoescape=True)
    member = session.scalar(select(Member).where(Member.name == name, named))
    if member is None:
        known = session.scalars(select(Member.name).where(named).order_by(Member.name).limit(1000))
        raise UnknownName("member", name, list(known))
    return member


def members(session: Session) -> list[tuple[Member, list[ChannelAddress]]]:
    """All members by name, each with the addresses that have not ended; without those who left."""
    found = list(session.scalars(select(Member).where(Member.left_at.is_(None)).order_by(Member.name)))
    reached: dict[int, list[ChannelAddress]] = {member.id: [] for member in found}
    for address in session.scalars(
        select(ChannelAddress).where(ChannelAddress.state != AddressState.ENDED.value).order_by(ChannelAddress.id)
    ):
        reached[address.member_id].append(address)
    return [(member, reached[member.id]) for member in found]


def masked(vault: Vault, by: str, why: str) -> dict[int, str]:
    """Id of each address that has not ended → the address, masked: opened for ``by``, with the reason kept.

    Call it outside of any transaction. Raises ``BadInput`` without a reason, ``NotGranted``.
    """
    if not why.strip():
        raise BadInput("why is empty.", hint="Say why you look at addresses; the members can ask for it.")
    with vault.database.session() as session:
        whose = [member.subject for member, _ in members(session) if member.subject is not None]
    if not whose:
        return {}
    opened = contacts.open_many(vault, whose, by, why)
    return {one: point.masked for points in opened.values() for one, point in points.items()}


def checked(way: Reach) -> Reach:
    """``way`` as it is to be kept; a webhook gets a secret. Raises ``BadInput`` where its channel could never take it.

    What was checked stays as it is when it is checked again.
    """
    return Reach(way.channel, *channel_class(way.channel).check(way.address.strip(), way.secret.strip()))


def add_address(vault: Vault, member: Member, way: Reach, *, at: datetime) -> ChannelAddress:
    """Reach ``member`` in one more way; one that they have already is given back. Call it outside of any transaction.

    Raises ``BadInput`` where the channel could never take the address, ``UseError`` where they have left, ``Busy``.
    """
    if member.subject is None:
        raise UseError(f"{member.name} has left.", hint="Who comes back is a new member.")
    way = checked(way)
    for _ in range(_TRIES):
        points = contacts.open_one(vault, member.subject)
        with vault.database.session() as session:
            alone(session, f"member:{member.id}")
            rows = {
                row.id: row
                for row in session.scalars(select(ChannelAddress).where(ChannelAddress.member_id == member.id))
            }
            if points.keys() != rows.keys():
                continue  # another process added one meanwhile
            for one, row in rows.items():
                live = row.state != AddressState.ENDED.value
                if live and (points[one].channel, points[one].address) == (way.channel, way.address):
                    return row
            made, point = _enter(session, member, way, at)
            contacts.seal(vault, session, member.subject, {**points, made: point})
            return session.get_one(ChannelAddress, made)
    raise Busy(f"Other processes keep changing how {member.name} is reached.", hint="Try again when they are done.")


def _enter(session: Session, member: Member, way: Reach, at: datetime) -> tuple[int, Point]:
    """The row that says that there is this way, and what is to be sealed of it under the row's id."""
    point = Point(way.channel, way.address, way.secret)
    row = ChannelAddress(
        member_id=member.id,
        channel=way.channel,
        commitment=point.commitment,
        state=AddressState.ACTIVE.value,
        created_at=at,
    )
    session.add(row)
    session.flush()
    return row.id, point


def end_address(session: Session, address: ChannelAddress, *, at: datetime) -> None:
    """Write to ``address`` no more. The message centre stays: a correction must find its reader."""
    if address.channel == CENTRE:
        raise UseError("The message centre cannot be ended.", hint="End the watches instead.")
    address.state, address.ended_at = AddressState.ENDED.value, at
    record(session, "address:end", f"address:{address.id}", {"recipient": address.commitment}, at)


def add_watch(
    session: Session,
    member: Member,
    entity: str,
    *,
    at: datetime,
    source: str | None = None,
    categories: Sequence[str] = (),
    channels: Sequence[str] = (),
    realtime: bool = False,
) -> Watch:
    """Watch ``entity`` for ``member`` from ``at`` on. Raises ``BadInput``, ``UnknownName``, ``UseError``."""
    entity = _line("The company", entity, 300)
    if member.left_at is not None:
        raise UseError(f"{member.name} has left.", hint="Who comes back is a new member.")
    for category in categories:
        if category not in list(Category):
            raise UnknownName("category", category, [known.value for known in Category])
    has = set(
        session.scalars(
            select(ChannelAddress.channel).where(
                ChannelAddress.member_id == member.id, ChannelAddress.state == AddressState.ACTIVE.value
            )
        )
    )
    for channel in channels:
        if channel not in channel_names():
            raise UnknownName("channel", channel, channel_names())
        if channel not in has:
            raise BadInput(
                f"{member.name} has no address for the channel {channel}.", hint=f"They have: {', '.join(sorted(has))}."
            )
    if session.scalar(
        select(Watch.id).where(Watch.member_id == member.id, Watch.entity == entity, Watch.ended_at.is_(None))
    ):
        raise UseError(f"{member.name} watches {entity} already.", hint="End that watch first to change it.")
    watch = Watch(
        member_id=member.id,
        entity=entity,
        source=source,
        categories=as_list(categories),
        channels=as_list(channels),
        realtime=realtime,
        created_at=at,
    )
    session.add(watch)
    session.flush()
    return watch


def end_watch(session: Session, member: Member, entity: str, *, at: datetime) -> str:
    """End the watch of ``member`` on ``entity``, and return its code; another writing of it does, where they watch it
    under one only. Raises ``UnknownName`` where there is none."""
    active = (Watch.member_id == member.id, Watch.ended_at.is_(None))
    meant = set(session.scalars(select(Watch.entity).where(*active, Watch.entity.in_(spellings(entity)))))
    if len(meant) == 1:
        entity = meant.pop()
    ended = session.execute(
        update(Watch).where(*active, Watch.entity == entity).values(ended_at=at).returning(Watch.id)
    ).all()
    who = {} if member.subject is None else {"member": subjects.commitment(session, member.subject)}
    record_all(session, [Act("watch:end", f"watch:{row.id}", who, at) for row in ended])
    if not ended:
        raise UnknownName(
            f"watch of {member.name} on", entity, list(session.scalars(select(Watch.entity).where(*active).limit(1000)))
        )
    return entity


def watches(session: Session, *, member: str | None = None, ended: bool = False) -> list[WatchState]:
    """The watches, of one member or all, those that have ended only if asked for."""
    query = select(Watch, Member.name).join(Member, Member.id == Watch.member_id).order_by(Member.name, Watch.entity)
    if member is not None:
        query = query.where(Watch.member_id == find_member(session, member).id)
    if not ended:
        query = query.where(Watch.ended_at.is_(None))
    return [
        WatchState(
            row.id,
            name,
            row.entity,
            row.source,
            from_list(row.categories),
            from_list(row.channels),
            row.realtime,
            row.created_at,
            row.ended_at,
        )
        for row, name in session.execute(query)
    ]


def as_list(values: Iterable[str]) -> str:
    """``("a", "b")`` as ``,a,b,``; nothing, which means all, as the empty text."""
    joined = ",".join(dict.fromkeys(values))
    return f",{joined}," if joined else ""


def from_list(text: str) -> tuple[str, ...]:
    """The reverse of ``as_list``."""
    return tuple(part for part in text.split(",") if part)


def check_zone(zone: str) -> str:
    """``zone`` if it is an IANA time zone. Raises ``BadInput``."""
    if zone not in available_timezones():
        raise BadInput(
            f"{zone!r} is not a time zone.", hint="Give an IANA name, such as Asia/Shanghai or Europe/London."
        )
    return ZoneInfo(zone).key


def check_hour(hour: int) -> int:
    """``hour`` if it is one of a day. Raises ``BadInput``."""
    if not 0 <= hour <= 23:
        raise BadInput(f"The digest hour is {hour}.", hint="Give a full hour from 0 to 23 in the member's own zone.")
    return hour


def _line(what: str, text: str, most: int) -> str:
    text = text.strip()
    if not text or len(text) > most or any(character < " " for character in text):
        raise BadInput(f"{what} is {text[:40]!r}.", hint=f"Give one line of 1 to {most} characters.")
    return text
