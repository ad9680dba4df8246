"""Tests of notices of error and of corrections, with real mail, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from letterbox import MailServer, mail_server
from official import TEAM, Official, official_site, page, quick
from owed import LIQUIDATION, NOW, alert, open_home, passed, watcher
from planted import SOURCE, show
from sqlalchemy import select, update

from duecare.clock import SetClock
from duecare.errors import BadInput, UnknownName, UseError
from duecare.evidence.outbox import EvidenceEntry
from duecare.radar.alerts import await_alerts
from duecare.radar.corrections import retract
from duecare.radar.delivery import deliver
from duecare.radar.models import Alert, ChannelAddress, Delivery, Member, Message, NoticeOfError, Screening
from duecare.radar.notices import decide, listed, look_up, open_notice
from duecare.radar.walk import raise_passed
from duecare.radar.watches import Reach, add_watch, end_address, end_watch, find_member
from duecare.registers.company import company
from duecare.registers.models import Dispute
from duecare.store.home import Home

REASON = "该企业并未清算"


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """A mail server."""
    with mail_server() as server:
        yield server


@pytest.fixture
def site() -> Iterator[Official]:
    """The official site."""
    with official_site() as opened:
        yield opened


@pytest.fixture
def home(tmp_path: Path, database_url: str, mail: MailServer) -> Iterator[Home]:
    """Three members: one by mail, one by mail in the digest, one in the message centre only; a fourth watches another
    company. The lake shows the liquidation that was told."""
    with open_home(tmp_path, database_url, smtp_url=mail.url) as opened:
        watcher(opened, "甲", ["A"], Reach("mail", "jia@example.com"), watch={"channels": ["mail"]})
        watcher(opened, "乙", ["A"], Reach("mail", "yi@example.com"), realtime=False, watch={"channels": ["mail"]})
        watcher(opened, "丙", ["A"])
        watcher(opened, "丁", ["B"], Reach("mail", "ding@example.com"))
        show(opened, "A", "basic", {"name": "甲公司", "status": "存续"}, at=NOW - timedelta(days=1))
        show(opened, "A", "liquidation", TEAM[0], key="成员甲", at=NOW - timedelta(days=1), seq=2)
        yield opened


def tell(home: Home, *more: str) -> int:
    """Tell the watchers of A, and of ``more``, of a liquidation, at once and by digest; returns the alert about A."""
    alert(home, [passed(entity, **LIQUIDATION, source=SOURCE) for entity in ("A", *more)])
    deliver(home)
    tomorrow(home)
    deliver(home)
    with home.database.session() as session:
        return session.execute(select(Alert.id).where(Alert.entity == "A", Alert.corrects_id.is_(None))).scalar_one()


def recipients(home: Home, alert_id: int) -> set[tuple[str, str, str]]:
    """Who is to hear an alert: member, channel, state of the delivery."""
    with home.database.session() as session:
        rows = session.execute(
            select(Member.name, Delivery.channel, Delivery.state)
            .join(Member, Member.id == Delivery.member_id)
            .where(Delivery.alert_id == alert_id)
        )
        return {(name, channel, state) for name, channel, state in rows}


def tomorrow(home: Home) -> None:
    """Let a day pass."""
    assert isinstance(home.clock, SetClock)
    home.clock.advance(timedelta(days=1))


def test_the_correction_reaches_exactly_those_who_were_told(home: Home, mail: MailServer) -> None:
    """By mail, by digest and in the centre: the same members by the same channels, nobody else, and what it says."""
    told = tell(home, "B")
    before = {(name, channel) for name, channel, _ in recipients(home, told)}
    assert before == {("甲", "mail"), ("乙", "mail"), ("丙", "centre")}
    mail.mails.clear()
    done = retract(home, told, REASON, "Zhang")
    assert (done.recipients, done.cancelled, done.rerouted) == (3, 0, ())
    assert done.correction == -told
    assert {(name, channel) for name, channel, _ in recipients(home, done.correction)} == before
    deliver(home)
    assert sorted(recipient for recipient, _ in mail.mails) == ["jia@example.com", "yi@example.com"]
    assert all(REASON in each.get_body(("plain",)).get_content() for each in mail.parsed())  # type: ignore[union-attr]
    with home.database.session() as session:
        original, correction = session.get_one(Alert, told), session.get_one(Alert, done.correction)
        assert (original.state, correction.kind, correction.corrects_id) == ("corrected", "correction", told)
        centre = session.execute(select(Message.body).join(Member).where(Member.name == "丙")).scalars().all()
        assert [REASON in body for body in centre] == [False, True]
        kinds = list(session.execute(select(EvidenceEntry.kind)).scalars())
    assert "alert:correct" in kinds


def test_what_is_still_due_is_cancelled(home: Home, mail: MailServer) -> None:
    """Those not yet told are not told, and do not hear a correction of what they never heard."""
    watcher(home, "戊", ["A"], realtime=False)
    alert(home, [passed("A", **LIQUIDATION, source=SOURCE)])
    with home.database.session() as session:
        told = session.execute(select(Alert.id)).scalar_one()
        sent = select(Delivery.id).join(Member, Member.id == Delivery.member_id).where(Member.name == "甲")
        session.execute(update(Delivery).where(Delivery.id.in_(sent)).values(state="sent"))
    done = retract(home, told, REASON, "Zhang")
    assert (done.recipients, done.cancelled) == (1, 3)
    tomorrow(home)
    deliver(home)
    assert [recipient for recipient, _ in mail.mails] == ["jia@example.com"]


def test_an_alert_that_nobody_heard_is_withdrawn(home: Home, mail: MailServer) -> None:
    """Before anyone was told there is nothing to correct: the alert is withdrawn in silence."""
    alert(home, [passed("A", **LIQUIDATION, source=SOURCE)])
    with home.database.session() as session:
        told = session.execute(select(Alert.id)).scalar_one()
    done = retract(home, told, REASON, "Zhang")
    assert (done.correction, done.cancelled) == (None, 3)
    tomorrow(home)
    deliver(home)
    assert mail.mails == []
    with home.database.session() as session:
        assert session.get_one(Alert, told).state == "withdrawn"


def test_one_that_may_have_heard_it_hears_the_correction(home: Home) -> None:
    """A delivery that was being sent, or whose answer never came, counts as heard."""
    alert(home, [passed("A", **LIQUIDATION, source=SOURCE)])
    with home.database.session() as session:
        told = session.execute(select(Alert.id)).scalar_one()
        first, second, _ = session.execute(select(Delivery.id).order_by(Delivery.id)).scalars()
        session.execute(update(Delivery).where(Delivery.id == first).values(state="sending"))
        session.execute(update(Delivery).where(Delivery.id == second).values(unanswered=True))
    assert retract(home, told, REASON, "Zhang").recipients == 2


def test_one_who_stopped_watching_still_hears_it(home: Home) -> None:
    """Ending a watch, or beginning one, after the alert changes nothing about who hears the correction."""
    told = tell(home)
    with home.database.session() as session:
        end_watch(session, find_member(session, "甲"), "A", at=NOW)
        add_watch(session, find_member(session, "丁"), "A", at=NOW)
    done = retract(home, told, REASON, "Zhang")
    assert done.correction is not None
    assert {name for name, *_ in recipients(home, done.correction)} == {"甲", "乙", "丙"}


def test_an_ended_address_leads_to_the_message_centre(home: Home, mail: MailServer) -> None:
    """One whose mail address has ended finds the correction in the message centre, once, and is named."""
    told = tell(home)
    mail.mails.clear()
    with home.database.session() as session:
        member = find_member(session, "甲")
        address = session.execute(
            select(ChannelAddress).where(ChannelAddress.member_id == member.id, ChannelAddress.channel == "mail")
        ).scalar_one()
        end_address(session, address, at=NOW)
    done = retract(home, told, REASON, "Zhang")
    assert done.rerouted == (member.id,)
    assert done.correction is not None
    assert ("甲", "centre", "due") in recipients(home, done.correction)
    deliver(home)
    assert [recipient for recipient, _ in mail.mails] == ["yi@example.com"]
    with home.database.session() as session:
        bodies = session.execute(select(Message.body).where(Message.member_id == member.id)).scalars().all()
    assert [REASON in body for body in bodies] == [True]


def test_an_alert_is_taken_back_once(home: Home) -> None:
    """A second retraction, one of a correction, of an unknown alert, or without a reason or name is refused."""
    told = tell(home)
    done = retract(home, told, REASON, "Zhang")
    with pytest.raises(UseError, match="corrected already"):
        retract(home, told, REASON, "Zhang")
    with pytest.raises(UseError, match="itself a correction"):
        retract(home, int(done.correction or 0), REASON, "Zhang")
    with pytest.raises(UnknownName, match="no alert '999'"):
        retract(home, 999, REASON, "Zhang")
    for reason, who in (("", "Zhang"), (REASON, " ")):
        with pytest.raises(BadInput, match="is empty"):
            retract(home, told, reason, who)


def test_a_notice_marks_the_fact_at_once(home: Home) -> None:
    """When the notice is filed the fact is disputed on the company's page, and what was about to be told waits."""
    with home.database.session() as session:
        session.add(Screening(**passed("A", **LIQUIDATION, source=SOURCE)))
        await_alerts(session, "batch-1")
    number = open_notice(home, "A", "liquidation", "我司正常经营", claimant="甲公司")
    facts = company(home, "A")["sources"][0]["sections"]["liquidation"]["facts"]
    assert [fact["disputed"] for fact in facts] == [True]
    assert raise_passed(home).alerts == 0
    with home.database.session() as session:
        assert session.execute(select(Screening.state)).scalar_one() == "verifying"
        entry = session.execute(select(EvidenceEntry).where(EvidenceEntry.kind == "notice:open")).scalar_one()
    assert entry.subject == f"notice:{number}"
    assert "正常经营" not in entry.body
    assert listed(home, open_only=True)[0]["statement"] == "我司正常经营"


