"""Who reads the lake: so that no file is taken from a reader, whatever process it is in.

A reader shares a lock of the home; what removes files holds it alone. The kernel gives a lock back when a process ends,
however it ends.

The rule of this module: from before a reader asks which version of a table is true until it has read the last row, no
file of the lake is removed.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PAUSE = 0.02


class Readers:
    """The readers of one home, by the lock file at ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: int | None = None
        self._guard = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """For the length of the block no file is removed."""
        descriptor = self._locked(fcntl.LOCK_SH)
        try:
            yield
        finally:
            os.close(descriptor)

    def keep(self) -> None:
        """No file is removed until ``close``: for readers that do not say when they are done."""
        with self._guard:
            if self._kept is None:
                self._kept = self._locked(fcntl.LOCK_SH)

    @contextmanager
    def alone(self, wait: float = 0.0) -> Iterator[bool]:
        """Whether nobody reads, after at most ``wait`` seconds of waiting; new readers wait for the block to end."""
        until = time.monotonic() + wait
        descriptor = self._tried()
        while descriptor is None and time.monotonic() < until:
            time.sleep(_PAUSE)  # the kernel has no lock that is waited for with a limit
            descriptor = self._tried()
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def close(self) -> None:
        """Let go of what ``keep`` keeps."""
        with self._guard:
            if self._kept is not None:
                os.close(self._kept)
                self._kept = None

    def _tried(self) -> int | None:
        try:
            return self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None

    def _locked(self, how: int) -> int:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, how)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor
