"""The slots: one wrapping key for each subject and purpose, in a file of ``keys/`` under the master key.

The rule of this module: erased is a state of a slot, not its absence. A slot is used for one key only and never again;
reading an erased one is an error of its own; nothing recreates it.
"""

from __future__ import annotations

import os
import secrets
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from filelock import FileLock

from duecare.errors import BadInput, Erased, KeyLost
from duecare.store import durable
from duecare.store.lock import holding
from duecare.vault.keys import KEY_SIZE, MasterKeys, refuse_wide

LOCK_SECONDS = 60.0
"""How long an erasure waits for a rotation, and either for another process, before it gives up with ``Busy``."""

_MAGIC = b"duecare slots 1\n"
_HEADER = 512
_RECORD = 64
_WRAP = 40
_HEAD = struct.Struct(">16sQI")  # magic, generation of the master key, length of the wrapped file key
_SLOT = struct.Struct(">B3x16s40s")  # state, key id, wrapped key; a CRC-32 of these follows
_CRC = struct.Struct(">I")
_COUNT = struct.Struct(">Q")
_CRC_AT = 488
_COUNT_AT = 496
_LONGEST_WRAP = _CRC_AT - _HEAD.size
_PART = 1 << 14  # records read or written at once by a rotation
_TRIES = 3


class SlotState(IntEnum):
    """``LIVE``: holds a key. ``ERASED``: held one, and never will again."""

    LIVE = 1
    ERASED = 2


@dataclass(frozen=True)
class Slot:
    """A place in the slots file and the id (32 hex digits) of the key that was put there."""

    number: int
    key: str


