"""Upkeep of a lake table: small files become one, files that no true version names go, and the log stays short.

The rule of this module: what is removed belongs to no version that is true, and to no reader.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deltalake import DeltaTable

from duecare.store.lake import NEW, File, Lake

SMALL = 1 << 18
"""Bytes up to which a file is written anew without a second thought."""

_FEW = 16
_STRAYS = 32
_STRAY_BYTES = 1 << 24
_COMMITS = 64
_VERSION_DIGITS = 20


@dataclass(frozen=True)
class Removed:
    """What was removed: how many files, and their size in bytes."""

    files: int = 0
    size: int = 0

    def __add__(self, other: Removed) -> Removed:
        return Removed(self.files + other.files, self.size + other.size)


def to_merge(files: Sequence[File]) -> list[File]:
    """Those of ``files`` that are worth a merge; none where it would hardly help.

    Beginning at the smallest, a file joins while it is no larger than all before it together. So each row is written
    anew some log2 of (the table's size over that of a batch) times, and few files are ever left.
    """
    chosen: list[File] = []
    total = 0
    for file in sorted(files, key=lambda each: (each.size, each.name)):
        if file.size > max(total, SMALL):
            break
        chosen.append(file)
        total += file.size
    return chosen if len(chosen) >= _FEW else []


def strays(lake: Lake, source: str, table: str, version: int) -> list[Path]:
    """Files in the folder of ``table`` that ``version`` does not name: of older versions, and of killed writes."""
    named = {each.name for each in lake.members(source, table, version)}
    return [path for path in _parquet(lake.folder(source, table)) if path.name not in named]


def is_due(lake: Lake, source: str, table: str, version: int) -> bool:
    """Whether upkeep of ``table`` is worth its while; found out by looking at names and sizes only."""
    members = lake.members(source, table, version)
    left = strays(lake, source, table, version)
    most = max(sum(each.size for each in members) // 2, _STRAY_BYTES)
    return (
        len(left) > _STRAYS
        or sum(path.stat().st_size for path in left) > most
        or len(_commits(lake.folder(source, table))) > _COMMITS
    )


def sweep(lake: Lake, source: str, table: str, version: int) -> Removed:
    """Remove what ``version`` does not name. Only for whoever has the right to write the lake, and not while others
    read it."""
    removed = Removed()
    for path in strays(lake, source, table, version):
        size = path.stat().st_size
        path.unlink()
        removed += Removed(1, size)
    return removed


def shorten_log(lake: Lake, source: str, table: str, version: int) -> Removed:
    """Write down the state at ``version``, the newest one, and remove the commits that led to it; under the same
    conditions as ``sweep``."""
    folder = lake.folder(source, table)
    if version == NEW or len(_commits(folder)) < _FEW:
        return Removed()
    # By hand: deltalake removes commits by their age only, of whatever state is newest, be it true or not.
    DeltaTable(str(folder), version=version).create_checkpoint()
    removed = Removed()
    for path in sorted((folder / "_delta_log").iterdir()):
        number = path.name[:_VERSION_DIGITS]
        if number.isdigit() and len(number) == _VERSION_DIGITS and int(number) < version:
            size = path.stat().st_size
            path.unlink()
            removed += Removed(1, size)
    return removed


def _parquet(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        with os.scandir(folder) as entries:
            yield from [Path(entry.path) for entry in entries if entry.name.endswith(".parquet")]


def _commits(folder: Path) -> list[str]:
    log = folder / "_delta_log"
    return [path.name for path in log.glob("*.json")]
