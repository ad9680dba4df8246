"""E-mail over SMTP (RFC 5321), text and HTML.

Between the server's acceptance and our note of it a kill leaves the question open, and SMTP has no way to ask. Such a
mail goes out again byte for byte with the same Message-ID (RFC 5322 section 3.6.4), date and boundary; servers and
clients that know duplicates (Exchange, Gmail, Dovecot and Cyrus with duplicate suppression) show it once.

The rule of this module: the bytes of a mail depend on its envelope alone.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from base64 import encodebytes
from email.header import Header
from email.utils import format_datetime, formataddr, parseaddr
from urllib.parse import unquote, urlsplit

from aiosmtplib import SMTP
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPException,
    SMTPResponseException,
    SMTPServerDisconnected,
)

from duecare.errors import BadInput, ChannelRefused, ChannelUnavailable
from duecare.radar.channels.channel import Envelope, Unanswered
from duecare.store.home import Home

TIMEOUT = 30.0
"""Seconds to wait for any one answer of the server."""

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Mail:
    """Sends through the server of ``smtp_url`` over a few kept connections.

    ``smtp://user:password@host:port`` upgrades to TLS where the server offers it and must do so before a password goes
    to another machine; ``smtps://`` speaks TLS from the start.
    """

    name = "mail"
    concurrency = 8

    def __init__(self, home: Home) -> None:
        self._from = home.settings.mail_from
        self._url = home.settings.smtp_url
        self._idle: list[SMTP] = []

    @property
    def missing(self) -> str:
        return "" if self._url else "Mail is not configured: set DUECARE_SMTP_URL to smtp://host:port."

    @classmethod
    def check(cls, address: str, secret: str) -> tuple[str, str]:
        if not _ADDRESS.fullmatch(address) or len(address) > 254:
            raise BadInput(f"{address!r} is not a mail address.", hint="Write it as name@example.org.")
        return address, ""

    async def send(self, envelope: Envelope) -> None:
        content = self.compose(envelope)
        sender = parseaddr(self._from)[1]
        connection, kept = await self._connection()
        try:
            try:
                await connection.mail(sender)
            except (SMTPServerDisconnected, ConnectionError, TimeoutError):
                # A kept connection may have been closed by the server meanwhile; nothing was handed over yet.
                if not kept:
                    raise
                connection.close()
                connection = await self._connect()
                await connection.mail(sender)
            await connection.rcpt(envelope.address)
        except Exception as error:
            await self._recover(connection, error)
            raise _explain(error) from error
        except BaseException:
            connection.close()
            raise
        try:
            await connection.data(content)
        except SMTPResponseException as error:
            await self._recover(connection, error)
            raise _explain(error) from error
        except (SMTPException, OSError, TimeoutError) as error:
            connection.close()
            raise Unanswered(f"The mail server did not say whether it took the mail: {error}.") from error
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)

    def compose(self, envelope: Envelope) -> bytes:
        """The mail, the same for the same envelope: RFC 5322, with text and HTML as RFC 2046 section 5.1.4 has it.

        Put together here: every part is plain, and the general composer takes longer than the server to take the mail.
        """
        name, address = parseaddr(self._from)
        domain = address.rpartition("@")[2] or "localhost"
        boundary = f"=_{envelope.key}"
        head = [
            f"From: {formataddr((name, address))}",
            f"To: {envelope.address}",
            f"Subject: {_encoded(envelope.letter.subject)}",
            f"Date: {format_datetime(envelope.at)}",
            f"Message-ID: <{envelope.key}@{domain}>",
        ]
        if envelope.replies_to:
            first = f"<{envelope.replies_to}@{domain}>"
            head += [f"In-Reply-To: {first}", f"References: {first}"]
        head += [
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            f'Content-Type: multipart/alternative; boundary="{boundary}"',
        ]
        lines = ["\r\n".join(head), ""]
        for kind, body in (("plain", envelope.letter.text), ("html", envelope.letter.html)):
            lines += [
                f"--{boundary}",
                f'Content-Type: text/{kind}; charset="utf-8"',
                "Content-Transfer-Encoding: base64",
                "",
                encodebytes(body.encode()).decode().replace("\n", "\r\n"),
            ]
        return "\r\n".join([*lines, f"--{boundary}--", ""]).encode()

    async def close(self) -> None:
        connections, self._idle = self._idle, []
        for connection in connections:
            try:
                await connection.quit(timeout=2)
            except (SMTPException, OSError, TimeoutError):
                connection.close()

    async def _connection(self) -> tuple[SMTP, bool]:
        if self._idle:
            return self._idle.pop(), True
        return await self._connect(), False

    async def _connect(self) -> SMTP:
        url = urlsplit(self._url)
        if url.scheme not in ("smtp", "smtps") or not url.hostname:
            raise ChannelUnavailable(f"DUECARE_SMTP_URL is {self._url!r}.", hint="Write smtp://host:port.")
        implicit = url.scheme == "smtps"
        connection = SMTP(
            hostname=url.hostname,
            port=url.port or (465 if implicit else 25),
            username=unquote(url.username) if url.username else None,
            password=unquote(url.password) if url.password else None,
            use_tls=implicit,
            start_tls=False if implicit else (True if url.username and url.hostname not in _LOOPBACK else None),
            timeout=TIMEOUT,
        )
        try:
            await connection.connect()
        except SMTPAuthenticationError as error:
            raise ChannelUnavailable(f"The mail server refused our sign-in: {error.code} {error.message}.") from error
        except (SMTPException, OSError, TimeoutError, ssl.SSLError) as error:
            raise ChannelUnavailable(
                f"The mail server {url.hostname}:{connection.port} cannot be reached: {error}."
            ) from error
        return connection

    async def _recover(self, connection: SMTP, error: Exception) -> None:
        """Keep a connection on which the server only said no to one mail."""
        if isinstance(error, SMTPResponseException) and error.code != 421:
            try:
                await connection.rset(timeout=5)
            except (SMTPException, OSError, TimeoutError):
                connection.close()
            else:
                self._idle.append(connection)
        else:
            connection.close()


def _encoded(text: str) -> str:
    """A header of any words, on one or more lines (RFC 2047); a line break in it is a space."""
    plain = " ".join(text.split())
    header = Header(plain, "us-ascii" if plain.isascii() else "utf-8", header_name="Subject")
    return header.encode(linesep="\r\n")


def _explain(error: Exception) -> Exception:
    if isinstance(error, SMTPResponseException):
        said = f"The mail server said {error.code} {error.message}"
        if error.code >= 500:
            return ChannelRefused(f"{said}.")
        return ChannelUnavailable(f"{said}.")
    if isinstance(error, (SMTPException, OSError, TimeoutError, asyncio.TimeoutError)):
        return ChannelUnavailable(f"The mail server broke off: {error}.")
    return error
