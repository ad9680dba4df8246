"""Issuers of securities in the United States: CIK, ticker, name and exchange, as dated copies of the whole list.

The rule of this module: the name belongs to the issuer, the exchange to each of its tickers.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from duckdb import DuckDBPyConnection

from duecare.identifiers import Kind, compact_sql, fault_sql
from duecare.registers.adapter import Coverage, Staged
from duecare.registers.delimited import Dialect, csv_records
from duecare.registers.sections import Category, Section
from duecare.registers.sources import Source

BASIC = Section("basic", "基本信息", "basic facts", ("name",), keyed=False)
LISTINGS = Section("listings", "上市信息", "listings", ("ticker", "exchange"), Category.OPERATION)


class UsSec:
    """Reads a list of issuers (CSV: CIK, Ticker, Name, Exchange). The list is whole: who is absent is gone from it."""

    source = Source(
        name="us-sec-issuers-history",
        title_zh="美国证券交易委员会发行人名录",
        title_en="US SEC issuers by CIK and ticker",
        operator="U.S. Securities and Exchange Commission",
        address="https://www.sec.gov/files/company_tickers_exchange.json",
        legal_basis="Work of the United States government, published for public use (17 U.S.C. 105).",
        licence="Public domain; the collection of dated copies is MIT.",
        fresh_for=timedelta(days=7),
        authoritative_for=("listings",),
    )
    version = "1"
    sections = (BASIC, LISTINGS)

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Read ``path``; see ``FileAdapter.stage``."""
        columns = {"cik": "CIK", "ticker": "Ticker", "name": "Name", "exchange": "Exchange"}
        # From 2024 on a missing exchange is written None; before, it was left empty.
        dialect = Dialect(missing=frozenset({"None"}))
        derived = {"cik": compact_sql(Kind.CIK, "cik")}
        with csv_records(path, connection, columns, derived=derived, dialect=dialect) as records:
            records.set_aside(fault_sql(Kind.CIK, "cik"))
            records.section(BASIC, entity="cik", fields={"name": "name"})
            records.section(
                LISTINGS, entity="cik", key="ticker", where="ticker IS NOT NULL",
                # The copy of July 2023 writes Cboe US for what all others write CBOE: a change of coding, not of place.
                fields={"ticker": "ticker", "exchange": "CASE exchange WHEN 'Cboe US' THEN 'CBOE' ELSE exchange END"},
            )  # fmt: skip
            return records.staged({"basic": Coverage.WHOLE, "listings": Coverage.WHOLE})
