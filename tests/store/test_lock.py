"""A lock on a file, and who waits for it in vain."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from duecare.errors import Busy
from duecare.store.lock import holding


def test_who_waits_in_vain_is_told_why(tmp_path: Path) -> None:
    """A lock that another holds is ``Busy`` after its timeout, in the words that were given."""
    with (
        holding(FileLock(tmp_path / "lock"), ""),
        pytest.raises(Busy) as told,
        holding(FileLock(tmp_path / "lock", timeout=0.01), "Li is writing.", hint="Ask Li."),
    ):
        pytest.fail("two held it")
    assert str(told.value) == "Li is writing. Ask Li."


def test_an_error_lets_go_of_the_lock(tmp_path: Path) -> None:
    """However the block ends, the next one may have the lock; one lock may be nested in itself."""
    lock = FileLock(tmp_path / "lock")
    with pytest.raises(KeyError), holding(lock, ""), holding(lock, ""):
        raise KeyError
    with holding(FileLock(tmp_path / "lock", timeout=0), "It was not let go of."):
        pass
