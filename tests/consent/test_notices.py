"""Notices: published in versions, compared in words, and binding only on those who accept them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from duecare.consent.differences import paragraphs
from duecare.consent.grants import withdraw
from duecare.consent.models import NoticeAnswer
from duecare.consent.notices import (
    Controller,
    accepted,
    answer,
    binding,
    declined,
    declined_sql,
    difference,
    publish,
    unanswered,
    version,
    versions,
)
from duecare.errors import BadInput, UnknownName, UseError
from duecare.evidence.outbox import EvidenceEntry
from duecare.settings import load
from duecare.store.database import Database

from .world import AT, DAY, FIRST, PARK, SECOND, agree, holder


def say(database: Database, who: str, number: int, yes: bool, at: Any = AT) -> None:
    with database.session() as session:
        answer(session, who, "annual-pass", number, yes, "reply by text message", "sms", at)


def test_a_version_is_kept_as_it_was_published(park: Database) -> None:
    """Each version is read back to the letter, by number, as the newest, or as the one in force at a time."""
    with park.session() as session:
        assert publish(session, SECOND, PARK, AT + DAY) == 2
        assert version(session, "annual-pass").notice == SECOND
        assert version(session, "annual-pass", 1).notice == FIRST
        assert version(session, "annual-pass", at=AT + DAY / 2).number == 1
        assert version(session, "annual-pass", 1).controller == PARK
        assert [each.number for each in versions(session, "annual-pass")] == [1, 2]
        assert len({each.digest for each in versions(session)}) == 2
        for name, number, at in (("annual-pass", 3, None), ("annual-pass", None, AT - DAY), ("yearly", None, None)):
            with pytest.raises(UnknownName, match="There is no notice"):
                version(session, name, number, at)


def test_publishing_the_same_again_is_no_new_version(park: Database) -> None:
    """What says nothing new gets no number and no evidence; another controller is something new."""
    with park.session() as session:
        assert publish(session, FIRST, PARK, AT + DAY) == 1
        assert publish(session, FIRST, replace(PARK, contact="0571-0000"), AT + DAY) == 2
        assert publish(session, FIRST, PARK, AT + DAY) == 3
        found = session.scalars(select(EvidenceEntry).where(EvidenceEntry.kind == "notice:publish"))
        assert len(found.all()) == 3


def test_a_notice_says_who_processes_in_both_languages(park: Database) -> None:
    """A notice without controller, withdrawal, or one of the languages is refused (PIPL art. 17)."""
    for notice, controller, why in (
        (replace(FIRST, body_en=" "), PARK, "empty body_en"),
        (replace(FIRST, withdrawal_zh=""), PARK, "empty withdrawal_zh"),
        (
            replace(FIRST, words={**FIRST.words, "card_and_id": ("年卡加身份证", " ")}),
            PARK,
            "no word for card_and_id in en",
        ),
        (replace(FIRST, words={**FIRST.words, "entry_methods": ("", "ways in")}), PARK, "entry_methods in zh"),
        (replace(FIRST, terms={**FIRST.terms, "fee": 10}), PARK, "no word for fee in zh and en"),
        (replace(FIRST, terms={**FIRST.terms, "entry_methods": ["on_foot"]}), PARK, "no word for on_foot"),
        (replace(FIRST, name="Annual pass"), PARK, "cannot name a notice"),
        (FIRST, replace(PARK, contact=""), "controller's contact"),
        (FIRST, replace(PARK, places=()), "controller's places"),
        (FIRST, Controller.of(load()), "set controller_name"),
    ):
        with pytest.raises(BadInput, match=why), park.session() as session:
            publish(session, notice, controller, AT + DAY)
    with park.session() as session:
        assert version(session, "annual-pass").number == 1


def test_the_controller_comes_from_the_settings() -> None:
    """What notices and receipts say of the controller is set once."""
    settings = load(
        controller_name=PARK.name, controller_code=PARK.code, controller_address=PARK.address,
        controller_contact=PARK.contact,
    )  # fmt: skip
    assert Controller.of(settings) == PARK


def test_silence_binds_nobody(park: Database) -> None:
    """A new version binds who accepts it; who declines, or says nothing, keeps what they agreed to (case 2)."""
    with park.session() as session:
        yes, no, silent, stranger = (holder(session) for _ in range(4))
        for who in (yes, no, silent):
            agree(session, who, "pass_contract")
        publish(session, SECOND, PARK, AT + DAY)
    say(park, yes, 2, True, AT + 2 * DAY)
    say(park, no, 2, False, AT + 2 * DAY)
    with park.session() as session:
        bound = {who: binding(session, who, "annual-pass") for who in (yes, no, silent, stranger)}
        assert bound == {yes: 2, no: 1, silent: 1, stranger: None}
        assert binding(session, yes, "annual-pass", AT + DAY) == 1
        assert unanswered(session, "annual-pass", 2) == [silent]
        assert declined(session, "annual-pass", 2) == [no]
        assert accepted(session, "annual-pass", 2) == [yes]
        assert unanswered(session, "annual-pass", 2, AT + DAY) == sorted([yes, no, silent])
        assert session.scalars(declined_sql("annual-pass", 2, AT + DAY)).all() == []


def test_a_grant_under_a_version_accepts_it(park: Database) -> None:
    """Who agrees to a purpose under the new notice is bound by it; a later no to it is heard too."""
    with park.session() as session:
        who = holder(session)
        agree(session, who, "pass_contract")
        publish(session, SECOND, PARK, AT + DAY)
    say(park, who, 2, False, AT + DAY)
    with park.session() as session:
        agree(session, who, "face_entry", version=2, at=AT + 2 * DAY)
        assert binding(session, who, "annual-pass") == 2
        assert (declined(session, "annual-pass", 2), accepted(session, "annual-pass", 2)) == ([], [who])
        withdraw(session, who, "face_entry", how="button", screen="app", at=AT + 3 * DAY)
        assert binding(session, who, "annual-pass") == 2
    say(park, who, 2, False, AT + 4 * DAY)
    with park.session() as session:
        assert binding(session, who, "annual-pass") == 1
        assert (declined(session, "annual-pass", 2), accepted(session, "annual-pass", 2)) == ([who], [])


def test_whoever_has_left_is_not_asked(park: Database) -> None:
    """Who has withdrawn everything, and never accepted by answer, owes no answer to a new version."""
    with park.session() as session:
        gone, here = holder(session), holder(session)
        for who in (gone, here):
            agree(session, who, "pass_contract")
        withdraw(session, gone, "pass_contract", how="letter", screen="post", at=AT + DAY)
        publish(session, SECOND, PARK, AT + 2 * DAY)
        assert unanswered(session, "annual-pass", 2) == [here]
        assert unanswered(session, "annual-pass", 2, AT) == sorted([gone, here])


def test_only_the_version_in_force_is_accepted(park: Database) -> None:
    """An offer that was replaced is accepted by nobody; declining it costs nothing. Every answer is kept."""
    with park.session() as session:
        who = holder(session)
        publish(session, SECOND, PARK, AT + DAY)
    with pytest.raises(UseError, match="Version 1 of annual-pass is not in force; version 2 is"):
        say(park, who, 1, True, AT + DAY)
    say(park, who, 1, False, AT + DAY)
    say(park, who, 2, False, AT + DAY)
    say(park, who, 2, True, AT + 2 * DAY)
    with pytest.raises(UnknownName, match="annual-pass 3"):
        say(park, who, 3, True, AT + DAY)
    with pytest.raises(UnknownName, match="subject"):
        say(park, "0" * 32, 2, True, AT + DAY)
    with pytest.raises(BadInput, match="screen is ''"), park.session() as session:
        answer(session, who, "annual-pass", 2, True, "reply", "", AT + DAY)
    with park.session() as session:
        kept = session.execute(select(NoticeAnswer.number, NoticeAnswer.accepted).order_by(NoticeAnswer.id)).all()
        assert [tuple(row) for row in kept] == [(1, False), (2, False), (2, True)]


def test_the_difference_of_july_2019() -> None:
    """Fingerprints out, faces in: told by term and by paragraph, in both languages, as data and as text."""
    found = difference(FIRST, SECOND)
    (term,) = found.terms
    assert (term.term, term.kind, term.zh, term.en) == ("entry_methods", "changed", "入园方式", "ways in")
    assert term.gone == (("年卡加指纹", "card and fingerprint"),)
    assert term.new == (("年卡加人脸", "card and face"),)
    assert [each.kind for each in found.zh] == [each.kind for each in found.en] == ["changed"]
    assert [(piece.kind, piece.text) for piece in found.zh[0].pieces] == [
        ("same", "入园可以使用年卡加身份证, 也可以使用年卡加"), ("removed", "指纹"), ("added", "人脸"), ("same", "。"),
    ]  # fmt: skip
    assert found.text("zh").splitlines() == [
        "~ 入园方式: -年卡加指纹 +年卡加人脸",
        "~ 入园可以使用年卡加身份证, 也可以使用年卡加[-指纹-]{+人脸+}。",
    ]
    assert found.text("en").splitlines() == [
        "~ ways in: -card and fingerprint +card and face",
        "~ Enter with card and ID card, or card and [-fingerprint-]{+face+}.",
    ]
    assert found.as_json()["terms"][0]["new"] == [{"zh": "年卡加人脸", "en": "card and face"}]


def test_terms_that_come_go_and_change_are_told() -> None:
    """A term added, one removed, one with another number, one in another order: each is told as what it is."""
    after = replace(
        FIRST,
        terms={"entry_methods": ["card_and_fingerprint", "card_and_id"], "deposit": 100},
        words={**FIRST.words, "deposit": ("押金", "deposit")},
    )
    found = difference(FIRST, after)
    assert [(each.term, each.kind) for each in found.terms] == [
        ("biometrics_kept_months", "removed"), ("deposit", "added"), ("entry_methods", "changed"),
    ]  # fmt: skip
    assert found.text("zh").splitlines() == ["- 生物特征保存月数: -3", "+ 押金: +100", "~ 入园方式: 次序有变"]
    assert difference(FIRST, replace(FIRST, terms={**FIRST.terms, "biometrics_kept_months": 6})).text("en") == (
        "~ months that biometrics are kept: -3 +6"
    )


def test_no_difference_is_said_so() -> None:
    """Two versions that say the same have no difference; another title or way to withdraw is one."""
    assert not difference(FIRST, FIRST)
    assert difference(FIRST, FIRST).text("zh") == "两个版本没有差别。"
    assert difference(FIRST, replace(FIRST, zh="年卡告知书")).text("zh") == "~ 年卡[-办理-]告知书"
    assert [each.kind for each in difference(FIRST, replace(FIRST, withdrawal_en="By letter only.")).en] == [
        "added", "removed",
    ]  # fmt: skip


TEXTS = st.lists(st.text(alphabet="甲乙丙ab \n", min_size=1, max_size=12), max_size=6).map("\n\n".join)


@given(before=TEXTS, after=TEXTS)
def test_a_difference_leaves_nothing_out(before: str, after: str) -> None:
    """What the difference does not mention is the same in both texts, and what it mentions is in one of them."""
    found = paragraphs(before, after)
    old, new = Counter(_paragraphs(before)), Counter(_paragraphs(after))
    gone = Counter(each.before for each in found if each.kind != "added")
    came = Counter(each.after for each in found if each.kind != "removed")
    assert gone <= old
    assert came <= new
    assert old - gone == new - came
    assert bool(found) == (_paragraphs(before) != _paragraphs(after))
    for each in found:
        for kind, whole in (("removed", each.before), ("added", each.after)):
            assert "".join(piece.text for piece in each.pieces if piece.kind in ("same", kind)) == whole


def _paragraphs(text: str) -> list[str]:
    """The parts between lines that are empty or blank, without the space around them."""
    parts = [""]
    for line in text.split("\n"):
        parts[-1:] = [parts[-1] + line + "\n"] if line.strip() else [parts[-1], ""]
    return [part.strip() for part in parts if part.strip()]
