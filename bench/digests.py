"""Daily digests: all of one hour composed, opened, sent and noted, beside the mail server's accept rate.

The server is aiosmtpd in a process of its own on this machine, which takes every mail and keeps none. The floor hands
it the same mails, composed beforehand, in a plain loop over one kept connection, and over as many connections as ours
uses; ours is everything from the deliveries that wait to the noted outcomes with their evidence.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import smtplib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import psycopg
from aiosmtpd import smtp as receiving
from aiosmtplib import SMTP
from sqlalchemy import func, insert, select

from bench.postgres import postgres
from duecare.clock import SetClock
from duecare.radar.alerts import raise_pending
from duecare.radar.channels.mail import Mail
from duecare.radar.delivery import DeliveryReport, deliver, prepare
from duecare.radar.models import Delivery, DeliveryMode, DeliveryState, Screening
from duecare.radar.reader import Lexicon
from duecare.radar.watches import Reach, add_member, add_watch
from duecare.radar.wording import Rows
from duecare.settings import load
from duecare.store.home import Home
from duecare.vault.records import Vault

_DAY = timedelta(days=1)
_NOW = datetime(2026, 1, 5, 0, 30, tzinfo=UTC)
"""Half past eight in Beijing."""

_COMPANIES, _EACH = 300, 3
_CONTROLLER = {
    "controller_name": "某数据服务有限公司",
    "controller_code": "91000000000000000X",
    "controller_address": "某市某区",
    "controller_contact": "privacy@example.com",
}


def run(scale: float = 1.0) -> None:
    """Print mails a second and the ratios, on both databases."""
    members = max(100, int(5_000 * scale))
    print(f"digests: {members:,} members with {_EACH} changes each, due at one hour, by mail")
    with tempfile.TemporaryDirectory(prefix="duecare-bench-") as folder, _mail_server() as url:
        _measure("SQLite", Path(folder) / "sqlite", "", url, members)
        try:
            with postgres() as database:
                _measure("PostgreSQL", Path(folder) / "postgres", database, url, members)
        except psycopg.OperationalError:
            print("  PostgreSQL: none here (DUECARE_TEST_POSTGRES)")


def _measure(name: str, folder: Path, database: str, smtp: str, members: int) -> None:
    settings = load(home=folder, database_url=database, smtp_url=smtp, **_CONTROLLER)
    with Home(settings, SetClock(_NOW)) as home, Vault(home) as vault:
        _fill(home, vault, members)
        lexicon = Lexicon.of(home)
        began = time.perf_counter()
        report = deliver(home, vault=vault, lexicon=lexicon)
        ours = time.perf_counter() - began
        if report != DeliveryReport(digests=members, sent=members):
            raise AssertionError(f"{report} for {members} members")
        mails = _mails(home, lexicon)
        one = _seconds(lambda: _one_connection(smtp, mails))
        many = _seconds(lambda: asyncio.run(_connections(smtp, mails, Mail.concurrency)))
    print(
        f"  {name}: ours {members / ours:,.0f}/s; the same mails by one connection {members / one:,.0f}/s (ratio "
        f"{ours / one:.2f}), by {Mail.concurrency} {members / many:,.0f}/s (ratio {ours / many:.2f})"
    )


def _fill(home: Home, vault: Vault, members: int) -> None:
    """Members by mail, what they watch, and a change of each company, found yesterday."""
    before, found = _NOW - 30 * _DAY, _NOW - _DAY / 2
    chance = Random(1)
    with home.database.session() as session:
        for number in range(members):
            reach = [Reach("mail", f"member{number}@example.com")]
            member = add_member(vault, session, f"member {number}", at=before, reach=reach)
            for company in chance.sample(range(_COMPANIES), _EACH):
                add_watch(session, member, f"E{company}", at=before, channels=["mail"])
    shared: dict[str, Any] = {
        "batch_id": "b", "source": "register", "section": "basic", "key": "", "kind": "event", "moved": "source",
        "category": "registration", "risk": "note", "not_before": found - _DAY, "not_after": found, "state": "passed",
        "before": '{"address": "旧街 1 号", "status": "存续"}', "after": '{"address": "新街 2 号", "status": "存续"}',
        "snapshot": "a" * 64, "effective_on": (found - 5 * _DAY).date(),
    }  # fmt: skip
    rows = [
        {**shared, "change_id": f"c{at}", "entity": f"E{at}", "name": f"第{at}有限公司"} for at in range(_COMPANIES)
    ]
    with home.database.session() as session:
        session.execute(insert(Screening), rows)
    raise_pending(home.database, at=found)
    with home.database.session() as session:
        waiting = session.scalar(select(func.count()).where(Delivery.state == DeliveryState.DUE.value))
    if waiting != members * _EACH:
        raise AssertionError(f"{waiting} deliveries wait")


def _mails(home: Home, lexicon: Lexicon) -> list[tuple[str, str, bytes]]:
    """What was sent: sender, recipient, content."""
    mail, rows = Mail(home), Rows(lexicon)
    sender = parseaddr(home.settings.mail_from)[1]
    mails = []
    with home.database.session() as session:
        ids = list(session.scalars(select(Delivery.id).where(Delivery.mode == DeliveryMode.CARRIER.value)))
        for at in range(0, len(ids), 500):
            for ready in prepare(home, session, ids[at : at + 500], rows):
                assert ready.envelope is not None
                envelope = replace(ready.envelope, address=f"member{ready.envelope.member_id}@example.com")
                mails.append((sender, envelope.address, mail.compose(envelope)))
    return mails


def _one_connection(url: str, mails: Sequence[tuple[str, str, bytes]]) -> None:
    where = urlsplit(url)
    with smtplib.SMTP(where.hostname or "", where.port or 25) as connection:
        for sender, recipient, content in mails:
            connection.sendmail(sender, [recipient], content)


async def _connections(url: str, mails: Sequence[tuple[str, str, bytes]], number: int) -> None:
    where, left = urlsplit(url), iter(mails)

    async def loop() -> None:
        async with SMTP(hostname=where.hostname, port=where.port) as connection:
            for sender, recipient, content in left:
                await connection.sendmail(sender, [recipient], content)

    await asyncio.gather(*(loop() for _ in range(number)))


class _Taking:
    """Takes every mail and keeps none."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - the server's name
        return "250 OK"


@contextmanager
def _mail_server() -> Iterator[str]:
    """A mail server in a process of its own; its address."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield f"smtp://127.0.0.1:{here.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection) -> None:
    async def forever() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: receiving.SMTP(_Taking(), hostname="localhost", loop=loop), "127.0.0.1", 0
        )
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
