"""Whatever people and operators do, in any order: what stood at every moment is what a simple model says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from duecare.consent import notices
from duecare.consent.grants import EndKind, end, end_all, history, standing, withdraw
from duecare.errors import Forbidden, UseError
from duecare.store.database import Database

from .world import AT, DAY, FIRST, PARK, agree, furnish, holder

PEOPLE = 2
PLAIN = ("pass_contract", "pass_photo")
SENSITIVE = ("face_entry",)
EVERY = (*PLAIN, *SENSITIVE)
TICK = timedelta(seconds=1)

WHO = st.integers(0, PEOPLE - 1)
ONE = st.sampled_from(EVERY)
ACTS = st.one_of(
    st.tuples(st.just("give"), WHO, st.one_of(ONE.map(lambda each: (each,)), st.permutations(PLAIN).map(tuple))),
    st.tuples(st.just("give"), WHO, st.just(("pass_photo", "face_entry"))),
    st.tuples(st.just("give_old"), WHO, ONE.map(lambda each: (each,))),
    st.tuples(st.just("withdraw"), WHO, ONE),
    st.tuples(st.just("end"), WHO, ONE),
    st.tuples(st.just("end_all"), ONE, st.sets(WHO)),
    st.tuples(st.just("answer"), WHO, st.tuples(st.integers(-1, 0), st.booleans())),
    st.tuples(st.just("answer"), WHO, st.tuples(st.just(0), st.booleans())),
    st.tuples(st.just("publish"), st.just(0), st.just(0)),
)
SCRIPT = st.lists(st.tuples(st.integers(0, 2), ACTS), min_size=15, max_size=25)


@dataclass
class Stay:
    """A grant in the model: from when until when, under which version, and whether it was given alone."""

    start: datetime
    version: int
    separate: bool
    until: datetime | None = None

    def stood(self, at: datetime) -> bool:
        return self.start <= at and (self.until is None or at < self.until)


@dataclass
class Model:
    """Everything in three dictionaries; nothing of it knows a database."""

    stays: dict[tuple[int, str], list[Stay]] = field(default_factory=dict)
    answers: dict[int, list[tuple[datetime, int, bool]]] = field(default_factory=dict)
    newest: int = 1

    def give(self, who: int, purposes: tuple[str, ...], at: datetime) -> None:
        for name in purposes:
            stays = self.stays.setdefault((who, name), [])
            alone = len(purposes) == 1
            if stays and stays[-1].until is None:
                same = stays[-1].version == self.newest
                if same and (stays[-1].separate or not alone):
                    continue
                stays[-1].until = at
            stays.append(Stay(at, self.newest, alone))

    def end(self, who: int, name: str, at: datetime) -> bool:
        stays = self.stays.get((who, name), [])
        if stays and stays[-1].until is None:
            stays[-1].until = at
        return bool(stays)

    def standing(self, who: int, at: datetime) -> list[tuple[str, int, bool]]:
        found = [(name, stay) for (whose, name), stays in self.stays.items() if whose == who for stay in stays]
        return sorted((name, stay.version, stay.separate) for name, stay in found if stay.stood(at))

    def word(self, who: int, number: int, at: datetime) -> bool | None:
        """The last word of a person on a version: a grant given under it is a yes, and of one moment the stronger."""
        said = [(when, 0, yes) for when, version, yes in self.answers.get(who, []) if version == number and when <= at]
        given = [stay for (whose, _), stays in self.stays.items() if whose == who for stay in stays]
        said = said[-1:] + [(stay.start, 1, True) for stay in given if stay.version == number and stay.start <= at]
        return max(said)[2] if said else None

    def bound(self, who: int, at: datetime) -> int | None:
        return max((number for number in range(1, self.newest + 1) if self.word(who, number, at)), default=None)

    def asked(self, who: int, number: int, at: datetime) -> bool:
        """Whether an earlier version binds the person: by a grant that stands, or by the last answer to it."""
        last = {version: yes for when, version, yes in self.answers.get(who, []) if when <= at}
        answered = any(yes for version, yes in last.items() if version < number)
        return answered or any(version < number for _, version, _ in self.standing(who, at))

    def touched(self, who: int, number: int, at: datetime) -> bool:
        return any(self.word(who, later, at) is not None for later in range(number, self.newest + 1))


@pytest.fixture
def shared(database_url: str) -> Iterator[Database]:
    """One park for all runs; each run has people and a notice of its own."""
    database = Database(database_url)
    furnish(database)
    yield database
    database.close()


@given(script=SCRIPT)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_acts_is_replayed_exactly(shared: Database, script: list[tuple[int, Any]]) -> None:
    """Standing grants, what binds whom, who declined and who has not answered: as the model says, at every moment."""
    with shared.session() as session:
        people = [holder(session) for _ in range(PEOPLE)]
        first = notices.version(session, "annual-pass").number
        start = max(AT, notices.version(session, "annual-pass").published_at) + DAY
    model, moments, now = Model(newest=first), [start], start
    with shared.session() as session:
        for gap, (act, who, what) in script:
            now += gap * TICK
            moments.append(now)
            perform(session, model, people, (act, who, what), now)
    with shared.session() as session:
        for at in [*sorted(set(moments)), None]:
            compare(session, model, people, at, now, first)


def perform(session: Session, model: Model, people: list[str], given: tuple[str, Any, Any], now: datetime) -> None:
    """Do one thing in the database and in the model; what is refused there changes nothing here."""
    act, who, what = given
    if act == "give":
        if "face_entry" in what and len(what) > 1:
            with pytest.raises(Forbidden), session.begin_nested():
                agree(session, people[who], *what, version=model.newest, at=now)
            return
        agree(session, people[who], *what, version=model.newest, at=now)
        model.give(who, what, now)
    elif act == "give_old" and model.newest > 1:
        with pytest.raises(Forbidden), session.begin_nested():
            agree(session, people[who], *what, version=model.newest - 1, at=now)
    elif act in ("withdraw", "end"):
        known = model.end(who, what, now)
        with nullcontext() if known else pytest.raises(UseError):
            if act == "withdraw":
                withdraw(session, people[who], what, how="button", screen="app", at=now)
            else:
                end(session, people[who], what, EndKind.REQUEST, reason="asked", at=now)
    elif act == "end_all":
        chosen = [people[each] for each in sorted(what)]
        stood = [
            stays[-1].until is None for (whose, name), stays in model.stays.items() if whose in what and name == who
        ]
        assert end_all(session, who, EndKind.EXPIRED, reason="over", at=now, subjects=chosen) == sum(stood)
        for each in what:
            model.end(each, who, now)
    elif act == "answer":
        back, yes = what
        number = model.newest + back
        if number < 1:
            return
        if yes and back:
            with pytest.raises(UseError), session.begin_nested():
                notices.answer(session, people[who], "annual-pass", number, yes, "reply", "sms", now)
            return
        notices.answer(session, people[who], "annual-pass", number, yes, "reply", "sms", now)
        model.answers.setdefault(who, []).append((now, number, yes))
    elif act == "publish":
        text = replace(FIRST, body_en=f"{FIRST.body_en} {model.newest}")
        assert notices.publish(session, text, PARK, now) == model.newest + 1
        model.newest += 1


def compare(session: Session, model: Model, people: list[str], at: datetime | None, now: datetime, first: int) -> None:
    """The database and the model on what stood at ``at`` (none: what stands), after everything up to ``now``."""
    then = at or now
    for who, name in enumerate(people):
        stood = [(each.purpose, each.notice_version, each.separate) for each in
                 standing(session, name, at=at)]  # fmt: skip
        assert sorted(stood) == model.standing(who, then)
        assert notices.binding(session, name, "annual-pass", at) == model.bound(who, then)
        told = [each for each in history(session, name) if each.kind == "give"]
        assert len(told) == sum(len(stays) for (whose, _), stays in model.stays.items() if whose == who)
    for number in range(first, model.newest + 1):
        for found, said in (
            (notices.unanswered(session, "annual-pass", number, at),
             lambda who, number=number: model.asked(who, number, then) and not model.touched(who, number, then)),
            (notices.declined(session, "annual-pass", number, at),
             lambda who, number=number: model.word(who, number, then) is False),
            (notices.accepted(session, "annual-pass", number, at),
             lambda who, number=number: model.word(who, number, then) is True),
        ):  # fmt: skip
            assert sorted(set(found) & set(people)) == sorted(people[who] for who in range(PEOPLE) if said(who))
