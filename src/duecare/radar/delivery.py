"""Sending what is owed: a worker over the transactional outbox.

Claim (committed) → send → note (committed with its evidence). Whatever is killed where, nobody is missed: an owed
delivery stays owed until its note commits. And nobody sees an alert twice: the key of a delivery is made of its row,
goes with it at every attempt, and the other side shows it once (``channels/``).

Where members are reached is sealed. What was claimed is opened as one set between the claim and the sending, by a vault
that the run keeps open; messages for the message centre need no address, and nothing is opened for them.

The rule of this module: nothing is sent that was not first committed as ``sending``, and nothing is sent after its
claim may have passed to another worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from duecare.clock import utc
from duecare.errors import ChannelUnavailable, NotGranted, Terminal, Transient
from duecare.evidence.log import Log
from duecare.evidence.outbox import apart
from duecare.radar.channels.channel import Channel, Envelope, Inside, Letter, Unanswered, channel_class, channel_names
from duecare.radar.claims import LEASE, Backoff, Outcome, claim, free_the_dead, note, release, worker
from duecare.radar.contacts import SERVICE, Point, open_many
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
    called,
)
from duecare.radar.reader import Lexicon, Reader
from duecare.radar.told import told_before
from duecare.radar.wording import Rows, letter
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.vault.records import Vault

Progress = Callable[[int, int], None]
"""Called with the deliveries done and the deliveries known to be due."""

_Task = asyncio.Task[Outcome | int]

_CLAIMED_AT_ONCE = 400
_NOTED_AT_ONCE = 50
_NOTED_WITHIN = 0.1
"""Seconds that an outcome waits for others to be noted with it, at most: a kill leaves few in doubt."""

_ATTEMPT = 60.0
"""Seconds that one attempt may take at most; the channels' own limits are shorter."""

_ENDED = "The member's address has ended."
_NOT_HELD = "The member's contact points are not held any more: their grant ended, or they were erased."


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
class _Ready:
    """A claimed delivery with what its outcome depends on. ``envelope`` none: it is cancelled, and ``reason`` says why.

    ``subject``: whose contact points have the address, which the envelope gets just before it is sent: its ``point``.
    ``denied``: the rules do not let it be opened now.
    """

    delivery: Delivery
    envelope: Envelope | None
    subject: str = ""
    reason: str = _ENDED
    point: Point | None = None
    denied: str = ""


def deliver(
    home: Home,
    *,
    vault: Vault | None = None,
    lexicon: Lexicon | None = None,
    backoff: Backoff | None = None,
    progress: Progress = lambda done, due: None,
) -> DeliveryReport:
    """Compose the digests that are due, then send all that is due, and return when nothing is left to try now.

    Any number of processes may run this at once. What fails and may yet succeed is due again later; what has failed
    for ``retry_hours`` is given up and listed by ``failures``. ``vault``: where contact points are opened; without one,
    the run opens its own when it first needs an address. Raises ``KeyLost``; then what was claimed is due as before.
    """
    lexicon = lexicon or Lexicon.of(home)
    with ExitStack() as stack:
        run = _Run(home, vault, stack, lexicon, backoff or Backoff(), progress)
        run.recover()
        digests = compose_due(home, lexicon)
        return asyncio.run(run.run(DeliveryReport(digests=digests)))


def key_of(home: Home, delivery_id: int, made_at: datetime) -> str:
    """The idempotency key of a delivery: 32 hex digits, the same for ever, unlike that of any other home.

    A database that was restored gives the ids of what it has lost once more, to other alerts: the time when the
    delivery was made (aware) tells them apart, so that no receiver takes a new one for one that it has.
    """
    name = f"{home.id}:{called(delivery_id)}:{utc(made_at).isoformat()}"
    return sha256(name.encode()).hexdigest()[:32]


