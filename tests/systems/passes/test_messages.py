"""Messages to holders: a real SMS gateway and a real mail server get them, once, and no number stands anywhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import select

from duecare.clock import SetClock
from duecare.radar.claims import Backoff
from duecare.store.home import Home
from duecare.systems.passes import changes, messages
from duecare.systems.passes.models import HolderMessage
from duecare.systems.passes.park import Park
from duecare.systems.passes.sales import Sold
from duecare.vault import erasure
from tests.radar.letterbox import MailServer, Receiver, mail_server, receiver

from .people import FACES, HE, SHE


@pytest.fixture
def gateway() -> Iterator[Receiver]:
    with receiver() as kept:
        yield kept


@pytest.fixture
def postbox() -> Iterator[MailServer]:
    with mail_server() as kept:
        yield kept


@pytest.fixture
def reached(park: Park, sold: Sold, gateway: Receiver, postbox: MailServer) -> Park:
    """The park with an SMS gateway and a mail server, and a message owed to both holders."""
    park.home.settings = park.home.settings.model_copy(update={"sms_url": gateway.url, "smtp_url": postbox.url})
    changes.publish(park, FACES)
    return park


def rows(park: Park) -> list[HolderMessage]:
    with park.home.database.session() as session:
        return list(session.scalars(select(HolderMessage).order_by(HolderMessage.id)))


def test_messages_arrive(reached: Park, gateway: Receiver, postbox: MailServer) -> None:
    """Each holder gets an SMS, and a mail who gave an address for it; all of it says that it is an offer."""
    assert messages.send(reached).sent == 3
    assert sorted(post.json["to"] for post in gateway.posts) == [HE.phone, SHE.phone]
    assert all("这是新的要约" in post.json["text"] for post in gateway.posts)
    ((recipient, _),) = postbox.mails
    assert recipient == SHE.mail
    assert "新增年卡加人脸" in postbox.parsed()[0].get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert {row.state for row in rows(reached)} == {"sent"}
    assert messages.send(reached) == messages.Sent()


def test_numbers_are_opened_to_send_and_kept_nowhere(reached: Park, sold: Sold) -> None:
    """The outbox holds no number; each sending is an opening that the holder can see, with its reason."""
    messages.send(reached)
    said = str([vars(row) for row in rows(reached)])
    for secret in (HE.phone, SHE.phone, SHE.mail, HE.name):
        assert secret not in said
    with reached.home.database.session() as session:
        opened = reached.vault.openings(session, sold.cards[1].subject)
    assert [(each.fields, each.by) for each in opened if "message" in each.why] == [
        (("phone",), "service:passes"), (("mail",), "service:passes"),
    ]  # fmt: skip


def test_a_gateway_that_is_down(reached: Park, gateway: Receiver, clock: SetClock) -> None:
    """What could not be sent is tried again later, with the same reference, and given up in the end with a reason."""
    gateway.answer = lambda post: (503, {}, b"")
    backoff = Backoff(first=60, random=Random(1))
    report = messages.send(reached, backoff=backoff)
    assert (report.sent, report.retried) == (1, 2)
    assert messages.send(reached, backoff=backoff).retried == 0
    clock.advance(timedelta(minutes=5))
    gateway.answer = lambda post: (200, {}, b"") if post.json["to"] == HE.phone else (503, {}, b"")
    assert messages.send(reached, backoff=backoff) == messages.Sent(sent=1, retried=1)
    references = [post.json["reference"] for post in gateway.posts if post.json["to"] == HE.phone]
    assert len(references) == 2
    assert len(set(references)) == 1
    for _ in range(40):
        clock.advance(timedelta(hours=2))
        report = messages.send(reached, backoff=backoff)
    assert {(row.state, row.last_error) for row in rows(reached) if row.channel == "sms"} == {
        ("sent", ""),
        ("given_up", "ChannelUnavailable"),
    }
    assert report == messages.Sent()


def test_a_number_that_the_gateway_refuses(reached: Park, gateway: Receiver) -> None:
    """A message that will never be taken is given up at once, and its error repeats no number."""
    gateway.answer = lambda post: (400, {}, post.body)
    assert messages.send(reached).given_up == 2
    assert {row.last_error for row in rows(reached) if row.channel == "sms"} == {"ChannelRefused"}


def test_without_a_gateway(park: Park, sold: Sold) -> None:
    """What cannot be sent for want of a setting waits, and the run says what is missing."""
    changes.publish(park, FACES)
    report = messages.send(park)
    assert (report.sent, [name for name, _ in report.waiting]) == (0, ["sms", "mail"])
    assert "DUECARE_SMS_URL" in report.waiting[0][1]


def test_who_was_erased_is_not_written_to(reached: Park, sold: Sold, gateway: Receiver) -> None:
    """An erasure of everything takes the messages that wait; the mail consent withdrawn, no mail goes out."""
    erasure.erase(reached.vault, sold.cards[0].subject)
    erasure.withdraw(reached.vault, sold.cards[1].subject, "mail_contact", how="click", screen="page")
    report = messages.send(reached)
    assert (report.sent, report.given_up) == (1, 1)
    assert [post.json["to"] for post in gateway.posts] == [SHE.phone]
    assert all(row.subject == sold.cards[1].subject for row in rows(reached))


def test_killed_between_sending_and_noting(
    reached: Park, gateway: Receiver, home: Home, tmp_path: Path, clock: SetClock
) -> None:
    """A sender that is killed while the gateway answers leaves nobody out: the next run sends again under the same
    reference, by which the gateway shows it once."""
    reached.vault.close()
    home.close()
    program = textwrap.dedent(f"""
        from datetime import UTC, datetime
        from duecare.clock import SetClock
        from duecare.settings import load
        from duecare.store.home import Home
        from duecare.systems.passes import messages
        from duecare.systems.passes.park import Park
        settings = load(home={str(home.path)!r}, database_url={home.settings.database_url!r},
                        sms_url={gateway.url!r}, controller_name="x", controller_code="x", controller_address="x",
                        controller_contact="x")
        messages.send(Park.open(Home(settings, SetClock(datetime.fromisoformat({clock.now().isoformat()!r})))))
    """)
    gateway.answer = lambda post: 0.5
    sender = subprocess.Popen([sys.executable, "-c", program])
    while not gateway.posts:
        assert sender.poll() is None
    os.kill(sender.pid, signal.SIGKILL)
    sender.wait()
    gateway.answer = lambda post: (200, {}, b"")
    again = Park.open(Home(replace_url(home, gateway), clock))
    assert messages.send(again).sent == 2
    by_number: dict[str, set[str]] = {}
    for post in gateway.posts:
        by_number.setdefault(post.json["to"], set()).add(post.json["reference"])
    assert {number: len(found) for number, found in by_number.items()} == {HE.phone: 1, SHE.phone: 1}
    again.vault.close()
    again.home.close()


def replace_url(home: Home, gateway: Receiver):  # type: ignore[no-untyped-def]
    return home.settings.model_copy(update={"sms_url": gateway.url, "smtp_url": ""})
