"""One suite for every channel, each against a real receiver on this machine, and what is special to each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from letterbox import MailServer, Post, Receiver, mail_server, receiver
from owed import CONTROLLER, NOW, open_home, watcher
from sqlalchemy import select
from standardwebhooks import Webhook as Verifier

from duecare.clock import SystemClock
from duecare.errors import BadInput, ChannelRefused, ChannelUnavailable
from duecare.radar.channels.channel import (
    Channel,
    Envelope,
    Letter,
    Unanswered,
    channel_class,
    channel_names,
    retry_after,
)
from duecare.radar.channels.wecom import LIMIT, parts
from duecare.radar.models import Member, Message
from duecare.settings import load
from duecare.store.home import Home

SECRET = "whsec_" + "c2VjcmV0IG9mIGF0IGxlYXN0IDI0IGJ5dGVz"
LETTER = Letter(
    subject="【监控动态】某某公司：清算信息 新增",
    text="日期不详\n",
    html="<p>日期不详</p>",
    short="短信",
    markdown="**某某公司**",
    data={"type": "alert.created", "data": {"name": "某某公司"}},
)


@dataclass
class Stand:
    """A channel with what stands on its other side. ``keys`` are the messages as told apart there, in order.

    ``busy``, ``never``, ``silent`` make the receiver answer so; where the channel has no such answer it is none.
    """

    channel: Channel
    envelope: Envelope
    keys: Callable[[], list[str]]
    busy: Callable[[], None] | None = None
    never: Callable[[], None] | None = None
    silent: Callable[[], None] | None = None


def http_stand(home: Home, name: str, server: Receiver, envelope: Envelope) -> Stand:
    """The three channels that post."""
    keys: dict[str, Callable[[Post], str]] = {
        "webhook": lambda post: post.headers["webhook-id"],
        "sms": lambda post: str(post.json["reference"]),
        "wecom": lambda post: str(post.json["markdown"]["content"]).rpartition(">")[0].rpartition('"comment">')[2][:12],
    }
    refusals = {"webhook": (410, {}, b""), "sms": (400, {}, b""), "wecom": (200, {}, b'{"errcode":93000}')}
    again = (429, {"Retry-After": "7"}, b"")

    def answer(said: tuple[int, dict[str, str], bytes] | float) -> Callable[[], None]:
        return lambda: setattr(server, "answer", lambda post: said)

    return Stand(
        channel_class(name)(home), envelope, lambda: [keys[name](post) for post in server.posts],
        answer(again), answer(refusals[name]), answer(0.0),
    )  # fmt: skip


OUTSIDE = [name for name in channel_names() if name != "centre"]
"""Channels with a receiver of its own; the message centre ends in our database."""
REQUESTS = [name for name in OUTSIDE if name != "mail"]
"""Channels of one request each; mail has its own test of silence below."""


@pytest.fixture(params=channel_names())
def stand(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stand]:
    with ExitStack() as stack:
        mails: MailServer = stack.enter_context(mail_server())
        server: Receiver = stack.enter_context(receiver())
        home = stack.enter_context(
            Home(
                load(
                    home=tmp_path / "home",
                    smtp_url=mails.url,
                    sms_url=server.url + "/sms",
                    sms_token="token",
                    **CONTROLLER,
                )
            )
        )
        watcher(home, "甲", [])
        addresses = {
            "centre": ("", ""), "mail": ("a@example.org", ""), "webhook": (server.url + "/hook", SECRET),
            "wecom": (server.url + "/robot", ""), "sms": ("+8613800138000", ""),
        }  # fmt: skip
        address, secret = channel_class(request.param).check(*addresses[request.param])
        with home.database.session() as session:
            member_id = session.scalars(select(Member.id)).one()
        envelope = Envelope("0123456789abcdef" * 2, address, LETTER, NOW, 7, member_id, secret)
        if request.param == "centre":

            def placed() -> list[str]:
                with home.database.session() as session:
                    return [str(one) for one in session.scalars(select(Message.delivery_id))]

            yield Stand(channel_class("centre")(home), envelope, placed)
        elif request.param == "mail":

            def said(text: str) -> Callable[[], None]:
                return lambda: setattr(mails, "answer", lambda recipient: text)

            yield Stand(
                channel_class("mail")(home), envelope, lambda: [str(mail["Message-ID"]) for mail in mails.parsed()],
                said("451 come back"), said("554 never"), None,
            )  # fmt: skip
        else:
            yield http_stand(home, request.param, server, envelope)


def send(stand: Stand, *envelopes: Envelope) -> None:
    """Send in one run of the channel."""

    async def run() -> None:
        try:
            for envelope in envelopes:
                await stand.channel.send(envelope)
        finally:
            await stand.channel.close()

    asyncio.run(run())


def test_a_message_arrives(stand: Stand) -> None:
    """What is sent is there, once."""
    assert isinstance(stand.channel, Channel)
    assert stand.channel.missing == ""
    send(stand, stand.envelope)
    assert len(stand.keys()) == 1


def test_sent_twice_it_is_told_apart_as_one(stand: Stand) -> None:
    """The key is the same at a second attempt, in another run too; another delivery has another."""
    send(stand, stand.envelope)
    send(stand, stand.envelope)
    assert len(set(stand.keys())) == 1
    send(stand, replace(stand.envelope, key="f" * 32, delivery_id=8))
    assert len(set(stand.keys())) == 2


def test_many_in_one_run_all_arrive(stand: Stand) -> None:
    """A kept connection serves message after message."""
    send(stand, *(replace(stand.envelope, key=f"{n:032x}"[::-1], delivery_id=n + 1) for n in range(30)))
    assert len(set(stand.keys())) == 30


@pytest.mark.parametrize("stand", OUTSIDE, indirect=True)
def test_a_busy_receiver_is_tried_again(stand: Stand) -> None:
    """A receiver that cannot now is transient, and how long it asks us to wait is kept."""
    assert stand.busy
    stand.busy()
    with pytest.raises(ChannelUnavailable) as caught:
        send(stand, stand.envelope)
    assert not isinstance(caught.value, Unanswered)
    assert caught.value.retry_after == (None if stand.channel.name == "mail" else 7)


@pytest.mark.parametrize("stand", OUTSIDE, indirect=True)
def test_a_refusal_is_final(stand: Stand) -> None:
    """A receiver that never will is terminal."""
    assert stand.never
    stand.never()
    with pytest.raises(ChannelRefused):
        send(stand, stand.envelope)


@pytest.mark.parametrize("stand", REQUESTS, indirect=True)
def test_silence_may_mean_that_it_arrived(stand: Stand) -> None:
    """No answer after handing over is neither arrival nor failure."""
    assert stand.silent
    stand.silent()
    with pytest.raises(Unanswered):
        send(stand, stand.envelope)


def test_a_receiver_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    """Nobody listens: certainly not told, and worth another attempt."""
    settings = load(home=tmp_path / "home", smtp_url="smtp://127.0.0.1:9", sms_url="http://127.0.0.1:9/")
    with Home(settings) as home:
        for name, address in (("mail", "a@example.org"), ("sms", "10086"), ("wecom", "http://127.0.0.1:9/")):
            stand = Stand(channel_class(name)(home), Envelope("k" * 32, address, LETTER, NOW, 1, 1), list)
            with pytest.raises(ChannelUnavailable) as caught:
                send(stand, stand.envelope)
            assert not isinstance(caught.value, Unanswered), name


def test_an_unconfigured_channel_says_what_is_missing(tmp_path: Path) -> None:
    """Mail and SMS name the setting they need."""
    with Home(load(home=tmp_path / "home")) as home:
        assert "DUECARE_SMTP_URL" in channel_class("mail")(home).missing
        assert "DUECARE_SMS_URL" in channel_class("sms")(home).missing


@pytest.fixture
def mailed(tmp_path: Path) -> Iterator[tuple[Home, MailServer]]:
    with (
        mail_server() as server,
        open_home(tmp_path, "", smtp_url=server.url, mail_from="注意义务 <radar@example.org>") as home,
    ):
        yield home, server


def mail(home: Home, *envelopes: Envelope) -> None:
    """Send by mail."""
    send(Stand(channel_class("mail")(home), envelopes[0], list), *envelopes)


ENVELOPE = Envelope("0123456789abcdef" * 2, "a@example.org", LETTER, NOW, 7, 1)


def test_a_mail_is_whole(mailed: tuple[Home, MailServer]) -> None:
    """Chinese subject and sender, text and HTML, a date, a Message-ID made of the key, a thread for a correction."""
    home, server = mailed
    mail(home, replace(ENVELOPE, replies_to="e" * 32))
    (got,) = server.parsed()
    assert got["Subject"] == LETTER.subject
    assert got["From"].addresses[0].display_name == "注意义务"
    assert got["From"].addresses[0].addr_spec == "radar@example.org"
    assert got["Message-ID"] == f"<{ENVELOPE.key}@example.org>"
    assert got["In-Reply-To"] == got["References"] == f"<{'e' * 32}@example.org>"
    assert parsedate_to_datetime(got["Date"]) == NOW
    assert got["Auto-Submitted"] == "auto-generated"
    text, html = got.get_body(("plain",)), got.get_body(("html",))
    assert text is not None
    assert html is not None
    assert (text.get_content().strip(), html.get_content().strip()) == ("日期不详", "<p>日期不详</p>")
    assert all(len(line) <= 998 for line in server.mails[0][1].splitlines())


def test_a_mail_sent_again_is_the_same_to_the_byte(mailed: tuple[Home, MailServer]) -> None:
    """After a kill the same mail goes out again, so that servers and clients can drop it."""
    home, server = mailed
    mail(home, ENVELOPE)
    mail(home, ENVELOPE)
    assert server.mails[0] == server.mails[1]


def test_a_refused_recipient_does_not_spoil_the_connection(mailed: tuple[Home, MailServer]) -> None:
    """After a 550 for one recipient, the next mail goes out over the same run."""
    home, server = mailed
    server.answer_rcpt = lambda address: "550 no such user" if address.startswith("x") else "250 OK"
    with pytest.raises(ChannelRefused, match="550"):
        mail(home, replace(ENVELOPE, address="x@example.org"))
    channel = channel_class("mail")(home)

    async def run() -> None:
        with pytest.raises(ChannelRefused):
            await channel.send(replace(ENVELOPE, address="x@example.org"))
        await channel.send(ENVELOPE)
        await channel.close()

    asyncio.run(run())
    assert [recipient for recipient, _ in server.mails] == ["a@example.org"]


def test_a_mail_server_that_breaks_off_after_the_data_leaves_it_open(mailed: tuple[Home, MailServer]) -> None:
    """A connection lost in the place of the answer is told apart from a mail that was never handed over."""
    home, server = mailed

    def cut(recipient: str) -> str:
        raise asyncio.CancelledError

    server.answer = cut
    with pytest.raises(Unanswered):
        mail(home, ENVELOPE)


def test_webhooks_verify_with_the_secret_alone(tmp_path: Path) -> None:
    """An independent implementation of Standard Webhooks accepts the signature, and refuses a changed body."""
    with receiver() as server, Home(load(home=tmp_path / "home"), SystemClock()) as home:
        address, secret = channel_class("webhook").check(server.url, "")
        stand = Stand(channel_class("webhook")(home), replace(ENVELOPE, address=address, secret=secret), list)
        send(stand, stand.envelope)
        (post,) = server.posts
        assert Verifier(secret).verify(post.body, post.headers) == LETTER.data
        with pytest.raises(Exception, match="No matching signature"):
            Verifier(secret).verify(post.body + b" ", post.headers)


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    """A receiver cannot send us on to another address."""
    with receiver() as server, Home(load(home=tmp_path / "home")) as home:
        server.answer = lambda post: (307, {"Location": server.url + "/inner"}, b"")
        stand = Stand(channel_class("webhook")(home), replace(ENVELOPE, address=server.url, secret=SECRET), list)
        with pytest.raises(ChannelUnavailable, match="307"):
            send(stand, stand.envelope)
        assert [post.path for post in server.posts] == ["/"]


def test_wecom_is_asked_for_its_errcode(tmp_path: Path) -> None:
    """45009 and -1 are tried again, other codes are final, and 200 without a code is no acceptance."""
    with receiver() as server, Home(load(home=tmp_path / "home")) as home:
        stand = Stand(channel_class("wecom")(home), replace(ENVELOPE, address=server.url), list)
        for body, kind in (
            (b'{"errcode":45009,"errmsg":"freq"}', ChannelUnavailable),
            (b'{"errcode":-1}', ChannelUnavailable),
            (b"<html>", ChannelUnavailable),
            (b'{"errcode":40008}', ChannelRefused),
        ):
            server.answer = lambda post, body=body: (200, {}, body)  # type: ignore[misc]
            with pytest.raises(kind):
                send(stand, stand.envelope)


def test_a_long_wecom_message_goes_in_parts_and_loses_nothing(tmp_path: Path) -> None:
    """Each part keeps the robot's limit; after a part failed, those taken are not posted again in the same run."""
    lines = [f"第 {number} 行：" + "某某公司" * (number % 40) for number in range(150)]
    long = replace(LETTER, markdown="\n".join([*lines, "长" * 3000]))
    with receiver() as server, Home(load(home=tmp_path / "home")) as home:
        channel = channel_class("wecom")(home)
        envelope = replace(ENVELOPE, address=server.url, letter=long)
        server.answer = lambda post: (200, {}, b'{"errcode":0}' if len(server.posts) != 3 else b'{"errcode":45009}')

        async def run() -> None:
            with pytest.raises(ChannelUnavailable):
                await channel.send(envelope)
            await channel.send(envelope)
            await channel.close()

        asyncio.run(run())
        contents = [post.json["markdown"]["content"] for post in server.posts]
    assert all(len(content.encode()) <= LIMIT for content in contents)
    assert len(contents) == len(set(contents)) + 1  # the third part was refused and came again
    del contents[2]
    said = "\n".join(content.rpartition("\n<font")[0] for content in contents)
    assert said.replace("\n", "") == long.markdown.replace("\n", "")
    assert parts("") == [""]


def test_retry_after_in_seconds_and_as_a_date() -> None:
    """Both forms of RFC 9110 are understood, nonsense is no wait."""
    assert retry_after("120", NOW) == 120
    assert retry_after("Mon, 06 May 2019 00:31:00 GMT", NOW) == timedelta(minutes=1).total_seconds()
    assert retry_after("soon", NOW) is None
    assert retry_after(None, NOW) is None


def test_a_secret_where_none_belongs_is_refused() -> None:
    """A channel says at once what it could never use."""
    with pytest.raises(BadInput, match="no secret"):
        channel_class("wecom").check("https://robot.example/", "s")
    with pytest.raises(BadInput, match="no address"):
        channel_class("centre").check("a@example.org", "")
