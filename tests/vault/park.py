"""A small park whose vault is opened on real parts: its declarations, people, and witness."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from duecare.clock import SetClock
from duecare.consent import notices
from duecare.consent.purposes import Basis, Purpose, declare
from duecare.settings import load
from duecare.store.home import Home
from duecare.vault.records import Vault

from ..consent import world
from ..consent.world import AT, ENGINE, FIELDS, FIRST, PARK, THREE_MONTHS, USED

NEWS = Purpose("news", "活动通知", "News by text message", ("phone",), USED, Basis.CONSENT, THREE_MONTHS, "annual-pass")
PURPOSES = (*world.PURPOSES, NEWS)
BASIC = {"name": "成员甲", "id_number": "330106199001011234", "phone": "13800138000"}
PRINT = bytes(range(256)) * 2


@contextmanager
def opened(home: Path, url: str = "", *, at: datetime = AT, **given: Any) -> Iterator[Vault]:
    """The vault of the home folder ``home``, opened; the home is closed with it."""
    with Home(load(home=home, database_url=url), SetClock(at)) as held, Vault(held, ENGINE, **given) as vault:
        yield vault


def furnish(vault: Vault, at: datetime = AT) -> None:
    """Declare everything, and publish the notice."""
    with vault.database.session() as session:
        declare(session, ENGINE, FIELDS, PURPOSES, at)
        notices.publish(session, FIRST, PARK, at)


def person(vault: Vault, *purposes: str, at: datetime = AT) -> str:
    """A new person who agreed to each of ``purposes`` by an act of its own."""
    with vault.database.session() as session:
        subject = world.holder(session, at)
        for purpose in purposes:
            world.agree(session, subject, purpose, at=at)
    return subject


def holder(vault: Vault) -> str:
    """A person with a pass and a fingerprint, who also gets news."""
    subject = person(vault, "pass_contract", "fingerprint_entry", "news")
    with vault.database.session() as session:
        vault.seal(session, subject, BASIC, ["pass_contract"], "counter")
        vault.seal(session, subject, {"fingerprint": PRINT}, ["fingerprint_entry"], "counter")
        vault.allow(session, subject, ["phone"], "news", "counter")
    return subject
