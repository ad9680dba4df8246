"""The pass centre's server: gates, the pass centre's and the holders' pages, and what runs by itself.

The rule of this module: it adds nothing to what it serves; every route is one call into a room that keeps its own
rules.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import uvicorn
from apscheduler.schedulers.background import BackgroundScheduler
from fastapi import FastAPI

from duecare.clock import BEIJING
from duecare.errors import BadInput
from duecare.systems.passes import entries, gates, messages, once, pages
from duecare.systems.passes.park import Park
from duecare.vault import retention

SEND_EVERY = 60
"""Seconds between two looks for messages that are due."""

LOG_EVERY = 5
"""Seconds after which the log has what was decided at the gates, at the latest."""


def application(park: Park) -> FastAPI:
    """The application over ``park``."""
    made = FastAPI(title="duecare passes", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")
    made.include_router(gates.router(park))
    pages.install(made, park)
    return made


def serve(park: Park, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until the process is told to stop (SIGTERM, Ctrl-C), and do by itself what runs by itself.

    ``ready`` is called with the address. Raises ``BadInput`` where the port is taken.
    """
    with _bound(host, port) as listening:
        scheduler = chores(park)
        try:
            ready(f"http://{host}:{listening.getsockname()[1]}")
            _Server(_config(park)).run(sockets=[listening])
        finally:
            scheduler.shutdown()


def chores(park: Park) -> BackgroundScheduler:
    """A scheduler, started, of what runs by itself: retention at once and hourly, messages, forgetting answers, and the
    log."""
    scheduler = retention.scheduled(park.vault)
    each = {"coalesce": True, "max_instances": 1, "next_run_time": datetime.now(BEIJING)}
    scheduler.add_job(messages.send, "interval", [park], seconds=SEND_EVERY, **each)
    scheduler.add_job(_forget, "interval", [park], days=1, **each)
    scheduler.add_job(park.log, "interval", seconds=LOG_EVERY, **each)
    return scheduler


def _forget(park: Park) -> None:
    with park.home.database.session() as session:
        entries.forget_answers(session, park.now())
        once.forget(session, park.now())


@contextmanager
def serving(park: Park, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve in a thread while the block lasts, and nothing by itself; gives the address. Raises ``BadInput``."""
    with _bound(host, port) as listening:
        server = uvicorn.Server(_config(park))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class _Server(uvicorn.Server):
    """Ends in order when it is told to; uvicorn's own would end the process before the vault is closed."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        told = (signal.SIGINT, signal.SIGTERM)
        before = {each: signal.signal(each, self.handle_exit) for each in told}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens: whoever connects from now on is answered, if perhaps in a moment."""
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise BadInput(
            f"The pass centre cannot be served at {host}:{port}: {error.strerror}.", hint="Give a port that is free."
        ) from None
    with listening:
        # Connections inherit it. Without it an answer's second packet waits 40 ms for the first to be acknowledged.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listening


def _config(park: Park) -> uvicorn.Config:
    # Requests carry cards and templates in their bodies and nothing in their paths; even so, none is logged here.
    return uvicorn.Config(application(park), log_level="warning", access_log=False)
