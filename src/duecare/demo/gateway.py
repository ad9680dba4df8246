"""An SMS gateway on this machine that keeps every message it is given as a file, and passes none on.

The rule of this module: a message that was answered with 200 is on disk, once for each reference.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_LARGEST = 1 << 20


@contextmanager
def gateway(folder: Path) -> Iterator[str]:
    """Take messages (``POST {"to", "text", "reference"}``) while the block lasts; gives the address.

    Each becomes ``00001.json`` in ``folder``; one that comes again under its reference is not kept twice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known: set[str] = set()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            try:
                message = json.loads(self.rfile.read(length)) if 0 < length <= _LARGEST else None
                reference = str(message["reference"]) if message and message["to"] and message["text"] else ""
            except (ValueError, KeyError, TypeError):
                reference = ""
            if not reference:
                self._answer(422)
                return
            with lock:
                if reference not in known:
                    path = folder / f"{len(known) + 1:05d}.json"
                    path.write_text(json.dumps(message, ensure_ascii=False, indent=2), encoding="utf-8")
                    known.add(reference)
            self._answer(200)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing: telephone numbers do not belong on a terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="duecare-sms", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
