"""The WeCom (企业微信) group robot: Markdown posted to the robot's own address.

A message holds 4,096 bytes; a longer one goes out in parts at line ends, numbered, nothing left out. The robot knows no
key of ours, so the number of the delivery stands at the foot for the reader.

The rule of this module: 200 says nothing; only ``errcode`` 0 means that the robot took it.
"""

from __future__ import annotations

import json

from duecare.addresses import web_address
from duecare.errors import BadInput, ChannelRefused, ChannelUnavailable
from duecare.radar.channels.channel import Envelope
from duecare.radar.channels.gateway import Gateway
from duecare.store.home import Home

LIMIT = 4096
"""Bytes of UTF-8 that a Markdown message may hold."""

_ROOM = LIMIT - 120
_BUSY = -1
_TOO_OFTEN = 45009


class WeCom:
    """Posts to the address that WeCom shows for a group robot (it carries the robot's key)."""

    name = "wecom"
    concurrency = 2

    def __init__(self, home: Home) -> None:
        self._gateway = Gateway(home.clock)
        self._taken: dict[str, int] = {}

    @property
    def missing(self) -> str:
        return ""

    @classmethod
    def check(cls, address: str, secret: str) -> tuple[str, str]:
        if secret:
            raise BadInput("A WeCom robot has no secret.", hint="Its address carries the key; leave the secret out.")
        return web_address(address, "WeCom robot"), ""

    async def send(self, envelope: Envelope) -> None:
        pieces = parts(envelope.letter.markdown)
        for number, piece in enumerate(pieces, 1):
            if number <= self._taken.get(envelope.key, 0):
                continue  # taken at an earlier attempt of this run, before a later part was not
            foot = f'\n<font color="comment">{envelope.key[:12]}'
            foot += f" · {number}/{len(pieces)}</font>" if len(pieces) > 1 else "</font>"
            await self._post(envelope.address, piece + foot)
            self._taken[envelope.key] = number
        self._taken.pop(envelope.key, None)

    async def _post(self, address: str, content: str) -> None:
        body = json.dumps({"msgtype": "markdown", "markdown": {"content": content}}, ensure_ascii=False)
        answer = await self._gateway.post(address, body.encode(), {})
        if answer.status != 200:
            raise ChannelUnavailable(f"WeCom answered {answer.status}.", retry_after=answer.retry_after)
        try:
            said = json.loads(answer.body)
            code = int(said["errcode"])
        except (ValueError, KeyError, TypeError):
            raise ChannelUnavailable("WeCom answered without an errcode.") from None
        if code == 0:
            return
        text = f"WeCom answered errcode {code}: {str(said.get('errmsg', ''))[:200]}"
        if code == _TOO_OFTEN:
            raise ChannelUnavailable(text, retry_after=60)
        if code == _BUSY:
            raise ChannelUnavailable(text)
        raise ChannelRefused(text)

    async def close(self) -> None:
        await self._gateway.close()


def parts(markdown: str, room: int = _ROOM) -> list[str]:
    """``markdown`` in pieces of at most ``room`` bytes of UTF-8, cut at line ends, within a line only if it must be."""
    pieces: list[str] = []
    held = ""
    for line in markdown.splitlines():
        while len(line.encode()) > room:
            head = line.encode()[:room].decode(errors="ignore")
            pieces += [held, head] if held else [head]
            held, line = "", line[len(head) :]
        joined = f"{held}\n{line}" if held else line
        if len(joined.encode()) > room:
            pieces.append(held)
            held = line
        else:
            held = joined
    return [*pieces, held] if held or not pieces else pieces
