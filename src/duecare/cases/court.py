"""What every replay is given and gives back: the means to serve pages and receive mail, and the checks.

The rule of this module: a replay runs the same code as the service, over real HTTP and SMTP; it is handed a site and a
mail server, and decides nothing by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from duecare.errors import UnknownName

State = Mapping[str, Sequence[Mapping[str, str | None]]]
"""What a register says of one company: section → entries."""


class ServedRegister(Protocol):
    """What a site is put in front of."""

    first_day: date

    def state(self, code: str, day: date) -> State: ...

    def updated(self, day: date) -> Sequence[str]: ...

    def bulk_csv(self, day: date, folder: Path) -> Path: ...


class ServedSite(Protocol):
    """A running site."""

    url: str

    def set_day(self, day: date) -> None: ...

    def go_down(self) -> None: ...

    def come_up(self) -> None: ...


@dataclass(frozen=True)
class Court:
    """The means of a replay. ``serve`` puts a site in front of a register; ``render`` makes a page's bytes from a
    state; ``mail`` receives mail into a folder of ``.eml`` files and gives the address of its server; ``sms`` receives
    messages into a folder of ``.json`` files and gives the address of the gateway; ``witness`` runs an independent
    witness in a folder, for the log of a public key, and gives its address and its own public key."""

    serve: Callable[[ServedRegister], AbstractContextManager[ServedSite]]
    render: Callable[[State], bytes]
    mail: Callable[[Path], AbstractContextManager[str]]
    sms: Callable[[Path], AbstractContextManager[str]]
    witness: Callable[[Path, str], AbstractContextManager[tuple[str, str]]]
    folder: Path
    progress: Callable[[str], None] = lambda step: None


@dataclass(frozen=True)
class Check:
    """One line of what must hold: what was required, what happened then, what happens here."""

    id: str
    requirement: str
    then: str
    now: str
    holds: bool


@dataclass(frozen=True)
class Verdict:
    """What a replay found. ``holding`` is what the court held, in one sentence."""

    case: str
    title: str
    holding: str
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether every check holds; without a check, nothing was shown."""
        return bool(self.checks) and all(check.holds for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"case": self.case, "holds": self.holds, "checks": [dict(check.__dict__) for check in self.checks]}


Replay = Callable[[Court], Verdict]


def replays() -> dict[str, Replay]:
    """Every installed case by name; ours and those of other packages come through the same door."""
    return {entry.name: entry.load() for entry in sorted(entry_points(group="duecare.cases"), key=lambda e: e.name)}


def replay(name: str) -> Replay:
    """The replay of the case called ``name``. Raises ``UnknownName``."""
    found = replays()
    if name not in found:
        raise UnknownName("case", name, list(found))
    return found[name]
