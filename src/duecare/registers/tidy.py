"""Tidying the lake: a home does not grow by what is no longer true, nor slow down by many small batches.

It happens by itself after a batch, where there is enough to do; ``duecare tidy`` does all of it. The facts, reads and
changes are the same before and after, for any past moment: time travel rests on rows, not on old files.

The rule of this module: a process killed anywhere in it has lost nothing, and no file is taken from a reader.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import select

from duecare.errors import Busy
from duecare.registers.models import LakeVersion
from duecare.registers.tables import ORDERS, Tables
from duecare.store import upkeep
from duecare.store.home import Home
from duecare.store.lake import NEW
from duecare.store.upkeep import Removed, to_merge

_ABANDONED = 86400
"""Seconds after which a snapshot that was never finished was being written by a process that is gone."""


def tidy_if_due(home: Home, source: str) -> Removed:
    """Tidy the tables of ``source`` where it is worth it; what others still read is left for another time.

    The caller holds the right to write the lake.
    """
    tables = Tables(home, source, leased=True)
    lake = home.lake
    many = any(to_merge(lake.members(source, name, tables.versions.get(name, NEW))) for name in ORDERS)
    if not many and not any(upkeep.is_due(lake, source, *each) for each in tables.versions.items()):
        return Removed()
    _settle(home, [tables])
    with home.readers.alone() as alone:
        return _sweep(home, [tables]) if alone else Removed()


def tidy(home: Home, progress: Callable[[str], None] = lambda step: None, *, wait: float = 60.0) -> Removed:
    """Tidy the whole lake. Waits ``wait`` seconds for those who write or read it. Raises ``Busy``."""
    with home.writing("lake", wait=wait):
        with home.database.session() as session:
            sources = session.execute(select(LakeVersion.source).distinct().order_by(LakeVersion.source)).scalars()
            every = [Tables(home, source, session, leased=True) for source in sources]
        progress("putting small files together")
        _settle(home, every)
        progress("waiting for readers")
        with home.readers.alone(wait) as alone:
            if not alone:
                raise Busy(f"Somebody is reading the lake of {home.path}.", hint="Try again when they are done.")
            progress("removing what nobody needs")
            return _sweep(home, every) + _sweep_unborn(home, every) + _sweep_unfinished(home)


def _settle(home: Home, every: list[Tables]) -> None:
    """Put small files together, undo what killed processes wrote, and declare both true."""
    for tables in every:
        for name, version in tables.versions.items():
            tables.versions[name] = home.lake.settled(tables.source, name, version).version()
        for name in ORDERS:
            tables.merge(name)
    with home.database.session() as session:
        for tables in every:
            tables.declare(session)


def _sweep(home: Home, every: list[Tables]) -> Removed:
    removed = Removed()
    for tables in every:
        for name, version in tables.versions.items():
            removed += upkeep.sweep(home.lake, tables.source, name, version)
            removed += upkeep.shorten_log(home.lake, tables.source, name, version)
    return removed


def _sweep_unborn(home: Home, every: list[Tables]) -> Removed:
    """Of tables that a killed process began, and that were never declared."""
    known = {(tables.source, name) for tables in every for name in tables.versions}
    removed = Removed()
    for folder in (home.path / "lake").glob("[!.]*/*/"):
        source, name = folder.parent.name, folder.name
        if (source, name) not in known:
            removed += upkeep.sweep(home.lake, source, name, NEW)
    return removed


def _sweep_unfinished(home: Home) -> Removed:
    """Of snapshots that a killed process began to write."""
    removed = Removed()
    for path in (home.path / "snapshots").glob("*/.partial-*"):
        said = path.stat()
        if time.time() - said.st_mtime > _ABANDONED:
            path.unlink(missing_ok=True)
            removed += Removed(1, said.st_size)
    return removed
