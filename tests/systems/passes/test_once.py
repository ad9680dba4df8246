"""A write that is sent twice is done once, whatever is killed, and whoever else sends it at the same moment."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from duecare.clock import SetClock
from duecare.errors import BadInput, UseError
from duecare.settings import load
from duecare.store.home import Home
from duecare.systems.passes import changes, clerks, enrolment, refunds, sales, truth
from duecare.systems.passes import once as writes
from duecare.systems.passes.device import Gate, Presentation
from duecare.systems.passes.models import Card, HolderMessage, OnceAnswer, PaidBack, Pass, Period
from duecare.systems.passes.once import AnotherWrite
from duecare.systems.passes.park import Park
from duecare.systems.passes.sales import Buyer, Sold

from .conftest import BOUGHT
from .people import FACES, HE, SHE, finger, id_number

KEY, OTHER = "5d5b5a54-6f1e-4c8b-9f04-0a2c86b90d11", "b1946ac9-2492-4d23-8b55-c0d3a6c5e7f0"


def count(park: Park, kind: type) -> int:
    with park.home.database.session() as session:
        return session.scalar(select(func.count()).select_from(kind)) or 0


def sell(park: Park, key: str, *buyers: Buyer, actor: str = "li") -> Sold:
    return sales.sell(park, "pass_for_two", buyers or (HE, SHE), screen="counter 1", actor=actor, once_key=key)


def test_a_sale_sent_twice(park: Park, gate: Gate) -> None:
    """The second answer is the first one, with the numbers of the cards; one pass was sold, and its card opens."""
    first, second = sell(park, KEY), sell(park, KEY)
    assert second == first
    assert [each.card for each in second.cards] == [each.card for each in first.cards]
    assert (count(park, Pass), count(park, Card)) == (1, 2)
    assert gate.enter(Presentation(second.cards[0].card, HE.id_number)).open
    assert sell(park, OTHER).pass_id != first.pass_id
    assert sell(park, "").pass_id != sell(park, "").pass_id


def test_nothing_of_an_answer_is_kept_that_could_be_misused(park: Park, sold: Sold) -> None:
    """Neither a card's number, nor a subject, nor the key, nor what was sent stands in the row."""
    made = sell(park, KEY)
    with park.home.database.session() as session:
        row = session.scalars(select(OnceAnswer)).one()
    text = json.dumps([row.name, row.request, row.answer], ensure_ascii=False)
    for each in (*(card.card for card in made.cards), *(card.subject for card in made.cards), KEY, HE.name, HE.phone):
        assert each not in text


def test_one_key_is_for_one_write(park: Park) -> None:
    """With another buyer, or for another kind of write, the key is refused, and nothing is done; another clerk's is
    another key."""
    made = sell(park, KEY)
    with pytest.raises(AnotherWrite):
        sell(park, KEY, HE, replace(SHE, name="成员丙"))
    with pytest.raises(AnotherWrite):
        sales.renew(park, made.pass_id, screen="counter 1", actor="li", once_key=KEY)
    assert (count(park, Pass), count(park, Period)) == (1, 1)
    others = sell(park, KEY, actor="wu")
    assert others.pass_id != made.pass_id
    assert {each.card for each in others.cards}.isdisjoint({each.card for each in made.cards})


@pytest.mark.parametrize("key", ["short", "x" * 65, "a key with spaces in it", "钥匙" * 10])
def test_a_key_out_of_form(park: Park, key: str) -> None:
    """It is refused before anything is done, and not repeated."""
    with pytest.raises(BadInput) as refused:
        sell(park, key)
    assert key not in str(refused.value)
    assert count(park, Pass) == 0


