"""A pack: many pages as received, in one file that is appended to, small because pages of one site look alike.

The rule of this module: a page that was added can be read back whole, or not at all. A file cut short anywhere (a
killed process, a full disk) reads up to its last whole page, and is appended to from there.

The format, all numbers big-endian:

    pack    = "duecare pack 1\\n"  record*
    record  = "page"  u32 length of payload  u32 CRC-32 of payload  u64 base  payload
    payload = one zstd frame of:  u32 length of head  head  body
    head    = JSON object {"entity", "url", "fetched_at", "status", "sha256"}, UTF-8

``base`` is the offset of an earlier record whose body is the frame's raw-content dictionary, 0 for none. The first page
of a pack has none and is the base of the rest: pages of one site share nine tenths of their markup.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import zstandard

from duecare.clock import utc
from duecare.errors import BadInput

_HEAD = b"duecare pack 1\n"
_RECORD = struct.Struct(">4sIIQ")
_LENGTH = struct.Struct(">I")
_LEVEL = 6
_LARGEST_PAGE = 1 << 28


@dataclass(frozen=True)
class Packed:
    """A page in a pack. ``fetched_at`` is aware, in UTC; ``sha256`` is of ``body``, in hex; ``offset`` and ``length``
    are its place in the file, for ``read_at``."""

    entity: str
    url: str
    fetched_at: datetime
    status: int
    body: bytes
    sha256: str
    offset: int
    length: int


class PackWriter:
    """Appends to the pack at ``path``, which is made if absent and, if cut short, cut back to its last whole page.

    One writer at a time. What ``add`` returned survives the end of this process; ``sync`` and ``close`` make it
    survive the machine's. Raises ``BadInput`` where ``path`` is something other than a pack.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._end = 0
        if path.exists():
            with PackReader(path) as reader:
                self._end = reader.extent()
        self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        self._file.truncate(self._end)
        self._file.seek(self._end)
        if not self._end:
            self._end = self._file.write(_HEAD)
        self._base = 0
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        if self._end > len(_HEAD):
            with PackReader(path) as reader:
                self._take_base(len(_HEAD), reader.at(len(_HEAD)).body)

    def _take_base(self, offset: int, body: bytes) -> None:
        if not body:
            return
        dictionary = zstandard.ZstdCompressionDict(body, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        dictionary.precompute_compress(level=_LEVEL)
        self._base = offset
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, dict_data=dictionary)

    def add(self, entity: str, url: str, fetched_at: datetime, status: int, body: bytes) -> tuple[int, int, str]:
        """Append a page; its offset and length in the file (for ``read_at``) and the SHA-256 of its body, in hex."""
        sha256 = hashlib.sha256(body).hexdigest()
        head = json.dumps(
            {
                "entity": entity,
                "url": url,
                "fetched_at": utc(fetched_at).isoformat(),
                "status": status,
                "sha256": sha256,
            },
            ensure_ascii=False,
        ).encode()
        payload = self._compressor.compress(_LENGTH.pack(len(head)) + head + body)
        record = _RECORD.pack(b"page", len(payload), zlib.crc32(payload), self._base) + payload
        offset = self._end
        view = memoryview(record)
        while view:
            view = view[self._file.write(view) :]
        self._end += len(record)
        if offset == len(_HEAD):
            self._take_base(offset, body)
        return offset, len(record), sha256

    def sync(self) -> None:
        """Wait until what was added is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close. May be called twice."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PackReader:
    """Reads the pack at ``path``: any page by its offset, or all in the order they came.

    Raises ``BadInput`` where ``path`` is not a pack.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BinaryIO = path.open("rb")
        except FileNotFoundError:
            raise BadInput(f"There is no pack {path}.", hint="Packs are written by a crawl.") from None
        head = self._file.read(len(_HEAD))
        if head != _HEAD[: len(head)]:
            self._file.close()
            raise BadInput(f"{path} is not a pack: it starts with {head!r}.", hint=f"A pack starts with {_HEAD!r}.")
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {}

    def __iter__(self) -> Iterator[Packed]:
        """Every page up to the last whole one. Raises ``BadInput`` at a damaged page that has others after it."""
        places = list(self._places())
        for number, (offset, length) in enumerate(places, 1):
            try:
                page = self.at(offset, length)
            except BadInput:
                # A machine that lost power may leave a last record of the right length with the wrong bytes in it.
                if number == len(places):
                    return
                raise
            yield page

    def extent(self) -> int:
        """The offset after the last whole page, 0 where not even the head of the pack is whole; reads one page only."""
        if os.fstat(self._file.fileno()).st_size < len(_HEAD):
            return 0
        places = list(self._places())
        while places:
            try:
                self.at(*places[-1])
            except BadInput:
                places.pop()
            else:
                break
        return sum(places[-1]) if places else len(_HEAD)

    def at(self, offset: int, length: int = 0) -> Packed:
        """The page at ``offset``; ``length``, where known, saves a read. Raises ``BadInput`` where no whole and
        unaltered page is there."""
        self._file.seek(offset)
        record = self._file.read(max(length, _RECORD.size))
        kind, size, crc, base = _RECORD.unpack_from(record) if len(record) >= _RECORD.size else (b"", 0, 0, 0)
        if kind != b"page":
            raise self._damaged(offset, "no page starts there")
        record += self._file.read(max(0, _RECORD.size + size - len(record)))
        payload = record[_RECORD.size : _RECORD.size + size]
        if len(payload) != size:
            raise self._damaged(offset, "it is cut short")
        if zlib.crc32(payload) != crc:
            raise self._damaged(offset, "its check sum does not hold")
        try:
            plain = self._decompressor(base).decompress(payload, max_output_size=_LARGEST_PAGE)
        except zstandard.ZstdError as error:
            raise self._damaged(offset, str(error)) from None
        (cut,) = _LENGTH.unpack_from(plain)
        head = json.loads(plain[_LENGTH.size : _LENGTH.size + cut])
        body = plain[_LENGTH.size + cut :]
        if hashlib.sha256(body).hexdigest() != head["sha256"]:
            raise self._damaged(offset, "its body is not the one its hash names")
        fetched_at = datetime.fromisoformat(head["fetched_at"])
        return Packed(
            head["entity"], head["url"], fetched_at, head["status"], body, head["sha256"], offset, _RECORD.size + size
        )

    def _decompressor(self, base: int) -> zstandard.ZstdDecompressor:
        known = self._decompressors.get(base)
        if known is None:
            if base:
                dictionary = zstandard.ZstdCompressionDict(self.at(base).body, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
                known = zstandard.ZstdDecompressor(dict_data=dictionary)
            else:
                known = zstandard.ZstdDecompressor()
            self._decompressors[base] = known
        return known

    def _places(self) -> Iterator[tuple[int, int]]:
        """Offset and length of each record whose bytes are all there, by its head alone."""
        size = os.fstat(self._file.fileno()).st_size
        offset = len(_HEAD)
        while offset + _RECORD.size <= size:
            self._file.seek(offset)
            kind, length, _, _ = _RECORD.unpack(self._file.read(_RECORD.size))
            if kind != b"page" or offset + _RECORD.size + length > size:
                return
            yield offset, _RECORD.size + length
            offset += _RECORD.size + length

    def _damaged(self, offset: int, why: str) -> BadInput:
        return BadInput(f"The pack {self.path} has no page at {offset}: {why}.", hint="Crawl it again.")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_at(path: Path, offset: int, length: int = 0) -> Packed:
    """One page by its place, without reading those before it. For many of one pack hold a ``PackReader`` open.

    Raises ``BadInput`` where no whole and unaltered page is there."""
    with PackReader(path) as reader:
        return reader.at(offset, length)


def read_all(path: Path) -> Iterator[Packed]:
    """Every page of the pack in the order they came, up to the last whole one."""
    with PackReader(path) as reader:
        yield from reader
