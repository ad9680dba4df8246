"""One HTTP POST to a receiver, and what its answer means: shared by the webhook, WeCom and SMS channels.

The rule of this module: no redirect is followed and no answer is read beyond a few kilobytes; a receiver named by a
member cannot lead us elsewhere or fill our memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from duecare.clock import Clock
from duecare.errors import ChannelUnavailable
from duecare.radar.channels.channel import Unanswered, retry_after

TIMEOUT = 15.0
"""Seconds for the whole exchange, as Standard Webhooks advises."""

_MOST = 65_536


@dataclass(frozen=True)
class Answer:
    """Status, the first bytes of the body, and the seconds that ``Retry-After`` names."""

    status: int
    body: bytes
    retry_after: float | None


class Gateway:
    """Posts over kept connections."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._client: httpx.AsyncClient | None = None

    async def post(self, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        """Post JSON. Raises ``ChannelUnavailable`` (could not be reached), ``Unanswered`` (no answer in time)."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, trust_env=False)
        where = urlsplit(url).netloc.rpartition("@")[2]
        try:
            async with self._client.stream(
                "POST", url, content=content, headers={"Content-Type": "application/json; charset=utf-8", **headers}
            ) as response:
                body = b""
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) >= _MOST:
                        break
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise ChannelUnavailable(f"{where} cannot be reached: {error}.") from error
        except httpx.InvalidURL as error:
            raise ChannelUnavailable(f"{where} is not an address: {error}.") from error
        except httpx.HTTPError as error:
            raise Unanswered(f"{where} gave no answer: {type(error).__name__} {str(error).rstrip('.')}.") from error
        return Answer(
            response.status_code, body[:_MOST], retry_after(response.headers.get("Retry-After"), self._clock.now())
        )

    async def close(self) -> None:
        """Give connections back."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
