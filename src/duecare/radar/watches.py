"""Members, where they can be reached, and what they watch.

The rule of this module: nothing is deleted. A watch or an address ends; who was told what stays known, so that a
correction reaches everyone who heard the error, even those who have stopped watching (case 1).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from duecare.errors import BadInput, UnknownName, UseError
from duecare.radar.channels.channel import channel_class, channel_names
from duecare.radar.models import AddressState, ChannelAddress, Member, Watch
from duecare.registers.sections import Category

CENTRE = "centre"
"""The channel that every member has."""


@dataclass(frozen=True)
class Reach:
    """One way to reach a member. ``secret`` is the signing secret of a webhook; one is made where none is given."""

    channel: str
    address: str
    secret: str = ""


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
    session: Session,
    name: str,
    *,
    at: datetime,
    reach: Iterable[Reach] = (),
    language: str = "zh",
    zone: str = "Asia/Shanghai",
    digest_hour: int = 8,
) -> Member:
    """A new member with a message centre and the addresses of ``reach``. Raises ``BadInput``, ``UseError``."""
    name = _line("The member's name", name, 200)
    if language not in ("zh", "en"):
        raise BadInput(f"The language is {language!r}.", hint="Give zh or en.")
    member = Member(
        name=name, language=language, zone=check_zone(zone), digest_hour=check_hour(digest_hour), created_at=at
    )
    if session.scalar(select(Member.id).where(Member.name == name)) is not None:
        raise UseError(f"There is a member {name!r} already.", hint="Give another name, or change that one.")
    session.add(member)
    session.flush()
    for way in (Reach(CENTRE, ""), *reach):
        add_address(session, member, way, at=at)
    return member


def find_member(session: Session, name: str) -> Member:
    """The member called ``name``. Raises ``UnknownName``."""
    member = session.scalar(select(Member).where(Member.name == name))
    if member is None:
        raise UnknownName("member", name, list(session.scalars(select(Member.name).order_by(Member.name).limit(1000))))
    return member


def members(session: Session) -> list[tuple[Member, list[ChannelAddress]]]:
    """All members by name, each with the addresses that have not ended."""
    found = list(session.scalars(select(Member).order_by(Member.name)))
    reached: dict[int, list[ChannelAddress]] = {member.id: [] for member in found}
    for address in session.scalars(
        select(ChannelAddress).where(ChannelAddress.state != AddressState.ENDED.value).order_by(ChannelAddress.id)
    ):
        reached[address.member_id].append(address)
    return [(member, reached[member.id]) for member in found]


def add_address(session: Session, member: Member, way: Reach, *, at: datetime) -> ChannelAddress:
    """Reach ``member`` in one more way. Raises ``BadInput`` where the channel could never take the address."""
    channel = channel_class(way.channel)
    address, secret = channel.check(way.address.strip(), way.secret.strip())
    same = session.scalar(
        select(ChannelAddress).where(
            ChannelAddress.member_id == member.id,
            ChannelAddress.channel == way.channel,
            ChannelAddress.address == address,
            ChannelAddress.state != AddressState.ENDED.value,
        )
    )
    if same is not None:
        return same
    row = ChannelAddress(
        member_id=member.id,
        channel=way.channel,
        address=address,
        secret=secret,
        salt=secrets.token_hex(32),
        state=AddressState.ACTIVE.value,
        created_at=at,
    )
    session.add(row)
    session.flush()
    return row


def end_address(session: Session, address: ChannelAddress, *, at: datetime) -> None:
    """Write to ``address`` no more. The message centre stays: a correction must find its reader."""
    if address.channel == CENTRE:
        raise UseError("The message centre cannot be ended.", hint="End the watches instead.")
    address.state, address.ended_at = AddressState.ENDED.value, at


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


def end_watch(session: Session, member: Member, entity: str, *, at: datetime) -> None:
    """End the watch of ``member`` on ``entity``. Raises ``UnknownName`` where there is none."""
    active = (Watch.member_id == member.id, Watch.ended_at.is_(None))
    ended = session.execute(
        update(Watch).where(*active, Watch.entity == entity).values(ended_at=at).returning(Watch.id)
    ).all()
    if not ended:
        raise UnknownName(
            f"watch of {member.name} on", entity, list(session.scalars(select(Watch.entity).where(*active).limit(1000)))
        )


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