def test_a_notice_starts_a_look_at_the_source(home: Home, site: Official) -> None:
    """The fact is looked up anew for the one who decides; a source that is down is asked again later."""
    site.pages["A"], site.status = page("A"), 500
    open_notice(home, "A", "liquidation", "我司正常经营")
    assert look_up(home, quick, sites={SOURCE: site.url}) == 1
    assert listed(home)[0]["verification"] == "unavailable"
    assert look_up(home, quick, sites={SOURCE: site.url}) == 0, "not due yet"
    tomorrow(home)
    site.status = 200
    assert look_up(home, quick, sites={SOURCE: site.url}) == 1
    assert (listed(home)[0]["verification"], listed(home)[0]["contradictions"][0]["id"]) == ("contradicted", "gone")
    tomorrow(home)
    assert look_up(home, quick, sites={SOURCE: site.url}) == 0, "answered"


@pytest.mark.parametrize("outcome", ["refused", "upheld"])
def test_what_was_not_told_yet_waits_while_the_fact_is_disputed(outcome: str, home: Home, mail: MailServer) -> None:
    """By mail at once or by digest: nobody is told of a disputed fact. Refused, it is told; upheld, it never is."""
    alert(home, [passed("A", **LIQUIDATION, source=SOURCE), passed("B", source=SOURCE)])
    number = open_notice(home, "A", "liquidation", "我司正常经营")
    deliver(home)
    tomorrow(home)
    deliver(home)
    assert [recipient for recipient, _ in mail.mails] == ["ding@example.com"]
    decide(home, number, outcome, by="Zhang", reason=REASON)
    tomorrow(home)
    deliver(home)
    told = ["jia@example.com", "yi@example.com"] if outcome == "refused" else []
    assert sorted(recipient for recipient, _ in mail.mails) == ["ding@example.com", *told]


def test_only_the_alerts_that_were_wrong_are_taken_back(home: Home, mail: MailServer) -> None:
    """Of two alerts of a fact the operator names the one that was wrong; what was told rightly before stands."""
    right = passed("A", source=SOURCE, batch_id="batch-1", before={"address": "甲街"}, after={"address": "乙街"})
    wrong = passed("A", source=SOURCE, batch_id="batch-2", before={"address": "乙街"}, after={"address": "丙街"})
    for row in (right, wrong):
        alert(home, [row])
        deliver(home)
    with home.database.session() as session:
        first, second = session.scalars(select(Alert.id).order_by(Alert.id))
    number = open_notice(home, "A", "basic", "我们没有搬到丙街")
    assert listed(home)[0]["alerts"] == [first, second]
    with pytest.raises(UnknownName, match="no alert to take back for notice 1 '999'"):
        decide(home, number, "upheld", by="Zhang", reason=REASON, alerts=[999])
    with pytest.raises(BadInput, match="takes back no alert"):
        decide(home, number, "refused", by="Zhang", reason=REASON, alerts=[second])
    done = decide(home, number, "upheld", by="Zhang", reason=REASON, alerts=[second])
    assert [each.alert for each in done.corrections] == [second]
    with home.database.session() as session:
        states = [session.get_one(Alert, one).state for one in (first, second)]
    assert states == ["sent", "corrected"]
    assert listed(home)[0]["alerts"] == [first]