class _Run:
    """One run of a worker."""

    def __init__(
        self,
        home: Home,
        vault: Vault | None,
        stack: ExitStack,
        lexicon: Lexicon,
        backoff: Backoff,
        progress: Progress,
    ) -> None:
        self._home, self._rows, self._backoff, self._progress = home, Rows(lexicon), backoff, progress
        self._given, self._stack = vault, stack
        self._done = 0

    @cached_property
    def _vault(self) -> Vault:
        from duecare.vault.records import Vault

        return self._given or self._stack.enter_context(Vault(self._home))

    def recover(self) -> None:
        """Have a database that was restored know who was told since its backup, before anything is claimed."""
        if apart(self._home.database, Log.at(self._home.path)):
            _ = self._vault

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
                        ready = prepare(self._home, session, ids, self._rows)
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
        outside = self._addressed(name, [one for one in ready if one not in inside])
        ended: asyncio.Queue[_Task] = asyncio.Queue()
        tasks = [
            asyncio.create_task(self._attempt(one, channels[one.delivery.channel], gates[one.delivery.channel], began))
            for one in outside
        ]
        for task in tasks:
            task.add_done_callback(ended.put_nowait)
        untried: list[int] = []
        left = len(tasks)
        while left:
            results = [task.result() for task in await _gathered(ended, left)]
            left -= len(results)
            untried += [result for result in results if isinstance(result, int)]
            fresh = [result for result in results if isinstance(result, Outcome)]
            with self._home.database.session() as session:
                note(session, name, fresh, self._home.clock.now())
            outcomes += fresh
        if untried:
            with self._home.database.session() as session:
                release(session, name, untried, self._home.clock.now())
        return outcomes

    def _place(self, name: str, ready: Sequence[_Ready], channels: Mapping[str, Channel]) -> list[Outcome]:
        """Messages that end in our own database are placed in the very transaction that notes them.

        Their addresses are held meanwhile: a member who leaves does so before, and nothing is placed, or after, and
        what was placed is erased.
        """
        if not ready:
            return []
        with self._home.database.session() as session:
            active = set(
                session.scalars(
                    select(ChannelAddress.id)
                    .where(ChannelAddress.id.in_([one.delivery.address_id for one in ready]))
                    .where(ChannelAddress.state == AddressState.ACTIVE.value)
                    .order_by(ChannelAddress.id)
                    .with_for_update(read=True)
                )
            )
            for channel in {one.delivery.channel for one in ready}:
                place = channels[channel]
                assert isinstance(place, Inside)
                placed = [one for one in ready if one.delivery.channel == channel and one.delivery.address_id in active]
                place.place(session, [one.envelope for one in placed if one.envelope is not None])
            outcomes = [
                Outcome(one.delivery.id, DeliveryState.SENT)
                if one.delivery.address_id in active
                else Outcome(one.delivery.id, DeliveryState.CANCELLED, error=_ENDED)
                for one in ready
            ]
            note(session, name, outcomes, self._home.clock.now())
        return outcomes

    def _addressed(self, name: str, ready: Sequence[_Ready]) -> list[_Ready]:
        """What was claimed, with the addresses: one opening for all. Where that fails, the claims are let go of."""
        subjects = sorted({one.subject for one in ready if one.envelope is not None})
        if not subjects:
            return list(ready)
        try:
            held = open_many(self._vault, subjects, SERVICE, "alerts, digests and corrections are sent")
        except NotGranted as error:
            return [replace(one, denied=str(error)) for one in ready]
        except BaseException:
            with self._home.database.session() as session:
                release(session, name, [one.delivery.id for one in ready], self._home.clock.now())
            raise
        return [_with_address(one, held.get(one.subject, {}).get(one.delivery.address_id)) for one in ready]

    async def _attempt(self, one: _Ready, channel: Channel, gate: asyncio.Semaphore, began: float) -> Outcome | int:
        """One attempt and its outcome, or the id where the claim is too old to begin one."""
        delivery = one.delivery
        if one.envelope is None:
            return Outcome(delivery.id, DeliveryState.CANCELLED, error=one.reason)
        if one.denied:
            return self._again(delivery, ChannelUnavailable(one.denied))
        async with gate:
            if time.monotonic() - began > LEASE.total_seconds() - _ATTEMPT:
                return delivery.id
            outcome = await self._hand_over(delivery, one.envelope, channel)
        # What the other side answers often repeats the address, and an outcome is kept in plain words.
        return replace(outcome, error=one.point.hidden_in(outcome.error)) if one.point else outcome

    async def _hand_over(self, delivery: Delivery, envelope: Envelope, channel: Channel) -> Outcome:
        try:
            await asyncio.wait_for(channel.send(envelope), _ATTEMPT)
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


