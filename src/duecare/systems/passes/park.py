"""The park: one home with its vault and its rules, and what day it is there.

The rule of this module: everything the pass system does to a person's data goes through this one vault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from duecare.clock import BEIJING
from duecare.evidence.outbox import keep_up
from duecare.rules.engine import Engine
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.evidence.cosign import RemoteWitness
    from duecare.vault.records import Vault

SERVICE = "service:passes"
"""Who acts where nobody in particular does."""


@dataclass(frozen=True)
class Park:
    """An opened home with the vault over it and the engine of its rules."""

    home: Home
    vault: Vault
    engine: Engine

    @classmethod
    def open(
        cls, home: Home, engine: Engine | None = None, *, witnessed_by: Sequence[RemoteWitness] | None = None
    ) -> Park:
        """The park in ``home``. ``engine``: the holdings and the operator's policies, by default; ``witnessed_by``
        stands in the place of the setting."""
        from duecare.vault.records import Vault

        chosen = engine or Engine.load(home.settings.policies)
        return cls(home, Vault(home, chosen, witnessed_by=witnessed_by), chosen)

    def log(self) -> None:
        """Put what was recorded into the log, from which a database that is restored learns what ended since its
        backup. Call it outside of any transaction.

        What was done is done: a log that is busy or damaged is told, not raised, and takes it the next time.
        """
        if keep_up(self.home.database, self.vault.log):
            self.vault.newest.note()

    def close(self) -> None:
        """Close the vault, when the log has what was recorded. The home stays open."""
        self.log()
        self.vault.close()

    def __enter__(self) -> Park:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def now(self) -> datetime:
        """The time, in UTC."""
        return self.home.clock.now()

    def today(self) -> date:
        """The day in the park."""
        return day_of(self.now())


def day_of(at: datetime) -> date:
    """The day in the park at ``at``."""
    return at.astimezone(BEIJING).date()
