"""The daily digest: when it is due, what goes into it, what it says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from letterbox import MailServer, mail_server
from owed import LEXICON, LIQUIDATION, NOW, alert, open_home, passed, watcher
from sqlalchemy import event, select

from duecare.clock import SetClock, parse_moment
from duecare.radar.delivery import deliver
from duecare.radar.digests import compose_due, digests, due_day
from duecare.radar.models import ChannelAddress, Delivery, Digest, Message
from duecare.radar.watches import Reach, add_watch, end_address, find_member
from duecare.store.home import Home


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, database_url: str, mails: MailServer) -> Iterator[Home]:
    with open_home(tmp_path, database_url, smtp_url=mails.url) as home:
        yield home


def move(home: Home, to: datetime) -> None:
    """Put the clock."""
    assert isinstance(home.clock, SetClock)
    home.clock.set(to)


def compose(home: Home) -> int:
    """Compose what is due now."""
    return compose_due(home, LEXICON)


def only(home: Home) -> Digest:
    """The one digest there is."""
    with home.database.session() as session:
        return session.scalars(select(Digest)).one()


BEFORE = NOW - timedelta(hours=3)


def test_it_says_how_many_companies_and_changes_and_counts_four_categories(home: Home, mails: MailServer) -> None:
    """The line of sum and the four counts of case 1, in the message centre and by mail, text and HTML."""
    watcher(home, "甲", ["A", "B"], Reach("mail", "a@example.org"), realtime=False)
    alert(home, [passed("A"), passed("B", **LIQUIDATION)], at=BEFORE)
    report = deliver(home, lexicon=LEXICON)
    assert (report.digests, report.sent) == (2, 2)
    (mail,) = mails.parsed()
    assert mail["Subject"] == "监控日报 2019-05-06：今天共 2 家企业发生了 2 条变更"
    parts = [mail.get_body((kind,)) for kind in ("plain", "html")]
    text, html = (part.get_content() for part in parts if part is not None)
    assert "工商变更 1 · 司法诉讼 0 · 经营风险 1 · 经营状况 0" in text
    for line in (
        "清算信息 · 新增 · 警示信息 · 经营风险", "姓名 成员甲；身份 负责人", "登记日期：日期不详（来源未给出日期）",
        "观测区间：2019-05-02 07:30 至 2019-05-05 22:30（北京时间）", "数据来源：国家企业信用信息公示系统",
        "核验：［核］已核实", "登记日期：2019-04-30", "住所：旧街 1 号 → 新街 2 号", "https://radar.example/snapshots/",
    ):  # fmt: skip
        assert line in text, line
    assert "日期不详" in html
    assert "今天共 2 家企业发生了 2 条变更" in html
    with home.database.session() as session:
        message = session.scalars(select(Message)).one()
        assert set(session.scalars(select(Delivery.state))) == {"sent"}
    assert message.body.strip() == text.replace("\r\n", "\n").strip()


def test_it_speaks_english_too(home: Home) -> None:
    """The English digest, with the singular where there is one."""
    watcher(home, "ann", ["A", "B"], realtime=False, language="en", zone="Europe/London", digest_hour=1)
    alert(home, [passed("A"), passed("B", **LIQUIDATION)], at=BEFORE)
    move(home, NOW + timedelta(hours=1))
    assert compose(home) == 1
    assert only(home).subject == "Daily digest 2019-05-06: Today 2 of your companies had 2 changes"
    assert "not known (the source gives no date)" in only(home).body_text
    assert "verified against the source" in only(home).body_text
    assert "日期" not in only(home).body_text.replace("国家企业信用信息公示系统", "")


def test_no_news_no_digest(home: Home) -> None:
    """A member for whom nothing was found is not written to."""
    watcher(home, "甲", ["A"], realtime=False)
    assert compose(home) == 0


def test_it_waits_for_the_members_hour_and_comes_once(home: Home) -> None:
    """Before the hour nothing, at the hour one, later the same day nothing; what came late is in tomorrow's."""
    watcher(home, "甲", ["A", "B"], realtime=False, digest_hour=9)
    alert(home, [passed("A")], at=BEFORE)
    assert compose(home) == 0
    move(home, NOW + timedelta(minutes=30))
    assert compose(home) == 1
    alert(home, [passed("B", batch_id="batch-2")])
    assert compose(home) == 0
    move(home, NOW + timedelta(hours=10))
    assert compose(home) == 0
    move(home, NOW + timedelta(days=1, minutes=30))
    assert compose(home) == 1
    with home.database.session() as session:
        found = digests(session)
    assert [digest.subject.partition("：")[2] for digest, _, _ in found] == ["今天共 1 家企业发生了 1 条变更"] * 2
    assert [digest.day for digest, _, _ in found] == [date(2019, 5, 7), date(2019, 5, 6)]


def test_missed_days_come_as_one_that_does_not_say_today(home: Home) -> None:
    """After days in which nothing ran, one digest holds all that waited and says since when."""
    watcher(home, "甲", ["A", "B"], realtime=False)
    alert(home, [passed("A")], at=NOW - timedelta(days=3))
    alert(home, [passed("B", batch_id="batch-2")], at=BEFORE)
    assert compose(home) == 1
    assert only(home).subject == "监控日报 2019-05-06：自 2019-05-03 以来共 2 家企业发生了 2 条变更"
    assert "今天" not in only(home).body_text


