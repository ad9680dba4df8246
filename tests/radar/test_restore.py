"""An older copy of the database is put back beside the newer log: nobody is told twice, nor where they are told no
more; and nobody goes without for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from letterbox import MailServer, mail_server
from owed import LEXICON, NOW, alert, open_home, passed, watcher
from sqlalchemy import select
from tests.vault.copies import DatabaseCopy, drop_copy

from duecare.clock import SetClock
from duecare.evidence.log import Log
from duecare.evidence.outbox import keep_up
from duecare.radar.corrections import retract
from duecare.radar.delivery import deliver
from duecare.radar.models import Alert, ChannelAddress, Delivery, Message, Watch
from duecare.radar.watches import Reach, add_watch, end_address, end_watch, find_member
from duecare.store.home import Home


class Rig:
    """A home whose database can go back in time, and the mail that reached anybody."""

    def __init__(self, folder: Path, url: str, mails: MailServer) -> None:
        self.folder, self.url, self.mails = folder, url, mails

    @contextmanager
    def opened(self, later: timedelta = timedelta(0)) -> Iterator[Home]:
        with open_home(self.folder, self.url, smtp_url=self.mails.url) as home:
            assert isinstance(home.clock, SetClock)
            home.clock.set(NOW + later)
            yield home
            keep_up(home.database, Log.at(home.path))

    def copy(self) -> DatabaseCopy:
        return DatabaseCopy(self.url, self.folder)

    def reached(self) -> list[tuple[str, str]]:
        return [(str(mail["To"]), str(mail["Message-ID"])) for mail in self.mails.parsed()]


@pytest.fixture
def rig(tmp_path: Path, database_url: str) -> Iterator[Rig]:
    with mail_server() as mails:
        yield Rig(tmp_path, database_url, mails)
    drop_copy(database_url)


def test_what_was_sent_since_the_copy_is_not_sent_again(rig: Rig) -> None:
    """It was due in the copy, at once and in a digest; the message centre, whose messages are lost, has them again."""
    with rig.opened() as home:
        watcher(home, "甲", ["A"], Reach("mail", "jia@example.org"))
        watcher(home, "乙", ["A"], Reach("mail", "yi@example.org"), realtime=False)
        alert(home, [passed("A")], at=NOW - timedelta(hours=1))
    copy = rig.copy()
    with rig.opened() as home:
        deliver(home, lexicon=LEXICON)
    told = rig.reached()
    assert [to for to, _ in told] == ["jia@example.org", "yi@example.org"]
    copy.put_back()
    with rig.opened(timedelta(hours=1)) as home:
        deliver(home, lexicon=LEXICON)
        assert rig.reached() == told
        with home.database.session() as session:
            rows = session.execute(select(Delivery.state, Delivery.sent_at).where(Delivery.channel == "mail")).all()
            assert set(rows) == {("sent", NOW)}
            assert len(session.scalars(select(Message)).all()) == 2


def test_a_watch_and_an_address_that_ended_stay_ended(rig: Rig) -> None:
    """What is new after the restore goes to none of the two."""
    with rig.opened() as home:
        watcher(home, "甲", ["A"], Reach("mail", "jia@example.org"))
        watcher(home, "乙", ["A"], Reach("mail", "yi@example.org"))
        watcher(home, "丙", ["A"], Reach("mail", "bing@example.org"))
    copy = rig.copy()
    with rig.opened() as home, home.database.session() as session:
        end_watch(session, find_member(session, "甲"), "A", at=NOW)
        member = find_member(session, "乙").id
        asked = select(ChannelAddress).where(ChannelAddress.member_id == member, ChannelAddress.channel == "mail")
        end_address(session, session.scalars(asked).one(), at=NOW)
    copy.put_back()
    with rig.opened(timedelta(hours=1)) as home:
        deliver(home, lexicon=LEXICON)
        with home.database.session() as session:
            assert session.scalars(select(Watch.ended_at).where(Watch.ended_at.is_not(None))).all() == [NOW]
            ended = select(ChannelAddress.ended_at).where(ChannelAddress.ended_at.is_not(None))
            assert session.scalars(ended).all() == [NOW]
            add_watch(session, find_member(session, "甲"), "B", at=NOW)
        alert(home, [passed("A")])
        deliver(home, lexicon=LEXICON)
    assert [to for to, _ in rig.reached()] == ["bing@example.org"]


def test_a_new_alert_is_not_taken_for_one_that_was_lost(rig: Rig) -> None:
    """The ids of what was lost are given once more: the keys, by which receivers drop what they have, are not."""
    with rig.opened() as home:
        watcher(home, "甲", ["A", "B"], Reach("mail", "jia@example.org"))
    copy = rig.copy()
    with rig.opened() as home:
        alert(home, [passed("A")])
        deliver(home, lexicon=LEXICON)
        with home.database.session() as session:
            first = session.scalars(select(Delivery.id).where(Delivery.channel == "mail")).one()
    copy.put_back()
    with rig.opened(timedelta(hours=1)) as home:
        deliver(home, lexicon=LEXICON)
        alert(home, [passed("B")])
        deliver(home, lexicon=LEXICON)
        with home.database.session() as session:
            assert session.scalars(select(Delivery.id).where(Delivery.channel == "mail")).one() == first
    before, after = rig.reached()
    assert before[1] != after[1]


def test_an_alert_that_was_taken_back_goes_to_nobody(rig: Rig) -> None:
    """甲 was told, and has heard the correction; 乙 was owed the alert for his digest: nobody hears of it again."""
    with rig.opened() as home:
        watcher(home, "甲", ["A"], Reach("mail", "jia@example.org"))
        watcher(home, "乙", ["A"], Reach("mail", "yi@example.org"), realtime=False, digest_hour=20)
        alert(home, [passed("A")], at=NOW - timedelta(hours=1))
    copy = rig.copy()
    with rig.opened() as home:
        deliver(home, lexicon=LEXICON)
        with home.database.session() as session:
            wrong = session.scalars(select(Alert.id)).one()
        retract(home, wrong, "查证有误", "mei", reason_en="looked up wrongly")
        deliver(home, lexicon=LEXICON)
    told = rig.reached()
    assert [to for to, _ in told] == ["jia@example.org", "jia@example.org"]
    copy.put_back()
    with rig.opened(timedelta(days=1)) as home:
        deliver(home, lexicon=LEXICON)
        assert rig.reached() == told
        with home.database.session() as session:
            assert session.get_one(Alert, wrong).state == "corrected"
            assert session.get_one(Alert, -wrong).wording == {"zh": "查证有误", "en": "looked up wrongly"}


def test_a_correction_that_nobody_had_heard_yet_is_owed(rig: Rig) -> None:
    """The database was lost between the correction and its sending: it goes out to who was told, once."""
    with rig.opened() as home:
        watcher(home, "甲", ["A"], Reach("mail", "jia@example.org"))
        alert(home, [passed("A")])
    copy = rig.copy()
    with rig.opened() as home:
        deliver(home, lexicon=LEXICON)
        with home.database.session() as session:
            wrong = session.scalars(select(Alert.id)).one()
        retract(home, wrong, "查证有误", "mei")
    copy.put_back()
    with rig.opened(timedelta(hours=1)) as home:
        deliver(home, lexicon=LEXICON)
        with home.database.session() as session:
            placed = session.execute(select(Delivery.state).where(Delivery.channel == "centre")).all()
            assert sorted(placed) == [("cancelled",), ("sent",)], "the correction stands in the centre"
    first, second = rig.mails.parsed()
    assert second["In-Reply-To"] == first["Message-ID"]
