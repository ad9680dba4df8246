"""A change of the ways in: announced to everybody, binding none who does not accept it; and the end of a way."""

from __future__ import annotations

from datetime import datetime

import pytest
from sqlalchemy import select

from duecare.clock import BEIJING, SetClock
from duecare.consent import grants, notices
from duecare.consent import purposes as declared
from duecare.errors import BadInput, Erased, Forbidden, NotGranted, UnknownName, UseError
from duecare.systems.passes import changes, enrolment, holders, offers, refunds, sales
from duecare.systems.passes.models import HolderMessage
from duecare.systems.passes.park import Park
from duecare.systems.passes.products import PASS_FOR_TWO
from duecare.systems.passes.purposes import NOTICE, entry_methods, notice
from duecare.systems.passes.sales import Buyer, Sold
from duecare.vault import erasure
from duecare.vault.models import ErasureState

from .people import FACES, FINGERS, HE, SHE, face, finger, id_number


@pytest.fixture
def three(park: Park, sold: Sold) -> tuple[str, str, str]:
    """Three holders who agreed to fingerprints and were enrolled: one will accept, one decline, one say nothing."""
    second = sales.sell(
        park, "pass_for_two",
        [Buyer("成员丙", id_number(3), "13800138003", "card_fingerprint"),
         Buyer("成员丁", id_number(4), "13800138004", "card_fingerprint")],
        screen="counter", actor="clerk",
    )  # fmt: skip
    found = (sold.cards[0].subject, second.cards[0].subject, second.cards[1].subject)
    for number, subject in enumerate(found):
        enrolment.enrol(park, subject, "card_fingerprint", finger(str(number)), screen="centre", actor="clerk")
    return found


def told(park: Park, kind: str) -> list[str]:
    with park.home.database.session() as session:
        asked = select(HolderMessage.subject).where(HolderMessage.kind == kind, HolderMessage.channel == "sms")
        return sorted(session.scalars(asked))


def test_a_new_version_is_announced(park: Park, sold: Sold) -> None:
    """Every holder is told; the difference names the way that goes and the way that comes, in both languages."""
    changed = changes.publish(park, FACES)
    assert changed.number == 2
    assert told(park, "change") == sorted(each.subject for each in sold.cards)
    assert changed.difference is not None
    (term,) = changed.difference.terms
    assert (term.zh, term.gone, term.new) == (
        "入园方式", (("年卡加指纹", "card and fingerprint"),), (("年卡加人脸", "card and face"),),
    )  # fmt: skip
    with park.home.database.session() as session:
        (row, *_) = session.scalars(select(HolderMessage))
        assert "新增年卡加人脸" in row.said["zh"]
        assert "不再包括年卡加指纹" in row.said["zh"]
        assert "It is an offer" in row.said["en"]
        assert {way.method for way in offers.standing(session, PASS_FOR_TWO)} == set(FACES)


def test_the_same_again_is_no_change(park: Park, sold: Sold) -> None:
    """Publishing what is in force announces nothing."""
    assert changes.publish(park, FINGERS) == changes.Changed(1, 0, None)
    assert told(park, "change") == []


def test_accepting_declining_silence(park: Park, three: tuple[str, str, str]) -> None:
    """The new version binds who accepts; who declines, and who says nothing, stay bound by the one they agreed to."""
    yes, no, silent = three
    number = changes.publish(park, FACES).number
    changes.answer(park, yes, number, accepted=True, how="click", screen="page of truth")
    changes.answer(park, no, number, accepted=False, how="by telephone", screen="call centre")
    with park.home.database.session() as session:
        said = changes.answers(session, park, number)
        assert (said.accepted, said.declined) == ((yes,), (no,))
        assert silent in said.silent
        assert [notices.binding(session, each, NOTICE) for each in three] == [2, 1, 1]
        assert [holders.by_subject(session, each).holder.method for each in three] == [
            "card_id_card", "card_fingerprint", "card_fingerprint",
        ]  # fmt: skip


