"""The constituents of the S&P 500, as dated copies of the whole list."""

from __future__ import annotations

from pathlib import Path

from duecare.registers.adapters.csv_mapping import CsvMapping


class UsSp500(CsvMapping):
    """Reads a copy of the list (CSV: Symbol, Security, GICS Sector, …) by the mapping that stands beside this file."""

    def __init__(self) -> None:
        super().__init__(Path(__file__).with_suffix(".toml"))
