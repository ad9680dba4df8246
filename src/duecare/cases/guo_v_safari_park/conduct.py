"""How the two parks of the replay behave: one by the rules, and one as that of the judgment did.

What differs is the engine, which in the second answers every question with yes, and what the park does with that:
fingerprints as the only way in, a message that changes the way in for everybody, silence that counts as consent,
photos that become faces, a schedule that is not kept, a log that nobody witnesses. Everything else of the replay is the
same for both.

The rule of this module: no command and no setting reaches the park without rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from threading import Event
from typing import Protocol

from apscheduler.events import EVENT_JOB_EXECUTED

from duecare.cases.guo_v_safari_park import world
from duecare.consent import grants, notices
from duecare.consent.notices import Controller
from duecare.errors import DuecareError, Erased, Forbidden, NeverHeld, UseError
from duecare.rules.decision import Decision
from duecare.rules.engine import Engine, Request
from duecare.systems.passes import changes, holders, messages, offers
from duecare.systems.passes.park import Park
from duecare.systems.passes.products import PASS_FOR_TWO
from duecare.systems.passes.purposes import NOTICE, declare_all
from duecare.vault import retention

_WAIT = timedelta(minutes=2)
"""How long the schedule may take to do by itself what is due."""


class Conduct(Protocol):
    """What a park decides by itself. ``witnessed``: its log has an independent witness."""

    name: str
    witnessed: bool

    def engine(self) -> Engine:
        """The rules that it asks."""

    def open_sale(self, park: Park) -> None:
        """Put the pass on sale."""

    def announce(self, park: Park) -> int:
        """Announce faces; the version of the notice that does."""

    def remind(self, park: Park, version: int) -> None:
        """Announce them again."""

    def end_fingerprints(self, park: Park, subjects: Sequence[str]) -> None:
        """Stop the fingerprint gates, for holders (in the order of the people)."""

    def let_time_pass(self, park: Park, subjects: Sequence[str]) -> None:
        """Let the schedule do what is due of them today."""


class ByTheRules:
    """A park that asks the rules and does what they say."""

    name, witnessed = "with-care", True

    def engine(self) -> Engine:
        """The holdings."""
        return Engine.load()

    def open_sale(self, park: Park) -> None:
        """Card and ID card beside card and fingerprint."""
        changes.publish(park, world.AGREED)

    def announce(self, park: Park) -> int:
        """A new version of the notice, which is an offer."""
        return changes.publish(park, world.ANNOUNCED).number

    def remind(self, park: Park, version: int) -> None:
        """The offer again, to those who have not answered."""
        changes.remind(park, version)

    def end_fingerprints(self, park: Park, subjects: Sequence[str]) -> None:
        """The way in ends, and its purpose with it."""
        changes.end_method(park, world.FINGERPRINT_WAY, note="指纹入园停用")

    def let_time_pass(self, park: Park, subjects: Sequence[str]) -> None:
        """The scheduler that ``duecare passes serve`` runs, until nothing of them is due any more."""
        ran = Event()
        scheduler = retention.scheduled(park.vault)
        scheduler.add_listener(lambda _: ran.set(), EVENT_JOB_EXECUTED)
        try:
            while _are_due(park, subjects):
                if not ran.wait(_WAIT.total_seconds()):
                    raise DuecareError(f"The schedule has not run within {_WAIT}.")
                ran.clear()
        finally:
            scheduler.shutdown(wait=True)


class AsItWas:
    """The park of the judgment, with the same code and an engine that says yes to everything."""

    name, witnessed = "without-rules", False

    def engine(self) -> Engine:
        """None to speak of."""
        return _NoRules.load()

    def open_sale(self, park: Park) -> None:
        """Fingerprints, and no other way."""
        with park.home.database.session() as session:
            declare_all(session, park.engine, park.now())
            offers.open_sale(session, park.engine, PASS_FOR_TWO, [world.FINGERPRINT_WAY], park.now())
            notices.publish(session, world.fingerprints_only(), Controller.of(park.home.settings), park.now())

    def announce(self, park: Park) -> int:
        """A message that whoever has no face registered cannot enter."""
        with park.home.database.session() as session:
            ways = [world.FINGERPRINT_WAY, world.FACE_WAY]
            offers.open_sale(session, park.engine, PASS_FOR_TWO, ways, park.now())
            number = notices.publish(session, world.faces_only(), Controller.of(park.home.settings), park.now())
        self.remind(park, number)
        return number

    def remind(self, park: Park, version: int) -> None:
        """The same message to everybody."""
        with park.home.database.session() as session:
            everybody = sorted({each.subject for each in grants.standing(session, purpose="pass_contract")})
            messages.queue(session, everybody, world.FORCED, park.now())

    def end_fingerprints(self, park: Park, subjects: Sequence[str]) -> None:
        """Nothing is erased (the rules, such as they are, have it kept); everybody enters by face, by silence, and the
        photo taken for the pass is where the face comes from."""
        why(lambda: changes.end_method(park, world.FINGERPRINT_WAY, note="指纹入园停用"))
        with park.home.database.session() as session:
            newest = notices.version(session, NOTICE).number
            for number, subject in enumerate(subjects):
                at, screen = park.now(), "a text message"
                notices.answer(session, subject, NOTICE, newest, True, "no answer was asked for", screen, at)
                grants.give(
                    session, park.engine, subject, ["face_entry"], notice=NOTICE, version=newest,
                    how="taken for granted", screen=screen, at=at, affirmed=False,
                )  # fmt: skip
                park.vault.allow(session, subject, ["photo"], "face_entry", "clerk")
                park.vault.seal(session, subject, {"face_template": world.face(number)}, ["face_entry"], "clerk")
                holders.by_subject(session, subject).holder.method = world.FACE_WAY

    def let_time_pass(self, park: Park, subjects: Sequence[str]) -> None:
        """The schedule runs, and the rules have everything kept."""
        why(lambda: retention.run(park.vault))


class _NoRules(Engine):
    """Answers every question with yes, as a park does that asks none."""

    def decide(self, request: Request) -> Decision:
        return Decision(True, ())


def why(act: Callable[[], object]) -> str:
    """Why ``act`` was refused, in the words of the error; empty where it was done."""
    try:
        act()
    except Forbidden as error:
        return " ".join([error.message, *error.reasons])
    except (Erased, NeverHeld, UseError) as error:
        return error.message
    return ""


def held_on(park: Park, subject: str) -> frozenset[str]:
    """The fields that are held of a subject today."""
    with park.home.database.session() as session:
        return frozenset(each.field for each in park.vault.holds(session, subject) if each.state == "held")


def _are_due(park: Park, subjects: Sequence[str]) -> bool:
    with park.home.database.session() as session:
        return any(each.subject in subjects for each in retention.due(park.vault, session, park.now()))


def day_after(day: date) -> date:
    """The day after."""
    return day + timedelta(days=1)