def test_who_accepts_is_not_enrolled_by_it(park: Park, three: tuple[str, str, str]) -> None:
    """To accept the notice is no consent to faces: that is asked for by itself, when the face is taken."""
    yes, no, _ = three
    number = changes.publish(park, FACES).number
    changes.answer(park, yes, number, accepted=True, how="click", screen="page")
    with park.home.database.session() as session:
        assert grants.standing(session, yes, "face_entry") == []
    enrolment.enrol(park, yes, "card_face", face("0"), screen="centre", actor="clerk")
    with park.home.database.session() as session:
        assert [each.separate for each in grants.standing(session, yes, "face_entry")] == [True]
    with pytest.raises(UseError, match="does not bind this holder"):
        enrolment.enrol(park, no, "card_face", face("1"), screen="centre", actor="clerk")


def test_a_photo_is_no_answer(park: Park, three: tuple[str, str, str]) -> None:
    """Who declined, or said nothing, is bound by a photo for the pass to nothing: it is not taken under a notice that
    does not bind them, and they stay owed what was agreed."""
    _, no, silent = three
    number = changes.publish(park, FACES).number
    changes.answer(park, no, number, accepted=False, how="by telephone", screen="call centre")
    for subject in (no, silent):
        with pytest.raises(UseError, match="does not bind this holder"):
            enrolment.take_photo(park, subject, b"photo", screen="centre", actor="clerk")
    changes.end_method(park, "card_fingerprint", note="stopped")
    with park.home.database.session() as session:
        assert changes.answers(session, park, number).declined == (no,)
        assert notices.binding(session, no, NOTICE) == 1
        assert refunds.entitled(session, holders.by_subject(session, no), park.today())


def test_a_way_that_is_left_takes_its_template_with_it(park: Park, three: tuple[str, str, str]) -> None:
    """Who accepts a notice without fingerprints has theirs erased, with a certificate; so has who goes from one
    biometric way to another. What was accepted is not declined afterwards."""
    yes, other, _ = three
    number = changes.publish(park, ["card_id_card", "card_fingerprint", "card_face"]).number
    changes.answer(park, other, number, accepted=True, how="click", screen="page")
    enrolment.enrol(park, other, "card_face", face("1"), screen="centre", actor="clerk")
    number = changes.publish(park, FACES).number
    changes.answer(park, yes, number, accepted=True, how="click", screen="page")
    for subject in (yes, other):
        with pytest.raises(Erased):
            park.vault.open("fingerprint_template", subject, "fingerprint_entry", "service:gate-east")
        with park.home.database.session() as session:
            (gone,) = erasure.erasures(session, subject)
        assert (gone.purpose, gone.reason, gone.state) == ("fingerprint_entry", "purpose_ended", ErasureState.COMPLETE)
    with pytest.raises(UseError, match="was accepted, and binds"):
        changes.answer(park, yes, number, accepted=False, how="click", screen="page")


def test_who_has_no_pass_any_more_is_told_nothing(park: Park, three: tuple[str, str, str], clock: SetClock) -> None:
    """Neither who was refunded nor whose pass is over is asked, reminded or told; what they agreed to is history."""
    with park.home.database.session() as session:
        left = holders.by_subject(session, three[0]).sold.id
    refunds.pay_back(park, left, [three[0]], reason="moves", actor="clerk", goodwill=True)
    number = changes.publish(park, FACES).number
    assert three[0] not in told(park, "change")
    assert three[1] in told(park, "change")
    clock.set(datetime(2023, 1, 1, 10, tzinfo=BEIJING))
    assert changes.remind(park, number) == 0
    assert changes.end_method(park, "card_fingerprint", note="stopped").told == 0
    with park.home.database.session() as session:
        assert changes.answers(session, park, number).silent == ()


