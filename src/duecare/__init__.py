"""duecare (注意义务): a data-service platform that handles data with due care, and can prove it.

In a notebook::

    import duecare

    companies = duecare.open("my-home")
    companies.ingest("us-sec-issuers-history", "2025-02-28.csv")
    companies.search("apple")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duecare.systems.companies.service import Companies

__version__ = "0.1.0"


def open(home: str | Path | None = None) -> Companies:
    """The service over the home at ``home`` (default: ``DUECARE_HOME``, or ``~/.duecare``)."""
    import warnings

    from duecare.settings import load, not_settings
    from duecare.store.home import Home
    from duecare.systems.companies.service import Companies

    for said in not_settings():
        warnings.warn(said, stacklevel=2)
    return Companies(Home(load(home=home)))
