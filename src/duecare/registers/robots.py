"""robots.txt: what a site lets us ask for (RFC 9309).

The rule of this module: where it cannot be known what is allowed, nothing is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from protego import Protego

from duecare.errors import SourceForbids, SourceUnavailable

_KEPT = 24 * 3600.0
_LARGEST = 500 * 1024


class Robots:
    """The rules of the sites asked so far, for one ``user_agent``. ``get`` asks for an address: status and body.

    Rules are kept for a day (RFC 9309 section 2.4). A site without the file (any 4xx but 429) allows everything
    (2.3.1.3); one that answers 429 or 5xx, or not at all, allows nothing until it does (2.3.1.4).
    """

    def __init__(self, user_agent: str, get: Callable[[str], tuple[int, bytes]]) -> None:
        self._user_agent, self._get = user_agent, get
        self._rules: dict[str, tuple[float, Protego]] = {}

    def allows(self, url: str) -> bool:
        """Whether ``url`` may be asked for. Raises ``SourceUnavailable`` where the site does not say."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        known = self._rules.get(origin)
        if known is None or known[0] < time.monotonic():
            known = (time.monotonic() + _KEPT, self._read(f"{origin}/robots.txt"))
            self._rules[origin] = known
        return bool(known[1].can_fetch(url, self._user_agent))

    def check(self, url: str) -> None:
        """Raises ``SourceForbids`` where ``url`` may not be asked for, ``SourceUnavailable`` as ``allows``."""
        if not self.allows(url):
            raise SourceForbids(
                f"robots.txt of {urlsplit(url).netloc} does not allow {urlsplit(url).path}.",
                hint="Ask the operator of the source for another way to this page.",
            )

    def _read(self, url: str) -> Protego:
        status, body = self._get(url)
        if status == 429 or status >= 500:
            raise SourceUnavailable(
                f"{url} answered {status}.", hint="Until it can be read nothing else is asked of the site."
            )
        # A redirect that leads nowhere we may follow counts as a file that is not there.
        return Protego.parse(body[:_LARGEST].decode("utf-8", "replace") if status == 200 else "")
