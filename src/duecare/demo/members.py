"""The members of the demo: who they are, how they are reached, and which companies they watch.

The rule of this module: who watches what follows from the seed of the world alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random

from duecare.demo.world import World
from duecare.radar.watches import Reach, add_member, add_watch
from duecare.registers.adapters.national_register import SOURCE
from duecare.vault.records import Vault

HOUR = 8
"""The hour, in each member's own zone, at which digests are due: in Beijing for all of them but one."""

_GREEK = ("甲", "乙", "丙", "丁", "戊", "己", "庚", "辛", "壬", "癸")


@dataclass(frozen=True)
class Joining:
    """A member to be. ``vip``: told at once; ``categories`` empty: of everything."""

    name: str
    mail: str
    entities: tuple[str, ...]
    language: str = "zh"
    zone: str = "Asia/Shanghai"
    vip: bool = False
    categories: tuple[str, ...] = ()


def joining(world: World, watched: Sequence[str]) -> list[Joining]:
    """Who joins: the first three watch both companies that the story is about; 成员丁 asks for registrations only, so
    that a liquidation is none of their news; Avery reads English."""
    random = Random(world.seed + 3)
    both = tuple(dict.fromkeys(world.cast.values()))

    def some(share: float, *first: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*first, *random.sample(watched, max(1, int(len(watched) * share))))))

    found = [
        Joining("成员甲", "jia@example.org", some(0.1, *both), vip=True),
        Joining("成员乙", "yi@example.org", some(0.3, *both)),
        Joining("Avery", "avery@example.org", some(0.2, *both), language="en", zone="Asia/Singapore", vip=True),
        Joining("成员丁", "ding@example.org", some(0.3, *both), categories=("registration",)),
    ]
    plain = [code for code in watched if code not in both]
    found += [
        Joining(f"成员{letter}", f"{name}@example.org", tuple(random.sample(plain, max(1, len(plain) // 3))))
        for letter, name in zip((_GREEK[2], *_GREEK[4:8]), ("bing", "wu", "ji", "geng", "xin"), strict=True)
    ]
    return found


def join(vault: Vault, members: Sequence[Joining], at: datetime) -> int:
    """Enter the members and their watches; returns how many watches there are."""
    watches = 0
    with vault.database.session() as session:
        for one in members:
            member = add_member(
                vault, session, one.name, at=at, reach=[Reach("mail", one.mail)], language=one.language,
                zone=one.zone, digest_hour=HOUR, screen="demo",
            )  # fmt: skip
            for entity in one.entities:
                # The pages of the register and its open data say the same of a company; one of them is enough to hear.
                add_watch(
                    session, member, entity, at=at, source=SOURCE.name, categories=one.categories, realtime=one.vip
                )
                watches += 1
    return watches
