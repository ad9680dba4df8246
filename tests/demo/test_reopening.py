"""The demo's site after the demo: later commands say that it is closed, and one opens it again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests import program

HOME = ("--size", "400", "--days", "5", "--json")


def duecare(*words: str) -> subprocess.CompletedProcess[str]:
    """The program, as a person runs it."""
    return program.run(*words, timeout=280)


@contextmanager
def serving(folder: Path, how: signal.Signals) -> Iterator[str]:
    """The site of the demo in ``folder``, opened again in a process of its own, until it is told to stop."""
    words = [sys.executable, "-m", "duecare", "demo", "--serve", "--json", "--home", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = []
    while not lines or lines[-1].rstrip() != "}":
        lines.append(process.stdout.readline())
        assert lines[-1], "it ended before it served"
    try:
        yield json.loads("".join(lines))["site"]
    finally:
        process.send_signal(how)
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.mark.slow
def test_what_is_looked_up_after_the_demo(tmp_path: Path) -> None:
    """Closed, a look is put off and the commands say why and what to do; opened again, it succeeds."""
    folder = tmp_path / "demo"
    made = duecare("demo", "--home", str(folder), *HOME)
    assert made.returncode == 0, made.stderr
    code = json.loads(made.stdout)["told"]["trading_on"]
    home = ("--home", str(folder))
    filed = duecare("correct", code, "--section", "liquidation", "--statement", "我司正常经营", *home)
    assert filed.returncode == 0, filed.stderr
    assert "its official site" in filed.stdout
    assert "demo --serve --home" in filed.stdout
    screened = duecare("screen", *home)
    assert "its official site" in screened.stdout
    [notice] = [each for each in json.loads(duecare("correct", "--list", "--json", *home).stdout) if each["id"] == 2]
    assert notice["verification"] == "unavailable"
    with serving(folder, signal.SIGTERM) as url:
        assert url.startswith("http://127.0.0.1:")
        second = duecare("demo", "--serve", *home)
        assert second.returncode == 2
        assert "listens at" in second.stderr
        again = duecare("correct", code, "--section", "basic", "--statement", "名称有误", *home)
        assert "its official site" not in again.stdout
        assert duecare("screen", *home).returncode == 0
        found = {each["id"]: each for each in json.loads(duecare("correct", "--list", "--json", *home).stdout)}
    assert found[3]["verification"] == "verified"
    with serving(folder, signal.SIGINT) as again_at:
        assert again_at == url


def test_a_folder_without_a_demo_has_no_site(tmp_path: Path) -> None:
    """It is refused, with what to do."""
    done = duecare("demo", "--serve", "--home", str(tmp_path))
    assert done.returncode == 2
    assert "no home of a finished demo" in done.stderr
