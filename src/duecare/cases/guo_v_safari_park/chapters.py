"""The years of the case, chapter by chapter, in one park: what is done there, what is tried, and what is seen.

The rule of this module: it decides nothing. What a park does by itself is its ``conduct``; the rest is the service's
own code, asked over real HTTP where a gate asks.
"""

from __future__ import annotations

import shutil
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from duecare.cases.guo_v_safari_park import world
from duecare.cases.guo_v_safari_park.conduct import Conduct, day_after, held_on, why
from duecare.cases.guo_v_safari_park.observed import After, Autumn, Couples, Entry, Purchase, Summer, Visit
from duecare.clock import SetClock
from duecare.consent import grants, notices
from duecare.evidence.cosign import RemoteWitness
from duecare.store.home import Home
from duecare.systems.passes import changes, enrolment, messages, offers, refunds, sales, truth
from duecare.systems.passes.device import Gate, Presentation
from duecare.systems.passes.park import Park
from duecare.systems.passes.products import PASS_FOR_TWO
from duecare.systems.passes.purposes import NOTICE
from duecare.systems.passes.refunds import Refund
from duecare.systems.passes.sales import Sold
from duecare.systems.passes.wire import Answer
from duecare.vault import erasure, exports
from duecare.vault.backup import backup, restore

_COUNTER, _CLERK = "pass centre 1", "clerk"
_FINGERPRINT = ("fingerprint_template", "fingerprint_entry")


@dataclass(frozen=True)
class Stage:
    """Where a chapter is played: the figures (``said``), the park with its clock and only gate, and who witnesses."""

    said: Mapping[str, Any]
    conduct: Conduct
    clock: SetClock
    park: Park
    gate: Gate
    witnesses: Sequence[RemoteWitness]
    folder: Path
    progress: Callable[[str], None]

    def day(self, chapter: str, name: str) -> date:
        """It is noon of a day of the figures."""
        return self.on(self.said[chapter][name])

    def on(self, day: date) -> date:
        """It is noon of ``day``."""
        self.clock.set(world.noon(day))
        return day

    def shows_finger(self, sold: Sold, number: int, reading: int) -> Answer:
        """The ``number``-th of all people, whose pass is ``sold``, shows the card and a finger."""
        return self.gate.enter(Presentation(_card(sold, number), template=world.finger(number, reading)))

    def shows_face(self, sold: Sold, number: int) -> Answer:
        """They show the card and their face."""
        return self.gate.enter(Presentation(_card(sold, number), template=world.face(number, 1)))

    def shows_id_card(self, sold: Sold, number: int) -> Answer:
        """They show the card and their ID card."""
        return self.gate.enter(Presentation(_card(sold, number), world.buyer(number, "").id_number))

    def opens(self, field: str, subject: str, purpose: str) -> str:
        """Why the gate's service may not open a field; empty where it did."""
        return why(lambda: _open(self.park, field, subject, purpose))


def purchase(stage: Stage) -> Purchase:
    """27 April 2019: four passes are sold, photos taken, fingers enrolled; and what the rules refuse is tried."""
    stage.progress("the purchase")
    stage.day("purchase", "on")
    park, way = stage.park, stage.said["purchase"]["method"]
    stage.conduct.open_sale(park)
    with park.home.database.session() as session:
        ways = [(each.way.method, each.way.price) for each in offers.on_sale(session, park.engine, PASS_FOR_TWO)]
    only_biometric = why(lambda: _offer(park, [world.FINGERPRINT_WAY]))
    passes = [
        sales.sell(
            park, PASS_FOR_TWO.name, [world.buyer(2 * couple, way), world.buyer(2 * couple + 1, way)],
            screen=_COUNTER, actor=_CLERK,
        )
        for couple in range(4)
    ]  # fmt: skip
    couples = Couples(*passes)
    implied = why(lambda: _seal_without_consent(park, couples.he))
    bundled = why(lambda: _give(park, couples.he, ["pass_photo", "fingerprint_entry"], how="one tick for both"))
    unsaid = why(lambda: _give(park, couples.he, ["face_entry"], how="said nothing", affirmed=False))
    for number, subject in enumerate(subjects(couples)):
        enrolment.take_photo(park, subject, world.PHOTO, screen=_COUNTER, actor=_CLERK)
        enrolment.enrol(park, subject, way, world.finger(number), screen=_COUNTER, actor=_CLERK)
    with park.home.database.session() as session:
        consents = [each.separate for each in grants.standing(session, purpose="fingerprint_entry")]
    served = why(lambda: _let_photo_serve_faces(park, couples.he))
    for_faces = (stage.opens("photo", couples.he, "face_entry"), served)
    return Purchase(couples, ways, only_biometric, consents, bundled, implied, unsaid, for_faces)


