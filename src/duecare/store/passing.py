"""Folders for passing files: what is unpacked or restored for the length of a block, in the temporary folder (TMPDIR).

Each is locked by who made it for as long as it lives. A lock ends with its process, however that ends.

The rule of this module: what a killed process left is removed by the next that makes a folder, and no folder is taken
from one that is alive.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "duecare-passing-"


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder that is gone after the block."""
    _remove_abandoned(Path(tempfile.gettempdir()))
    path, lock = _made()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _made() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # Before it is locked it looks abandoned: then another may have it, and removes it.
        lock = _locked(path)
        if lock is not None and path.is_dir():
            return path, lock
        if lock is not None:
            os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        lock = _locked(path)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _locked(path: Path) -> int | None:
    """The lock of the folder ``path``; none where it is held, gone, or not ours."""
    with suppress(OSError):
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(opened).st_uid == os.geteuid():
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return opened
        except BaseException:
            os.close(opened)
            raise
        os.close(opened)
    return None
