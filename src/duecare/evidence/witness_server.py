"""The witness over HTTP: ``POST /add-checkpoint`` (C2SP tlog-witness), in a process of its own.

The rule of this module: a request is read to a limit and for a time, whoever sends it; nothing else of it is trusted.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from duecare.errors import BadInput, Busy
from duecare.evidence.witness import MAX_REQUEST, Witness

READ_SECONDS = 10.0
"""How long the body of a request may take to arrive."""

_LEAVE_SECONDS = 5
_KEEP_ALIVE_SECONDS = 65
_AT_ONCE = 256


def application(witness: Witness) -> Starlette:
    """The web application of ``witness``."""

    async def add_checkpoint(request: Request) -> Response:
        try:
            async with asyncio.timeout(READ_SECONDS):
                body = await _body(request)
        except TimeoutError:
            return Response("The request took too long to arrive.\n", 408, media_type="text/plain")
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return Response(f"A request has at most {MAX_REQUEST} bytes.\n", 413, media_type="text/plain")
        try:
            answer = await run_in_threadpool(witness.add_checkpoint, body)
        except Busy as error:
            return Response(f"{error}\n", 503, {"Retry-After": "1"}, "text/plain")
        return Response(answer.body, answer.status, {"Content-Type": answer.content_type})

    return Starlette(routes=[Route("/add-checkpoint", add_checkpoint, methods=["POST"])])


def serve(witness: Witness, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first. ``ready`` is told the address.

    ``port`` 0 takes a free one. Raises ``BadInput`` where the port cannot be had.
    """
    try:
        door = socket.create_server((host, port), backlog=512)
    except OSError as error:
        raise BadInput(
            f"The witness cannot listen on {host} port {port}: {error.strerror}.", hint="Give another with --port."
        ) from None
    # asyncio does this only for sockets it made itself; without it an answer waits 40 ms for the client's last ACK.
    door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        application(witness),
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        limit_concurrency=_AT_ONCE,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_LEAVE_SECONDS,
    )
    # The server raises the signal that ended it once more when it has ended, which must not kill what comes after.
    before = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        ready(f"http://{host}:{door.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[door])
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        door.close()


async def _body(request: Request) -> bytes | None:
    """The body; none where it is longer than a request may be."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_REQUEST:
            return None
    return bytes(data)
