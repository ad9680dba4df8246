"""Delivery runs killed at random moments: nobody is missed, and nobody sees anything twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from select import select as select_ready

from letterbox import mail_server, receiver
from owed import LEXICON, LIQUIDATION, NOW, alert, open_home, passed, watcher
from sqlalchemy import select

from duecare.clock import SetClock
from duecare.evidence.outbox import EvidenceEntry
from duecare.radar.delivery import deliver
from duecare.radar.models import Delivery, Member, Message
from duecare.radar.watches import Reach
from duecare.store.home import Home

KILLS = 25

_NURSERY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from owed import LEXICON, NOW
from duecare.clock import SetClock
from duecare.radar.delivery import deliver
from duecare.radar.channels import centre, mail, sms, webhook, wecom
from duecare.settings import load
from duecare.store.home import Home
from duecare.vault.records import Vault
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        with Home(load(home=sys.argv[2], database_url=sys.argv[3], smtp_url=sys.argv[4]), SetClock(NOW)) as home:
            deliver(home, lexicon=LEXICON)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def nursery(home: Home, url: str, smtp: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has everything imported, and forks a delivery run for each line it is given."""
    process = subprocess.Popen(
        [sys.executable, "-c", _NURSERY, str(Path(__file__).parent), str(home.path), url, smtp],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)


def run(process: subprocess.Popen[str], kill_when: Callable[[], bool] | None = None) -> int:
    """One delivery run, killed as soon as ``kill_when`` says so; its exit code, negative for a signal."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    child = int(process.stdout.readline())
    if kill_when is not None:
        while not kill_when():
            if select_ready([process.stdout], [], [], 0.001)[0]:
                break  # it has ended by itself
        else:
            # The nursery has not yet waited for it, or says below that it had ended: the id is no other's.
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    return int(process.stdout.readline())


def test_whatever_is_killed_nobody_is_missed_and_nobody_sees_it_twice(tmp_path: Path, database_url: str) -> None:
    """Through 25 kills at random moments each alert is seen once by each watcher on each channel."""
    random = Random(20190506)
    with (
        mail_server() as mails,
        receiver() as posts,
        open_home(tmp_path, database_url, smtp_url=mails.url) as home,
        nursery(home, database_url, mails.url) as process,
    ):
        companies = [f"C{number:03}" for number in range(400)]
        for name in ("a", "b"):
            watcher(
                home, name, companies, Reach("mail", f"{name}@example.org"), Reach("webhook", f"{posts.url}/{name}")
            )
        watcher(home, "d", companies, Reach("mail", "d@example.org"), realtime=False, watch={"channels": ["mail"]})

        def after(messages: int, seconds: float) -> Callable[[], bool]:
            """Says yes once so many more messages have arrived, and so much time has passed since."""
            target, since = len(mails.mails) + len(posts.posts) + messages, [float("inf")]

            def now() -> bool:
                if since[0] == float("inf") and len(mails.mails) + len(posts.posts) >= target:
                    since[0] = time.monotonic()
                return time.monotonic() - since[0] >= seconds

            return now

        kills, interrupted, raised = 0, 0, 0
        while kills < KILLS:
            with home.database.session() as session:
                left = session.scalar(
                    select(Delivery.id).where(Delivery.state != "sent", Delivery.mode != "digest").limit(1)
                )
            if left is None:
                rows = [
                    passed(company, **{**LIQUIDATION, "batch_id": f"batch-{raised}"})
                    for company in companies[raised : raised + 10]
                ]
                alert(home, rows, at=NOW - timedelta(hours=1))
                raised += len(rows)
            code = run(process, after(random.randint(0, 30), random.uniform(0, 0.05)))
            if code == -signal.SIGKILL:
                kills += 1
                with home.database.session() as session:
                    in_the_air = select(Delivery.id).where(Delivery.claimed_by.is_not(None)).limit(1)
                    interrupted += session.scalar(in_the_air) is not None
            else:
                assert code == 0
        assert interrupted >= 5, "too few kills fell between a claim and its note to prove anything"
        assert run(process) == 0
        # What was found after a day's digest had gone out is in the next day's.
        assert isinstance(home.clock, SetClock)
        home.clock.advance(timedelta(days=1))
        deliver(home, lexicon=LEXICON)

        with home.database.session() as session:
            assert set(session.scalars(select(Delivery.state))) == {"sent"}
            deliveries = list(session.scalars(select(Delivery)))
            centre = Counter(
                session.execute(
                    select(Member.name, Message.delivery_id).join(Member, Member.id == Message.member_id)
                ).all()
            )
            entries = Counter(
                json.loads(body)["delivery"]
                for body in session.scalars(select(EvidenceEntry.body).where(EvidenceEntry.kind == "alert:send"))
            )
        owed = Counter((one.channel, one.mode) for one in deliveries)
        assert owed["mail", "realtime"] == owed["webhook", "realtime"] == owed["centre", "realtime"] == 2 * raised
        assert owed["mail", "digest"] == raised

        # Seen: what a reader is shown, a mail client by Message-ID and a webhook receiver by webhook-id.
        seen = {str(mail["Message-ID"]): raw for mail, (_, raw) in zip(mails.parsed(), mails.mails, strict=True)}
        assert len(seen) == owed["mail", "realtime"] + owed["mail", "carrier"]
        assert {(recipient, raw) for recipient, raw in mails.mails} == {
            (recipient, raw) for recipient, raw in mails.mails if raw in seen.values()
        }, "a mail was sent again with other bytes"
        hooks = {post.headers["webhook-id"]: (post.path, post.body) for post in posts.posts}
        assert len(hooks) == owed["webhook", "realtime"]
        per_reader = Counter((path, json.loads(body)["data"]["change"]) for path, body in hooks.values())
        assert set(per_reader.values()) == {1}
        assert len(per_reader) == 2 * raised
        assert len({(post.headers["webhook-id"], post.body) for post in posts.posts}) == len(hooks)
        assert set(centre.values()) == {1}
        assert len(centre) == 2 * raised

        # Every alert to every address is in the evidence once.
        assert set(entries.values()) == {1}
        assert len(entries) == 6 * raised + raised
        assert deliver(home, lexicon=LEXICON).sent == 0
