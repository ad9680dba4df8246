"""Addresses on the web that somebody gives: of a webhook, a robot, a centre.

The rule of this module: it says whether something can be asked there, and asks nothing.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from duecare.errors import BadInput


def web_address(text: str, what: str) -> str:
    """``text`` if it is an HTTP address that a ``what`` may have. Raises ``BadInput``."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(character <= " " for character in text):
        raise BadInput(f"{text!r} is not an address for a {what}.", hint="Write it as https://host/path.")
    return text
