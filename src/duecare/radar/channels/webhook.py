"""Webhooks signed as Standard Webhooks specifies: ``webhook-id``, ``webhook-timestamp``, ``webhook-signature``.

The rule of this module: ``webhook-id`` is the same at every attempt, so that a receiver can drop what it has; the
timestamp and with it the signature are those of the attempt, so that a replay by others is recognised.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets

from standardwebhooks import Webhook as Signer

from duecare.addresses import web_address
from duecare.errors import BadInput, ChannelRefused, ChannelUnavailable
from duecare.radar.channels.channel import Envelope
from duecare.radar.channels.gateway import Gateway
from duecare.store.home import Home


class Webhook:
    """Posts ``letter.data``. Any 2xx within 15 seconds is taken as received; 410 means never again."""

    name = "webhook"
    concurrency = 8

    def __init__(self, home: Home) -> None:
        self._clock = home.clock
        self._gateway = Gateway(home.clock)

    @property
    def missing(self) -> str:
        return ""

    @classmethod
    def check(cls, address: str, secret: str) -> tuple[str, str]:
        """A secret is made where none is given; one that is given has 24 to 64 bytes in base64 after ``whsec_``."""
        if not secret:
            secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        try:
            size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
        except binascii.Error:
            size = 0
        if not secret.startswith("whsec_") or not 24 <= size <= 64:
            raise BadInput(
                "The webhook secret cannot be used.", hint="Give whsec_ and 24 to 64 bytes in base64, or none at all."
            )
        return web_address(address, "webhook"), secret

    async def send(self, envelope: Envelope) -> None:
        body = json.dumps(envelope.letter.data, ensure_ascii=False, separators=(",", ":"))
        at = self._clock.now()
        headers = {
            "webhook-id": envelope.key,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Signer(envelope.secret).sign(envelope.key, at, body),
        }
        answer = await self._gateway.post(envelope.address, body.encode(), headers)
        if 200 <= answer.status < 300:
            return
        if answer.status == 410:
            raise ChannelRefused("The receiver answered 410 Gone: it wants no more webhooks.")
        raise ChannelUnavailable(f"The receiver answered {answer.status}.", retry_after=answer.retry_after)

    async def close(self) -> None:
        await self._gateway.close()
