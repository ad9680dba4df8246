"""Writing files so that a kill or a power cut at any moment leaves the old one or the new one, whole.

A file is on disk when its bytes are, and its name is when its folder is: both are waited for.

The rule of this module: nothing here returns before what it promises is on disk.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

_PARTIAL = ".partial-"


def sync(path: Path) -> None:
    """Wait until the file ``path``, or the names in the folder ``path``, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes, *, alone: bool = False) -> None:
    """Put ``data`` in the place of the file ``path``, or make it: whoever reads finds what was there, or ``data``.

    ``alone``: the caller holds a lock, so that what a killed one left beside is written over.
    """
    _written(path, data, 0o666, alone=alone).rename(path)
    sync(path.parent)


def put(path: Path, data: bytes) -> None:
    """``replace``, but for the name: the caller writes many, and waits for their folders with ``sync`` at the end."""
    _written(path, data, 0o666).rename(path)


def keep(path: Path, data: bytes, *, mode: int = 0o600) -> bool:
    """Make the file ``path`` with ``data``; one that is there already stays, and false is returned."""
    partial = _written(path, data, mode)
    try:
        os.link(partial, path)
    except FileExistsError:
        return False
    finally:
        partial.unlink()
    sync(path.parent)
    return True


def shred(path: Path) -> None:
    """Write over the file ``path``, and remove it: one that is only removed leaves its bytes on the disk.

    Not there, nothing happens. A file system that writes elsewhere (copy on write, a flash disk) may keep old bytes.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return
    try:
        os.pwrite(descriptor, b"\0" * os.fstat(descriptor).st_size, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink(missing_ok=True)
    sync(path.parent)


def partials(path: Path) -> list[Path]:
    """What killed writers of the file ``path`` left beside it."""
    return sorted(path.parent.glob(f"{_PARTIAL}{path.name}*"))


def _written(path: Path, data: bytes, mode: int, *, alone: bool = False) -> Path:
    """A file beside ``path`` with ``data``, on disk; it is gone again where that fails."""
    own = "" if alone else f".{secrets.token_hex(4)}"
    partial = path.with_name(f"{_PARTIAL}{path.name}{own}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if alone else os.O_EXCL), mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial
