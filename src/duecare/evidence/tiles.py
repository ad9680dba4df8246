"""The files of a log (C2SP tlog-tiles): where each stands, and how to read hashes, entries and proofs from them.

    checkpoint                      the signed note that says how much of the rest counts
    tile/<level>/<N>[.p/<width>]    up to 256 hashes; level 0 holds leaf hashes, each higher one roots of full tiles
    tile/entries/<N>[.p/<width>]    up to 256 entries, each after its length in two bytes, most significant first

The rule of this module: it only reads, and believes nothing that a checkpoint does not cover.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from duecare.errors import EvidenceBroken
from duecare.evidence import merkle
from duecare.evidence.checkpoint import Checkpoint, VerifierKey, open_checkpoint

TILE_HEIGHT = 8
TILE_WIDTH = 256
"""Hashes in a full tile, and entries in a full bundle."""

MAX_ENTRY = 65535
"""Bytes of one entry: its length is written in two bytes."""

_KEPT_TILES = 512
_KEPT_ROOTS = 4096


def tile_path(kind: str, number: int, width: int = TILE_WIDTH) -> str:
    """The path of tile ``number`` of a level (``kind`` "0", "1", …) or of the ``entries``, with ``width`` elements.

    >>> tile_path("entries", 1234067, 8)
    'tile/entries/x001/x234/067.p/8'
    """
    digits = f"{number:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    path = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return f"tile/{kind}/{path}" + (f".p/{width}" if width < TILE_WIDTH else "")


def levels(size: int) -> int:
    """How many levels of tiles a log of ``size`` entries has."""
    count = 0
    while size >> (TILE_HEIGHT * count):
        count += 1
    return count


def width_at(size: int, level: int, number: int) -> int:
    """How many elements tile ``number`` of ``level`` has in a log of ``size`` entries (0: there is no such tile)."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - number * TILE_WIDTH))


def pack(entries: list[bytes]) -> bytes:
    """An entry bundle."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def unpack(bundle: bytes) -> list[bytes]:
    """The entries of a bundle. Raises ``EvidenceBroken`` where it is cut short."""
    entries, position = [], 0
    while position < len(bundle):
        start = position + 2
        position = start + int.from_bytes(bundle[position:start], "big")
        if start > len(bundle) or position > len(bundle):
            raise EvidenceBroken(f"An entry bundle is cut short at byte {len(bundle)}.")
        entries.append(bundle[start:position])
    return entries


class LogReader:
    """A log read from its files alone, as an outsider who was handed the folder reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tiles: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()
        self._roots: dict[tuple[int, int], bytes] = {}

    def note(self) -> bytes:
        """The current checkpoint as signed. Raises ``EvidenceBroken`` where there is none."""
        try:
            return (self.folder / "checkpoint").read_bytes()
        except FileNotFoundError:
            raise EvidenceBroken(
                f"There is no log in {self.folder}: its checkpoint is missing.",
                hint="Name the home of a log with --home.",
            ) from None

    def checkpoint(self, key: VerifierKey) -> Checkpoint:
        """The current checkpoint, once found signed with ``key``."""
        return open_checkpoint(self.note(), key)

    def entry(self, index: int, size: int) -> bytes:
        """Entry ``index`` of a log of ``size`` entries."""
        number, offset = divmod(index, TILE_WIDTH)
        return self.bundle(number, size)[offset]

    def entries(self, start: int, size: int) -> Iterator[bytes]:
        """The entries from ``start`` on of a log of ``size`` entries, in order."""
        for number in range(start // TILE_WIDTH, -(-size // TILE_WIDTH)):
            yield from self.bundle(number, size)[max(0, start - number * TILE_WIDTH) :]

    def bundle(self, number: int, size: int) -> list[bytes]:
        """The entries of bundle ``number`` in a log of ``size`` entries."""
        width = width_at(size, 0, number)
        found = unpack(self._read("entries", number, width))
        if len(found) < width:
            raise EvidenceBroken(
                f"{tile_path('entries', number, width)} holds {len(found)} entries instead of {width}."
            )
        return found[:width]

    def tile(self, level: int, number: int, size: int) -> bytes:
        """The hashes of a tile in a log of ``size`` entries, joined (32 bytes each)."""
        width = width_at(size, level, number)
        key = (level, number, width)
        if key not in self._tiles:
            data = self._read(str(level), number, width)
            if len(data) < width * merkle.HASH_SIZE:
                raise EvidenceBroken(f"{tile_path(str(level), number, width)} is cut short.")
            self._tiles[key] = data[: width * merkle.HASH_SIZE]
            if len(self._tiles) > _KEPT_TILES:
                self._tiles.popitem(last=False)
        return self._tiles[key]

    def nodes(self, size: int) -> merkle.Nodes:
        """The hashes of perfect subtrees of a log of ``size`` entries, from its tiles.

        Such a subtree is the same in every longer log: what one proof has hashed, the next one need not.
        """

        def node(level: int, index: int) -> bytes:
            root = self._roots.get((level, index))
            if root is None:
                tile_level, height = divmod(level, TILE_HEIGHT)
                number, offset = divmod(index << height, TILE_WIDTH)
                tile = self.tile(tile_level, number, size)
                stop = offset + (1 << height)
                root = merkle.perfect_root(
                    [tile[at * merkle.HASH_SIZE : (at + 1) * merkle.HASH_SIZE] for at in range(offset, stop)]
                )
                if len(self._roots) >= _KEPT_ROOTS:
                    self._roots.clear()
                self._roots[level, index] = root
            return root

        return node

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The inclusion proof of entry ``index`` in the log of ``size`` entries."""
        return merkle.inclusion_proof(index, size, self.nodes(size))

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The consistency proof from the log of ``old`` entries to that of ``new``."""
        return merkle.consistency_proof(old, new, self.nodes(new))

    def _forget(self) -> None:
        """Read anew what was read: what was written beyond the checkpoint is no part of the log."""
        self._tiles.clear()
        self._roots.clear()

    def _read(self, kind: str, number: int, width: int) -> bytes:
        """A tile of at least ``width`` elements: the partial one, or the full one that has taken its place."""
        wanted = (tile_path(kind, number, width), tile_path(kind, number))
        for path in wanted:
            try:
                return (self.folder / path).read_bytes()
            except FileNotFoundError:
                continue
        raise EvidenceBroken(f"{wanted[0]} is missing from the log.", hint="Restore the log from a copy.")
