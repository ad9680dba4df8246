"""Snapshots: bytes as received, named by their SHA-256 and kept compressed.

The rule of this module: what was received, and not refused, is never changed and never lost; any parser can read it
again. The truth of case 1 stood in a stored snapshot of 20 February 2019.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import zstandard

from duecare.errors import UnknownName, UseError
from duecare.store import durable, passing

_CHUNK = 1 << 20
_COMPRESSED = {".gz", ".zip", ".zst", ".parquet", ".bz2", ".xz", ".pack"}


class Snapshots:
    """A content-addressed store under ``root``: ``ab/abcd….zst``, or ``….raw`` for what is compressed already."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, body: bytes) -> str:
        """Keep ``body``; returns its SHA-256 in hex. Keeping the same bytes again is harmless."""
        name = hashlib.sha256(body).hexdigest()
        if self._find(name) is None:
            with self._new(name, ".zst") as partial:
                partial.write_bytes(zstandard.ZstdCompressor(level=6).compress(body))
        return name

    def put_file(self, path: Path) -> str:
        """Keep the file at ``path``, of any size; returns its SHA-256 in hex."""
        name = _sha256(path)
        if self._find(name) is None:
            self._keep(name, path)
        return name

    @contextmanager
    def unless_refused(self, path: Path) -> Iterator[str]:
        """Keep the file at ``path`` as ``put_file`` does; where the block refuses it (``UseError``), it is not kept,
        unless it was before. No other batch of the same bytes may come in meanwhile."""
        name = _sha256(path)
        before = self._find(name)
        if before is None:
            self._keep(name, path)
        try:
            yield name
        except UseError:
            if before is None:
                self._known(name).unlink()
            raise

    def get(self, name: str) -> bytes:
        """The bytes called ``name``. Raises ``UnknownName``."""
        found = self._known(name)
        body = found.read_bytes()
        return body if found.suffix == ".raw" else zstandard.ZstdDecompressor().decompressobj().decompress(body)

    @contextmanager
    def stored(self, name: str) -> Iterator[Path]:
        """A file with the bytes of the snapshot, not to be written to: the stored one itself, where it is as received.
        Raises ``UnknownName``."""
        found = self._known(name)
        if found.suffix == ".raw":
            yield found
        else:
            with self.restored(name, name) as path:
                yield path

    @contextmanager
    def restored(self, name: str, filename: str) -> Iterator[Path]:
        """The snapshot as a file called ``filename`` again, for as long as the block lasts."""
        found = self._known(name)
        with passing.folder() as folder:
            path = folder / Path(filename).name
            if found.suffix == ".raw":
                os.link(found, path) if _same_device(found, path.parent) else shutil.copyfile(found, path)
            else:
                with found.open("rb") as source, path.open("wb") as target:
                    zstandard.ZstdDecompressor().copy_stream(source, target)
            yield path

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def _keep(self, name: str, path: Path) -> None:
        raw = path.suffix.lower() in _COMPRESSED
        suffix = ".raw" if raw else ".zst"
        with self._new(name, suffix) as partial, path.open("rb") as source, partial.open("wb") as target:
            if raw:
                shutil.copyfileobj(source, target, _CHUNK)
            else:
                zstandard.ZstdCompressor(level=3, threads=-1).copy_stream(source, target)

    def _find(self, name: str) -> Path | None:
        for suffix in (".zst", ".raw"):
            path = self.root / name[:2] / f"{name}{suffix}"
            if path.exists():
                return path
        return None

    def _known(self, name: str) -> Path:
        found = self._find(name)
        if found is None:
            raise UnknownName("snapshot", name, [])
        return found

    @contextmanager
    def _new(self, name: str, suffix: str) -> Iterator[Path]:
        """A partial file that gets its name only when it is whole and on disk."""
        folder = self.root / name[:2]
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, prefix=".partial-", delete=False) as handle:
            partial = Path(handle.name)
        try:
            yield partial
            durable.sync(partial)
            partial.replace(folder / f"{name}{suffix}")
        finally:
            partial.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _same_device(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev
