"""The official site of the demo's register: a real HTTP server with the manners, and the moods, of a public one.

    /report/{code}                         the report page about a company
    /updates?since=2026-10-01&page=1       JSON: codes whose page changed on that day or later, a few hundred a page
    /opendata/companies-2026-10-01.csv     basic facts of all companies on a day that is past
    /robots.txt                            what a crawler may ask for

The rule of this module: what it serves depends on its world, its day and what the test or demo told it, never on the
clock of the machine; faults fall by seed, and asking again after one succeeds.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from duecare.errors import SourceUnavailable, UnknownName
from duecare.registers.adapters.national_register import HEADINGS

_PATIENCE = 30.0


class Register(Protocol):
    """What a site can be put in front of: see ``World``. Days are calendar dates; must be picklable for a process."""

    first_day: date

    def state(self, code: str, day: date) -> Mapping[str, Sequence[Mapping[str, str | None]]]: ...

    def updated(self, day: date) -> Sequence[str]: ...

    def bulk_csv(self, day: date, folder: Path) -> Path: ...


@dataclass(frozen=True)
class Manner:
    """How the site behaves.

    ``limit``: requests a client may make in one second before it is answered 429 with Retry-After (0: any number).
    ``faults``: share of the requests for reports that go wrong: 500, an answer after ``slow`` seconds, or a body cut
    short. ``disallow``: what robots.txt forbids. ``retry_after``: seconds that a 429 names.
    """

    limit: int = 0
    faults: float = 0.0
    slow: float = 0.5
    seed: int = 1
    retry_after: int = 1
    disallow: tuple[str, ...] = ("/admin", "/internal/")


@dataclass(frozen=True)
class Request:
    """A request that reached the site; ``at`` is in seconds on a clock that only runs forward."""

    at: float
    path: str
    status: int
    user_agent: str


class Site:
    """A register's site on this machine, in a thread or, with ``process=True``, in a process of its own.

    ``start`` gives its address. The other methods change how it behaves at once, and return when it does.
    """

    def __init__(self, world: Register, manner: Manner | None = None, *, process: bool = False, port: int = 0) -> None:
        self._world, self._manner, self._process, self._port = world, manner or Manner(), process, port
        self._runner: threading.Thread | Any = None
        self._control: Connection | None = None
        self._lock = threading.Lock()
        self.url = ""

    def start(self) -> str:
        """Start to serve; the address, such as ``http://127.0.0.1:41234``. Raises ``SourceUnavailable``."""
        from duecare.demo.server import serve

        ours, theirs = multiprocessing.Pipe()
        if self._process:
            context = multiprocessing.get_context("spawn")
            self._runner = context.Process(
                target=serve, args=(theirs, self._world, self._manner, self._port), daemon=True, name="duecare-site"
            )
        else:
            self._runner = threading.Thread(
                target=serve, args=(theirs, self._world, self._manner, self._port), daemon=True, name="duecare-site"
            )
        self._runner.start()
        if self._process:
            theirs.close()
        self._control = ours
        self.url = self._answer()
        return self.url

    def set_day(self, day: date) -> None:
        """Let it be the end of ``day`` on the register."""
        self._tell("day", day)

    def break_section(self, name: str) -> None:
        """Show a section in the markup of the site's next design, which older parsers cannot read."""
        self._tell("broken", _known(name), True)

    def mend_section(self, name: str) -> None:
        """Show a section in the known markup again, and on the page."""
        self._tell("broken", _known(name), False)
        self._tell("hidden", name, False)

    def hide_section(self, name: str) -> None:
        """Leave a section's panel out of every page."""
        self._tell("hidden", _known(name), True)

    def set_manner(self, manner: Manner) -> None:
        """Change the limit, the faults and what robots.txt says."""
        self._tell("manner", manner)

    def go_down(self) -> None:
        """Refuse connections, as a site that is down does."""
        self._tell("down", True)

    def come_up(self) -> None:
        """Serve again, at the same address."""
        self._tell("down", False)

    def requests(self) -> list[Request]:
        """What was asked for, oldest first (the last 100,000)."""
        return [Request(*entry) for entry in self._tell("requests")]

    def counts(self) -> Counter[int]:
        """How many requests were answered with which status; 0 stands for an answer cut short."""
        return Counter(self._tell("counts"))

    def stop(self) -> None:
        """Stop serving. May be called twice."""
        if self._control is None:
            return
        with contextlib.suppress(SourceUnavailable):
            self._tell("stop")
        self._control.close()
        self._control = None
        self._runner.join(_PATIENCE)

    def _tell(self, what: str, *arguments: Any) -> Any:
        with self._lock:
            if self._control is None:
                raise SourceUnavailable("The demo's site is not running.", hint="Call start first.")
            try:
                self._control.send((what, arguments))
            except OSError:
                raise SourceUnavailable("The demo's site has stopped.") from None
            return self._answer()

    def _answer(self) -> Any:
        assert self._control is not None
        try:
            if not self._control.poll(_PATIENCE):
                raise SourceUnavailable(f"The demo's site did not answer in {_PATIENCE:.0f} seconds.")
            answer = self._control.recv()
        except (EOFError, OSError):
            raise SourceUnavailable("The demo's site has stopped.") from None
        if isinstance(answer, Exception):
            raise SourceUnavailable(f"The demo's site could not do it: {answer}.")
        return answer

    def __enter__(self) -> Self:
        if self._control is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _known(name: str) -> str:
    if name not in HEADINGS:
        raise UnknownName("section of the report page", name, list(HEADINGS))
    return name