def test_reminding_those_who_said_nothing(park: Park, three: tuple[str, str, str]) -> None:
    """A second message goes to those alone who have not answered, and changes nothing for them."""
    yes, no, silent = three
    number = changes.publish(park, FACES).number
    changes.answer(park, yes, number, accepted=True, how="click", screen="page")
    changes.answer(park, no, number, accepted=False, how="click", screen="page")
    before = told(park, "change")
    changes.remind(park, number)
    again = told(park, "change")
    for subject in set(again):
        assert again.count(subject) - before.count(subject) == (subject not in (yes, no))
    with park.home.database.session() as session:
        assert notices.binding(session, silent, NOTICE) == 1
    for wrong in (1, 3):
        with pytest.raises(UseError, match="changed nothing"):
            changes.remind(park, wrong)


def test_the_end_of_fingerprints(park: Park, three: tuple[str, str, str], sold: Sold) -> None:
    """The purpose ends for everyone: grants end, templates are erased, and those who entered so are told."""
    ended = changes.end_method(park, "card_fingerprint", note="指纹闸机停用")
    assert ended.erased == 3
    assert told(park, "ended:card_fingerprint") == sorted(three)
    assert changes.end_method(park, "card_fingerprint", note="once more") == changes.Ended(0, 0)
    assert told(park, "ended:card_fingerprint") == sorted(three)
    for subject in three:
        with pytest.raises(Erased):
            park.vault.open("fingerprint_template", subject, "fingerprint_entry", "service:gate-east")
        assert park.vault.open("name", subject, "pass_contract", "clerk")
    with park.home.database.session() as session:
        assert declared.purpose(session, "fingerprint_entry").ended_at is not None
        assert grants.standing(session, purpose="fingerprint_entry") == []
        (gone,) = erasure.erasures(session, three[0])
        assert (gone.purpose, gone.reason) == ("fingerprint_entry", "purpose_ended")
        assert [way.method for way in offers.standing(session, PASS_FOR_TWO)] == ["card_id_card"]
        assert erasure.erasures(session, sold.cards[1].subject) == []


def test_an_ended_way_does_not_come_back(park: Park, three: tuple[str, str, str]) -> None:
    """Fingerprints cannot be announced, sold or enrolled again under the purpose that ended."""
    changes.end_method(park, "card_fingerprint", note="指纹闸机停用")
    with pytest.raises((UnknownName, UseError)):
        enrolment.enrol(park, three[0], "card_fingerprint", finger("0"), screen="centre", actor="clerk")
    with pytest.raises(UseError, match="has ended"):
        changes.publish(park, FINGERS)


def test_the_way_that_is_open_to_everyone_does_not_end(park: Park, sold: Sold) -> None:
    """Card and ID card cannot end, and is in every notice."""
    with pytest.raises(BadInput, match="open to everyone"):
        changes.end_method(park, "card_id_card", note="x")
    with pytest.raises(BadInput, match="the one that is open to everyone is missing"):
        changes.publish(park, ["card_face"])
    assert entry_methods(notice(FACES)) == FACES


def test_a_notice_that_leaves_it_out_is_denied(park: Park, sold: Sold) -> None:
    """Even with words of its own, a notice with faces alone cannot go on sale: the rules deny it, nothing changes."""
    own = notice(FACES)
    with pytest.raises(Forbidden) as caught:
        changes.publish(park, ["card_face"], notice=own)
    assert "only_biometric" in str(caught.value)
    with park.home.database.session() as session:
        assert len(notices.versions(session, NOTICE)) == 1
        assert {way.method for way in offers.standing(session, PASS_FOR_TWO)} == set(FINGERS)


def test_what_was_erased_is_never_there_again(park: Park, three: tuple[str, str, str]) -> None:
    """A new sale after the change takes no fingerprints, and faces only of who asks for them."""
    changes.publish(park, FACES)
    changes.end_method(park, "card_fingerprint", note="指纹闸机停用")
    fresh = sales.sell(
        park, "pass_for_two", [Buyer(HE.name, HE.id_number, HE.phone), SHE], screen="counter", actor="clerk"
    )
    his = fresh.cards[0].subject
    with pytest.raises(NotGranted):
        park.vault.open("face_template", his, "face_entry", "service:gate-east")
    enrolment.enrol(park, his, "card_face", face("he"), screen="centre", actor="clerk")
    assert park.vault.open("face_template", his, "face_entry", "service:gate-east") == face("he")
