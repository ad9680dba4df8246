"""The way in for people at a terminal and for scripts.

Exit codes: 0 all is well, 1 something was found or failed, 2 bad use, 130 interrupted by Ctrl-C. A reader of our output
who has had enough, as ``head`` has, is no failure.

The rule of this module: a mistake by the user ends in one sentence that says what would be right, never in a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from duecare.errors import DuecareError, UseError

_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    _uninterrupted(_run)


def _run() -> None:
    # Loading them takes a while, in which Ctrl-C may come as well.
    from duecare.cli.app import app
    from duecare.cli.output import fail, heard, log_to_errors, warn
    from duecare.settings import not_settings

    log_to_errors()
    for said in not_settings():
        warn(said)
    try:
        with heard():
            app()
    except DuecareError as error:
        fail(error)
        sys.exit(2 if isinstance(error, UseError) else 1)


def _uninterrupted(work: Callable[[], None]) -> None:
    """Do ``work``; Ctrl-C ends it with one line. The engine tells of it in its own words, and typer says nothing."""
    try:
        work()
    except RuntimeError as error:
        if "interrupted" not in str(error).lower():
            raise
    except KeyboardInterrupt:
        pass
    except SystemExit as ended:
        if ended.code != _INTERRUPTED:
            raise
    else:
        return
    sys.stderr.write("Interrupted.\n")
    raise SystemExit(_INTERRUPTED)