def test_a_failure_is_not_remembered(park: Park) -> None:
    """What was refused may be tried again under its key, once what was wrong is right."""
    made = sell(park, OTHER)
    leaving = {"reason": "declines faces", "actor": "li", "once_key": KEY}
    readers = [each.subject for each in made.cards]
    enrolment.enrol(park, readers[0], "card_fingerprint", finger("he"), screen="centre", actor="li")
    with pytest.raises(UseError, match="No refund is owed"):
        refunds.pay_back(park, made.pass_id, readers[:1], **leaving)  # type: ignore[arg-type]
    changes.publish(park, FACES)
    changes.end_method(park, "card_fingerprint", note="stopped")
    first = refunds.pay_back(park, made.pass_id, readers[:1], **leaving)  # type: ignore[arg-type]
    assert refunds.pay_back(park, made.pass_id, readers[:1], **leaving) == first  # type: ignore[arg-type]
    assert (first.amount, count(park, PaidBack)) == (Decimal(678), 1)


def test_every_other_write_sent_twice(park: Park, sold: Sold, clock: SetClock) -> None:
    """Renewal, a new card, a photo, a template, an answer, a withdrawal, an erasure: each is done once."""
    his = sold.cards[0].subject

    def again(act: Callable[..., object], *given: object, **named: object) -> None:
        first = act(park, *given, **named)
        assert act(park, *given, **named) == first

    by = {"screen": "centre", "actor": "li"}
    again(sales.renew, sold.pass_id, **by, once_key=KEY + "-1")
    again(sales.replace_card, HE.id_number, actor="li", once_key=KEY + "-2")
    again(enrolment.take_photo, his, b"photo", **by, once_key=KEY + "-3")
    again(enrolment.enrol, his, "card_fingerprint", finger("he"), **by, once_key=KEY + "-4")
    number = changes.publish(park, FACES).number
    again(changes.answer, his, number, accepted=False, how="click", screen="page", once_key=KEY + "-5")
    again(truth.withdraw, his, "pass_photo", how="click", screen="page", once_key=KEY + "-6")
    assert count(park, Card) == 3
    assert [each["what"] for each in truth.truth(park, his)["history"]].count("decline") == 1
    assert count(park, Period) == 2
    again(truth.erase, his, ends_pass=True, how="click", screen="page", once_key=KEY + "-7")


def test_two_at_once(park: Park) -> None:
    """The same sale from two threads at one moment: one of them does it, and both have its answer."""
    for turn in range(5):
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda _, key=f"{KEY}-{turn}": sell(park, key), range(4)))
        assert len({each.pass_id for each in made}) == 1
        assert len({tuple(card.card for card in each.cards) for each in made}) == 1
    assert count(park, Pass) == 5


def _sell_and_die(home: str, url: str, moment: str) -> None:
    """Sell, and be killed before the sale commits, or after it and before it is answered."""

    def die(session: Session, *_: object) -> None:
        if session.info.get("sold"):
            os.kill(os.getpid(), signal.SIGKILL)

    def note(session: Session, _context: object, _instances: object) -> None:
        session.info["sold"] = session.info.get("sold") or any(isinstance(each, OnceAnswer) for each in session.new)

    event.listen(Session, "before_flush", note)
    event.listen(Session, moment, die)
    with Home(load(home=home, database_url=url), SetClock(BOUGHT)) as opened, Park.open(opened) as park:
        sell(park, KEY)


@pytest.mark.parametrize(("moment", "sold_before"), [("after_flush_postexec", 0), ("after_commit", 1)])
def test_killed_before_or_after_the_commit(
    park: Park, home: Home, database_url: str, moment: str, sold_before: int, gate: Gate
) -> None:
    """A clerk's program is killed: sent again, the sale is there once, and the answer is the one that was lost."""
    child = multiprocessing.get_context("spawn").Process(
        target=_sell_and_die, args=(str(home.path), database_url, moment)
    )
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    assert count(park, Pass) == sold_before
    made = sell(park, KEY)
    assert count(park, Pass) == 1
    assert count(park, Card) == 2
    assert gate.enter(Presentation(made.cards[1].card, SHE.id_number)).open