async def _gathered(ended: asyncio.Queue[_Task], left: int) -> list[_Task]:
    """What has ended, to be noted together: at least one, and what comes soon after it."""
    found = [await ended.get()]
    until = time.monotonic() + _NOTED_WITHIN
    while len(found) < min(left, _NOTED_AT_ONCE):
        try:
            async with asyncio.timeout(until - time.monotonic()):
                found.append(await ended.get())
        except TimeoutError:
            break
    return found


def prepare(home: Home, session: Session, ids: Sequence[int], rows: Rows) -> list[_Ready]:
    """The claimed deliveries with their letters, in the order of ``ids``. An alert is written once for each kind of
    reader, however many there are."""
    found = session.execute(
        select(Delivery, ChannelAddress, Member, Alert, Digest)
        .join(ChannelAddress, ChannelAddress.id == Delivery.address_id)
        .join(Member, Member.id == Delivery.member_id)
        .outerjoin(Alert, Alert.id == Delivery.alert_id)
        .outerjoin(Digest, Digest.id == Delivery.digest_id)
        .where(Delivery.id.in_(ids))
        .execution_options(populate_existing=True)
    ).all()
    corrected = told_before(session, [(alert, delivery) for delivery, _, _, alert, _ in found if alert is not None])
    digests = digest_letters(
        session,
        [(digest, _reader(member)) for _, _, member, alert, digest in found if alert is None and digest is not None],
        rows,
        home.clock.now(),
    )
    written: dict[tuple[int, str, str], Letter] = {}
    made: dict[int, _Ready] = {}
    for delivery, address, member, alert, digest in found:
        if address.state != AddressState.ACTIVE.value:
            made[delivery.id] = _Ready(delivery, None)
            continue
        if member.subject is None:
            made[delivery.id] = _Ready(delivery, None, reason=_NOT_HELD)
            continue
        reader = _reader(member)
        replies_to = ""
        if alert is None:
            text = digests[digest.id]
        elif alert.corrects_id is not None:
            original = corrected.get(delivery.id)
            text = letter(alert, reader, rows.lexicon, original)
            replies_to = key_of(home, *original.delivery) if original and original.delivery else ""
        else:
            kind = (alert.id, member.language, member.zone)
            if kind not in written:
                written[kind] = letter(alert, reader, rows.lexicon)
            text = written[kind]
        made[delivery.id] = _Ready(
            delivery,
            Envelope(
                key=key_of(home, delivery.id, delivery.created_at),
                address="",
                letter=text,
                at=delivery.created_at,
                delivery_id=delivery.id,
                member_id=member.id,
                replies_to=replies_to,
            ),
            member.subject,
        )
    return [made[one] for one in ids]


def _with_address(one: _Ready, point: Point | None) -> _Ready:
    if one.envelope is None:
        return one
    if point is None:
        return replace(one, envelope=None, reason=_NOT_HELD)
    return replace(one, envelope=replace(one.envelope, address=point.address, secret=point.secret), point=point)


def _reader(member: Member) -> Reader:
    return Reader(member.language, ZoneInfo(member.zone))
