"""Case 2, replayed: two parks live through the same year, one by the holdings and one without any rule.

The rule of this module: nothing is decided here. Both parks run the service's own code; in the second every question is
answered yes, which shows that the checks can fail.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from threading import Event
from typing import Any

from apscheduler.events import EVENT_JOB_EXECUTED

from duecare.cases.court import Court, Verdict
from duecare.cases.guo_v_safari_park import world
from duecare.cases.guo_v_safari_park.findings import Breach, Findings, weigh
from duecare.clock import SetClock
from duecare.consent import grants, notices
from duecare.errors import DuecareError, Erased, Forbidden, NeverHeld, UseError
from duecare.evidence.cosign import RemoteWitness
from duecare.evidence.cosignature import WitnessKey
from duecare.evidence.log import Log
from duecare.rules.decision import Decision
from duecare.rules.engine import Engine, Request
from duecare.settings import Settings, load
from duecare.store.home import Home
from duecare.systems.passes import changes, enrolment, gates, holders, messages, offers, refunds, sales, truth
from duecare.systems.passes.device import Gate, Presentation
from duecare.systems.passes.park import Park
from duecare.systems.passes.products import PASS_FOR_TWO
from duecare.systems.passes.purposes import NOTICE
from duecare.systems.passes.sales import Sold
from duecare.systems.passes.server import serving
from duecare.vault import erasure, retention
from duecare.vault.backup import backup, restore

_WAIT = 120.0
"""Seconds that the schedule may take to do by itself what is due."""


def replay(court: Court) -> Verdict:
    """Run the case. Raises what the service raises; a check that fails is a verdict, not an error."""
    said = world.facts()
    ours = _with_care(court, said)
    theirs = _without_rules(court, said)
    return Verdict(said["case"]["name"], said["case"]["title"], said["case"]["holding"], weigh(said, ours, theirs))


class _NoRules(Engine):
    """Answers every question with yes, as a park does that asks none. No command or setting reaches it."""

    def decide(self, request: Request) -> Decision:
        return Decision(True, ())


def _with_care(court: Court, said: dict[str, Any]) -> Findings:
    clock = SetClock(world.noon(said["purchase"]["on"]))
    with ExitStack() as stack:
        texts = court.folder / "messages"
        sms = stack.enter_context(court.sms(texts))
        home = stack.enter_context(Home(_settings(court.folder / "with-care", sms), clock))
        key = str(Log.at(home.path).key)
        url, witness = stack.enter_context(court.witness(court.folder / "witness", key))
        remote = RemoteWitness(url, WitnessKey.parse(witness))
        park = stack.enter_context(Park.open(home, witnessed_by=[remote]))
        gate = stack.enter_context(_gate(park, court.folder / "gate", clock))
        court.progress("the purchase")
        found = _purchase(park, said)
        he, other = found.sold.cards[0].subject, found.leaving.cards
        found = replace(found, entries=_entries(gate, clock, found.sold, said))
        court.progress("the messages")
        clock.set(world.noon(said["messages"]["first"]))
        changed = changes.publish(park, world.ANNOUNCED)
        messages.send(park)
        clock.set(world.noon(said["fingerprints"]["stopped"] - timedelta(days=1)))
        backup(home, court.folder / "backup")
        court.progress("fingerprint entry ends")
        clock.set(world.noon(said["fingerprints"]["stopped"]))
        changes.end_method(park, world.FINGERPRINT_WAY, note="指纹入园停用")
        found = replace(found, fingerprint=_why(lambda: _open(park, "fingerprint_template", he, "fingerprint_entry")))
        revived = _why(lambda: _restored(court, home, remote, clock, he))
        clock.set(world.noon(said["messages"]["second"]))
        changes.remind(park, changed.number)
        changes.answer(park, he, changed.number, accepted=False, how="by telephone", screen="call centre")
        messages.send(park)
        court.progress("the visit")
        clock.set(world.noon(said["visit"]["on"]))
        card = found.sold.cards[0].card
        asked_for_face = gate.enter(Presentation(card, template=world.face(0, 1)))
        with_id_card = gate.enter(Presentation(card, found.buyers[0].id_number))
        with home.database.session() as session:
            binding = notices.binding(session, he, NOTICE)
            quote = refunds.quote(
                session, found.sold.pass_id, [each.subject for each in found.sold.cards], park.today()
            )
        paid = refunds.pay_back(
            park, found.leaving.pass_id, [each.subject for each in other], reason="入园方式变更, 未接受", actor="clerk"
        )
        messages.send(park)
        court.progress("the years after")
        kept = said["retention"]
        before_due = _held(park, clock, kept["biometrics_until"], he)
        _by_itself(park, clock, kept["biometrics_until"] + timedelta(days=1), he)
        biometrics = _held(park, clock, kept["biometrics_until"] + timedelta(days=1), he)
        before_end = _held(park, clock, kept["basics_until"], he)
        _by_itself(park, clock, kept["basics_until"] + timedelta(days=1), he)
        page = truth.truth(park, he)
        stranger = _hand_over(park, court.folder / "stranger", he, key, witness)
        found = replace(
            found,
            revived=revived,
            binding=binding,
            told=[json.loads(path.read_text(encoding="utf-8")) for path in sorted(texts.glob("*.json"))],
            face=asked_for_face,
            id_card=with_id_card,
            quote=quote,
            paid=paid,
            before_due=before_due,
            after_due=biometrics,
            before_end=before_end,
            page=page,
        )
    for path in (court.folder / "with-care").glob("duecare.db*"):
        path.unlink()
    return replace(found, certificates=_verified(stranger))


def _purchase(park: Park, said: dict[str, Any]) -> Findings:
    """The pass is sold, the photo taken, fingers enrolled; and what the rules refuse is tried."""
    changes.publish(park, world.AGREED)
    buyers = tuple(world.buyer(number, said["purchase"]["method"]) for number in range(4))
    sold = sales.sell(park, PASS_FOR_TWO.name, buyers[:2], screen="pass centre 1", actor="clerk")
    leaving = sales.sell(park, PASS_FOR_TWO.name, buyers[2:], screen="pass centre 1", actor="clerk")
    he = sold.cards[0].subject
    at = park.now()
    with park.home.database.session() as session:
        ways = [(each.way.method, each.way.price) for each in offers.on_sale(session, park.engine, PASS_FOR_TWO)]
    bundled = _why(lambda: _give(park, he, ["pass_photo", "fingerprint_entry"], at))
    only_biometric = _why(lambda: _offer(park, [world.FINGERPRINT_WAY]))
    implied = _why(lambda: _seal_without_consent(park, he))
    enrolment.take_photo(park, he, world.PHOTO, screen="pass centre 1", actor="clerk")
    for number, each in enumerate((*sold.cards, *leaving.cards)):
        enrolment.enrol(
            park, each.subject, world.FINGERPRINT_WAY, world.finger(number), screen="pass centre 1", actor="clerk"
        )
    with park.home.database.session() as session:
        separate = all(each.separate for each in grants.standing(session, purpose="fingerprint_entry"))
    return Findings(
        sold=sold,
        leaving=leaving,
        buyers=buyers,
        ways=ways,
        separate=separate,
        bundled=bundled,
        only_biometric=only_biometric,
        implied=implied,
        photo=(
            _why(lambda: _open(park, "photo", he, "face_entry")),
            _why(lambda: _let_photo_serve_faces(park, he)),
        ),
    )


def _entries(gate: Gate, clock: SetClock, sold: Sold, said: dict[str, Any]) -> list[tuple[date, int, bool]]:
    made = []
    for reading, (number, day) in enumerate(said["entries"]["days"], 1):
        clock.set(world.noon(day))
        answer = gate.enter(Presentation(sold.cards[number].card, template=world.finger(number, reading)))
        made.append((day, number, answer.open))
    return made


def _by_itself(park: Park, clock: SetClock, day: date, subject: str) -> None:
    """Let the schedule run on ``day`` until nothing of the subject is due any more."""
    clock.set(world.noon(day))
    ran = Event()
    scheduler = retention.scheduled(park.vault)
    scheduler.add_listener(lambda _: ran.set(), EVENT_JOB_EXECUTED)
    try:
        while _is_due(park, subject):
            if not ran.wait(_WAIT):
                raise DuecareError(f"The schedule has not run within {_WAIT:.0f} seconds.")
            ran.clear()
    finally:
        scheduler.shutdown(wait=True)


def _is_due(park: Park, subject: str) -> bool:
    with park.home.database.session() as session:
        return any(each.subject == subject for each in retention.due(park.vault, session, park.now()))


def _held(park: Park, clock: SetClock, day: date, subject: str) -> set[str]:
    """The fields that are held of the subject on ``day``."""
    clock.set(world.noon(day))
    with park.home.database.session() as session:
        return {each.field for each in park.vault.holds(session, subject) if each.state == "held"}


def _restored(court: Court, home: Home, witness: RemoteWitness, clock: SetClock, subject: str) -> object:
    """Put the backup of the day before back, with the keys and the log of today, and try the fingerprint."""
    settings = home.settings.model_copy(update={"home": court.folder / "restored"})
    for name in ("keys", "log"):
        shutil.copytree(home.path / name, settings.home / name)
    restore(settings, court.folder / "backup")
    with Home(settings, clock) as old, Park.open(old, witnessed_by=[witness]) as park:
        return _open(park, "fingerprint_template", subject, "fingerprint_entry")


def _hand_over(park: Park, folder: Path, subject: str, log_key: str, witness_key: str) -> Path:
    """Give the subject's certificates and the two public keys to a stranger, in a folder of their own."""
    folder.mkdir()
    (folder / "log.pub").write_text(log_key + "\n", encoding="utf-8")
    (folder / "witness.pub").write_text(witness_key + "\n", encoding="utf-8")
    with park.home.database.session() as session:
        done = erasure.erasures(session, subject)
    for each in done:
        data = truth.certificate(park, subject, each.id)
        (folder / f"{each.purpose}.certificate.json").write_bytes(data)
    return folder