def test_an_upheld_notice_corrects_and_stays_in_the_history(home: Home, mail: MailServer) -> None:
    """Upheld: the alert is taken back from all who heard it, the dispute closes with its outcome, and both stay."""
    told = tell(home)
    mail.mails.clear()
    number = open_notice(home, "A", "liquidation", "我司正常经营")
    done = decide(home, number, "upheld", by="Zhang", reason=REASON, reason_en="The company is not being wound up.")
    assert [(each.alert, each.recipients) for each in done.corrections] == [(told, 3)]
    deliver(home)
    assert len(mail.mails) == 2
    with home.database.session() as session:
        dispute = session.execute(select(Dispute)).scalar_one()
        notice = session.get_one(NoticeOfError, number)
        assert (dispute.outcome, dispute.note, dispute.closed_at) == ("upheld", REASON, home.clock.now())
        assert (notice.state, notice.correction_alert_id) == ("upheld", done.corrections[0].correction)
    section = company(home, "A")["sources"][0]["sections"]["liquidation"]
    assert [fact["disputed"] for fact in section["facts"]] == [False]
    assert [(each["outcome"], each["reason"]) for each in section["notices"]] == [("upheld", REASON)]


def test_a_refused_notice_says_why_and_corrects_nothing(home: Home, mail: MailServer) -> None:
    """Refused: nobody is written to, and the reason stays with the notice and the dispute."""
    told = tell(home)
    mail.mails.clear()
    number = open_notice(home, "A", "liquidation", "我司正常经营", key="成员甲")
    assert decide(home, number, "refused", by="Zhang", reason="官方页面显示清算组备案").corrections == ()
    deliver(home)
    assert mail.mails == []
    with home.database.session() as session:
        assert session.get_one(Alert, told).state == "sent"
        assert session.execute(select(Dispute.outcome)).scalar_one() == "refused"
    with pytest.raises(UseError, match="was refused by Zhang"):
        decide(home, number, "upheld", by="Zhang", reason=REASON)


def test_a_notice_about_what_we_do_not_show_is_refused(home: Home) -> None:
    """An unknown company, section or fact, an empty statement, a second notice: each is refused."""
    for given, error, says in (
        (("Z", "liquidation", "s", ""), UnknownName, "no company 'Z'"),
        (("A", "liquidations", "s", ""), UnknownName, "Did you mean liquidation"),
        (("A", "nosuch", "s", ""), UnknownName, "no section 'nosuch'. Known: basic, liquidation."),
        (("A", "liquidation", "s", "成员乙"), UnknownName, "成员甲"),
        (("A", "penalties", "s", ""), UseError, "Nothing is shown"),
        (("A", "liquidation", " ", ""), BadInput, "statement is empty"),
    ):
        entity, section, statement, key = given
        with pytest.raises(error, match=says):
            open_notice(home, entity, section, statement, key=key)
    open_notice(home, "A", "liquidation", "s")
    with pytest.raises(UseError, match="is open"):
        open_notice(home, "A", "liquidation", "s")
    with pytest.raises(BadInput, match="upheld or refused"):
        decide(home, 1, "maybe", by="Z", reason="r")
    with pytest.raises(BadInput, match="by has 201 characters"):
        decide(home, 1, "refused", by="Z" * 201, reason="r")
