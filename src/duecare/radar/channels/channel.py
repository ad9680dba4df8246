"""What a channel is: the one thing to write for a new way to reach people.

A channel takes an envelope and hands it over, or says whether trying again can help. It is found through the entry
points of the group ``duecare.channels``; ours and those of other packages come through the same door.

The rule of this module: the key travels with the message. A message may be handed over twice (a process was killed
between the handing over and the note of it); by the key the other side shows it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, runtime_checkable

from sqlalchemy.orm import Session

from duecare.errors import ChannelUnavailable, UnknownName
from duecare.store.home import Home

GROUP = "duecare.channels"


class Unanswered(ChannelUnavailable):
    """The message was handed over, but no answer came: it may have arrived. It is tried again under the same key."""


@dataclass(frozen=True)
class Letter:
    """One message in every form a channel may want; ``data`` is for programs (JSON values)."""

    subject: str
    text: str
    html: str
    short: str
    markdown: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Envelope:
    """A letter to one address. ``key`` is the same at every attempt; ``replies_to`` the key of what it corrects.

    ``at``: when it became due, aware; the same at every attempt. ``delivery_id`` and ``member_id`` are the database's.
    """

    key: str
    address: str
    letter: Letter
    at: datetime
    delivery_id: int
    member_id: int
    secret: str = ""
    replies_to: str = ""


@runtime_checkable
class Channel(Protocol):
    """A way to reach people. Made once for a run, inside a running event loop."""

    name: str
    concurrency: int
    """How many messages it takes at once."""

    def __init__(self, home: Home) -> None: ...

    @property
    def missing(self) -> str:
        """What must be set before it can send, as a sentence; empty where nothing is."""
        ...

    @classmethod
    def check(cls, address: str, secret: str) -> tuple[str, str]:
        """Address and secret as they are to be kept. Raises ``BadInput`` where the channel could never take them."""
        ...

    async def send(self, envelope: Envelope) -> None:
        """Hand over. Raises ``ChannelUnavailable`` (not taken; try again), ``Unanswered`` (perhaps taken; try again
        under the same key) or ``ChannelRefused`` (never will be)."""
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


@runtime_checkable
class Inside(Protocol):
    """A channel that ends in our own database: its messages are placed in the transaction that marks them sent."""

    def place(self, session: Session, envelopes: Sequence[Envelope]) -> None:
        """Place all, each once, whatever was placed before."""
        ...


def channel_names() -> list[str]:
    """The installed channels."""
    return sorted(entry.name for entry in _installed())


def channel_class(name: str) -> type[Channel]:
    """The channel called ``name``. Raises ``UnknownName``."""
    for entry in _installed():
        if entry.name == name:
            loaded: type[Channel] = entry.load()
            return loaded
    raise UnknownName("channel", name, channel_names())


@cache
def _installed() -> tuple[EntryPoint, ...]:
    # Looking through every installed package takes longer than sending a mail.
    return tuple(entry_points(group=GROUP))


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds from a ``Retry-After`` header, given in seconds or as a date (RFC 9110 section 10.2.3)."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - now).total_seconds())
    except (ValueError, TypeError):
        return None
