"""A witness in a process of its own, as another organisation would run it, for as long as a replay needs it.

The rule of this module: it is the command that anybody runs, and shares nothing with the home that it watches.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from duecare.errors import DuecareError


@contextmanager
def onlooker(folder: Path, log_key: str) -> Iterator[tuple[str, str]]:
    """A witness in ``folder`` that trusts the log of ``log_key``; gives its address and its public key."""
    _run("init", "--dir", str(folder))
    _run("trust", "--dir", str(folder), log_key)
    served = subprocess.Popen(
        [*_PROGRAM, "serve", "--dir", str(folder), "--port", "0", "--json"], stdout=subprocess.PIPE, text=True
    )
    assert served.stdout is not None
    try:
        first = served.stdout.readline()
        if not first:
            raise DuecareError(f"The witness in {folder} ended before it could be asked.")
        said = json.loads(first)
        yield said["url"], said["key"]
    finally:
        served.terminate()
        served.wait(30)
        served.stdout.close()


_PROGRAM = [sys.executable, "-m", "duecare", "witness"]


def _run(*words: str) -> None:
    done = subprocess.run([*_PROGRAM, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DuecareError(f"duecare witness {words[0]} failed: {done.stderr.strip()}")
