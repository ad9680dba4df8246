"""Threads that begin together and end in time."""

from __future__ import annotations

import threading
from collections.abc import Callable

SECONDS = 120.0


def at_once(*works: Callable[[], None]) -> None:
    """Begin all ``works`` at once, each in a thread of its own, and wait for them; what they raise is raised."""
    barrier, raised = threading.Barrier(len(works)), list[BaseException]()

    def run(work: Callable[[], None]) -> None:
        barrier.wait(SECONDS)
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive(), "it waits for ever"
    for error in raised:
        raise error
