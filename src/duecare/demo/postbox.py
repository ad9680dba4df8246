"""A postbox: a mail server on this machine that keeps every mail it is given as a file, for anyone to open.

The rule of this module: a mail that was answered with 250 is on disk, whole; it is passed on to nobody.
"""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from duecare.errors import BadInput

_LARGEST = 32 << 20
_PATH = re.compile(r"<([^<>\s]+)>")
_UNSAFE = re.compile(r"[^A-Za-z0-9._@+-]")


class Postbox:
    """Speaks SMTP (RFC 5321: EHLO, MAIL, RCPT, DATA, RSET, NOOP, QUIT) at ``url`` while the block lasts.

    Mails become ``00001-name@example.org.eml`` in ``folder``, one file for each recipient, in the order they came.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._number = 0
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.Task[None]] = set()
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._fault: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="duecare-postbox", daemon=True)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        self._ready.wait()
        if self._fault is not None:
            raise BadInput(f"The demo's mail server cannot start: {self._fault}.", hint="Try again.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        try:
            server = await asyncio.start_server(self._client, "127.0.0.1", 0, limit=_LARGEST)
        except OSError as fault:
            self._fault = fault
            self._ready.set()
            return
        self.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # whoever hung up in the middle was promised nothing
        finally:
            self._open.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipients: list[str] = []
        sender = False
        writer.write(b"220 postbox.localhost ESMTP duecare demo\r\n")
        while True:
            line = (await reader.readuntil(b"\r\n")).decode("utf-8", "replace").strip()
            verb, _, rest = line.partition(" ")
            path = _PATH.search(rest)
            match verb.upper():
                case "EHLO":
                    answer = "250-postbox.localhost\r\n250-8BITMIME\r\n250 SMTPUTF8"
                case "HELO" | "NOOP":
                    answer = "250 OK"
                case "MAIL":
                    sender, recipients, answer = True, [], "250 OK"
                case "RCPT" if not sender:
                    answer = "503 MAIL first"
                case "RCPT" if path is None:
                    answer = "501 Write RCPT TO:<name@example.org>"
                case "RCPT" if path is not None:
                    recipients.append(path.group(1))
                    answer = "250 OK"
                case "DATA" if not recipients:
                    answer = "503 RCPT first"
                case "DATA":
                    writer.write(b"354 End with a dot on a line of its own\r\n")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    self._keep(recipients, content)
                    sender, recipients, answer = False, [], "250 Kept"
                case "RSET":
                    sender, recipients, answer = False, [], "250 OK"
                case "QUIT":
                    writer.write(b"221 Bye\r\n")
                    await writer.drain()
                    return
                case _:
                    answer = "502 Not known here"
            writer.write(answer.encode() + b"\r\n")
            await writer.drain()

    def _keep(self, recipients: list[str], content: bytes) -> None:
        lines = content.removesuffix(b".\r\n").split(b"\r\n")
        mail = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
        for recipient in recipients:
            self._number += 1
            path = self.folder / f"{self._number:05d}-{_UNSAFE.sub('_', recipient)}.eml"
            partial = path.with_suffix(".partial")
            partial.write_bytes(mail)
            partial.replace(path)
