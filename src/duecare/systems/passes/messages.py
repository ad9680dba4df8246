"""Messages to holders: owed in the transaction of what they tell, sent through the channels of the radar.

The outbox holds words and a subject, and no number: the telephone number or mail address is opened through the vault
when a message goes out, once for each, and forgotten. The key of a message is the same at every attempt, so that a
gateway that was handed it twice sends it once.

The rule of this module: a message that is owed is sent or given up with a reason, whatever is killed; and a holder of
whom everything was erased is owed none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from html import escape

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.clock import utc
from duecare.consent import grants, subjects
from duecare.errors import DuecareError, Erased, NeverHeld, NotGranted, Terminal, Transient
from duecare.evidence.outbox import record
from duecare.radar.channels.channel import Channel, Envelope, Letter, channel_class
from duecare.radar.claims import Backoff
from duecare.systems.passes.models import HolderMessage, MessageState
from duecare.systems.passes.park import SERVICE, Park
from duecare.systems.passes.purposes import CONTRACT, MAIL

_FIELDS = {"sms": ("phone", CONTRACT), "mail": ("mail", MAIL)}
"""Channel → the field that is opened for it, and for which purpose."""

_BATCH = 200


@dataclass(frozen=True)
class Text:
    """What a message says, in both languages; nothing in it is personal."""

    kind: str
    subject_zh: str
    zh: str
    subject_en: str
    en: str


@dataclass(frozen=True)
class Sent:
    """What a run did. ``waiting``: channel → what must be set before it can send."""

    sent: int = 0
    retried: int = 0
    given_up: int = 0
    waiting: tuple[tuple[str, str], ...] = ()


def queue(session: Session, readers: Sequence[str], text: Text, at: datetime) -> int:
    """Owe ``text`` to each of the subjects, by SMS, and by mail to those who agreed to it; how many were queued."""
    by_mail = {each.subject for each in grants.standing(session, purpose=MAIL)} & set(readers)
    rows = [(each, "sms") for each in readers] + [(each, "mail") for each in sorted(by_mail)]
    said = {name: value for name, value in vars(text).items() if name != "kind"}
    session.add_all(
        HolderMessage(
            subject=subject, kind=text.kind, channel=channel, said=said, state=MessageState.DUE.value, attempts=0,
            created_at=utc(at), next_at=utc(at), sent_at=None, last_error="",
        )
        for subject, channel in rows
    )  # fmt: skip
    session.flush()
    return len(rows)


def send(park: Park, *, backoff: Backoff | None = None) -> Sent:
    """Send all that is due by every channel that is configured. One process sends at a time; others wait for it."""
    with park.home.writing("messages"):
        return asyncio.run(_Run(park, backoff or Backoff()).run())


def of_holder(session: Session, subject: str) -> list[HolderMessage]:
    """What a holder was told or is owed, oldest first."""
    return list(
        session.scalars(select(HolderMessage).where(HolderMessage.subject == subject).order_by(HolderMessage.id))
    )


class _Run:
    """One run over the outbox."""

    def __init__(self, park: Park, backoff: Backoff) -> None:
        self._park, self._backoff = park, backoff

    async def run(self) -> Sent:
        channels = {name: channel_class(name)(self._park.home) for name in _FIELDS}
        usable = {name: channel for name, channel in channels.items() if not channel.missing}
        report = Sent()
        try:
            while claimed := self._claim(list(usable)):
                for message in claimed:
                    report = await self._attempt(message, usable[message.channel], report)
        finally:
            for channel in channels.values():
                await channel.close()
        return replace(report, waiting=self._waiting(channels))

    def _claim(self, names: Sequence[str]) -> list[HolderMessage]:
        """What is due, marked as being sent before anything is; also what a killed run had marked."""
        with self._park.home.database.session() as session:
            due = HolderMessage.state.in_((MessageState.DUE.value, MessageState.SENDING.value))
            found = list(
                session.scalars(
                    select(HolderMessage)
                    .where(due, HolderMessage.next_at <= self._park.now(), HolderMessage.channel.in_(names))
                    .order_by(HolderMessage.id)
                    .limit(_BATCH)
                )
            )
            for message in found:
                message.state = MessageState.SENDING.value
        return found

    async def _attempt(self, message: HolderMessage, channel: Channel, report: Sent) -> Sent:
        name, purpose = _FIELDS[message.channel]
        try:
            address = self._park.vault.open(
                name, message.subject, purpose, SERVICE, why=f"发送通知 / message: {message.kind}"
            )
            await channel.send(self._envelope(message, str(address)))
        except (Terminal, NotGranted, NeverHeld) as error:
            self._note(message, MessageState.GIVEN_UP, _said(error))
            return replace(report, given_up=report.given_up + 1)
        except Transient as error:
            return self._again(message, error, report)
        self._note(message, MessageState.SENT)
        return replace(report, sent=report.sent + 1)

    def _envelope(self, message: HolderMessage, address: str) -> Envelope:
        zh = self._park.home.settings.language == "zh"
        subject, text = (message.said[f"subject_{'zh' if zh else 'en'}"], message.said["zh" if zh else "en"])
        # With the time: a database that was restored gives the numbers of the messages that it has lost once more.
        name = f"{self._park.home.id}:message:{message.id}:{message.created_at.isoformat()}"
        key = sha256(name.encode()).hexdigest()[:32]
        paragraphs = "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n"))
        letter = Letter(subject, text, paragraphs, text, text, {})
        return Envelope(key, address, letter, message.created_at, message.id, 0)

    def _again(self, message: HolderMessage, error: Transient, report: Sent) -> Sent:
        now = self._park.now()
        next_at = now + self._backoff.wait(message.attempts + 1, error.retry_after)
        if next_at > message.created_at + timedelta(hours=self._park.home.settings.retry_hours):
            self._note(message, MessageState.GIVEN_UP, _said(error))
            return replace(report, given_up=report.given_up + 1)
        self._note(message, MessageState.DUE, _said(error), next_at)
        return replace(report, retried=report.retried + 1)

    def _note(
        self, message: HolderMessage, state: MessageState, error: str = "", next_at: datetime | None = None
    ) -> None:
        """Write down how an attempt ended; a message whose reader was erased meanwhile has no row any more."""
        now = self._park.now()
        with self._park.home.database.session() as session:
            row = session.get(HolderMessage, message.id)
            if row is None:
                return
            row.state, row.attempts, row.last_error = state.value, row.attempts + 1, error
            row.next_at = next_at or row.next_at
            row.sent_at = now if state is MessageState.SENT else None
            if state is not MessageState.DUE:
                body = {
                    "holder": subjects.commitment(session, row.subject),
                    "kind": row.kind,
                    "channel": row.channel,
                    "state": state.value,
                }
                record(session, "message:send", f"message:{row.id}", body, now)

    def _waiting(self, channels: dict[str, Channel]) -> tuple[tuple[str, str], ...]:
        with self._park.home.database.session() as session:
            owed = set(
                session.scalars(
                    select(HolderMessage.channel).where(HolderMessage.state == MessageState.DUE.value).distinct()
                )
            )
        return tuple((name, channel.missing) for name, channel in channels.items() if channel.missing and name in owed)


def _said(error: DuecareError) -> str:
    """What is kept of an error: its kind alone where its words could repeat an address."""
    return error.message if isinstance(error, (Erased, NotGranted, NeverHeld)) else type(error).__name__
