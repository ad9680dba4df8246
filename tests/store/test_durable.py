"""Files are written whole or not at all, whenever the writer is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from duecare.store import durable


def killed_in(call: str, work: Callable[[], object]) -> None:
    """Do ``work`` in a process that is killed when it comes to ``os.<call>``."""
    child = os.fork()
    if child == 0:
        setattr(os, call, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        work()
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, f"it never came to os.{call}"


@pytest.mark.parametrize("call", ["fsync", "rename"])
@pytest.mark.parametrize("alone", [False, True])
def test_a_killed_replacement_leaves_what_was_there(tmp_path: Path, call: str, alone: bool) -> None:
    """The old bytes stand; the next one succeeds, and one that is alone clears what the killed one left."""
    path = tmp_path / "file"
    durable.replace(path, b"old")
    killed_in(call, lambda: durable.replace(path, b"new" * 1000, alone=alone))
    assert path.read_bytes() == b"old"
    assert len(durable.partials(path)) == 1
    durable.replace(path, b"newer", alone=alone)
    assert path.read_bytes() == b"newer"
    assert len(durable.partials(path)) == (0 if alone else 1)


def test_a_file_that_is_kept_is_not_written_again(tmp_path: Path) -> None:
    """The first one stays, with its mode; nothing is left beside."""
    path = tmp_path / "key"
    assert durable.keep(path, b"first")
    assert not durable.keep(path, b"second")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"first", 0o600)
    assert list(tmp_path.iterdir()) == [path]
    killed_in("link", lambda: durable.keep(tmp_path / "other", b"secret"))
    assert not (tmp_path / "other").exists()


def test_what_is_shredded_is_written_over(tmp_path: Path) -> None:
    """Whoever has the file under another name finds zeros; not there, nothing happens."""
    path, other = tmp_path / "key", tmp_path / "other"
    durable.keep(path, b"secret")
    os.link(path, other)
    durable.shred(path)
    durable.shred(path)
    assert not path.exists()
    assert other.read_bytes() == bytes(6)
