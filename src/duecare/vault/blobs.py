"""Blobs: the ciphertexts that are too long for a column, or of the form ``bytes``: photos and templates.

The rule of this module: a file here is a ciphertext, named by the id of its value; whether it may be opened is decided
where every other value is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from duecare.errors import EvidenceBroken
from duecare.store import durable

_SUFFIX = ".sealed"


class Blobs:
    """Sealed files under ``root``: ``ab/<id of the value>.sealed``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, ciphertexts: Mapping[str, bytes]) -> None:
        """Keep each ciphertext under the id of its value; durable when this returns."""
        folders = set[Path]()
        for value, ciphertext in ciphertexts.items():
            path = self.path(value)
            if not path.parent.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                folders.update((self.root, self.root.parent))
            durable.put(path, ciphertext)
            folders.add(path.parent)
        for folder in folders:
            durable.sync(folder)

    def get(self, value: str) -> bytes:
        """The ciphertext of a value. Raises ``EvidenceBroken`` where the file is gone."""
        try:
            return self.path(value).read_bytes()
        except FileNotFoundError:
            raise EvidenceBroken(
                f"The sealed file {self.path(value)} is not there.", hint="Restore blobs/ from a backup."
            ) from None

    def remove(self, values: Iterable[str]) -> int:
        """Remove the files of these values; returns how many were there.

        A power cut may bring one back: it is a ciphertext whose key is gone, and is swept with what no value names.
        """
        removed = 0
        for value in values:
            try:
                self.path(value).unlink()
            except FileNotFoundError:
                continue
            removed += 1
        return removed

    def values(self) -> Iterator[tuple[str, float]]:
        """The id of the value of every file, and when it was written (seconds)."""
        for path in self.root.glob(f"*/[!.]*{_SUFFIX}"):
            yield path.name.removesuffix(_SUFFIX), path.stat().st_mtime

    def drop_partials(self, before: float) -> int:
        """Remove what killed writers left and was written ``before`` (seconds); returns how many."""
        left = [path for path in self.root.glob("*/.*") if path.stat().st_mtime < before]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def path(self, value: str) -> Path:
        """Where the ciphertext of a value stands."""
        return self.root / value[:2] / f"{value}{_SUFFIX}"
