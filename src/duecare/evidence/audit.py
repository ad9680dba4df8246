"""Re-deriving a whole log as an outsider would: from its files and its public key, and nothing else.

The rule of this module: it trusts no hash that it has not computed from the entries themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from duecare.errors import EvidenceBroken
from duecare.evidence import merkle
from duecare.evidence.check import Check, answer
from duecare.evidence.checkpoint import Checkpoint, VerifierKey, open_checkpoint
from duecare.evidence.tiles import TILE_WIDTH, LogReader, levels, pack, tile_path, width_at

Progress = Callable[[int, int], None]
"""``progress(done, all)``, in entries."""


class _Tiles:
    """Computes every tile from leaf hashes and compares each with its file, whole or partial."""

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size
        self._rows: list[list[bytes]] = [[] for _ in range(levels(size))]
        self._numbers = [0] * levels(size)
        self.problem = ""

    def add(self, row: list[bytes], level: int = 0) -> None:
        """Add up to 256 hashes that make up the next tile of ``level``."""
        self.problem = self.problem or _compare(self._folder, str(level), self._numbers[level], row, b"".join)
        self._numbers[level] += 1
        if len(row) == TILE_WIDTH:
            above = self._rows[level + 1]
            above.append(merkle.perfect_root(row))
            if len(above) == width_at(self._size, level + 1, self._numbers[level + 1]):
                self._rows[level + 1] = []
                self.add(above, level + 1)


def _compare(folder: Path, kind: str, number: int, elements: list[bytes], join: Callable[[list[bytes]], bytes]) -> str:
    """What is wrong with the files of one tile or bundle that should hold ``elements``; empty where nothing is.

    Partial files of earlier checkpoints are compared too. What is wider than ``elements`` was left by a killed append:
    no checkpoint covers it, so it says nothing.
    """
    width, whole = len(elements), folder / tile_path(kind, number)
    current = folder / tile_path(kind, number, width)
    found = _bytes(current)
    if found is None:
        full = _bytes(whole)
        if full is None:
            return f"{current.relative_to(folder)} is missing"
        if not full.startswith(join(elements)):
            return f"{whole.relative_to(folder)} does not follow from the entries"
    elif found != join(elements):
        return f"{current.relative_to(folder)} does not follow from the entries"
    for path in sorted(whole.with_name(f"{whole.name}.p").glob("*")):
        if path.name.isdecimal() and int(path.name) < width:
            partial = _bytes(path)
            if partial is not None and partial != join(elements[: int(path.name)]):
                return f"{path.relative_to(folder)} does not follow from the entries"
    return ""


def _bytes(path: Path) -> bytes | None:
    """The file's bytes; none where it is not there, or was outgrown and removed a moment ago."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def audit(folder: Path, key: VerifierKey, older: bytes | None = None, progress: Progress | None = None) -> list[Check]:
    """Re-derive the log in ``folder``: its signature, every entry, every tile, the root; and growth since ``older``.

    ``older`` is a signed checkpoint noted earlier. Memory does not grow with the log.
    """
    reader = LogReader(folder)
    try:
        checkpoint = reader.checkpoint(key)
    except EvidenceBroken as error:
        return [answer("signature", False, error)]
    checks = [answer("signature", True, f"{checkpoint.origin}, {checkpoint.size} entries")]
    earlier: Checkpoint | None = None
    if older is not None:
        try:
            earlier = open_checkpoint(older, key)
        except EvidenceBroken as error:
            checks.append(answer("growth", False, error))
    roots, tiles = merkle.Growing(), _Tiles(folder, checkpoint.size)
    seen = merkle.EMPTY_ROOT if earlier and earlier.size == 0 else b""
    problem = ""
    for number in range(-(-checkpoint.size // TILE_WIDTH)):
        try:
            row, problem = _bundle(reader, number, checkpoint.size, problem)
        except EvidenceBroken as error:
            return [*checks, answer("entries", False, error)]
        for leaf in row:
            roots.add(leaf)
            if earlier and roots.size == earlier.size:
                seen = roots.root()
        tiles.add(row)
        if progress:
            progress(roots.size, checkpoint.size)
    checks.append(answer("entries", not problem, problem or f"{roots.size} entries"))
    checks.append(answer("tiles", not tiles.problem, tiles.problem or f"{levels(checkpoint.size)} levels"))
    checks.append(answer("root", roots.root() == checkpoint.root, roots.root().hex()))
    if earlier:
        grown = earlier.size <= checkpoint.size and seen == earlier.root
        checks.append(answer("growth", grown, f"from {earlier.size} to {checkpoint.size} entries"))
    return checks


def _bundle(reader: LogReader, number: int, size: int, problem: str) -> tuple[list[bytes], str]:
    """The leaf hashes of a bundle, and the first problem found so far: a bundle that is not what its tile says."""
    entries = reader.bundle(number, size)
    row = [merkle.leaf_hash(entry) for entry in entries]
    try:
        known = reader.tile(0, number, size)
    except EvidenceBroken as error:
        return row, problem or str(error)
    if b"".join(row) != known and not problem:
        at = next(at for at, leaf in enumerate(row) if leaf != known[at * 32 : at * 32 + 32])
        problem = f"entry {number * TILE_WIDTH + at} is not what the tile says"
    return row, problem or _compare(reader.folder, "entries", number, entries, pack)
