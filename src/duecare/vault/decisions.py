"""What the rules say of personal data: asked once for each situation, and carried into the database as a condition.

For one subject the situation is looked up and decided. For many, every situation that a grant can be in is decided
once, and those that are allowed become the condition of a join: the same answer for each, from Cedar alone.

The rule of this module: nothing here knows a rule. It asks the engine, and remembers what it said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, false, or_, select
from sqlalchemy.orm import Session

from duecare.consent.models import GrantRow
from duecare.consent.purposes import Activity, Purpose
from duecare.rules.decision import Decision
from duecare.rules.engine import Engine, Request

_REMEMBERED = 4096
_SERVICE = "service:"


@dataclass(frozen=True)
class Situation:
    """How a subject stands to a purpose. ``granted``: a grant stands; ``separate``: it was given alone; ``ended``: none
    stands, and one did."""

    granted: bool
    ended: bool
    separate: bool


NEVER = Situation(granted=False, ended=False, separate=False)
ENDED = Situation(granted=False, ended=True, separate=False)


def standing(*, separate: bool) -> Situation:
    """The situation of one whose grant stands."""
    return Situation(granted=True, ended=False, separate=separate)


def situation_of(session: Session, subject: str, purpose: str) -> tuple[Situation, int | None]:
    """How a subject stands to a purpose, and the version of it that their grant is for, none if none stands."""
    mine = (GrantRow.subject == subject) & (GrantRow.purpose == purpose)
    asked = select(GrantRow.purpose_version, GrantRow.separate, GrantRow.ended_at).where(mine)
    row = session.execute(asked.order_by(GrantRow.id.desc()).limit(1)).first()
    if row is None:
        return NEVER, None
    return (ENDED, None) if row.ended_at is not None else (standing(separate=row.separate), row.purpose_version)


class Decisions:
    """The rules' answers about processing and keeping. Decisions are pure, so that each is asked for once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[object, Decision] = {}

    def process(
        self, purpose: Purpose, activity: Activity, fields: Sequence[str], situation: Situation, actor: str
    ) -> Decision:
        """Whether ``actor`` may do ``activity`` with ``fields`` for ``purpose``, as it was declared in that version.

        ``actor`` is the name of a member of staff, or ``service:`` and the name of a part of the system.
        """
        key = (purpose.name, purpose.number, activity, frozenset(fields), situation, actor)
        found = self._known.get(key)
        if found is None:
            context = {
                "activity": activity.value,
                "listed": activity in purpose.activities,
                "within": {*fields} <= {*purpose.fields},
                "granted": situation.granted,
                "ended": situation.ended,
                "special": bool(purpose.special),
                "separate": situation.separate,
            }
            found = self._remember(key, self._request("process", purpose, context, actor))
        return found

    def keep(self, purpose: Purpose, *, due: bool, ended: bool, held: bool) -> Decision:
        """Whether what is held for ``purpose`` may be kept."""
        key = (purpose.name, purpose.number, due, ended, held)
        found = self._known.get(key)
        if found is None:
            context = {"due": due, "ended": ended, "held": held}
            found = self._remember(key, self._request("keep", purpose, context, "service:retention"))
        return found

    def allowed(
        self, versions: Sequence[Purpose], activity: Activity, fields: Sequence[str], actor: str
    ) -> tuple[ColumnElement[bool], list[Decision]]:
        """The condition on standing grants under which the rules allow ``activity``, and the decisions behind it.

        ``versions`` are those of one purpose, in which grants to it were given.
        """
        conditions, decisions = list[ColumnElement[bool]](), list[Decision]()
        for purpose in versions:
            answers = {
                separate: self.process(purpose, activity, fields, standing(separate=separate), actor)
                for separate in (True, False)
            }
            decisions += answers.values()
            said = [separate for separate, answer in answers.items() if answer.allowed]
            if said:
                conditions.append(
                    and_(GrantRow.purpose_version == purpose.number, GrantRow.separate.in_(said))
                    if len(said) < len(answers)
                    else GrantRow.purpose_version == purpose.number
                )
        return (or_(*conditions) if conditions else false()), decisions

    def _request(self, action: str, purpose: Purpose, context: Mapping[str, object], actor: str) -> Request:
        kind, name = ("Service", actor[len(_SERVICE) :]) if actor.startswith(_SERVICE) else ("Staff", actor)
        return Request(action, kind, name, "Purpose", purpose.name, context, {"basis": purpose.basis.value})

    def _remember(self, key: object, request: Request) -> Decision:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = self._engine.decide(request)
        return self._known[key]
