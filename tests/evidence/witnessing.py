"""Witnesses for the tests: real ones, each a process of its own that is spoken to over HTTP."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from duecare.evidence.checkpoint import VerifierKey
from duecare.evidence.cosign import RemoteWitness
from duecare.evidence.cosignature import WitnessKey
from duecare.evidence.witness import Witness


class Served:
    """The witness in ``folder`` (made where there is none), served by ``duecare witness serve`` until it is ended."""

    def __init__(self, folder: Path, *logs: VerifierKey, port: int = 0) -> None:
        self.folder = folder
        witness = Witness.make(folder)
        for log in logs:
            witness.trust(log)
        witness.close()
        self._start(port)

    def _start(self, port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "duecare", "witness", "serve", "--dir", str(self.folder), "--port", str(port),
             "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.url, self.key = said["url"], WitnessKey.parse(said["key"])

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def remote(self, wait: float = 30.0) -> RemoteWitness:
        """The witness as a log sees it."""
        return RemoteWitness(self.url, self.key, wait)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        """End it as an operator would; its exit code is returned."""
        self.process.terminate()
        self.process.communicate()
        return self.process.returncode

    def restart(self) -> None:
        """Start it again at the same port, after it was ended."""
        self._start(self.port)

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
