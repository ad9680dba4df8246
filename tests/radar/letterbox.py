"""Real receivers on this machine: a mail server and an HTTP server that keep what they were given."""

from __future__ import annotations

import email
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class MailServer:
    """``mails``: (recipient, bytes) as accepted. ``answer``: recipient → reply to DATA; 250 is acceptance, and an empty
    one none at all: the mail is taken, and the line goes dead."""

    url: str = ""
    mails: list[tuple[str, bytes]] = field(default_factory=list)
    answer: Callable[[str], str] = lambda recipient: "250 OK"
    answer_rcpt: Callable[[str], str] = lambda recipient: "250 OK"

    async def handle_RCPT(  # noqa: N802 - the server calls it so
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        said = self.answer_rcpt(address)
        if said.startswith("250"):
            envelope.rcpt_tos.append(address)
        return said

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        recipient = envelope.rcpt_tos[0]
        said = self.answer(recipient)
        if said.startswith("250") or not said:
            self.mails.append((recipient, cast("bytes", envelope.original_content)))
        if not said:
            assert server.transport is not None
            server.transport.close()
        return said or "250 OK"

    def parsed(self) -> list[EmailMessage]:
        """The mails, read."""
        return [cast("EmailMessage", email.message_from_bytes(raw, policy=default)) for _, raw in self.mails]


class _AnyPort(Controller):
    """The controller looks whether the server answers; on a port that the system chose, it must ask for that one."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """An SMTP server on a free port."""
    kept = MailServer()
    controller = _AnyPort(kept, hostname="127.0.0.1", port=0, ready_timeout=10)
    controller.start()
    kept.url = f"smtp://127.0.0.1:{controller.port}"
    try:
        yield kept
    finally:
        controller.stop()


@dataclass(frozen=True)
class Post:
    """One request as received."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass
class Receiver:
    """``posts`` as received; ``answer``: post → (status, headers, body), or seconds of silence before closing."""

    url: str = ""
    posts: list[Post] = field(default_factory=list)
    cut_off: int = 0
    answer: Callable[[Post], tuple[int, dict[str, str], bytes] | float] = lambda post: (200, {}, b'{"errcode":0}')


@contextmanager
def receiver() -> Iterator[Receiver]:
    """An HTTP server on a free port."""
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one packet, not headers first

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size)
            if len(body) < size:
                self.close_connection = True  # its sender was killed within it: no request, as for any server
                kept.cut_off += 1
                return
            post = Post(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            kept.posts.append(post)
            said = kept.answer(post)
            if isinstance(said, float):
                time.sleep(said)
                self.close_connection = True
                return
            status, headers, content = said
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A sender that was killed in the middle is what the tests are about; no word of it."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