def test_answers_are_forgotten(park: Park, clock: SetClock) -> None:
    """After a week the key stands for nothing, and a write under it is a new one."""
    first = sell(park, KEY)
    for days, left in ((6, 1), (2, 0)):
        clock.advance(timedelta(days=days))
        with park.home.database.session() as session:
            writes.forget(session, park.now())
        assert count(park, OnceAnswer) == left
    later = sell(park, KEY)
    assert later.pass_id != first.pass_id
    assert {each.card for each in later.cards}.isdisjoint({each.card for each in first.cards})


@pytest.fixture
def clerk(park: Park, centre: str) -> Iterator[httpx.Client]:
    with park.home.database.session() as session:
        key = clerks.add(session, "li", park.now())
    with httpx.Client(base_url=centre, headers={"authorization": f"Bearer {key}"}, timeout=60) as client:
        yield client


def test_the_header_on_the_pages(clerk: httpx.Client, park: Park, centre: str) -> None:
    """``Idempotency-Key`` in quotation marks or without: the same answer, byte for byte; another body is refused."""
    order = {"product": "pass_for_two", "holders": [vars(HE), vars(SHE)]}
    first, second = (
        clerk.post("/v1/centre/passes", json=order, headers={"idempotency-key": key}) for key in (f'"{KEY}"', KEY)
    )
    assert (first.status_code, second.status_code, second.content) == (201, 201, first.content)
    bad = clerk.post("/v1/centre/passes", json={**order, "language": "en"}, headers={"idempotency-key": KEY})
    assert (bad.status_code, bad.json()["title"]) == (422, "AnotherWrite")
    assert bad.headers["content-type"] == "application/problem+json"
    assert clerk.post("/v1/centre/passes", json=order, headers={"idempotency-key": "short"}).status_code == 422
    sold = first.json()
    his = sold["cards"][0]
    paths = (
        (f"/v1/centre/holders/{his['subject']}/photo", {"photo": b64encode(b"photo").decode()}),
        (f"/v1/centre/passes/{sold['pass_id']}/renewals", {}),
        ("/v1/centre/cards", {"id_number": id_number(2)}),
        (
            f"/v1/centre/passes/{sold['pass_id']}/refunds",
            {"holders": [his["subject"]], "reason": "moves away", "goodwill": True},
        ),
    )
    for number, (path, body) in enumerate(paths):
        headers = {"idempotency-key": f"{OTHER}-{number}"}
        answers = [clerk.post(path, json=body, headers=headers) for _ in range(2)]
        assert answers[0].is_success, answers[0].text
        assert [each.content for each in answers] == [answers[0].content] * 2
    assert (count(park, Pass), count(park, Period), count(park, PaidBack), count(park, Card)) == (1, 2, 1, 3)
    assert count(park, HolderMessage) == 1
    shown = {"card": his["card"], "id_number": HE.id_number}
    token = httpx.post(f"{centre}/v1/me/session", json=shown, timeout=60).json()["token"]
    with httpx.Client(base_url=centre, headers={"authorization": f"Bearer {token}"}, timeout=60) as me:
        gone = [
            me.post("/v1/me/withdrawals", json={"purpose": "pass_photo"}, headers={"idempotency-key": KEY}).json()
            for _ in range(2)
        ]
        assert [len(each["erasures"]) for each in gone] == [1, 1]
        assert gone[0] == gone[1]
        other = me.post("/v1/me/withdrawals", json={"purpose": "mail_contact"}, headers={"idempotency-key": KEY})
        assert other.status_code == 422


def test_no_trace_in_the_home(park: Park, home: Home) -> None:
    """No file of the home has the number of a card that was issued under a key."""
    made = sell(park, KEY)
    for path in Path(home.path).rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(each.card.encode() in data or bytes.fromhex(each.card) in data for each in made.cards), path
