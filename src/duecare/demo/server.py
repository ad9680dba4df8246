"""The server behind ``site``: HTTP/1.1 over asyncio, small enough to serve thousands of pages a second on one core.

The rule of this module: one loop owns everything; what comes from outside comes as a message over the pipe.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter, deque
from datetime import date, timedelta
from http import HTTPStatus
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit
from zlib import crc32

from duecare.demo.report import render
from duecare.errors import UnknownName

if TYPE_CHECKING:
    from duecare.demo.site import Manner, Register

_PAGE = 500
_HTML = "text/html; charset=utf-8"
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_LARGEST_HEAD = 16_384


class Answer:
    """What is sent back; ``delay`` in seconds, ``cut`` where the connection is to break in the middle of the body."""

    __slots__ = ("body", "content_type", "cut", "delay", "headers", "status")

    def __init__(self, status: int, body: bytes, content_type: str = _HTML, headers: str = "") -> None:
        self.status, self.body, self.content_type, self.headers = status, body, content_type, headers
        self.delay, self.cut = 0.0, False


class Server:
    """Everything the site knows: its world, its day, and what it was told."""

    def __init__(self, world: Register, manner: Manner, folder: Path) -> None:
        self.world, self.manner, self.folder = world, manner, folder
        self.day: date = world.first_day
        self.broken: set[str] = set()
        self.hidden: set[str] = set()
        self.connections: set[_Client] = set()
        self.counts: Counter[int] = Counter()
        self.requests: deque[tuple[float, str, int, str]] = deque(maxlen=100_000)
        self._asked: Counter[str] = Counter()
        self._recent: dict[str, deque[float]] = {}

    def answer(self, method: str, target: str, client: str, now: float) -> Answer:
        """The answer to one request."""
        if method not in ("GET", "HEAD"):
            return Answer(405, _message("不支持该请求方式"), headers="Allow: GET, HEAD\r\n")
        parts = urlsplit(target)
        path = unquote(parts.path)
        if path == "/robots.txt":
            rules = "".join(f"Disallow: {path}\n" for path in self.manner.disallow)
            return Answer(200, f"User-agent: *\n{rules}".encode(), "text/plain; charset=utf-8")
        if self._too_many(client, now):
            return Answer(
                429, _message("访问过于频繁，请稍后再试"), headers=f"Retry-After: {self.manner.retry_after}\r\n"
            )
        if path.startswith("/report/"):
            return self._spoil(target, self._report(path.removeprefix("/report/")))
        if path == "/updates":
            return self._updates(parse_qs(parts.query))
        if path.startswith("/opendata/companies-"):
            return self._open_data(path.removeprefix("/opendata/companies-").removesuffix(".csv"))
        if path == "/":
            return Answer(200, _message("国家企业信用信息公示系统（演示）"))
        return Answer(404, _message("页面不存在"))

    def _report(self, code: str) -> Answer:
        try:
            state = self.world.state(code, self.day)
        except UnknownName:
            return Answer(404, _message("查无此企业"))
        return Answer(200, render(state, broken=frozenset(self.broken), hidden=frozenset(self.hidden)))

    def _updates(self, query: dict[str, list[str]]) -> Answer:
        try:
            since = date.fromisoformat(query["since"][0])
            number = int(query.get("page", ["1"])[0])
        except (KeyError, ValueError):
            return Answer(400, _message("请给出日期，例如 /updates?since=2026-10-01"))
        codes: set[str] = set()
        day = max(since, self.world.first_day)
        while day <= self.day:
            codes.update(self.world.updated(day))
            day += timedelta(days=1)
        ordered = sorted(codes)
        answer = {
            "since": since.isoformat(),
            "day": self.day.isoformat(),
            "page": number,
            "pages": max(1, -(-len(ordered) // _PAGE)),
            "codes": ordered[(number - 1) * _PAGE : number * _PAGE] if number > 0 else [],
        }
        return Answer(200, json.dumps(answer).encode(), "application/json")

    def _open_data(self, text: str) -> Answer:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            return Answer(404, _message("页面不存在"))
        if not self.world.first_day <= day <= self.day:
            return Answer(404, _message("该日数据尚未发布"))
        path = self.folder / f"companies-{day.isoformat()}.csv"
        if not path.exists():
            self.world.bulk_csv(day, self.folder)
        return Answer(200, path.read_bytes(), "text/csv; charset=utf-8")

    def _too_many(self, client: str, now: float) -> bool:
        if not self.manner.limit:
            return False
        recent = self._recent.setdefault(client, deque())
        while recent and recent[0] <= now - 1:
            recent.popleft()
        if len(recent) >= self.manner.limit:
            return True
        recent.append(now)
        return False

    def _spoil(self, target: str, answer: Answer) -> Answer:
        """Let a share of the requests go wrong; the next one for the same page succeeds."""
        if not self.manner.faults:
            return answer
        self._asked[target] += 1
        if self._asked[target] % 2 == 0:
            return answer
        path = urlsplit(target).path
        lot = crc32(f"{self.manner.seed}:{path}:{self._asked[target]}".encode())
        if lot % 100_000 >= self.manner.faults * 100_000:
            return answer
        kind = lot // 100_000 % 3
        if kind == 0:
            return Answer(500, _message("系统繁忙"))
        if kind == 1:
            answer.delay = self.manner.slow
        else:
            answer.cut = True
        return answer


class _Client(asyncio.Protocol):
    """One connection; requests on it are answered in order."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._waiting = False
        self._client = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._client = str((transport.get_extra_info("peername") or ("", 0))[0])
        self._server.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        while not self._waiting and not self.transport.is_closing():
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                if len(self._buffer) > _LARGEST_HEAD:
                    self.transport.close()
                return
            self._buffer = rest
            lines = head.decode("latin-1").split("\r\n")
            method, _, target = lines[0].partition(" ")
            target = target.rpartition(" ")[0]
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            now = self._loop.time()
            try:
                answer = self._server.answer(method, target, self._client, now)
            except Exception as error:
                # A page that cannot be made is the site's own fault and its clients see what a real one would show.
                answer = Answer(500, _message(f"系统错误 {type(error).__name__}"))
            status = 0 if answer.cut else answer.status
            self._server.counts[status] += 1
            self._server.requests.append((now, target, status, fields.get("user-agent", "")))
            close = fields.get("connection", "").lower() == "close" or method not in ("GET", "HEAD")
            if answer.delay:
                self._waiting = True
                self._loop.call_later(answer.delay, self._late, answer, method == "HEAD", close)
            else:
                self._send(answer, method == "HEAD", close)

    def _late(self, answer: Answer, bare: bool, close: bool) -> None:
        self._waiting = False
        if not self.transport.is_closing():
            self._send(answer, bare, close)
            self._next()

    def _send(self, answer: Answer, bare: bool, close: bool) -> None:
        body = answer.body
        head = (
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(body)}\r\n{answer.headers}Connection: {'close' if close else 'keep-alive'}\r\n\r\n"
        ).encode("latin-1")
        if answer.cut:
            body = body[: len(body) // 2]
        self.transport.write(head if bare else head + body)
        if close or answer.cut:
            self.transport.close()


def _message(text: str) -> bytes:
    return (
        f'<!DOCTYPE html>\n<html lang="zh-CN"><head><meta charset="utf-8"><title>{text}</title></head>'
        f"<body><p>{text}</p></body></html>\n"
    ).encode()


def serve(control: Connection, world: Register, manner: Manner, port: int) -> None:
    """Serve until told to stop, or until the other end of ``control`` is gone. The first message is the address."""
    with tempfile.TemporaryDirectory(prefix="duecare-site-") as folder:
        asyncio.run(_serve(control, Server(world, manner, Path(folder)), port))
    control.close()


async def _serve(control: Connection, server: Server, port: int) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    listener = await loop.create_server(lambda: _Client(server), "127.0.0.1", port, backlog=512)
    port = listener.sockets[0].getsockname()[1]
    messages: asyncio.Queue[tuple[str, tuple[Any, ...]]] = asyncio.Queue()

    def receive() -> None:
        try:
            while control.poll():
                messages.put_nowait(control.recv())
        except (EOFError, OSError):
            loop.remove_reader(control.fileno())
            messages.put_nowait(("gone", ()))

    loop.add_reader(control.fileno(), receive)
    control.send(f"http://127.0.0.1:{port}")
    while not stopped.is_set():
        what, arguments = await messages.get()
        if what in ("stop", "gone"):
            stopped.set()
        if what == "down":
            listener = await _turn(server, listener, port, down=arguments[0])
        answer = _obey(server, what, arguments)
        if what != "gone":
            control.send(answer)
    loop.remove_reader(control.fileno())
    await _turn(server, listener, port, down=True)


async def _turn(server: Server, listener: asyncio.Server, port: int, *, down: bool) -> asyncio.Server:
    """Close the door and everything that came through it, or open it again at the same port."""
    if down:
        listener.close()
        for client in list(server.connections):
            client.transport.abort()
        return listener
    if listener.is_serving():
        return listener
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _Client(server), "127.0.0.1", port, backlog=512)


def _obey(server: Server, what: str, arguments: tuple[Any, ...]) -> Any:
    match what, arguments:
        case "day", (day,):
            server.day = day
        case "manner", (manner,):
            server.manner = manner
        case "broken" | "hidden", (name, on):
            names = server.broken if what == "broken" else server.hidden
            (names.add if on else names.discard)(name)
        case "requests", ():
            return list(server.requests)
        case "counts", ():
            return dict(server.counts)
    return None
