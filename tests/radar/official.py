"""An official site for verification to look at: a real HTTP server whose pages and manners a test sets."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from duecare.demo.report import render
from duecare.registers.adapters.national_register import HEADINGS
from duecare.registers.fetch import Fetcher
from duecare.registers.sections import CATALOGUE
from duecare.registers.sources import RatePolicy, Source

Page = Mapping[str, Sequence[Mapping[str, str | None]]]
TEAM = [{"name": "甲", "role": "负责人"}, {"name": "乙", "role": "成员"}]


def page(code: str, status: str = "存续（在营、开业、在册）", **sections: Any) -> Page:
    """The state of one company: all sections empty but those given."""
    basic = dict.fromkeys(CATALOGUE["basic"].fields) | {"code": code, "name": f"企业{code}", "status": status}
    return {name: [] for name in HEADINGS} | {"basic": [basic]} | sections


def report(year: int, state: str) -> dict[str, str | None]:
    """An annual report of ``year``, published the June after."""
    return dict.fromkeys(CATALOGUE["annual_reports"].fields) | {
        "year": str(year), "state": state, "date": f"{year + 1}-06-20"
    }  # fmt: skip


@dataclass
class Official:
    """The site: its pages by code, and how it behaves."""

    pages: dict[str, Page] = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    answer_after: threading.Event | None = None
    disallow: str = "/admin"
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and body for ``path``."""
        if path == "/robots.txt":
            return 200, f"User-agent: *\nDisallow: {self.disallow}\n".encode()
        self.asked.append(path)
        if self.answer_after is not None:
            self.answer_after.wait(20)
        code = path.rsplit("/", 1)[-1]
        if self.status != 200:
            return self.status, b""
        if code not in self.pages:
            return 404, b""
        return 200, render(self.pages[code], broken=self.broken, hidden=self.hidden)


@contextmanager
def official_site() -> Iterator[Official]:
    """The site, up for as long as the block lasts."""
    site = Official()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = site.answer(self.path)
            self.send_response(status)
            for name, value in (site.headers if status != 200 else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        if site.answer_after is not None:
            site.answer_after.set()
        server.shutdown()
        server.server_close()


def quick(source: Source) -> Fetcher:
    """A fetcher that need not spare a site of our own, and waits a second at most."""
    return Fetcher(replace(source, rate=RatePolicy(10_000, 1.0, 4)), "duecare-test/1", timeout=1.0)
