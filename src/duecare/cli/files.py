"""Files that are named at the command line.

The rule of this module: a file that cannot be read is an error that names it; ``-`` is standard input.
"""

from __future__ import annotations

import sys
from pathlib import Path

from duecare.errors import BadInput


def read_bytes(path: Path) -> bytes:
    """The bytes of the file at ``path``, or of standard input. Raises ``BadInput``."""
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", hint="Name a file, or - for stdin.") from None
