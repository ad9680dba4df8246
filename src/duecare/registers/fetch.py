"""Asking an official source for one page at a time, as a verification does.

The rule of this module: no request leaves that robots.txt or the source's rate policy does not allow, and a source that
asks us to wait is not asked again before. Case 1: "a simple look at the free official source would have stopped it".
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpx

from duecare.clock import Clock, SystemClock
from duecare.errors import SourceForbids, SourceUnavailable
from duecare.registers.adapter import Page, PageAdapter
from duecare.registers.robots import Robots
from duecare.registers.sources import Source

_LARGEST = 32 << 20
_HOPS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REFUSALS = frozenset({401, 403, 407, 451})
_WAIT = 60.0


class Fetcher:
    """Asks ``source`` as ``user_agent``. May be used by several threads; they share one pace.

    ``timeout`` is how many seconds a whole answer may take. ``clock`` dates the pages.
    """

    def __init__(
        self,
        source: Source,
        user_agent: str,
        *,
        timeout: float = 20.0,
        clock: Clock | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.source = source
        self._timeout, self._clock = timeout, clock or SystemClock()
        self._client = httpx.Client(
            headers={"User-Agent": user_agent}, timeout=timeout, transport=transport, trust_env=False, verify=_trust()
        )
        self._robots = Robots(user_agent, self._ask)
        self._robots_lock = threading.Lock()
        self._pace = threading.Lock()
        self._places = threading.Semaphore(source.rate.concurrent)
        self._next = 0.0
        self._resume = 0.0

    def page(self, adapter: PageAdapter, site: str, entity: str) -> Page:
        """The page about ``entity`` on ``site``; errors as ``get``."""
        return self.get(adapter.address(site, entity), entity)

    def get(self, url: str, entity: str = "") -> Page:
        """The page at ``url``. A page that the site says it does not have (404, 410) is a page too, with that status.

        Raises ``SourceUnavailable`` (with ``retry_after`` where the source named it) where the source is down, too
        slow, broken or asks us to wait, and ``SourceForbids`` where robots.txt or the source refuses.
        """
        status, body = self._allowed(url)
        if status in _REFUSALS:
            raise SourceForbids(f"{url} answered {status}.", hint="The source does not give this page to us.")
        if status not in (200, 404, 410):
            raise SourceUnavailable(f"{url} answered {status}.", hint="Try again later.")
        return Page(entity, url, self._clock.now(), body, status)

    def allows(self, url: str) -> bool:
        """Whether robots.txt lets us ask for ``url``; asks the site for it once a day. Raises ``SourceUnavailable``."""
        if not self.source.robots:
            return True
        with self._robots_lock:
            return self._robots.allows(url)

    def _allowed(self, url: str) -> tuple[int, bytes]:
        if self.source.robots:
            with self._robots_lock:
                self._robots.check(url)
        return self._ask(url)

    def _ask(self, url: str) -> tuple[int, bytes]:
        """Status and body, behind redirects that stay on the same site and are allowed as well."""
        asked = url
        for _ in range(_HOPS):
            status, body, location = self._once(asked)
            if status not in _REDIRECTS or not location:
                return status, body
            target = urljoin(asked, location)
            if urlsplit(target)[:2] != urlsplit(asked)[:2]:
                raise SourceForbids(
                    f"{url} leads to another site, {target}.", hint="Declare it as a source of its own."
                )
            if self.source.robots and not url.endswith("/robots.txt"):
                with self._robots_lock:
                    self._robots.check(target)
            asked = target
        raise SourceUnavailable(f"{url} leads from page to page more than {_HOPS} times.")

    def _once(self, url: str) -> tuple[int, bytes, str]:
        with self._turn():
            deadline = time.monotonic() + self._timeout
            try:
                with self._client.stream("GET", url) as response:
                    self._heed(url, response)
                    body = bytearray()
                    for chunk in response.iter_bytes():
                        body += chunk
                        if time.monotonic() > deadline:
                            raise SourceUnavailable(f"{url} took longer than {self._timeout:g} seconds.")
                        if len(body) > _LARGEST:
                            raise SourceUnavailable(f"{url} is larger than {_LARGEST >> 20} MiB.")
            except httpx.TimeoutException:
                raise SourceUnavailable(f"{url} took longer than {self._timeout:g} seconds.") from None
            except httpx.HTTPError as error:
                raise SourceUnavailable(f"{url} could not be read: {error or type(error).__name__}.") from None
            return response.status_code, bytes(body), response.headers.get("location", "")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for our turn under the rate policy. Raises ``SourceUnavailable`` while the source wants us to wait."""
        with self._places:
            with self._pace:
                now = time.monotonic()
                if now < self._resume:
                    raise SourceUnavailable(
                        f"{self.source.title_en} asked us to wait.", retry_after=round(self._resume - now, 3)
                    )
                start = max(now, self._next)
                self._next = start + self.source.rate.delay
            time.sleep(max(0.0, start - now))
            yield

    def _heed(self, url: str, response: httpx.Response) -> None:
        if response.status_code not in (429, 503):
            return
        wait = retry_after(response.headers.get("retry-after", ""), datetime.now(UTC))
        if response.status_code == 429 and wait is None:
            wait = _WAIT
        if wait is not None:
            with self._pace:
                self._resume = max(self._resume, time.monotonic() + wait)
        raise SourceUnavailable(f"{url} answered {response.status_code}.", hint="Try again later.", retry_after=wait)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@cache
def _trust() -> ssl.SSLContext:
    """Whom we trust for TLS; reading all authorities anew for each fetcher takes as long as a page."""
    return httpx.create_ssl_context(trust_env=False)


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds to wait, from a Retry-After header (seconds or a date, RFC 9110 section 10.2.3); ``None`` without one."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds())