def entries(stage: Stage, couples: Couples, first: date, last: date) -> list[Entry]:
    """Those of the five entries that are from ``first`` to ``last``."""
    days = [each for each in stage.said["entries"]["days"] if first <= each[1] <= last]
    return [
        Entry(stage.on(day), number, stage.shows_finger(couples.his, number, day.toordinal()).open)
        for number, day in days
    ]


def summer(stage: Stage, couples: Couples) -> Summer:
    """12 July 2019: faces are announced. One couple accepts, and enters by face; one says nothing, and enters as
    agreed."""
    stage.progress("the message")
    stage.day("messages", "first")
    park, (one, other) = stage.park, (each.subject for each in couples.accepting.cards)
    version = stage.conduct.announce(park)
    messages.send(park)
    stage.day("accepting", "says_so")
    for each in (one, other):
        changes.answer(park, each, version, accepted=True, how="signed at the pass centre", screen=_COUNTER)
    before = stage.shows_face(couples.accepting, 2)
    for number, each in ((2, one), (3, other)):
        enrolment.enrol(park, each, world.FACE_WAY, world.face(number), screen=_COUNTER, actor=_CLERK)
    with park.home.database.session() as session:
        separate = [each.separate for each in grants.standing(session, one, "face_entry")] == [True]
    stage.day("accepting", "enters")
    after = stage.shows_face(couples.accepting, 2)
    stage.day("silent", "enters")
    return Summer(version, before, after, separate, stage.shows_finger(couples.silent, 4, 1))


def autumn(stage: Stage, couples: Couples, version: int) -> Autumn:
    """7 October 2019: the fingerprint gates stop. A backup was made the day before, and his own copy waits for him at
    the counter. On 17 October faces are announced again, and he declines."""
    stage.progress("fingerprint entry ends")
    stopped = stage.said["fingerprints"]["stopped"]
    stage.on(date.fromordinal(stopped.toordinal() - 1))
    park, kept = stage.park, stage.folder / "backup"
    backup(park.home, kept)
    exports.export(park.vault, couples.he, _CLERK)
    readable = _readable([park.home.path], [world.finger(0)])
    stage.on(stopped)
    stage.conduct.end_fingerprints(park, subjects(couples))
    fingerprint = stage.opens(_FINGERPRINT[0], couples.he, _FINGERPRINT[1])
    left = sum(_FINGERPRINT[0] in held_on(park, each) for each in subjects(couples))
    seen = Autumn(
        fingerprint, left, (readable, _readable([park.home.path, kept], [world.finger(0)])),
        why(lambda: _put_back(stage, kept, couples.he)),
    )  # fmt: skip
    stage.day("messages", "second")
    stage.conduct.remind(park, version)
    for each in (couples.he, *(each.subject for each in couples.leaving.cards)):
        # Where silence was taken for a yes, there is nothing left to decline.
        why(partial(changes.answer, park, each, version, accepted=False, how="by telephone", screen="call centre"))
    messages.send(park)
    return seen


def visit(stage: Stage, couples: Couples) -> Visit:
    """26 October 2019: he stands at the gate. So do the others; and the couple that leaves is paid, and comes again the
    day after."""
    stage.progress("the visit")
    today, park = stage.day("visit", "on"), stage.park
    face, id_card = stage.shows_face(couples.his, 0), stage.shows_id_card(couples.his, 0)
    silent = stage.shows_id_card(couples.silent, 4)
    paid: list[Refund] = []
    why(lambda: paid.append(_pay(park, couples.leaving)))
    not_owed = why(lambda: _pay(park, couples.accepting))
    messages.send(park)
    with park.home.database.session() as session:
        mine = [each.subject for each in couples.his.cards]
        quote = refunds.quote(session, couples.his.pass_id, mine, today)
        he, accepting, silent_one = (
            notices.binding(session, each, NOTICE)
            for each in (couples.he, couples.accepting.cards[0].subject, couples.silent.cards[0].subject)
        )
    page, readable = truth.truth(park, couples.he), _readable([park.home.path], world.words_of_people())
    stage.on(day_after(today))
    shut = stage.shows_id_card(couples.leaving, 6)
    return Visit(
        (he, accepting, silent_one), face, id_card, silent, quote, paid[0] if paid else None, shut, not_owed, page,
        readable,
    )  # fmt: skip


