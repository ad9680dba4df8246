"""Purposes and fields: declared by the rules, in versions, and gone for good once they end."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from duecare.consent import grants
from duecare.consent.purposes import (
    Activity,
    Basis,
    Mask,
    Necessity,
    PersonalField,
    Purpose,
    Retention,
    Special,
    declare,
    end,
    field,
    fields,
    purpose,
    purposes,
)
from duecare.errors import BadInput, Forbidden, UnknownName, UseError
from duecare.evidence.outbox import EvidenceEntry
from duecare.store.database import Database

from .world import AT, CONTRACT, DAY, ENGINE, FACE, FIELDS, PHOTO, PURPOSES, agree, holder


def test_what_was_declared_is_read_back(park: Database) -> None:
    """A purpose and a field are read as they were declared, with version and sensitive kinds filled in."""
    with park.session() as session:
        read = purpose(session, "face_entry")
        assert replace(read, number=0, told=(), declared_at=None) == FACE
        assert (read.number, read.special, read.declared_at) == (1, (Special.BIOMETRIC,), AT)
        assert purpose(session, "pass_contract").special == ()
        assert [each.name for each in purposes(session)] == sorted(each.name for each in PURPOSES)
        assert sorted(FIELDS, key=lambda each: each.name) == fields(session)
        assert field(session, "phone") == FIELDS[2]


def test_the_same_declaration_again_changes_nothing(park: Database) -> None:
    """A service declares its purposes at each start; only what differs is a new version, with evidence."""
    with park.session() as session:
        before = len(session.scalars(select(EvidenceEntry)).all())
        assert declare(session, ENGINE, FIELDS, PURPOSES, AT + DAY) == []
        assert len(session.scalars(select(EvidenceEntry)).all()) == before
        longer = replace(PHOTO, retention=replace(PHOTO.retention, years=7))
        assert declare(session, ENGINE, FIELDS, [*PURPOSES[:1], longer, *PURPOSES[2:]], AT + DAY) == ["pass_photo"]
        assert purpose(session, "pass_photo").number == 2
        entry = session.scalars(select(EvidenceEntry).order_by(EvidenceEntry.id.desc())).first()
        assert entry is not None
        assert (entry.kind, entry.subject) == ("purpose:declare", "purpose:pass_photo")
        assert json.loads(entry.body)["reasons"] == ["wang_v_tencent.declare"]


def test_what_stood_at_a_moment_is_answered(park: Database) -> None:
    """A purpose is asked for as it was at a time, or in a version; before it was declared there is none."""
    with park.session() as session:
        declare(session, ENGINE, (), [replace(PHOTO, zh="年卡上的照片")], AT + DAY)
    with park.session() as session:
        assert purpose(session, "pass_photo", AT).zh == "年卡照片"
        assert purpose(session, "pass_photo", AT + DAY).zh == "年卡上的照片"
        assert purpose(session, "pass_photo", number=1).zh == "年卡照片"
        assert {each.zh for each in purposes(session, AT)} >= {"年卡照片"}
        with pytest.raises(UnknownName, match="pass_photo"):
            purpose(session, "pass_photo", AT - DAY)
        with pytest.raises(UnknownName, match="pass_photo 3"):
            purpose(session, "pass_photo", number=3)
        with pytest.raises(UnknownName, match="Did you mean pass_photo"):
            purpose(session, "pass_foto")


def test_a_required_purpose_needs_its_proof(empty: Database) -> None:
    """What is required without a proof for every field is refused by the holding of case 7, and nothing is kept."""
    partial = replace(CONTRACT, necessity=Necessity("年卡记名", "Personal.", {"name": "年卡记名使用"}))
    for unproven in (replace(CONTRACT, necessity=None), partial):
        with pytest.raises(Forbidden, match=r"wang_v_tencent\.necessity") as caught, empty.session() as session:
            declare(session, ENGINE, FIELDS, [PHOTO, unproven], AT)
        assert "改善服务不是理由" in caught.value.reasons[0]
    with empty.session() as session:
        assert purposes(session) == []
        assert fields(session) == []
        assert declare(session, ENGINE, FIELDS, [replace(CONTRACT, required=False, necessity=None)], AT)


def test_sensitive_data_needs_its_necessity(empty: Database) -> None:
    """Even an optional purpose says why it needs sensitive data (case 2)."""
    with pytest.raises(Forbidden, match=r"guo_v_safari_park\.sensitive_necessity"), empty.session() as session:
        declare(session, ENGINE, FIELDS, [replace(FACE, necessity=None)], AT)


def test_sensitive_data_has_a_purpose_of_its_own(empty: Database) -> None:
    """Beside other data, or on a contract, it would be agreed to with something else: refused, and nothing is kept."""
    proof = Necessity("入园", "Entry.", {"fingerprint": "比对", "phone": "通知", "face": "比对"})
    religion = PersonalField("faith", "宗教信仰", "religion", special=Special.RELIGION)
    for fields_, basis, why in (
        (("fingerprint", "phone"), Basis.CONSENT, "mixed"),
        (("fingerprint", "faith"), Basis.CONSENT, "mixed"),
        (("fingerprint",), Basis.CONTRACT, "sensitive_by_contract"),
    ):
        mix = replace(FACE, name="mix", fields=fields_, basis=basis, necessity=replace(
            proof, fields={**proof.fields, "faith": "饮食"}))  # fmt: skip
        with pytest.raises(Forbidden, match=rf"guo_v_safari_park\.{why}") as caught, empty.session() as session:
            declare(session, ENGINE, [*FIELDS, religion], [mix], AT)
        assert "What would allow it" in str(caught.value)
    with empty.session() as session:
        assert purposes(session) == []
        both = replace(FACE, name="both", fields=("fingerprint", "face"), necessity=proof)
        assert declare(session, ENGINE, FIELDS, [both], AT) == ["both"], "one kind"


def test_a_field_that_becomes_sensitive_is_decided_anew(park: Database) -> None:
    """Where a field is declared sensitive later, each purpose that uses it must pass the rules again."""
    sensitive = replace(FIELDS[3], special=Special.BIOMETRIC)
    with pytest.raises(Forbidden, match=r"sensitive_necessity"), park.session() as session:
        declare(session, ENGINE, [sensitive], [], AT + DAY)
    proven = replace(PHOTO, necessity=Necessity("年卡须有照片", "A pass has a photo.", {"photo": "核对持卡人"}))
    with park.session() as session:
        assert declare(session, ENGINE, (), [proven], AT + DAY) == ["pass_photo"]
        assert declare(session, ENGINE, [sensitive], [], AT + DAY) == ["pass_photo"]
        assert purpose(session, "pass_photo").special == (Special.BIOMETRIC,)
        assert purpose(session, "pass_photo", number=2).special == ()
        assert purpose(session, "pass_contract").number == 1


def test_a_purpose_that_ended_never_comes_back(park: Database) -> None:
    """After its end nobody can agree to it; the same declaration leaves it ended, another is refused."""
    with park.session() as session:
        end(session, "face_entry", reason="gates removed", at=AT + DAY)
        end(session, "face_entry", reason="again", at=AT + 2 * DAY)
    with park.session() as session:
        assert purpose(session, "face_entry").ended_at == AT + DAY
        assert purpose(session, "face_entry", AT).ended_at is None
        assert declare(session, ENGINE, FIELDS, PURPOSES, AT + DAY) == []
        assert purpose(session, "face_entry").ended_at == AT + DAY
        with pytest.raises(UseError, match="does not come back"):
            declare(session, ENGINE, (), [replace(FACE, zh="新的人脸入园")], AT + DAY)
        with pytest.raises(UseError, match="ended on 2019-04-28"):
            agree(session, holder(session), "face_entry", at=AT + 2 * DAY)
    with pytest.raises(BadInput, match="reason is empty"), park.session() as session:
        end(session, "pass_photo", reason=" ", at=AT)


def test_a_grant_stays_with_the_purpose_it_was_given_for(park: Database) -> None:
    """A wider purpose does not widen what was agreed to: the grant names the version it was given for."""
    with park.session() as session:
        who = holder(session)
        agree(session, who, "pass_photo")
        declare(session, ENGINE, (), [replace(PHOTO, activities=(*PHOTO.activities, Activity.REFINE))], AT + DAY)
        (stands,) = grants.standing(session, who)
        assert stands.purpose_version == 1
        agreed = purpose(session, "pass_photo", number=stands.purpose_version)
        assert Activity.REFINE not in agreed.activities


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "Face"}, "cannot name a purpose"),
    ({"zh": " "}, "not named in both languages"),
    ({"notice": ""}, "has the notice ''"),
    ({"fields": ()}, "fields of pass_photo are"),
    ({"fields": ("photo", "photo")}, "fields of pass_photo are"),
    ({"fields": ("portrait",)}, "There is no field 'portrait'"),
    ({"activities": ()}, "activities of pass_photo are"),
    ({"necessity": Necessity("一", "One.", {"portrait": "x"})}, "There is no field 'portrait'"),
    ({"activities": (Activity.PROVIDE,)}, "names no recipients"),
    ({"retention": Retention("")}, "retention of pass_photo"),
    ({"retention": Retention("e")}, "retention of pass_photo does not say"),
    ({"retention": Retention("e", months=3, zh="年卡到期")}, "retention of pass_photo does not say"),
    ({"retention": Retention("pass_expired", months=-1)}, "retention of pass_photo"),
]
WRONG_FIELDS = [
    PersonalField("Name", "姓名", "name"),
    PersonalField("name", "", "name"),
    PersonalField("name", "姓名", "name", form="text "),  # type: ignore[arg-type]
    PersonalField("photo", "照片", "photo", form="bytes", lookup=True),
    PersonalField("name", "姓名", "name", mask=Mask(head=-1)),
]


def test_what_cannot_be_declared_is_refused(empty: Database) -> None:
    """A purpose or field that lacks what it must say is refused with what is wrong, and nothing of the call is kept."""
    for changes, why in WRONG:
        with pytest.raises((BadInput, UnknownName), match=why), empty.session() as session:
            declare(session, ENGINE, FIELDS, [replace(PHOTO, **changes)], AT)
    for wrong in WRONG_FIELDS:
        with pytest.raises(BadInput), empty.session() as session:
            declare(session, ENGINE, [FIELDS[0], wrong], [], AT)
    with empty.session() as session:
        assert (purposes(session), fields(session)) == ([], [])


@pytest.mark.parametrize(
    ("kept", "on", "until"),
    [
        (Retention("e", months=3), date(2020, 4, 25), date(2020, 7, 25)),
        (Retention("e", months=3), date(2019, 11, 30), date(2020, 2, 29)),
        (Retention("e", years=6), date(2020, 2, 29), date(2026, 2, 28)),
        (Retention("e", days=30), date(2019, 12, 31), date(2020, 1, 30)),
        (Retention("e", years=1, months=1, days=1), date(2019, 12, 31), date(2021, 2, 1)),
        (Retention("e"), date(2020, 4, 25), date(2020, 4, 25)),
    ],
)
def test_retention_runs_by_the_calendar(kept: Retention, on: date, until: date) -> None:
    """Three months after the last of November is the last of February."""
    assert kept.until(on) == until


@given(on=st.dates(date(1990, 1, 1), date(2090, 1, 1)), months=st.integers(0, 120), days=st.integers(0, 400))
def test_retention_is_monotonous(on: date, months: int, days: int) -> None:
    """A later event or a longer time never ends earlier."""
    kept = Retention("e", months=months, days=days)
    assert on <= kept.until(on) <= Retention("e", months=months + 1, days=days).until(on)
    assert kept.until(on) <= Retention("e", months=months, days=days + 1).until(on)
    assert kept.until(on) <= kept.until(date.fromordinal(on.toordinal() + 1))


@given(text=st.text(max_size=30), head=st.integers(0, 8), tail=st.integers(0, 8))
def test_a_mask_shows_no_more_than_its_ends(text: str, head: int, tail: int) -> None:
    """At most ``head + tail`` characters are shown, at their places, and at least one is hidden."""
    masked = Mask(head, tail).apply(text)
    assert len(masked) == len(text)
    shown = [at for at, character in enumerate(masked) if character != "*"]
    assert all(masked[at] == text[at] and (at < head or at >= len(text) - tail) for at in shown)
    assert len(shown) < len(text) or not text
    if len(text) > head + tail:
        assert masked[:head] + masked[len(text) - tail :] == text[:head] + text[len(text) - tail :]


def test_every_basis_and_activity_can_be_declared(empty: Database) -> None:
    """The eight activities and six bases of the law are all known to the rules."""
    every = [
        Purpose(
            f"for_{basis.value}", "一", "One", ("photo",), tuple(Activity), basis,
            Retention("e", zh="事", en="it"), "n", recipients=("某公司",),
        )
        for basis in Basis
    ]  # fmt: skip
    with empty.session() as session:
        assert len(declare(session, ENGINE, FIELDS, every, AT)) == 6
