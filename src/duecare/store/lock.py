"""One process at a time: a lock on a file, and what is said to who waits for it in vain.

The rule of this module: nobody waits for ever, and who gives up is told whom they waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from duecare.errors import Busy


@contextmanager
def holding(
    lock: FileLock, busy: str, hint: str = "Try again when it has finished.", *, seconds: float | None = None
) -> Iterator[None]:
    """Hold ``lock`` for the length of the block. Raises ``Busy``, which says ``busy``, after so many ``seconds``; the
    lock's own timeout, if none are given."""
    try:
        lock.acquire(seconds)
    except Timeout:
        raise Busy(busy, hint=hint) from None
    try:
        yield
    finally:
        lock.release()
