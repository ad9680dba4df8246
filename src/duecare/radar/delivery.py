"""Sending what is owed: a worker over the transactional outbox.

Claim (committed) → send → note (committed with its evidence). Whatever is killed where, nobody is missed: an owed
delivery stays owed until its note commits. And nobody sees an alert twice: the key of a delivery is made of its row,
goes with it at every attempt, and the other side shows it once (``channels/``).

The rule of this module: nothing is sent that was not first committed as ``sending``, and nothing is sent after its
claim may have passed to another worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from duecare.errors import Terminal, Transient
from duecare.radar.channels.channel import Channel, Envelope, Inside, Letter, Unanswered, channel_class, channel_names
from duecare.radar.claims import LEASE, Backoff, Outcome, claim, free_the_dead, note, release, worker
from duecare.radar.digests import compose_due, digest_letters
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
from duecare.radar.wording import letter
from duecare.store.home import Home

Progress = Callable[[int, int], None]
"""Called with the deliveries done and the deliveries known to be due."""

_CLAIMED_AT_ONCE = 200
_NOTED_AT_ONCE = 50
_ATTEMPT = 60.0
"""Seconds that one attempt may take at most; the channels' own limits are shorter."""


@dataclass(frozen=True)
class DeliveryReport:
    """What a run did. ``waiting``: channel → how many wait for it to be configured, and what must be set."""

    digests: int = 0
    sent: int = 0
    retried: int = 0
    given_up: int = 0
    cancelled: int = 0
    waiting: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        waiting = {name: {"count": count, "missing": missing} for name, (count, missing) in self.waiting.items()}
        return {**self.__dict__, "waiting": waiting}

    def plus(self, outcomes: Iterable[Outcome]) -> DeliveryReport:
        """This and ``outcomes``."""
        states = [outcome.state for outcome in outcomes]
        return replace(
            self,
            sent=self.sent + states.count(DeliveryState.SENT),
            retried=self.retried + states.count(DeliveryState.DUE),
            given_up=self.given_up + states.count(DeliveryState.GIVEN_UP),
            cancelled=self.cancelled + states.count(DeliveryState.CANCELLED),
        )


@dataclass(frozen=True)
class Failure:
    """A delivery that was given up, for the operator."""

    delivery_id: int
    member: str
    channel: str
    what: str
    attempts: int
    since: datetime | None
    error: str


@dataclass(frozen=True)
class _Ready:
    """A claimed delivery with what its outcome depends on; ``envelope`` none: its address has ended."""

    delivery: Delivery
    envelope: Envelope | None


def deliver(
    home: Home,
    *,
    lexicon: Lexicon | None = None,
    backoff: Backoff | None = None,
    progress: Progress = lambda done, due: None,
) -> DeliveryReport:
    """Compose the digests that are due, then send all that is due, and return when nothing is left to try now.

    Any number of processes may run this at once. What fails and may yet succeed is due again later; what has failed
    for ``retry_hours`` is given up and listed by ``failures``.
    """
    lexicon = lexicon or Lexicon.of(home)
    digests = compose_due(home, lexicon)
    return asyncio.run(_Run(home, lexicon, backoff or Backoff(), progress).run(DeliveryReport(digests=digests)))


def failures(session: Session) -> list[Failure]:
    """What was given up, latest first; the alerts in a digest are counted with the digest."""
    rows = session.execute(
        select(Delivery, Member.name, Alert.name, Alert.section, Digest.day)
        .join(Member, Member.id == Delivery.member_id)
        .outerjoin(Alert, Alert.id == Delivery.alert_id)
        .outerjoin(Digest, Digest.id == Delivery.digest_id)
        .where(Delivery.state == DeliveryState.GIVEN_UP.value, Delivery.mode != DeliveryMode.DIGEST.value)
        .order_by(Delivery.id.desc())
    )
    return [
        Failure(
            row.id,
            member,
            row.channel,
            f"digest of {day}" if row.alert_id is None else f"{name}: {section}",
            row.attempts,
            row.first_tried_at,
            row.last_error,
        )
        for row, member, name, section, day in rows
    ]


def key_of(home: Home, delivery_id: int) -> str:
    """The idempotency key of a delivery: 32 hex digits, the same for ever, unlike that of any other home."""
    return sha256(f"{home.id}:delivery:{delivery_id}".encode()).hexdigest()[:32]


class _Run:
    """One run of a worker."""

    def __init__(self, home: Home, lexicon: Lexicon, backoff: Backoff, progress: Progress) -> None:
        self._home, self._lexicon, self._backoff, self._progress = home, lexicon, backoff, progress
        self._done = 0

    async def run(self, report: DeliveryReport) -> DeliveryReport:
        opened = {name: channel_class(name)(self._home) for name in channel_names()}
        usable = {name: channel for name, channel in opened.items() if not channel.missing}
        gates = {name: asyncio.Semaphore(channel.concurrency) for name, channel in usable.items()}
        due = self._due(list(usable))
        try:
            with worker(self._home) as name:
                free_the_dead(self._home, self._home.clock.now())
                while True:
                    now, began = self._home.clock.now(), time.monotonic()
                    with self._home.database.session() as session:
                        ids = claim(session, name, now, list(usable), _CLAIMED_AT_ONCE)
                        ready = prepare(self._home, session, ids, self._lexicon)
                    if not ids:
                        break
                    outcomes = await self._send_all(name, ready, usable, gates, began)
                    report = report.plus(outcomes)
                    self._done += len(outcomes)
                    self._progress(self._done, max(due, self._done))
        finally:
            for channel in opened.values():
                await channel.close()
        return replace(report, waiting=self._waiting(opened))

    async def _send_all(
        self,
        name: str,
        ready: Sequence[_Ready],
        channels: Mapping[str, Channel],
        gates: Mapping[str, asyncio.Semaphore],
        began: float,
    ) -> list[Outcome]:
        """Send what was claimed and note outcomes as they come, few at a time: a kill then leaves few in doubt."""
        inside = [one for one in ready if one.envelope and isinstance(channels[one.delivery.channel], Inside)]
        outcomes = self._place(name, inside, channels)
        tasks = [
            asyncio.create_task(self._attempt(one, channels[one.delivery.channel], gates[one.delivery.channel], began))
            for one in ready
            if one not in inside
        ]
        untried: list[int] = []
        waiting: set[asyncio.Task[Outcome | int]] = set(tasks)
        while waiting:
            finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            results = [task.result() for task in finished]
            untried += [result for result in results if isinstance(result, int)]
            fresh = [result for result in results if isinstance(result, Outcome)]
            for start in range(0, len(fresh), _NOTED_AT_ONCE):
                with self._home.database.session() as session:
                    note(session, name, fresh[start : start + _NOTED_AT_ONCE], self._home.clock.now())
            outcomes += fresh
        if untried:
            with self._home.database.session() as session:
                release(session, name, untried, self._home.clock.now())
        return outcomes

    def _place(self, name: str, ready: Sequence[_Ready], channels: Mapping[str, Channel]) -> list[Outcome]:
        """Messages that end in our own database are placed in the very transaction that notes them."""
        outcomes = [Outcome(one.delivery.id, DeliveryState.SENT) for one in ready]
        if ready:
            with self._home.database.session() as session:
                for channel in {one.delivery.channel for one in ready}:
                    place = channels[channel]
                    assert isinstance(place, Inside)
                    place.place(session, [one.envelope for one in ready if one.envelope is not None])
                note(session, name, outcomes, self._home.clock.now())
        return outcomes

    async def _attempt(self, one: _Ready, channel: Channel, gate: asyncio.Semaphore, began: float) -> Outcome | int:
        """One attempt and its outcome, or the id where the claim is too old to begin one."""
        delivery = one.delivery
        if one.envelope is None:
            return Outcome(delivery.id, DeliveryState.CANCELLED, error="The member's address has ended.")
        async with gate:
            if time.monotonic() - began > LEASE.total_seconds() - _ATTEMPT:
                return delivery.id
            try:
                await asyncio.wait_for(channel.send(one.envelope), _ATTEMPT)
            except Terminal as error:
                return Outcome(delivery.id, DeliveryState.GIVEN_UP, error=str(error), unanswered=delivery.unanswered)
            except TimeoutError:
                return self._again(delivery, Unanswered(f"No answer within {_ATTEMPT:.0f} seconds."))
            except Transient as error:
                return self._again(delivery, error)
            except Exception as error:
                # A fault of one channel must not hold up everybody else's; it stands in the list of failures.
                return self._again(delivery, Unanswered(f"{type(error).__name__}: {error}"))
        return Outcome(delivery.id, DeliveryState.SENT)

    def _again(self, delivery: Delivery, error: Transient) -> Outcome:
        now = self._home.clock.now()
        next_at = now + self._backoff.wait(delivery.attempts + 1, error.retry_after)
        until = (delivery.first_tried_at or now) + timedelta(hours=self._home.settings.retry_hours)
        state = DeliveryState.DUE if next_at <= until else DeliveryState.GIVEN_UP
        unanswered = delivery.unanswered or isinstance(error, Unanswered)
        return Outcome(delivery.id, state, next_at, str(error), unanswered)

    def _due(self, channels: Sequence[str]) -> int:
        with self._home.database.session() as session:
            return (
                session.scalar(
                    select(func.count()).where(
                        Delivery.state == DeliveryState.DUE.value,
                        Delivery.mode != DeliveryMode.DIGEST.value,
                        Delivery.next_at <= self._home.clock.now(),
                        Delivery.channel.in_(channels),
                    )
                )
                or 0
            )

    def _waiting(self, channels: Mapping[str, Channel]) -> dict[str, tuple[int, str]]:
        found = {name: (self._due([name]), channel.missing) for name, channel in channels.items() if channel.missing}
        return {name: (count, missing) for name, (count, missing) in found.items() if count}


def prepare(home: Home, session: Session, ids: Sequence[int], lexicon: Lexicon) -> list[_Ready]:
    """The claimed deliveries with their letters, in the order of ``ids``. An alert is written once for each kind of
    reader, however many there are."""
    rows = session.execute(
        select(Delivery, ChannelAddress, Member, Alert, Digest)
        .join(ChannelAddress, ChannelAddress.id == Delivery.address_id)
        .join(Member, Member.id == Delivery.member_id)
        .outerjoin(Alert, Alert.id == Delivery.alert_id)
        .outerjoin(Digest, Digest.id == Delivery.digest_id)
        .where(Delivery.id.in_(ids))
        .execution_options(populate_existing=True)
    ).all()
    corrected = told_before(session, [(alert, delivery) for delivery, _, _, alert, _ in rows if alert is not None])
    digests = digest_letters(
        session,
        [(digest, _reader(member)) for _, _, member, alert, digest in rows if alert is None and digest is not None],
        lexicon,
    )
    written: dict[tuple[int, str, str], Letter] = {}
    made: dict[int, _Ready] = {}
    for delivery, address, member, alert, digest in rows:
        if address.state != AddressState.ACTIVE.value:
            made[delivery.id] = _Ready(delivery, None)
            continue
        reader = _reader(member)
        replies_to = ""
        if alert is None:
            text = digests[digest.id]
        elif alert.corrects_id is not None:
            original = corrected.get(delivery.id)
            text = letter(alert, reader, lexicon, original)
            replies_to = key_of(home, original.delivery_id) if original and original.delivery_id else ""
        else:
            kind = (alert.id, member.language, member.zone)
            if kind not in written:
                written[kind] = letter(alert, reader, lexicon)
            text = written[kind]
        made[delivery.id] = _Ready(
            delivery,
            Envelope(
                key=key_of(home, delivery.id),
                address=address.address,
                letter=text,
                at=delivery.created_at,
                delivery_id=delivery.id,
                member_id=member.id,
                secret=address.secret,
                replies_to=replies_to,
            ),
        )
    return [made[one] for one in ids]


def _reader(member: Member) -> Reader:
    return Reader(member.language, ZoneInfo(member.zone))