class Slots:
    """The file ``vault.slots`` in ``folder``. Any number of processes and threads may have it open.

    Readers take no lock: each reading looks whether the file was replaced by a rotation meanwhile.
    """

    def __init__(self, folder: Path, master: MasterKeys, *, create: bool = True) -> None:
        """Open the slots; ``create`` says that there may be none yet. What a killed rotation left is cleared.

        Raises ``KeyLost`` where the file or its master key is missing, ``BadInput`` where others may read it, ``Busy``.
        """
        self.path = folder / "vault.slots"
        self._master = master
        self._lock = FileLock(folder / "vault.lock", timeout=LOCK_SECONDS)
        self._guard = threading.Lock()
        self._open: _File | None = None
        if not self.path.exists():
            if not create:
                raise KeyLost(
                    f"{self.path} is not there, but values are sealed under its keys.",
                    hint="Put keys/ back from the copy that you keep apart; without it nothing can be opened.",
                )
            with self.locked():
                if not self.path.exists():
                    self._write(self._fresh_header(0), ())
        self.recover()

    def locked(self) -> AbstractContextManager[None]:
        """Keep other writers out; may be nested. Raises ``Busy`` after ``LOCK_SECONDS``."""
        return holding(self._lock, f"Another process has been changing {self.path} for {LOCK_SECONDS:.0f} seconds.")

    def make(self, keys: Sequence[str]) -> list[Slot]:
        """Draw a key for each id in ``keys``, and keep it durably; returns their slots."""
        if not keys:
            return []
        with self.locked():
            file = self._file()
            first = file.count()
            records = (
                _record(SlotState.LIVE, key, aes_key_wrap(file.key, secrets.token_bytes(KEY_SIZE))) for key in keys
            )
            file.write(_HEADER + first * _RECORD, b"".join(records))
            file.sync()
        return [Slot(first + at, key) for at, key in enumerate(keys)]

    def key(self, slot: Slot) -> bytes:
        """The wrapping key in ``slot``. Raises ``Erased``; ``KeyLost`` where the file does not have that key."""
        return self._file().read(slot)

    def keys(self, slots: Sequence[Slot]) -> list[bytes | None]:
        """The wrapping keys in ``slots``, none where one was erased. Raises ``KeyLost``."""
        file, found = self._file(), list[bytes | None]()
        for slot in slots:
            try:
                found.append(file.read(slot))
            except Erased:
                found.append(None)
        return found

    def states(self) -> list[tuple[str, SlotState]]:
        """The key id and state of every slot, in order."""
        file = self._file()
        return [(key, state) for state, key, _ in file.records()]

    def erase(self, slots: Sequence[Slot]) -> int:
        """Destroy the keys in ``slots``, durably; returns how many this call destroyed. Again, nothing happens.

        A slot that holds another key than the one named (an older copy of the file was put back, and went on) stays.
        """
        with self.locked():
            file = self._file()
            count = file.count()
            gone = [slot for slot in slots if slot.number < count and file.holds(slot)]
            for slot in gone:
                file.write(_HEADER + slot.number * _RECORD, _record(SlotState.ERASED, slot.key, bytes(_WRAP)))
            if gone:
                file.sync()
        return len(gone)

    def rotate(self) -> int:
        """Put all keys under a new master key and destroy the old one; returns the new generation.

        Readers go on meanwhile. Killed at any step, the slots are as before or done: see ``recover``.
        """
        with self.locked():
            self.recover()
            old = self._file()
            self._master.rotate()
            header, key = self._fresh_header(old.erasures())
            self._write((header, key), _rewrapped(old, key))
            generation = self._file().generation
            for each in self._master.generations():
                if each < generation:
                    self._master.retire(each)
        return generation

    def recover(self) -> None:
        """Clear what a killed rotation left: a file that was not put in place, master keys that wrap nothing."""
        generation = self._file().generation
        if self._master.generations() == [generation] and not self._partial.exists():
            return
        with self.locked():
            self._partial.unlink(missing_ok=True)
            generation = self._file().generation
            for each in self._master.generations():
                if each != generation:
                    self._master.retire(each)

    @property
    def generation(self) -> int:
        """The generation of the master key in use."""
        return self._file().generation

    @property
    def erasures(self) -> int:
        """How many erasures the file knows of; an older copy of it knows fewer than the database."""
        return self._file().erasures()

    def count_erasures(self, total: int) -> None:
        """Note that ``total`` erasures have reached this file; a smaller number than noted changes nothing.

        A power cut may take the note: then the database, which knows more, has its erasures done again here.
        """
        with self.locked():
            file = self._file()
            if total > file.erasures():
                file.write(_COUNT_AT, _COUNT.pack(total))

    def close(self) -> None:
        """Close the file and forget its key."""
        with self._guard:
            if self._open is not None:
                self._open.close()
            self._open = None

    @property
    def _partial(self) -> Path:
        return self.path.with_name("vault.slots.new")

    def _file(self) -> _File:
        """The file as it is now: opened anew where another one has taken its place."""
        held = self._open
        if held is not None and held.stands():
            return held
        with self._guard:
            # Between the opening of a file and the reading of its master key, a rotation may have replaced both.
            for _ in range(_TRIES):
                with suppress(KeyLost):
                    self._open = _File(self.path, self._master)
                    return self._open
            self._open = _File(self.path, self._master)
            return self._open

    def _fresh_header(self, erasures: int) -> tuple[bytes, bytes]:
        key = secrets.token_bytes(KEY_SIZE)
        generation, wrapped = self._master.wrap(key)
        if len(wrapped) > _LONGEST_WRAP:
            raise BadInput(f"The master key made a wrap of {len(wrapped)} bytes; at most {_LONGEST_WRAP} are kept.")
        head = (_HEAD.pack(_MAGIC, generation, len(wrapped)) + wrapped).ljust(_CRC_AT, b"\0")
        head += _CRC.pack(zlib.crc32(head))
        return head.ljust(_COUNT_AT, b"\0") + _COUNT.pack(erasures).ljust(_HEADER - _COUNT_AT, b"\0"), key

    def _write(self, header: tuple[bytes, bytes], parts: Iterator[bytes] | tuple[()]) -> None:
        """Put a new file in the place of the present one, whole or not at all."""
        partial = self._partial
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(header[0])
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self.path)
        durable.sync(self.path.parent)


