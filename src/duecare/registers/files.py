"""Files as they arrive: plain, gzip or zip, in any encoding, checked to be whole before anything is read.

The rule of this module: a file that is empty or cut short never yields a part of itself.
"""

from __future__ import annotations

import codecs
import gzip
import lzma
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from duecare.errors import BadInput, UseError
from duecare.store import passing

_CHUNK = 8 << 20
_SMALL = 100 << 20  # bytes that are unpacked from anything
_MOST = 100  # times its own size, beyond that; what registers publish unpacks to 5 to 20 times its size
_LEFT_FREE = 256 << 20

Lines = npt.NDArray[np.int64]
"""Numbers of lines, places of records or offsets of bytes, sorted."""


@dataclass(frozen=True)
class Plain:
    """A file ready to be read: ``path`` is plain UTF-8, ``title`` is what messages call it, ``member`` is its name
    inside the archive (its own name where it came plain), ``folder`` is for passing files and goes with it."""

    path: Path
    title: str
    member: str
    folder: Path

    @property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size


@contextmanager
def unpacked(path: Path, *, suffixes: tuple[str, ...], encoding: str = "utf-8") -> Iterator[Plain]:
    """``path`` unpacked for the length of the block. What it is, is told by its first bytes, not by its name.

    ``suffixes`` say which member of a zip to take. Raises ``BadInput`` where the file is missing, empty, cut short,
    encrypted, holds none or several of such members, or unpacks to what no list does; ``UseError`` where the disk has
    no room for it.
    """
    if not path.is_file():
        raise BadInput(f"There is no file {path}.", hint="Give the path of a file that was downloaded.")
    with passing.folder() as folder:
        plain = _unpack(path, folder, suffixes)
        if plain.size == 0:
            raise BadInput(f"{path.name} is empty.", hint="Download it again; nothing was changed.")
        if codecs.lookup(encoding).name != "utf-8":
            plain = _recoded(plain, encoding)
        yield plain


