"""Copies: what else than erasures is done again on a copy of the database that is older than the log.

A right that ended since the copy (a card that was reported lost, a pass that was refunded) would stand again. A system
whose acts are to be done again registers them under the entry point ``duecare.replays``: a function that returns, for
each kind of evidence, what does that act again from its entry in the log.

The rule of this module: what is done again already changes nothing, and is dated as the log dates it; what the log
alone cannot bring back is named.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from importlib.metadata import entry_points
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.consent.models import SubjectRow
from duecare.evidence.outbox import Act, EvidenceEntry, LoggedEntry, record_all
from duecare.vault.entries import committed

GROUP = "duecare.replays"
MISS = "replay:miss"
"""The kind of the entries that name what is missing."""

_LISTED = 500


@dataclass(frozen=True)
class Missing:
    """Something that the log knows, the copy has not, and nothing can make again.

    ``what`` kind of thing, its ``name`` in the log, of ``count`` pieces; ``until``: the last day on which anybody will
    ask for it, where there is one.
    """

    what: str
    name: str
    count: int = 1
    until: date | None = None

    def as_json(self) -> dict[str, Any]:
        """As it stands in evidence."""
        until = self.until.isoformat() if self.until else None
        return {"what": self.what, "name": self.name, "count": self.count, "until": until}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Missing:
        """What ``as_json`` wrote."""
        until = date.fromisoformat(said["until"]) if said["until"] else None
        return cls(said["what"], said["name"], said["count"], until)


@dataclass
class Copy:
    """A copy of the database while it is brought up to the log, in ``session``, at ``at``; what was ``done`` again, by
    kind of evidence, and what is ``missing``."""

    session: Session
    at: datetime
    done: Counter[str] = field(default_factory=Counter)
    _missing: dict[tuple[str, str, str], Missing] = field(default_factory=dict)
    _subjects: dict[str, str] | None = None

    def subject(self, commitment: str) -> str | None:
        """The subject of a commitment, if they are in this copy."""
        if self._subjects is None:
            rows = self.session.execute(select(SubjectRow.id, SubjectRow.salt).where(SubjectRow.salt.is_not(None)))
            self._subjects = {committed(row.id, row.salt or ""): row.id for row in rows}
        return self._subjects.get(commitment)

    def salt(self, subject: str) -> str:
        """The salt (hex) of a subject of this copy; empty once it is forgotten."""
        return self.session.get_one(SubjectRow, subject).salt or ""

    def misses(self, each: Missing, part: str = "") -> None:
        """Note that something cannot be brought back. ``part`` tells apart those of one name, which are counted."""
        self._missing[each.what, each.name, part] = each

    def settles(self, what: str, name: str, part: str = "") -> None:
        """Note that what was missing is nothing that anybody will ask for, by what the log says later."""
        self._missing.pop((what, name, part), None)

    def lasts(self, what: str, name: str, until: date) -> None:
        """Note until when what is missing will be asked for, by what the log says later."""
        for key, each in self._missing.items():
            if key[:2] == (what, name):
                self._missing[key] = replace(each, until=until)

    @property
    def missing(self) -> tuple[Missing, ...]:
        """What cannot be brought back, in the order of the log."""
        whole: dict[tuple[str, str], Missing] = {}
        for each in self._missing.values():
            before = whole.get((each.what, each.name))
            whole[each.what, each.name] = replace(each, count=each.count + before.count) if before else each
        return tuple(whole.values())


Again = Callable[[Copy, LoggedEntry], None]
"""Does the act of an entry again; done already, nothing happens."""

Replays = Mapping[str, Again]
"""Kind of evidence → what does it again."""


def registered() -> list[Replays]:
    """What the installed systems do again."""
    return [point.load()() for point in entry_points(group=GROUP)]


def record_missing(session: Session, log: str, missing: Sequence[Missing], at: datetime) -> None:
    """Leave evidence of what is missing beside the log called ``log``."""
    lists = [missing[first : first + _LISTED] for first in range(0, len(missing), _LISTED)]
    said = [{"missing": [each.as_json() for each in part]} for part in lists]
    record_all(session, [Act(MISS, f"log:{log}", each, at) for each in said])


def missing(session: Session, log: str) -> Iterator[Missing]:
    """What any restore of this home could not bring back, each once, as it was said last."""
    about = (EvidenceEntry.subject == f"log:{log}") & (EvidenceEntry.kind == MISS)
    bodies = session.scalars(select(EvidenceEntry.body).where(about).order_by(EvidenceEntry.id))
    found = {}
    for body in bodies:
        for said in json.loads(body)["missing"]:
            found[said["what"], said["name"]] = Missing.read(said)
    yield from found.values()