def after(stage: Stage, couples: Couples) -> After:
    """The years after: a face is withdrawn, the pass expires, and what is kept goes when its time is over."""
    stage.progress("the years after")
    stage.day("accepting", "withdraws")
    park, (one, other) = stage.park, (each.subject for each in couples.accepting.cards)
    refused = why(lambda: truth.withdraw(park, other, "face_entry", how="click", screen="page of truth"))
    withdrawn = stage.opens("face_template", other, "face_entry")
    instead = stage.shows_id_card(couples.accepting, 3)
    held = []
    for name in ("biometrics_until", "basics_until"):
        last = stage.day("retention", name)
        held.append((held_on(park, couples.he), held_on(park, one)))
        stage.on(day_after(last))
        stage.conduct.let_time_pass(park, (couples.he, one))
        held.append((held_on(park, couples.he), held_on(park, one)))
    with park.home.database.session() as session:
        gone = [(each.purpose, each.reason) for each in erasure.erasures(session, couples.he)]
    return After(refused, withdrawn, instead, held, gone)


def hand_over(stage: Stage, couples: Couples, folder: Path, keys: Mapping[str, str]) -> None:
    """Give a stranger the certificates of all of his data and of the face that was withdrawn, and the public keys, in a
    folder of their own."""
    folder.mkdir()
    for name, key in keys.items():
        (folder / f"{name}.pub").write_text(key + "\n", encoding="utf-8")
    with stage.park.home.database.session() as session:
        done = [("he", each) for each in erasure.erasures(session, couples.he)]
        other = erasure.erasures(session, couples.accepting.cards[1].subject)
        done += [("accepting", each) for each in other if each.purpose == "face_entry"]
    for name, each in done:
        path = folder / f"{name}.{each.purpose}.certificate.json"
        path.write_bytes(truth.certificate(stage.park, each.subject, each.id))


def subjects(couples: Couples) -> list[str]:
    """All holders, in the order of the people."""
    return [card.subject for sold in couples.all for card in sold.cards]


def _card(sold: Sold, number: int) -> str:
    return sold.cards[number % world.TOGETHER].card


def _open(park: Park, field: str, subject: str, purpose: str) -> str | bytes:
    return park.vault.open(field, subject, purpose, "service:gate-east", why="入园核验 / entry")


def _pay(park: Park, sold: Sold) -> Refund:
    leaving = [each.subject for each in sold.cards]
    return refunds.pay_back(park, sold.pass_id, leaving, reason="入园方式变更, 未接受", actor=_CLERK)


def _give(park: Park, subject: str, purposes: list[str], *, how: str, affirmed: bool = True) -> None:
    with park.home.database.session() as session:
        grants.give(
            session, park.engine, subject, purposes, notice=NOTICE, version=1, how=how, screen=_COUNTER,
            at=park.now(), affirmed=affirmed,
        )  # fmt: skip


def _offer(park: Park, ways: list[str]) -> None:
    with park.home.database.session() as session:
        offers.open_sale(session, park.engine, PASS_FOR_TWO, ways, park.now())


def _seal_without_consent(park: Park, subject: str) -> None:
    """A fingerprint of one who agreed to the contract alone."""
    with park.home.database.session() as session:
        park.vault.seal(session, subject, {_FINGERPRINT[0]: world.finger(0)}, [_FINGERPRINT[1]], _CLERK)


def _let_photo_serve_faces(park: Park, subject: str) -> None:
    with park.home.database.session() as session:
        park.vault.allow(session, subject, ["photo"], "face_entry", _CLERK)


def _put_back(stage: Stage, kept: Path, subject: str) -> object:
    """Put the backup of the day before back, with the keys and the log of today, and try the fingerprint."""
    settings = stage.park.home.settings.model_copy(update={"home": stage.folder / "restored"})
    for name in ("keys", "log"):
        shutil.copytree(stage.park.home.path / name, settings.home / name)
    restore(settings, kept)
    engine = stage.conduct.engine()
    with Home(settings, stage.clock) as old, Park.open(old, engine, witnessed_by=stage.witnesses) as park:
        return _open(park, _FINGERPRINT[0], subject, _FINGERPRINT[1])


def _readable(folders: Sequence[Path], secrets: Sequence[bytes]) -> int:
    """How many files hold one of these, as it is or in base64."""
    needles = [each for secret in secrets for each in (secret, b64encode(secret))]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sum(any(needle in data for needle in needles) for data in (path.read_bytes() for path in files))