def with_plain_newlines(plain: Plain) -> Plain:
    """A copy whose lines all end in a line feed, for files that mix two kinds of line ends."""
    target = plain.folder / "newlines"
    carry = b""
    with plain.path.open("rb") as source, target.open("wb") as out:
        while chunk := source.read(_CHUNK):
            chunk = carry + chunk
            carry = b"\r" if chunk.endswith(b"\r") else b""
            out.write(chunk.removesuffix(carry).replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
        out.write(carry.replace(b"\r", b"\n"))
    return replace(plain, path=target)


def lines_at(path: Path, offsets: Lines) -> Lines:
    """The line (1 is the first) in which each of the sorted byte ``offsets`` (0 is the first) lies."""
    lines = np.ones(len(offsets), dtype=np.int64)
    for start, end, before, ends in _line_ends(path):
        here = slice(np.searchsorted(offsets, start), np.searchsorted(offsets, end))
        lines[here] += before + np.searchsorted(ends, offsets[here])
    return lines


def text_at(path: Path, lines: Lines, heights: Lines, longest: int) -> list[str]:
    """What is written on each of the sorted ``lines`` (1 is the first) and below it, as many lines as its of
    ``heights``: the first ``longest`` characters, without the line end."""
    offsets = _offsets_of(path, lines)
    texts: list[str] = []
    with path.open("rb") as source:
        for offset, height in zip(offsets, heights, strict=True):
            source.seek(int(offset))
            found = source.read(4 * longest).split(b"\n", int(height))[: int(height)]
            texts.append(b"\n".join(found).decode("utf-8", errors="replace").rstrip("\r")[:longest])
    return texts


def _offsets_of(path: Path, lines: Lines) -> Lines:
    """The byte (0 is the first) at which each of the sorted ``lines`` begins."""
    offsets = np.zeros(len(lines), dtype=np.int64)
    for _, _, before, ends in _line_ends(path):
        first, last = np.searchsorted(lines, (before + 1, before + 1 + len(ends)), side="right")
        offsets[first:last] = ends[lines[first:last] - before - 2] + 1
    return offsets


def _line_ends(path: Path) -> Iterator[tuple[int, int, int, Lines]]:
    """The file by chunks: the byte at which one begins, the byte after it, how many lines end before it, and the bytes
    at which lines end in it."""
    start, before = 0, 0
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            ends = start + np.flatnonzero(np.frombuffer(chunk, dtype=np.uint8) == 10)
            yield start, start + len(chunk), before, ends
            start, before = start + len(chunk), before + len(ends)


def count_lines(path: Path) -> int:
    """How many lines there are; a last one without a line end counts."""
    count, last = 0, b"\n"
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            count, last = count + chunk.count(b"\n"), chunk[-1:]
    return count + (last != b"\n")


def holds(path: Path, sought: bytes) -> bool:
    """Whether the bytes ``sought`` stand anywhere in the file."""
    tail = b""
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            if sought in tail + chunk[: len(sought)] or sought in chunk:
                return True
            tail = chunk[-len(sought) :]
    return False


def blank_lines(path: Path) -> Lines:
    """The numbers of the lines that hold nothing, in order."""
    found: list[Lines] = []
    before, tail = 0, b"\n"
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            chunk = chunk.replace(b"\r", b"")
            data = np.frombuffer(tail + chunk, dtype=np.uint8)
            ends = data == 10
            numbers = before + np.cumsum(ends[1:])
            found.append(numbers[ends[1:] & ends[:-1]])
            before, tail = before + int(ends[1:].sum()), chunk[-1:] or tail
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _unpack(path: Path, folder: Path, suffixes: tuple[str, ...]) -> Plain:
    with path.open("rb") as file:
        start = file.read(4)
    target = folder / "plain"
    try:
        if start.startswith(b"\x1f\x8b"):
            with gzip.open(path) as source:
                _copy(source, target, path)
            return Plain(target, path.name, path.name.removesuffix(".gz"), folder)
        if start in (b"PK\x03\x04", b"PK\x05\x06"):  # the second: an archive of nothing
            with zipfile.ZipFile(path) as archive:
                member = _only_member(path, archive, suffixes)
                with archive.open(member) as source:
                    _copy(source, target, path)
            return Plain(target, f"{path.name} ({member})", member, folder)
    except (EOFError, zlib.error, lzma.LZMAError, OSError, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the archive's
        raise BadInput(
            f"{path.name} is cut short or damaged: {error or 'the archive ends too early'}.",
            hint="Download it again; nothing was read from it.",
        ) from None
    return Plain(path, path.name, path.name, folder)


def _only_member(path: Path, archive: zipfile.ZipFile, suffixes: tuple[str, ...]) -> str:
    members = [item for item in archive.infolist() if not item.is_dir()]
    fitting = [item for item in members if item.filename.lower().endswith(suffixes)]
    if len(fitting) != 1:
        raise BadInput(
            f"{path.name} holds {', '.join(item.filename for item in members[:5]) or 'nothing'}.",
            hint=f"Exactly one file ending in {' or '.join(suffixes)} was expected in it.",
        )
    if fitting[0].flag_bits & 1:
        raise BadInput(
            f"{path.name} is encrypted: {fitting[0].filename} opens with a password only.",
            hint="Unpack it, and give the file that was in it.",
        )
    return fitting[0].filename


def _copy(source: IO[bytes] | gzip.GzipFile, target: Path, archive: Path) -> None:
    most, written = max(_SMALL, _MOST * archive.stat().st_size), 0
    with target.open("wb") as out:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > most:
                raise BadInput(
                    f"{archive.name} unpacks to more than {_MOST} times its size: no list does.",
                    hint="If it is what was published, unpack it, and give the file that was in it.",
                )
            free = shutil.disk_usage(target.parent).free
            if written > _SMALL and free < len(chunk) + _LEFT_FREE:
                raise UseError(
                    f"{archive.name} does not fit on the disk: {free >> 20} MB are left in {target.parent.parent}.",
                    hint="Make room, or set TMPDIR to a folder that has it.",
                )
            out.write(chunk)


def _recoded(plain: Plain, encoding: str) -> Plain:
    target = plain.folder / "utf-8"
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    try:
        with plain.path.open("rb") as source, target.open("wb") as out:
            while chunk := source.read(_CHUNK):
                out.write(decoder.decode(chunk).encode("utf-8"))
            out.write(decoder.decode(b"", final=True).encode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{plain.title} is not {encoding}: {error.reason} near byte {error.start}.",
            hint="Give the encoding that the publisher names.",
        ) from None
    return replace(plain, path=target)
