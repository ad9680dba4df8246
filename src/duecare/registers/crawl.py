"""Reading many pages of an official source, with Scrapy in a process of its own.

The rule of this module: robots.txt and the source's rate policy hold for every request, and what was fetched before a
crash is kept: crawl again under the same name and only the rest is asked for.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from duecare.clock import Clock, SystemClock
from duecare.errors import SourceUnavailable
from duecare.registers.adapter import Page, PageAdapter
from duecare.registers.fetch import Fetcher
from duecare.store.packs import read_all


@dataclass(frozen=True)
class CrawlResult:
    """What came of a crawl. ``pages`` is the pack; ``fetched`` how many pages this crawl added to it; ``failed`` the
    entities that could not be read or that the source does not have, with the reason; ``forbidden`` those that
    robots.txt does not let us read."""

    pages: Path
    fetched: int
    failed: tuple[tuple[str, str], ...]
    forbidden: tuple[str, ...]


class Crawler:
    """Crawls the pages of ``adapter``'s source on ``site``, as ``user_agent``, into packs in the folder ``out``.

    The pace is the source's rate policy. ``clock`` dates the pages; ``timeout`` is in seconds for each page;
    ``attempts`` how often a page is asked for that comes broken, ``waits`` how often one waits when told to (429).
    The crawling process starts with the first crawl and serves those after it; ``close`` ends it.
    """

    def __init__(
        self,
        adapter: PageAdapter,
        site: str,
        user_agent: str,
        out: Path,
        *,
        clock: Clock | None = None,
        timeout: float = 20.0,
        attempts: int = 4,
        waits: int = 8,
    ) -> None:
        self.adapter, self.site, self.out = adapter, site, out
        self._user_agent, self._clock = user_agent, clock or SystemClock()
        self._limits = {"timeout": timeout, "attempts": attempts, "waits": waits}
        self._fetcher = Fetcher(adapter.source, user_agent, timeout=timeout, clock=self._clock)
        self._process: subprocess.Popen[str] | None = None
        self._numbers = itertools.count(1)

    def crawl(
        self,
        entities: Iterable[str],
        progress: Callable[[int, int], None] | None = None,
        *,
        name: str = "",
    ) -> CrawlResult:
        """Fetch the page of each entity. ``progress(done, total)`` is called some ten times a second.

        ``name`` names the pack; a pack of that name that is there already is gone on with. A page the source does not
        have (404, 410) is kept with its status and counts as failed. Raises ``SourceUnavailable`` where robots.txt
        cannot be read or the crawling process died; what it had fetched stays in the pack.
        """
        pack = self._pack(name)
        wanted = dict.fromkeys(entities)
        if pack.exists():
            for page in read_all(pack):
                wanted.pop(page.entity, None)
        addresses = {entity: self.adapter.address(self.site, entity) for entity in wanted}
        forbidden = [entity for entity, url in addresses.items() if not self._fetcher.allows(url)]
        pages = [(entity, url) for entity, url in addresses.items() if entity not in set(forbidden)]
        failed: list[tuple[str, str]] = []
        fetched, aside = 0, len(forbidden)
        with contextlib.closing(self._work(pages, pack)) as messages:
            for message in messages:
                match message["event"]:
                    case "failed":
                        failed.append((message["entity"], message["reason"]))
                    case "forbidden":
                        forbidden.append(message["entity"])
                    case "progress" if progress:
                        progress(aside + message["done"], len(addresses))
                    case "end":
                        fetched = message["fetched"]
                    case "broken":
                        raise SourceUnavailable(f"The crawl of {self.site} broke off: {message['reason']}.")
        if progress:
            progress(len(addresses), len(addresses))
        return CrawlResult(pack, fetched, tuple(failed), tuple(forbidden))

    def job(self, pages: list[tuple[str, str]], pack: Path) -> dict[str, Any]:
        """What the crawling process is told: ``pages`` (entity, address) go into ``pack`` at the source's pace."""
        rate = self.adapter.source.rate
        return {
            "pages": pages,
            "pack": str(pack.absolute()),
            "user_agent": self._user_agent,
            "robots": self.adapter.source.robots,
            "delay": rate.delay,
            "concurrent": rate.concurrent,
            "offset": (self._clock.now() - datetime.now(UTC)).total_seconds(),
            **self._limits,
        }

    def _pack(self, name: str) -> Path:
        if name:
            return self.out / f"{name}.pack"
        moment = f"{self._clock.now():%Y%m%dT%H%M%S}"
        return next(path for number in self._numbers if not (path := self.out / f"{moment}-{number:03d}.pack").exists())

    def _work(self, pages: list[tuple[str, str]], pack: Path) -> Generator[dict[str, Any]]:
        """What the crawling process says of one job, until it ends."""
        job = self.job(pages, pack)
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                message = json.loads(line)
                yield message
                if message["event"] in ("end", "broken"):
                    return
        except BrokenPipeError:
            pass
        except BaseException:
            # Whoever listens has gone (an interrupt): the job must not go on behind their back.
            self.close()
            raise
        self.close()
        raise SourceUnavailable(
            f"The process that crawled {self.site} ended in the middle of the work.",
            hint=f"What it fetched is in {pack}; crawl again under that name for the rest.",
        )

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "duecare.registers.spider"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                # An interrupt at the terminal is for us to hear; the child ends when its input does.
                start_new_session=True,
            )
        return self._process

    @property
    def process_id(self) -> int | None:
        """The crawling process, where one is up."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def close(self) -> None:
        """End the crawling process. May be called twice; a crawl after it starts another."""
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._fetcher.close()


def read_pack(path: Path) -> Iterator[Page]:
    """The pages of a pack in the order they came, up to the last whole one. Raises ``BadInput`` where it is no pack."""
    for packed in read_all(path):
        yield Page(packed.entity, packed.url, packed.fetched_at, packed.body, packed.status)
