"""The way in for people at a terminal and for scripts.

Exit codes: 0 all is well, 1 something was found or failed, 2 bad use. A reader of our output who has had enough, as
``head`` has, is no failure.

The rule of this module: a mistake by the user ends in one sentence that says what would be right, never in a traceback.
"""

from __future__ import annotations

import sys

from duecare.errors import DuecareError, UseError


def main() -> None:
    """Run the command line."""
    from duecare.cli.app import app
    from duecare.cli.output import fail, heard, log_to_errors

    log_to_errors()
    try:
        with heard():
            app()
    except DuecareError as error:
        fail(error)
        sys.exit(2 if isinstance(error, UseError) else 1)