@pytest.mark.parametrize(
    ("zone", "hour", "when"),
    [
        ("Asia/Shanghai", 8, "自 2019-05-05 以来"),
        ("Pacific/Kiritimati", 23, "自 2019-05-06 以来"),
        ("America/New_York", 0, "今天"),
    ],
)
def test_a_digest_of_yesterday_does_not_say_today(home: Home, zone: str, hour: int, when: str) -> None:
    """A digest that nobody composed on its own day, because nothing ran, says since when."""
    watcher(home, "甲", ["A"], realtime=False, zone=zone, digest_hour=hour)
    due = datetime(2019, 5, 6, hour, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    alert(home, [passed("A")], at=due - timedelta(hours=12))
    move(home, due + timedelta(hours=23, minutes=59))
    assert compose(home) == 1
    assert only(home).subject == f"监控日报 2019-05-06：{when}共 1 家企业发生了 1 条变更"


def test_however_much_waited_all_of_it_is_in(home: Home) -> None:
    """There is no cap beyond which anything is left out."""
    companies = [f"C{number:04}" for number in range(150)]
    watcher(home, "甲", companies, realtime=False)
    alert(home, [passed(company) for company in companies], at=BEFORE)
    assert compose(home) == 1
    digest = only(home)
    assert digest.counts["changes"] == digest.counts["companies"] == 150
    assert all(f"{company} 有限公司" in digest.body_text for company in companies)


def test_each_address_gets_what_its_watches_send_there(home: Home) -> None:
    """A watch that goes only to the centre is not in the mail, and the other way round."""
    watcher(home, "甲", ["A"], Reach("mail", "a@example.org"), realtime=False, watch={"channels": ["mail"]})
    with home.database.session() as session:
        add_watch(session, find_member(session, "甲"), "B", at=BEFORE, channels=["centre"])
    alert(home, [passed("A"), passed("B")], at=BEFORE)
    assert compose(home) == 2
    with home.database.session() as session:
        bodies = {channel: digest.body_text for digest, _, channel in digests(session)}
    assert "A 有限公司" in bodies["mail"]
    assert "B 有限公司" not in bodies["mail"]
    assert "B 有限公司" in bodies["centre"]
    assert "A 有限公司" not in bodies["centre"]


def test_what_was_withdrawn_or_whose_address_ended_is_not_in_it(home: Home) -> None:
    """A cancelled delivery stays out; an ended address gets no digest."""
    watcher(home, "甲", ["A", "B"], Reach("mail", "a@example.org"), realtime=False)
    alert(home, [passed("A"), passed("B")], at=BEFORE)
    with home.database.session() as session:
        session.scalars(select(Delivery).where(Delivery.channel == "centre")).first().state = "cancelled"  # type: ignore[union-attr]
        end_address(
            session, session.scalars(select(ChannelAddress).where(ChannelAddress.channel == "mail")).one(), at=NOW
        )
    assert compose(home) == 1
    assert only(home).counts["changes"] == 1
    with home.database.session() as session:
        mail = set(session.scalars(select(Delivery.state).where(Delivery.channel == "mail")))
    assert mail == {"cancelled"}


def test_who_waits_for_their_hour_is_left_alone(home: Home) -> None:
    """A run between the hours asks once each what is disputed and who is due, and holds nobody's rows."""
    for name in ("甲", "乙", "丙"):
        watcher(home, name, ["A"], realtime=False, digest_hour=9)
    alert(home, [passed("A")], at=BEFORE)
    asked: list[str] = []

    def note(_c: object, _u: object, statement: str, *_more: object) -> None:
        asked.append(statement)

    event.listen(home.database.engine, "before_cursor_execute", note)
    assert compose(home) == 0
    event.remove(home.database.engine, "before_cursor_execute", note)
    assert len([each for each in asked if each.lstrip().startswith(("SELECT", "UPDATE", "INSERT"))]) == 2
    move(home, NOW + timedelta(minutes=30))
    assert compose(home) == 3


@pytest.mark.parametrize(
    ("zone", "hour", "now", "day", "moment"),
    [
        ("Asia/Shanghai", 8, "2019-05-06T00:00", "2019-05-06", "2019-05-06T00:00"),
        ("Asia/Shanghai", 8, "2019-05-05T23:59", "2019-05-05", "2019-05-05T00:00"),
        # The clocks go forward from 1:00 to 2:00: there is no 1 o'clock; it falls due when 1:00 would have come.
        ("Europe/London", 1, "2019-03-31T01:00", "2019-03-31", "2019-03-31T01:00"),
        # They go back from 2:00 to 1:00: 1 o'clock comes twice, and the digest once, at the first.
        ("Europe/London", 1, "2019-10-27T01:30", "2019-10-27", "2019-10-27T00:00"),
        ("Pacific/Apia", 8, "2019-05-05T19:00", "2019-05-06", "2019-05-05T19:00"),
    ],
)
def test_the_hour_is_the_members_own_through_summer_time(zone: str, hour: int, now: str, day: str, moment: str) -> None:
    """Each calendar day of the member has one digest, at their hour on their clock, whatever the clock does."""
    assert due_day(zone, hour, parse_moment(f"{now}Z")) == (date.fromisoformat(day), parse_moment(f"{moment}Z"))


def test_each_day_has_one_digest_through_both_changes_of_the_clock() -> None:
    """Hour by hour through a year, the days follow one another without a gap or a repeat."""
    for hour in (0, 1, 2, 3):
        start = datetime(2019, 1, 1, tzinfo=UTC)
        days = [due_day("Europe/London", hour, start + timedelta(minutes=30 * half)) for half in range(48 * 365)]
        distinct = list(dict.fromkeys(days))
        assert [day for day, _ in distinct] == [distinct[0][0] + timedelta(days=n) for n in range(len(distinct))]
