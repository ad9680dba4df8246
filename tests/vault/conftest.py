"""A vault on either database, and an independent witness."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from duecare.evidence.log import Log
from duecare.vault.records import Vault

from ..evidence.witnessing import Served
from .park import furnish, opened


@pytest.fixture
def vault(database_url: str, tmp_path: Path) -> Iterator[Vault]:
    """A vault in which the park has declared what it does; no witness."""
    with opened(tmp_path / "home", database_url) as made:
        furnish(made)
        yield made


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Served]:
    """A witness that knows the log of the home ``home``."""
    with Served(tmp_path / "witness", Log.at(tmp_path / "home").key) as served:
        yield served


@pytest.fixture
def witnessed(database_url: str, tmp_path: Path, witness: Served) -> Iterator[Vault]:
    """The same vault, with the witness."""
    with opened(tmp_path / "home", database_url, witnessed_by=[witness.remote()]) as made:
        furnish(made)
        yield made
