"""Contact points: where members can be reached, sealed as one field for each member.

The field is canonical JSON: id of the address → its channel, address, secret and salt. Rows know an address by its id,
the evidence log by its commitment.

The rule of this module: an address leaves the vault for one delivery run, or for a named person with a reason; it is
shown in no message, and in no error.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import rfc8785
from sqlalchemy.orm import Session

from duecare.evidence.commitment import SALT_SIZE, commit
from duecare.radar.purposes import CONTACT_POINTS, WATCH_DELIVERY

if TYPE_CHECKING:
    from duecare.vault.records import Value, Vault

SERVICE = "service:radar"
"""Who opens contact points to send."""


@dataclass(frozen=True)
class Point:
    """One way to reach a member. ``secret``: the signing secret of a webhook. ``salt`` (hex) opens the commitment."""

    channel: str
    address: str = field(repr=False)
    secret: str = field(default="", repr=False)
    salt: str = field(default_factory=lambda: secrets.token_hex(SALT_SIZE), repr=False)

    @property
    def commitment(self) -> str:
        """Under which the log knows it: the same for an alert and its correction."""
        return commit(f"{self.channel}:{self.address}", bytes.fromhex(self.salt)).text

    @property
    def masked(self) -> str:
        """Enough to recognise it by: ``a***@example.org``, ``+86***00``, ``https://hooks.example/***``."""
        if "://" in self.address:
            parts = urlsplit(self.address)
            return f"{parts.scheme}://{parts.hostname}/***"
        name, at, domain = self.address.rpartition("@")
        if at:
            return f"{name[:1]}***@{domain}"
        return f"{self.address[:3]}***{self.address[-2:]}" if len(self.address) > 7 else "***" if self.address else ""

    def hidden_in(self, text: str) -> str:
        """``text``, such as a mail server's answer, without the address and the secret, and without what of the address
        tells whose it is: a mailbox without its domain, a number without its country, what follows a host."""
        for told in (re.escape(self.address), re.escape(self.secret), *self._telling()):
            if told:
                text = re.sub(told, "***", text, flags=re.IGNORECASE)
        return text

    def _telling(self) -> list[str]:
        """Those parts as patterns. Of a web address, what has six characters and more: no key is shorter, words are."""
        if "://" in self.address:
            parts = urlsplit(self.address)
            return [re.escape(each) for each in re.findall(r"[^/?&=#]{6,}", f"{parts.path}?{parts.query}")]
        name, at, _ = self.address.rpartition("@")
        if at:
            return [rf"(?<!\w){re.escape(name)}(?!\w)"]
        digits = re.sub(r"\D", "", self.address)[-8:]
        return [r"(?:\+?\d[ -]?){0,9}" + r"[ -]?".join(digits)] if digits else []


Points = Mapping[int, Point]
"""Id of the address → the way to reach it."""


def seal(vault: Vault, session: Session, subject: str, points: Points) -> None:
    """Keep ``points``, all that a member has, in the place of those before. In the caller's transaction.

    Raises ``NotGranted``.
    """
    text = rfc8785.dumps({str(one): asdict(point) for one, point in points.items()}).decode()
    vault.seal(session, subject, {CONTACT_POINTS: text}, [WATCH_DELIVERY], SERVICE)


def open_one(vault: Vault, subject: str) -> Points:
    """The contact points of one member, to change them. Call it outside of any transaction.

    Raises as ``Vault.open``.
    """
    return _read(vault.open(CONTACT_POINTS, subject, WATCH_DELIVERY, SERVICE, why="a contact point is added"))


def open_many(vault: Vault, subjects: Sequence[str], actor: str, why: str) -> dict[str, Points]:
    """The contact points of ``subjects``, as one set, without those whose grant ended or whose contacts were erased.

    Call it outside of any transaction. Raises as ``Vault.open_many``.
    """
    opened = vault.open_many([CONTACT_POINTS], subjects, WATCH_DELIVERY, actor, why=why)
    return {subject: _read(text) for subject, _, text in opened.rows}


def _read(text: Value) -> Points:
    return {int(one): Point(**said) for one, said in json.loads(text).items()}
