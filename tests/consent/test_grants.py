"""Grants: given by the rules, at most one stands, withdrawn at once, and nothing of it is ever forgotten."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from duecare.consent import notices, subjects
from duecare.consent.grants import (
    EndKind,
    Grant,
    end,
    end_all,
    give,
    grant,
    history,
    standing,
    standing_sql,
    withdraw,
)
from duecare.consent.models import GrantRow, SubjectRow
from duecare.consent.purposes import Purpose, declare, purpose
from duecare.errors import BadInput, Forbidden, UnknownName, UseError
from duecare.evidence.commitment import opens
from duecare.evidence.outbox import EvidenceEntry
from duecare.store.database import Database

from .world import AT, DAY, ENGINE, FACE, PARK, SECOND, agree, holder

HOUR = DAY / 24


def stands(database: Database, who: str, at: datetime | None = None) -> list[str]:
    with database.session() as session:
        return [each.purpose for each in standing(session, who, at=at)]


def back(database: Database, who: str, name: str, at: datetime) -> Grant:
    with database.session() as session:
        return withdraw(session, who, name, how="button", screen="app/my-data", at=at)


def entries(database: Database, kind: str) -> list[dict[str, Any]]:
    with database.session() as session:
        rows = session.scalars(select(EvidenceEntry).where(EvidenceEntry.kind == kind).order_by(EvidenceEntry.id))
        return [{"subject": row.subject, **json.loads(row.body)} for row in rows]


def test_a_grant_says_what_was_agreed_to(park: Database) -> None:
    """Who, purpose and notice in their versions, how, where and when are kept, and evidenced by commitment."""
    with park.session() as session:
        who = holder(session)
        (given,) = agree(session, who, "fingerprint_entry")
        assert grant(session, given.id) == given
    assert (given.subject, given.purpose, given.purpose_version) == (who, "fingerprint_entry", 1)
    assert (given.notice, given.notice_version, given.language) == ("annual-pass", 1, "zh")
    assert (given.how, given.screen, given.given_at) == ("ticked and signed", "counter/pass", AT)
    assert given.separate
    assert given.stands
    (entry,) = entries(park, "grant:give")
    assert entry["subject"].startswith("sha256:")
    assert who not in json.dumps(entry)
    with park.session() as session:
        salt = session.scalars(select(SubjectRow.salt).where(SubjectRow.id == who)).one()
    assert opens(entry["subject"], bytes.fromhex(str(salt)), who)
    assert entry["reasons"] == ["guo_v_safari_park.grant"]


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({"purposes": ["pass_photo", "face_entry"]}, "bundled"),
        ({"purposes": ["face_entry"], "affirmed": False}, "uninformed"),
        ({"purposes": ["pass_photo"], "version": 1}, "uninformed"),
    ],
)
def test_what_is_no_consent_is_refused(park: Database, given: dict[str, Any], policy: str) -> None:
    """Sensitive data bundled with others, a box ticked for the person, a notice out of force: nothing is kept."""
    asked = {"notice": "annual-pass", "version": 2, "how": "ticked", "screen": "counter", "at": AT + DAY, **given}
    with park.session() as session:
        notices.publish(session, SECOND, PARK, AT + HOUR)
        who = holder(session)
    with pytest.raises(Forbidden, match=rf"guo_v_safari_park\.{policy}") as caught, park.session() as session:
        give(session, ENGINE, who, asked.pop("purposes"), **asked)
    zh, en = caught.value.reasons[:2]
    assert "何时可以" in zh
    assert "What would allow it" in en
    assert zh.rpartition(" ")[2] == en.rpartition(" ")[2] == f"[guo_v_safari_park.{policy}]"
    with park.session() as session:
        assert (standing(session), history(session, who)) == ([], [])
    assert entries(park, "grant:give") == []


def test_one_act_may_cover_purposes_that_are_not_sensitive(park: Database) -> None:
    """Several plain purposes are agreed to by one act; none of them is separate, and they share the act."""
    with park.session() as session:
        who = holder(session)
        given = agree(session, who, "pass_photo", "pass_contract")
    assert [each.purpose for each in given] == ["pass_photo", "pass_contract"]
    assert len({each.act for each in given}) == 1
    assert not any(each.separate for each in given)
    assert stands(park, who) == ["pass_contract", "pass_photo"]


def test_agreeing_again_adds_nothing_and_to_a_newer_notice_replaces(park: Database) -> None:
    """A second click returns the grant that stands; under a newer version a new grant takes the place of the old."""
    with park.session() as session:
        who = holder(session)
        (first,) = agree(session, who, "pass_photo")
        assert agree(session, who, "pass_photo", at=AT + HOUR) == [first]
        assert agree(session, who, "pass_photo", "pass_contract", at=AT + HOUR)[0] == first
        notices.publish(session, SECOND, PARK, AT + DAY)
        (second,) = agree(session, who, "pass_photo", version=2, at=AT + DAY)
    assert second.id != first.id
    with park.session() as session:
        over = grant(session, first.id).end
        assert over is not None
        assert (over.kind, over.at) == (EndKind.SUPERSEDED, AT + DAY)
        assert [each.id for each in standing(session, who, "pass_photo")] == [second.id]
        assert [each.id for each in standing(session, who, "pass_photo", at=AT + HOUR)] == [first.id]


def test_alone_after_together_is_a_grant_of_its_own(park: Database) -> None:
    """Who agreed together with other purposes and then again to one alone has a separate grant for it."""
    with park.session() as session:
        who = holder(session)
        agree(session, who, "pass_photo", "pass_contract")
        (alone,) = agree(session, who, "pass_photo", at=AT + HOUR)
        assert alone.separate
        assert [each.separate for each in standing(session, who)] == [False, True]


def test_withdrawal_is_one_call_and_keeps_what_was(park: Database) -> None:
    """It takes effect at once; what stood before is still answered; a second click changes nothing."""
    with park.session() as session:
        who = holder(session)
        agree(session, who, "fingerprint_entry")
        agree(session, who, "pass_photo")
    over = back(park, who, "fingerprint_entry", AT + DAY).end
    assert over is not None
    assert (over.kind, over.how, over.screen, over.at) == ("withdrawal", "button", "app/my-data", AT + DAY)
    assert stands(park, who) == ["pass_photo"]
    assert stands(park, who, AT + DAY) == ["pass_photo"]
    assert stands(park, who, AT + DAY - HOUR) == ["fingerprint_entry", "pass_photo"]
    assert stands(park, who, AT - HOUR) == []
    assert back(park, who, "fingerprint_entry", AT + 2 * DAY).end == over
    (entry,) = entries(park, "grant:end")
    assert (entry["kind"], entry["purpose"]) == ("withdrawal", "fingerprint_entry")
    with pytest.raises(UseError, match="never agreed to face_entry"):
        back(park, who, "face_entry", AT + DAY)
    with pytest.raises(UnknownName, match="subject"):
        back(park, "0" * 32, "face_entry", AT + DAY)


def test_who_withdrew_may_agree_again(park: Database) -> None:
    """A new grant is a new row with its own record; the history tells both."""
    with park.session() as session:
        who = holder(session)
        (first,) = agree(session, who, "face_entry")
    back(park, who, "face_entry", AT + DAY)
    with park.session() as session:
        (second,) = agree(session, who, "face_entry", at=AT + 2 * DAY)
        assert second.record != first.record
        told = [(each.kind, each.about, each.at) for each in history(session, who)]
    assert told == [
        ("give", "face_entry", AT),
        ("end", "face_entry", AT + DAY),
        ("give", "face_entry", AT + 2 * DAY),
    ]
    assert stands(park, who, AT + DAY + HOUR) == []


def test_a_clock_put_back_refuses_no_withdrawal(park: Database) -> None:
    """A withdrawal counts whatever the clock says; a grant that would begin before the last one ended does not."""
    with park.session() as session:
        who = holder(session)
        agree(session, who, "face_entry", at=AT + DAY)
    over = back(park, who, "face_entry", AT).end
    assert over is not None
    assert over.at == AT + DAY
    assert stands(park, who) == stands(park, who, AT + DAY) == []
    with pytest.raises(BadInput, match="clock was put back"), park.session() as session:
        agree(session, who, "face_entry", at=AT + HOUR)


def test_a_reader_that_starts_after_a_withdrawal_sees_it(park: Database) -> None:
    """Two threads: a transaction that starts after a withdrawal has committed never finds the grant standing."""
    with park.session() as session:
        people = [holder(session) for _ in range(12)]
        for who in people:
            agree(session, who, "face_entry")
    asked, stop = people[0], threading.Event()
    reads: list[tuple[str, float, list[str]]] = []

    def read() -> None:
        while not stop.is_set():
            who, started = asked, time.monotonic()
            reads.append((who, started, stands(park, who)))

    reader = threading.Thread(target=read)
    reader.start()
    committed = {}
    for who in people:
        asked = who
        back(park, who, "face_entry", AT + DAY)
        committed[who] = time.monotonic()
        sofar = len(reads)
        while len(reads) < sofar + 3:  # at least two more that started after the commit
            stop.wait(0.001)
    stop.set()
    reader.join()
    late = [found for who, started, found in reads if started > committed[who]]
    assert len(late) >= 2 * len(people)
    assert late == [[]] * len(late)
    assert ["face_entry"] in [found for _, _, found in reads]


def together(*acts: Callable[[], Any]) -> list[Any]:
    """What the acts return or raise, all begun at once in threads of their own."""
    barrier, results = threading.Barrier(len(acts)), [None] * len(acts)

    def run(at: int) -> None:
        barrier.wait()
        try:
            results[at] = acts[at]()
        except Exception as error:
            results[at] = error

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(acts))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return results


def test_at_most_one_grant_stands_however_many_agree_at_once(park: Database) -> None:
    """Six threads agree for one person at once, and as many take it back: one grant, one end, no error."""

    def yes(who: str) -> int:
        with park.session() as session:
            return agree(session, who, "face_entry")[0].id

    for _ in range(5):
        with park.session() as session:
            who = holder(session)
        assert len(set(together(*[lambda who=who: yes(who)] * 6))) == 1
        with park.session() as session:
            assert len(standing(session, who)) == 1
        taken = together(*[lambda who=who: back(park, who, "face_entry", AT + DAY).id] * 6)
        assert len(set(taken)) == 1
        assert stands(park, who) == []
    assert len(entries(park, "grant:give")) == len(entries(park, "grant:end")) == 5


def test_an_end_and_a_grant_at_once_leave_nothing_standing(park: Database) -> None:
    """While a purpose ends for everyone, people go on agreeing: afterwards no grant to it stands."""
    with park.session() as session:
        people = [holder(session) for _ in range(24)]

    def yes(who: str) -> str:
        with park.session() as session:
            return agree(session, who, "face_entry")[0].subject

    def gone() -> int:
        with park.session() as session:
            return end_all(session, "face_entry", EndKind.PURPOSE_ENDED, reason="gates removed", at=AT + DAY)

    results = together(*[lambda who=who: yes(who) for who in people[:12]], gone)
    results += together(*[lambda who=who: yes(who) for who in people[12:]])
    given = [each for each in results if isinstance(each, str)]
    refused = [each for each in results if isinstance(each, UseError)]
    assert len(given) + len(refused) == 24
    assert len(refused) >= 12
    assert results[12] == len(given)
    with park.session() as session:
        assert standing(session, purpose="face_entry") == []
        assert purpose(session, "face_entry").ended_at == AT + DAY


def test_ending_all_is_one_set_with_one_entry(park: Database) -> None:
    """Every standing grant to the purpose ends, and no other; the entry says so of all up to a number."""
    with park.session() as session:
        people = [holder(session) for _ in range(5)]
        for who in people:
            agree(session, who, "fingerprint_entry")
            agree(session, who, "pass_photo")
    back(park, people[0], "fingerprint_entry", AT + HOUR)
    with park.session() as session:
        assert end_all(session, "fingerprint_entry", "purpose_ended", reason="指纹入园停用", at=AT + DAY) == 4
        assert end_all(session, "fingerprint_entry", "purpose_ended", reason="again", at=AT + DAY) == 0
        assert {each.purpose for each in standing(session)} == {"pass_photo"}
        kinds = [each.end.kind for who in people for each in _all(session, who, "fingerprint_entry") if each.end]
        assert kinds == ["withdrawal", *["purpose_ended"] * 4]
    whole = entries(park, "grant:end")[-1]
    assert (whole["count"], whole["reason"], whole["subject"]) == (4, "指纹入园停用", "purpose:fingerprint_entry")
    with park.session() as session:
        ids = session.scalars(select(GrantRow.id).where(GrantRow.purpose == "fingerprint_entry")).all()
    assert whole["up_to"] == max(ids)


def _all(session: Any, who: str, name: str) -> list[Grant]:
    return [each.grant for each in history(session, who) if each.kind == "give" and each.grant and each.about == name]


def test_ending_some_lists_them(park: Database) -> None:
    """Those named, or found by a select, end; the entries list the grants, a thousand at most in each."""
    with park.session() as session:
        people = [holder(session) for _ in range(5)]
        given = {who: agree(session, who, "face_entry")[0].id for who in people}
        assert end_all(session, "face_entry", "expired", reason="到期", at=AT + DAY, subjects=people[:2]) == 2
        chosen = select(SubjectRow.id).where(SubjectRow.id == people[2])
        assert end_all(session, "face_entry", "expired", reason="到期", at=AT + DAY, subjects=chosen) == 1
        assert end_all(session, "face_entry", "expired", reason="到期", at=AT + DAY, subjects=[]) == 0
        assert sorted(each.subject for each in standing(session)) == sorted(people[3:])
        assert purpose(session, "face_entry").ended_at is None
    lists = [each["grants"] for each in entries(park, "grant:end")]
    assert lists == [sorted(given[who] for who in people[:2]), [given[people[2]]]]


def test_bulk_joins_see_what_stands(park: Database) -> None:
    """The select for joins gives subject, grant, purpose version and separate of what stands, or stood."""
    with park.session() as session:
        people = sorted(holder(session) for _ in range(3))
        ids = [agree(session, who, "face_entry")[0].id for who in people]
        withdraw(session, people[0], "face_entry", how="button", screen="app", at=AT + DAY)
        now = session.execute(standing_sql("face_entry").order_by(GrantRow.subject)).all()
        then = session.execute(standing_sql("face_entry", AT).order_by(GrantRow.subject)).all()
    assert [tuple(row) for row in now] == [(who, number, 1, True) for who, number in zip(people, ids, strict=True)][1:]
    assert len(then) == 3


def test_another_reason_than_the_persons_own(park: Database) -> None:
    """An end says its kind and reason; a kind that there is not is refused."""
    with park.session() as session:
        who = holder(session)
        agree(session, who, "face_entry")
        over = end(session, who, "face_entry", "expired", reason="年卡到期三个月", at=AT + DAY).end
        assert over is not None
        assert (over.kind, over.reason, over.how) == (EndKind.EXPIRED, "年卡到期三个月", "system")
        with pytest.raises(BadInput, match="'lapsed' is not how a grant ends"):
            end(session, who, "face_entry", "lapsed", reason="", at=AT + DAY)


def test_what_cannot_be_given_is_refused(park: Database) -> None:
    """Unknown or doubled purposes, another notice's, an empty screen, a wrong language: none is kept."""
    other = Purpose("news", "资讯", "News", ("phone",), FACE.activities, FACE.basis, FACE.retention, "newsletter")
    with park.session() as session:
        declare(session, ENGINE, (), [other], AT)
        who = holder(session)
    plain: dict[str, Any] = {"notice": "annual-pass", "version": 1, "how": "ticked", "screen": "counter", "at": AT}
    for names, changes, error, why in (
        ([], {}, BadInput, "Name at least one"),
        (["face_entry", "face_entry"], {}, BadInput, "each once"),
        (["faces"], {}, UnknownName, "There is no purpose 'faces'"),
        (["news"], {}, BadInput, "announced in the notice newsletter"),
        (["face_entry"], {"notice": "annual-pas"}, UnknownName, "Did you mean annual-pass"),
        (["face_entry"], {"version": 7}, UnknownName, "annual-pass 7"),
        (["face_entry"], {"screen": ""}, BadInput, "screen is ''"),
        (["face_entry"], {"how": "a\nb"}, BadInput, "one line"),
        (["face_entry"], {"how": "x" * 201}, BadInput, "at most 200"),
        (["face_entry"], {"language": "fr"}, BadInput, "Give zh or en"),
        (["face_entry"], {"at": datetime(2019, 5, 5)}, BadInput, "no zone"),  # noqa: DTZ001 - that is the fault
    ):
        with pytest.raises(error, match=why), park.session() as session:
            give(session, ENGINE, who, names, **{**plain, **changes})
    with pytest.raises(UnknownName, match="subject"), park.session() as session:
        give(session, ENGINE, "f" * 32, ["face_entry"], **plain)
    with park.session() as session:
        assert standing(session) == []
        with pytest.raises(UnknownName, match="no grant '7'"):
            grant(session, 7)