class _File:
    """One slots file, open, with the key under which its slots are wrapped."""

    _descriptor = -1

    def __init__(self, path: Path, master: MasterKeys) -> None:
        refuse_wide(path)
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            raise KeyLost(f"{path} is not there.", hint="Put keys/ back from the copy that you keep apart.") from None
        self._inode = os.fstat(self._descriptor).st_ino
        try:
            head = os.pread(self._descriptor, _HEADER, 0)
            magic, generation, length = _HEAD.unpack_from(head.ljust(_HEADER, b"\0"))
            (crc,) = _CRC.unpack_from(head.ljust(_HEADER, b"\0"), _CRC_AT)
            if magic != _MAGIC or len(head) < _HEADER or crc != zlib.crc32(head[:_CRC_AT]):
                raise KeyLost(
                    f"{path} is not a slots file, or its head is damaged.", hint="Put keys/ back from a copy."
                )
            self.generation, self.key = (
                int(generation),
                master.unwrap(generation, head[_HEAD.size : _HEAD.size + length]),
            )
        except BaseException:
            self.close()
            raise

    def stands(self) -> bool:
        try:
            return os.stat(self.path).st_ino == self._inode  # noqa: PTH116 - half the time of Path.stat
        except FileNotFoundError:
            return False

    def count(self) -> int:
        return max(0, (os.fstat(self._descriptor).st_size - _HEADER) // _RECORD)

    def erasures(self) -> int:
        (count,) = _COUNT.unpack(os.pread(self._descriptor, _COUNT.size, _COUNT_AT))
        return int(count)

    def read(self, slot: Slot) -> bytes:
        try:
            state, key, wrapped = self._at(slot)
        except KeyLost:
            state, key, wrapped = self._at(slot)  # read while it was being written: the second reading decides
        if key != slot.key:
            raise _lost(slot, self.path, "it holds another")
        if state is SlotState.ERASED:
            raise Erased(f"The key {slot.key} was erased.", hint="Nothing brings it back.")
        try:
            return aes_key_unwrap(self.key, wrapped)
        except InvalidUnwrap:
            raise _lost(slot, self.path, "its wrap does not open") from None

    def holds(self, slot: Slot) -> bool:
        """Whether the slot has the key that is named, and it is not erased. A damaged record is that key's."""
        record = os.pread(self._descriptor, _RECORD, _HEADER + slot.number * _RECORD)
        state, key, _ = _SLOT.unpack_from(record.ljust(_RECORD, b"\0"))
        return bool(key.hex() == slot.key and (state != SlotState.ERASED or any(record[20:60])))

    def records(self) -> Iterator[tuple[SlotState, str, bytes]]:
        """Every slot: state, key id, wrapped key."""
        count = self.count()
        for start in range(0, count, _PART):
            part = os.pread(self._descriptor, min(_PART, count - start) * _RECORD, _HEADER + start * _RECORD)
            for at in range(0, len(part), _RECORD):
                number = start + at // _RECORD
                yield self._parse(part[at : at + _RECORD], Slot(number, part[at + 4 : at + 20].hex()))

    def write(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            done = os.pwrite(self._descriptor, view, offset)
            view, offset = view[done:], offset + done

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __del__(self) -> None:
        # A reader may hold the file that a rotation has replaced: it is closed when the last one lets it go.
        self.close()

    def _at(self, slot: Slot) -> tuple[SlotState, str, bytes]:
        return self._parse(os.pread(self._descriptor, _RECORD, _HEADER + slot.number * _RECORD), slot)

    def _parse(self, record: bytes, slot: Slot) -> tuple[SlotState, str, bytes]:
        if len(record) < _RECORD:
            raise _lost(slot, self.path, "the file ends before it")
        state, key, wrapped = _SLOT.unpack_from(record)
        if state not in tuple(SlotState) or _CRC.unpack_from(record, _SLOT.size)[0] != zlib.crc32(record[: _SLOT.size]):
            raise _lost(slot, self.path, "its record is damaged")
        return SlotState(state), key.hex(), wrapped


def _record(state: SlotState, key: str, wrapped: bytes) -> bytes:
    head = _SLOT.pack(state, bytes.fromhex(key), wrapped)
    return head + _CRC.pack(zlib.crc32(head))


def _rewrapped(old: _File, key: bytes) -> Iterator[bytes]:
    """The records of ``old`` with their keys under ``key``; erased ones stay erased."""
    pending: list[bytes] = []
    for state, name, wrapped in old.records():
        again = aes_key_wrap(key, aes_key_unwrap(old.key, wrapped)) if state is SlotState.LIVE else bytes(_WRAP)
        pending.append(_record(state, name, again))
        if len(pending) == _PART:
            yield b"".join(pending)
            pending.clear()
    yield b"".join(pending)


def _lost(slot: Slot, path: Path, why: str) -> KeyLost:
    return KeyLost(
        f"The key {slot.key} is not in slot {slot.number} of {path}: {why}.",
        hint="keys/ is an older copy or damaged. Put back the newest copy that you keep apart; nothing was changed.",
    )
