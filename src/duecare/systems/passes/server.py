"""The pass centre's server: gates, the pass centre's and the holders' pages, and what runs by itself.

The rule of this module: it adds nothing to what it serves; every route is one call into a room that keeps its own
rules.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from duecare.errors import BadInput
from duecare.systems.passes import gates, pages
from duecare.systems.passes.park import Park


def application(park: Park) -> FastAPI:
    """The application over ``park``."""
    made = FastAPI(title="duecare passes", docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json")
    made.include_router(gates.router(park))
    pages.install(made, park)
    return made


def serve(park: Park, host: str, port: int) -> None:
    """Serve until the process is told to stop."""
    server = uvicorn.Server(_config(park, host, port))
    server.run()


@contextmanager
def serving(park: Park, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve in a thread while the block lasts; gives the address. Raises ``BadInput`` where the port is taken."""
    server = uvicorn.Server(_config(park, host, port))
    ready, fault = threading.Event(), list[BaseException]()

    async def run() -> None:
        started = asyncio.create_task(server.serve())
        while not server.started and not started.done():
            await asyncio.sleep(0.01)
        ready.set()
        await started

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            fault.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="duecare-passes", daemon=True)
    thread.start()
    ready.wait()
    if not server.started:
        thread.join()
        raise BadInput(f"The pass centre cannot be served at {host}:{port}.", hint="Give a port that is free.")
    taken = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://{host}:{taken}"
    finally:
        server.should_exit = True
        thread.join()


def _config(park: Park, host: str, port: int) -> uvicorn.Config:
    # Requests carry cards and templates in their bodies and nothing in their paths; even so, none is logged here.
    return uvicorn.Config(application(park), host=host, port=port, log_level="warning", access_log=False, lifespan="on")
