"""SMS through an HTTP gateway: ``POST`` of ``{"to", "text", "reference"}`` with a bearer token.

The rule of this module: ``reference`` is the same at every attempt, so that a gateway can drop what it has sent.
"""

from __future__ import annotations

import json
import re

from duecare.errors import BadInput, ChannelRefused, ChannelUnavailable
from duecare.radar.channels.channel import Envelope
from duecare.radar.channels.gateway import Gateway
from duecare.store.home import Home

_NUMBER = re.compile(r"\+?[0-9]{5,15}")


class Sms:
    """Posts ``letter.short`` to ``sms_url``."""

    name = "sms"
    concurrency = 4

    def __init__(self, home: Home) -> None:
        self._url = home.settings.sms_url
        self._token = home.settings.sms_token
        self._gateway = Gateway(home.clock)

    @property
    def missing(self) -> str:
        return "" if self._url else "SMS is not configured: set DUECARE_SMS_URL and DUECARE_SMS_TOKEN."

    @classmethod
    def check(cls, address: str, secret: str) -> tuple[str, str]:
        number = re.sub(r"[ ()-]", "", address)
        if not _NUMBER.fullmatch(number):
            raise BadInput(f"{address!r} is not a telephone number.", hint="Write it as +8613800138000.")
        return number, ""

    async def send(self, envelope: Envelope) -> None:
        body = json.dumps(
            {"to": envelope.address, "text": envelope.letter.short, "reference": envelope.key}, ensure_ascii=False
        )
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        answer = await self._gateway.post(self._url, body.encode(), headers)
        if 200 <= answer.status < 300:
            return
        said = f"The SMS gateway answered {answer.status}."
        # A token that ran out is ours to renew; the message is still good.
        if answer.status in (401, 403, 408, 425, 429) or answer.status >= 500:
            raise ChannelUnavailable(said, retry_after=answer.retry_after)
        raise ChannelRefused(said)

    async def close(self) -> None:
        await self._gateway.close()