def test_a_subject_is_forgotten_only_when_nothing_stands(park: Database) -> None:
    """Without the salt nothing ties the log to the person, and nothing new is recorded of them."""
    with park.session() as session:
        who = holder(session)
        agree(session, who, "face_entry")
        with pytest.raises(UseError, match=r"still stands \(face_entry\)"):
            subjects.forget_salt(session, who)
    back(park, who, "face_entry", AT + DAY)
    with park.session() as session:
        subjects.forget_salt(session, who)
        subjects.forget_salt(session, who)
        assert subjects.subject(session, who).salt is None
    with pytest.raises(UseError, match="was forgotten"), park.session() as session:
        agree(session, who, "face_entry", at=AT + 2 * DAY)
    with park.session() as session:
        assert [each.kind for each in history(session, who)] == ["give", "end"]


STATEMENTS = [
    "UPDATE grants SET purpose = 'other'",
    "UPDATE grants SET given_at = '2020-01-01'",
    "UPDATE grants SET ended_at = NULL",
    "UPDATE grants SET ended_at = '2030-01-01' WHERE ended_at IS NULL",
    "UPDATE grants SET ended_at = '2030-01-01' WHERE ended_at IS NOT NULL",
    "UPDATE grant_ends SET reason = 'other'",
    "UPDATE subjects SET salt = '00'",
    "UPDATE subjects SET id = 'other'",
    "UPDATE purposes SET required = (1 = 0)",
    "UPDATE purpose_ends SET reason = 'other'",
    "UPDATE personal_fields SET declaration = '{}'",
    "UPDATE notices SET content = '{}'",
    "UPDATE notice_answers SET accepted = (1 = 1)",
    *(
        f"DELETE FROM {table}"
        for table in ("grants", "grant_ends", "subjects", "purposes", "purpose_ends", "personal_fields", "notices",
                      "notice_answers")
    ),
    "INSERT INTO grant_ends SELECT grant_id, kind, how, screen, reason, ended_at FROM grant_ends",
    "INSERT INTO grants (record, act, subject, purpose, purpose_version, notice, notice_version, separate, language,"
    " how, screen, given_at, ended_at) SELECT record, act, subject, purpose, purpose_version, notice, notice_version,"
    " separate, language, how, screen, given_at, NULL FROM grants WHERE ended_at IS NULL",
    "INSERT INTO grants (record, act, subject, purpose, purpose_version, notice, notice_version, separate, language,"
    " how, screen, given_at, ended_at) SELECT record, act, subject, 'pass_photo', 1, notice, notice_version,"
    " separate, language, how, screen, given_at, given_at FROM grants",
]  # fmt: skip
"""What would rewrite the past, end a grant without saying how, or let two stand."""

