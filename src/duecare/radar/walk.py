"""The walk: change → screen → verify → alert, in one call. Delivery takes it from there.

The rule of this module: each step commits by itself and finds its own work, so that a walk that was killed goes on
where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from duecare.radar import notices, screen, verify
from duecare.radar.alerts import Raised, raise_pending
from duecare.radar.candidates import Progress
from duecare.rules.engine import Engine
from duecare.store.home import Home


@dataclass(frozen=True)
class Walked:
    """What one walk did: batches screened, changes verified, notices looked up, alerts and deliveries made."""

    screened: tuple[screen.Outcome, ...]
    verified: verify.Outcome
    looked_up: int
    raised: Raised

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "screened": [each.as_json() for each in self.screened],
            "verified": self.verified.as_json(),
            "notices_looked_up": self.looked_up,
            "alerts": self.raised.alerts,
            "deliveries": self.raised.deliveries,
        }


def walk(
    home: Home,
    engine: Engine,
    fetching: verify.Fetching | None = None,
    *,
    sites: Mapping[str, str] | None = None,
    screening: bool = True,
    progress: Progress = lambda done, total: None,
) -> Walked:
    """Screen what is new, verify what is due, raise the alerts of what passed.

    ``screening=False`` is for the replay's counter-proof only (see ``screen.screen``).
    """
    screened = screen.pending(home, engine, progress=progress, screening=screening)
    verified = verify.verify(home, engine, fetching, sites=sites, progress=progress)
    looked_up = notices.look_up(home, fetching, sites=sites)
    return Walked(tuple(screened), verified, looked_up, raise_passed(home))


def raise_passed(home: Home) -> Raised:
    """Raise the alerts of every change that passed and has none."""
    with home.writing("radar"):
        return raise_pending(home.database, at=home.clock.now())
