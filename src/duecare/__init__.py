"""duecare (注意义务): a data-service platform that handles data with due care, and can prove it.

>>> import duecare
>>> home = duecare.open("my-home")  # doctest: +SKIP
>>> home.database, home.lake, home.snapshots  # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duecare.store.home import Home

__version__ = "0.1.0"


def open(home: str | Path | None = None) -> Home:  # noqa: A001 - the word a notebook user expects
    """The home at ``home`` (default: ``DUECARE_HOME``, or ``~/.duecare``), opened; its parts open on first use."""
    from duecare.settings import load
    from duecare.store.home import Home

    return Home(load(home=home))