ONLY_SQLITE = [
    "INSERT OR REPLACE INTO purpose_ends SELECT name, 'other', ended_at FROM purpose_ends",
    "INSERT OR REPLACE INTO grant_ends SELECT grant_id, 'request', how, screen, reason, ended_at FROM grant_ends",
    "UPDATE OR REPLACE evidence SET id = 1",
    "INSERT OR REPLACE INTO evidence SELECT id, kind, subject, at, '{}', leaf_index FROM evidence",
]
ONLY_POSTGRESQL = ["TRUNCATE grant_ends", "TRUNCATE notices CASCADE", "TRUNCATE subjects CASCADE"]


def test_the_database_refuses_to_rewrite_the_past(park: Database) -> None:
    """No statement changes, deletes or replaces what was kept; not even our own code could."""
    with park.session() as session:
        who, other = holder(session), holder(session)
        agree(session, who, "face_entry")
        agree(session, other, "pass_photo")
        notices.answer(session, who, "annual-pass", 1, False, "button", "app", AT)
        withdraw(session, who, "face_entry", how="button", screen="app", at=AT + DAY)
        end_all(session, "fingerprint_entry", "purpose_ended", reason="停用", at=AT + DAY)
    for statement in STATEMENTS + (ONLY_SQLITE if park.embedded else ONLY_POSTGRESQL):
        refused = False
        try:
            with park.session() as session:
                session.execute(text(statement))
        except DBAPIError:
            refused = True
        assert refused, statement
    with park.session() as session:
        assert [each.purpose for each in standing(session)] == ["pass_photo"]
        assert len(history(session, who)) == 3
