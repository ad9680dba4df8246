"""The company-information service of case 1 as one object, for notebooks and for the pages to come.

The rule of this module: it adds nothing. Every method is one call into a room that keeps its own rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.radar.delivery import DeliveryReport
    from duecare.radar.walk import Walked
    from duecare.registers.batches import Outcome
    from duecare.registers.catalogue import SourceState
    from duecare.registers.search import Hit


class Companies:
    """Search, company page, changes, and the radar's walk over one home."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def sources(self) -> list[SourceState]:
        """Every source with the age of what is held of it."""
        from duecare.registers.catalogue import states

        return states(self.home)

    def ingest(self, source: str, path: str | Path, observed_at: datetime | None = None) -> Outcome:
        """Read a file of a source as one batch. Raises ``UnknownName``, ``BadInput``."""
        from duecare.registers.catalogue import adapter_for
        from duecare.registers.ingest import ingest_file

        return ingest_file(self.home, adapter_for(self.home, source), Path(path), observed_at)

    def search(self, text: str, limit: int = 20) -> list[Hit]:
        """Companies by present or former name, or by code, best first."""
        from duecare.registers.search import search

        return search(self.home, text, limit)

    def company(self, code: str, *, as_of: date | None = None, known_at: datetime | None = None) -> dict[str, Any]:
        """What is known of a company, for any past moment on either time axis. Raises ``UnknownName``;
        ``BadInput`` where a short code may be several companies'."""
        from duecare.registers.codes import held_as
        from duecare.registers.company import company

        return company(self.home, held_as(self.home, code), as_of=as_of, known_at=known_at)

    def changes(
        self, *, source: str | None = None, since: datetime | None = None, kind: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """The changes, oldest window first."""
        from duecare.registers.changes import query

        return query(self.home, source=source, since=since, kind=kind)

    def walk(self) -> Walked:
        """Screen what is new, verify what is due, raise the alerts of what passed."""
        from duecare.radar.walk import walk
        from duecare.rules.engine import Engine

        return walk(self.home, Engine.load(self.home.settings.policies))

    def deliver(self) -> DeliveryReport:
        """Compose the digests that are due and send all that is due."""
        from duecare.radar.delivery import deliver

        return deliver(self.home)

    def close(self) -> None:
        """Close the home."""
        self.home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