def _verified(folder: Path) -> dict[str, bool]:
    """Each certificate, by its purpose, verified by the command in an empty home."""
    found = {}
    for path in sorted(folder.glob("*.certificate.json")):
        words = ["verify", str(path), "--key", str(folder / "log.pub"), "--witness", str(folder / "witness.pub")]
        command = [sys.executable, "-m", "duecare", *words, "--home", str(folder / "nothing"), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found[path.name.split(".")[0]] = done.returncode == 0 and bool(json.loads(done.stdout)["holds"])
    return found


def _without_rules(court: Court, said: dict[str, Any]) -> Breach:
    """The park of the judgment: a message changes the way in for everybody, silence is consent, nothing is deleted."""
    clock = SetClock(world.noon(said["purchase"]["on"]))
    court.progress("without rules")
    with ExitStack() as stack:
        home = stack.enter_context(Home(_settings(court.folder / "without-rules", ""), clock))
        park = stack.enter_context(Park.open(home, _NoRules.load(), witnessed_by=[]))
        gate = stack.enter_context(_gate(park, court.folder / "gate-without-rules", clock))
        changes.publish(park, world.AGREED)
        buyers = tuple(world.buyer(number, said["purchase"]["method"]) for number in range(2))
        sold = sales.sell(park, PASS_FOR_TWO.name, buyers, screen="pass centre 1", actor="clerk")
        he = sold.cards[0].subject
        enrolment.take_photo(park, he, world.PHOTO, screen="pass centre 1", actor="clerk")
        enrolment.enrol(park, he, world.FINGERPRINT_WAY, world.finger(0), screen="pass centre 1", actor="clerk")
        clock.set(world.noon(said["messages"]["first"]))
        number = changes.publish(park, [world.FACE_WAY], notice=world.faces_only()).number
        with home.database.session() as session:
            at = park.now()
            notices.answer(session, he, NOTICE, number, True, "no answer was asked for", "a text message", at)
            grants.give(
                session, park.engine, he, ["face_entry"], notice=NOTICE, version=number, how="taken for granted",
                screen="a text message", at=at, affirmed=False,
            )  # fmt: skip
            park.vault.allow(session, he, ["photo"], "face_entry", "clerk")
            holders.by_subject(session, he).holder.method = world.FACE_WAY
        photo = _open(park, "photo", he, "face_entry")
        clock.set(world.noon(said["visit"]["on"]))
        refused = gate.enter(Presentation(sold.cards[0].card, buyers[0].id_number))
        clock.set(world.noon(said["retention"]["biometrics_until"] + timedelta(days=1)))
        with_schedule = _why(lambda: retention.run(park.vault))
        kept = _open(park, "fingerprint_template", he, "fingerprint_entry")
    return Breach(photo == world.PHOTO, refused, bool(kept), with_schedule)


@contextmanager
def _gate(park: Park, folder: Path, clock: SetClock) -> Iterator[Gate]:
    """The park's only gate, asking its centre over HTTP."""
    with serving(park) as centre:
        made = Gate.make(folder, "east", centre, str(gates.centre_key(park).verifier), clock)
        with park.home.database.session() as session:
            gates.add_gate(session, made.key, park.now())
        with made:
            yield made


def _settings(home: Path, sms: str) -> Settings:
    return load(
        home=home,
        database_url="",
        sms_url=sms,
        smtp_url="",
        controller_name="某野生动物世界有限公司",
        controller_code="91330100000000000X",
        controller_address="杭州市某区某路1号",
        controller_contact="privacy@park.example",
    )


def _why(act: Callable[[], object]) -> str:
    """Why ``act`` was refused, in the words of the error; empty where it was done."""
    try:
        act()
    except Forbidden as error:
        return " ".join([error.message, *error.reasons])
    except (Erased, NeverHeld, UseError) as error:
        return error.message
    return ""


def _open(park: Park, field: str, subject: str, purpose: str) -> str | bytes:
    return park.vault.open(field, subject, purpose, "service:gate-east", why="入园核验 / entry")


def _give(park: Park, subject: str, purposes: list[str], at: Any) -> None:
    with park.home.database.session() as session:
        grants.give(
            session, park.engine, subject, purposes, notice=NOTICE, version=1, how="one tick for both",
            screen="pass centre 1", at=at,
        )  # fmt: skip


def _offer(park: Park, ways: list[str]) -> None:
    with park.home.database.session() as session:
        offers.open_sale(session, park.engine, PASS_FOR_TWO, ways, park.now())


def _seal_without_consent(park: Park, subject: str) -> None:
    """A fingerprint of one who agreed to the contract alone."""
    with park.home.database.session() as session:
        park.vault.seal(session, subject, {"fingerprint_template": world.finger(0)}, ["fingerprint_entry"], "clerk")


def _let_photo_serve_faces(park: Park, subject: str) -> None:
    with park.home.database.session() as session:
        park.vault.allow(session, subject, ["photo"], "face_entry", "clerk")
