"""Places: where else something about a subject rests, and what takes it out of there.

The vault's own values and exports are seen to by the vault. A system that keeps more about a subject (rows, lake rows,
an index, messages that wait to be sent) registers each such place under the entry point ``duecare.places``: a function
that returns a list of places. They are emptied in that order: an index comes after what it is made from.

The rule of this module: a place counts what it holds before it is emptied, and holds nothing afterwards, however often
it was killed in between.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from sqlalchemy import ColumnClause, column, delete, func, select, table, text
from sqlalchemy.orm import Session

from duecare.store.database import parts
from duecare.store.home import Home
from duecare.store.lake import NEW
from duecare.store.upkeep import sweep

GROUP = "duecare.places"


@dataclass(frozen=True)
class Erasing:
    """What is being erased: these subjects, for this purpose. ``last``: those for whom it was the last purpose."""

    home: Home
    purpose: str
    subjects: tuple[str, ...]
    last: frozenset[str] = frozenset()


class Place(Protocol):
    """Somewhere that something about subjects rests. ``name`` stands in certificates.

    ``in_database``: it is emptied in the transaction that begins the erasure, else after it, with ``session`` none. It
    is counted in that transaction in any case: with a ``session``, no other may be opened.
    """

    @property
    def name(self) -> str: ...

    @property
    def in_database(self) -> bool: ...

    def count(self, erasing: Erasing, session: Session | None) -> Mapping[str, int]:
        """Subject → how much of them is there that goes with this erasure; without those of whom nothing is there."""
        ...

    def erase(self, erasing: Erasing, session: Session | None) -> None:
        """Take it out, so that its bytes are gone too. Done already, nothing happens."""
        ...


@dataclass(frozen=True)
class Served:
    """Which erasures a place goes with: those of ``purposes``, or where there are none, the last one of a subject."""

    purposes: frozenset[str] = frozenset()

    def subjects(self, erasing: Erasing) -> list[str]:
        """The subjects of whom this place is to be emptied."""
        if not self.purposes:
            return sorted(erasing.last)
        return list(erasing.subjects) if erasing.purpose in self.purposes else []


@dataclass(frozen=True)
class TableRows:
    """Rows of a table of the database, by the column that names their subject. Messages that wait are such rows."""

    name: str
    table: str
    served: Served = field(default_factory=Served)
    column: str = "subject"
    in_database: bool = True

    def count(self, erasing: Erasing, session: Session | None) -> Mapping[str, int]:
        assert session is not None
        subject: ColumnClause[str] = column(self.column)
        found: dict[str, int] = {}
        for part in parts(self.served.subjects(erasing)):
            asked = select(subject, func.count()).select_from(table(self.table)).where(subject.in_(part))
            found.update((row[0], row[1]) for row in session.execute(asked.group_by(subject)))
        return found

    def erase(self, erasing: Erasing, session: Session | None) -> None:
        assert session is not None
        for part in parts(self.served.subjects(erasing)):
            session.execute(delete(table(self.table, column(self.column))).where(column(self.column).in_(part)))


@dataclass(frozen=True)
class LakeRows:
    """Rows of a lake table, by the column that names their subject. ``columns``: as ``Lake.scan`` takes them.

    The table is written anew without them, and the files of its older versions are removed.
    """

    name: str
    source: str
    table: str
    columns: str
    served: Served = field(default_factory=Served)
    column: str = "subject"
    in_database: bool = False

    def count(self, erasing: Erasing, session: Session | None) -> Mapping[str, int]:
        subjects = self.served.subjects(erasing)
        version = self._version(erasing.home, session)
        if not subjects or version == NEW:
            return {}
        home, found = erasing.home, Counter[str]()
        scan = home.lake.scan(self.source, self.table, version, self.columns)
        for part in parts(subjects):
            query = (
                f'SELECT "{self.column}", count(*) FROM {scan} WHERE "{self.column}" IN ({_quoted(part)}) GROUP BY 1'
            )
            found.update(dict(home.lake.connection.execute(query).fetchall()))
        return found

    def erase(self, erasing: Erasing, session: Session | None) -> None:
        subjects, home = self.served.subjects(erasing), erasing.home
        if not subjects or self._version(home) == NEW:
            return
        with home.writing("lake"):
            version = self._version(home)
            if self.count(erasing, None):
                scan = home.lake.scan(self.source, self.table, version, self.columns)
                where = f'("{self.column}" IN ({_quoted(subjects)})) IS NOT TRUE'
                kept = f"SELECT * FROM {scan} WHERE {where}"
                version = home.lake.write(self.source, self.table, version, [kept], replace=True)
                with home.database.session() as declaring:
                    declaring.execute(_DECLARE, {"version": version, "source": self.source, "table": self.table})
            # At once, whoever reads: an erasure waits for nobody.
            sweep(home.lake, self.source, self.table, version)

    def _version(self, home: Home, session: Session | None = None) -> int:
        home.readers.keep()
        with nullcontext(session) if session is not None else home.database.session() as reading:
            found = reading.execute(_DECLARED, {"source": self.source, "table": self.table}).scalar()
        return NEW if found is None else int(found)


@dataclass(frozen=True)
class SearchDocuments:
    """Documents of a tantivy index in ``folder`` of the home, by the raw field that names their subject.

    An index keeps a deleted document until segments are merged, so it is made anew: ``rebuild`` writes one into the
    empty folder that it is given, from what is held then.
    """

    name: str
    folder: str
    rebuild: Callable[[Home, Path], None]
    served: Served = field(default_factory=Served)
    column: str = "subject"
    in_database: bool = False

    def count(self, erasing: Erasing, session: Session | None) -> Mapping[str, int]:
        import tantivy

        path, subjects = erasing.home.path / self.folder, self.served.subjects(erasing)
        if not subjects or not path.exists():
            return {}
        searcher = tantivy.Index.open(str(path)).searcher()
        # Deleted documents count too, until their segment is gone.
        counts = {subject: searcher.doc_freq(self.column, subject) for subject in subjects}
        return {subject: count for subject, count in counts.items() if count}

    def erase(self, erasing: Erasing, session: Session | None) -> None:
        path = erasing.home.path / self.folder
        fresh, old = (path.with_name(f"{path.name}.{suffix}") for suffix in ("new", "old"))
        with erasing.home.writing(self.folder.replace("/", "-")):
            if old.exists() and not path.exists():
                old.rename(path)
            for left in (fresh, old):
                shutil.rmtree(left, ignore_errors=True)
            if not self.count(erasing, None):
                return
            fresh.mkdir(parents=True)
            self.rebuild(erasing.home, fresh)
            path.rename(old)
            fresh.rename(path)
            shutil.rmtree(old)


def registered() -> list[Place]:
    """The places of all installed systems."""
    return [place for point in entry_points(group=GROUP) for place in point.load()()]


_DECLARED = text("SELECT version FROM lake_versions WHERE source = :source AND table_name = :table")
_DECLARE = text("UPDATE lake_versions SET version = :version WHERE source = :source AND table_name = :table")


def _quoted(subjects: Sequence[str]) -> str:
    return ", ".join("'" + subject.replace("'", "''") + "'" for subject in subjects)
