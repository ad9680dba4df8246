"""The append-only log: writing it so that a kill or a power cut at any moment leaves a log that opens.

An append writes new tiles and bundles beside the old ones, makes them durable, and only then puts the new signed
checkpoint in place by one rename. What no checkpoint covers is not part of the log; ``appending`` names how far an
append meant to go, so that the next one can clear what a killed one left.

The rule of this module: no file that a checkpoint covers is ever written again, and none is signed that does not grow
from the one before.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock

from duecare.errors import BadInput, EvidenceBroken
from duecare.evidence import merkle
from duecare.evidence.checkpoint import Checkpoint, SigningKey, VerifierKey, keep_key
from duecare.evidence.tiles import MAX_ENTRY, TILE_HEIGHT, TILE_WIDTH, LogReader, levels, pack, tile_path, width_at
from duecare.store import durable
from duecare.store.lock import holding

LOCK_SECONDS = 60.0
"""How long an append waits for another process before it gives up with ``Busy``."""


class Log(LogReader):
    """The log of a home, open for appending. Any number of processes may have it open."""

    def __init__(self, folder: Path, key: SigningKey) -> None:
        super().__init__(folder)
        self._key = key
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / "lock", timeout=LOCK_SECONDS)
        if not (folder / "checkpoint").exists():
            with self.locked():
                if not (folder / "checkpoint").exists():
                    self._begin()
        self.checkpoint(self.key)

    @classmethod
    def at(cls, home: Path) -> Log:
        """The log in the home folder ``home``, with its key; both are made on first use."""
        return cls(home / "log", keep_key(home / "keys"))

    @property
    def key(self) -> VerifierKey:
        """The public key under which the log's checkpoints verify."""
        return self._key.verifier

    @property
    def size(self) -> int:
        """Entries in the log, as its checkpoint on disk says now."""
        return self.checkpoint(self.key).size

    def locked(self, seconds: float | None = None) -> AbstractContextManager[None]:
        """Hold the log for one process; may be nested. Raises ``Busy`` after ``seconds``, or ``LOCK_SECONDS``."""
        waited = LOCK_SECONDS if seconds is None else seconds
        busy = f"Another process has been writing to the log {self.folder} for {waited:.0f} seconds."
        return holding(self._lock, busy, seconds=seconds)

    def append(self, entries: Sequence[bytes]) -> int:
        """Append ``entries`` (1 to 65,535 bytes each) in order, all or none; the index of the first is returned.

        They are durable and covered by a signed checkpoint when this returns. Raises ``BadInput`` for an entry that is
        empty or too long, ``EvidenceBroken`` where the files do not match their checkpoint, ``Busy``.
        """
        for entry in entries:
            if not 0 < len(entry) <= MAX_ENTRY:
                raise BadInput(f"An entry of the log has 1 to {MAX_ENTRY} bytes; this one has {len(entry)}.")
        with self.locked():
            held = self.checkpoint(self.key)
            self._clear(held.size)
            if entries:
                try:
                    self._append(held, entries)
                except BaseException:
                    # What was read back of a failed append is no part of the log; another may write it differently.
                    self._forget()
                    raise
            return held.size

    def _begin(self) -> None:
        # Entries without a checkpoint are a log that lost it: to begin anew would sign another past over it.
        if (self.folder / "tile").exists():
            raise EvidenceBroken(
                f"The log {self.folder} has entries, but its checkpoint is missing.",
                hint="Put the file checkpoint back from a copy; nothing was changed.",
            )
        self._publish(Checkpoint(self._key.name, 0, merkle.EMPTY_ROOT))

    def _append(self, held: Checkpoint, entries: Sequence[bytes]) -> None:
        size = held.size + len(entries)
        edge = self._checked_edge(held)
        self._replace("appending", f"{size}\n".encode())
        with _Durable(self.folder) as files:
            self._write_entries(held.size, [*edge, *entries], files)
            self._write_hashes(held.size, [merkle.leaf_hash(entry) for entry in entries], files)
        self._publish(Checkpoint(self._key.name, size, merkle.tree_root(size, self.nodes(size))))
        (self.folder / "appending").unlink()
        self._drop_outgrown(held.size, size)

    def _checked_edge(self, held: Checkpoint) -> list[bytes]:
        """The entries of the last bundle where it is partial, once they and the tiles are found to be what the
        checkpoint covers: one signed over a damaged edge would contradict the one before, and is never taken back."""
        number, offset = divmod(held.size, TILE_WIDTH)
        edge = self.bundle(number, held.size) if offset else []
        known = self.tile(0, number, held.size) if offset else b""
        sound = b"".join(merkle.leaf_hash(entry) for entry in edge) == known
        if not sound or merkle.tree_root(held.size, self.nodes(held.size)) != held.root:
            raise EvidenceBroken(
                f"The log's files do not give the root of its checkpoint at {held.size} entries.",
                hint="Nothing was appended. Restore the log folder from a copy, then run duecare verify --all.",
            )
        return edge

    def _write_entries(self, old: int, pending: list[bytes], files: _Durable) -> None:
        number = old // TILE_WIDTH
        for start in range(0, len(pending), TILE_WIDTH):
            part = pending[start : start + TILE_WIDTH]
            files.write(tile_path("entries", number + start // TILE_WIDTH, len(part)), pack(part))

    def _write_hashes(self, old: int, hashes: list[bytes], files: _Durable) -> None:
        level = 0
        while hashes:
            number, offset = divmod(old >> (TILE_HEIGHT * level), TILE_WIDTH)
            if offset:
                edge = self.tile(level, number, old)
                hashes = [edge[at : at + merkle.HASH_SIZE] for at in range(0, len(edge), merkle.HASH_SIZE)] + hashes
            full = []
            for start in range(0, len(hashes), TILE_WIDTH):
                part = hashes[start : start + TILE_WIDTH]
                files.write(tile_path(str(level), number + start // TILE_WIDTH, len(part)), b"".join(part))
                if len(part) == TILE_WIDTH:
                    full.append(merkle.perfect_root(part))
            hashes, level = full, level + 1

    def _publish(self, checkpoint: Checkpoint) -> None:
        self._replace("checkpoint", checkpoint.sign(self._key).data())

    def _replace(self, name: str, data: bytes) -> None:
        """Put ``data`` in the place of file ``name``; a reader, and a restart, find one or the other."""
        durable.replace(self.folder / name, data, alone=True)

    def _clear(self, size: int) -> None:
        """Remove what a killed append left beyond ``size`` entries."""
        intent = self.folder / "appending"
        if not intent.exists():
            return
        try:
            meant = int(intent.read_text(encoding="ascii"))
        except ValueError:
            raise EvidenceBroken(
                f"The file {intent} does not say how far a killed append meant to go.",
                hint="Restore the log folder from a copy; nothing was appended.",
            ) from None
        for kind, level, number in _tiles_between(size, meant):
            reached = width_at(meant, level, number)
            if reached > width_at(size, level, number):
                (self.folder / tile_path(kind, number, reached)).unlink(missing_ok=True)
        self._forget()
        intent.unlink()

    def _drop_outgrown(self, old: int, size: int) -> None:
        """Remove the partial tiles whose full tile is there now (C2SP tlog-tiles, partial tiles)."""
        for kind, level, number in _tiles_between(old, size):
            if width_at(size, level, number) == TILE_WIDTH and width_at(old, level, number):
                shutil.rmtree((self.folder / tile_path(kind, number, 1)).parent, ignore_errors=True)


class _Durable:
    """Files written together; all of them, and their folders, are on disk when the block ends."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: list[Path] = []
        self._folders: set[Path] = set()

    def __enter__(self) -> _Durable:
        return self

    def write(self, path: str, data: bytes) -> None:
        """Write ``data`` to ``path`` under the root."""
        place = self._root / path
        if place.parent not in self._folders:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(place.parent)
        place.write_bytes(data)
        self._files.append(place)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None:
            return
        folders = {self._root}
        for folder in self._folders:
            folders.update(above for above in (folder, *folder.parents) if above.is_relative_to(self._root))
        # Only after all is written, and by several threads: the journal of the disk then takes many files at once.
        with ThreadPoolExecutor(4, thread_name_prefix="log-sync") as threads:
            list(threads.map(durable.sync, [*self._files, *folders]))


def _tiles_between(old: int, new: int) -> Iterator[tuple[str, int, int]]:
    """Kind, level and number of every tile and bundle that grows from ``old`` to ``new`` entries, farthest first."""
    for kind, level in (("entries", 0), *((str(level), level) for level in range(levels(new)))):
        first, last = (old >> (TILE_HEIGHT * level)) // TILE_WIDTH, ((new >> (TILE_HEIGHT * level)) - 1) // TILE_WIDTH
        for number in range(last, first - 1, -1):
            yield kind, level, number
