"""US banks with an account at a Federal Reserve Bank, and those that asked for one: two lists, one source.

The rule of this module: each list speaks only for its own sections, so that reading one never closes what the other
said.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from duckdb import DuckDBPyConnection

from duecare.errors import BadInput
from duecare.registers.adapter import COMPOSITE_SQL, Coverage, Staged
from duecare.registers.delimited import CsvRecords, Dialect, csv_records, read_header
from duecare.registers.files import unpacked
from duecare.registers.sections import Category, RiskLevel, Section
from duecare.registers.sources import Source
from duecare.registers.staging import date_sql, iso_sql

ACCOUNTS = Section(
    "master_accounts", "联邦储备账户", "Reserve Bank accounts",
    ("name", "opened_on", "insurance", "city", "state", "district"), Category.OPERATION, date_field="opened_on",
)  # fmt: skip
REQUESTS = Section(
    "account_requests", "开户申请", "account requests",
    ("name", "submitted_on", "insurance", "action", "action_on", "tier", "city", "state", "district"),
    Category.OPERATION, RiskLevel.NOTE, date_field="action_on",
)  # fmt: skip

_COMMON = {
    "name": "Institution Name", "insurance": "Federal Deposit Insurance", "city": "City", "state": "State",
    "district": "Reserve Bank District",
}  # fmt: skip
_HOLDERS = _COMMON | {"effective": "Date Access Effective"}
_REQUESTORS = _COMMON | {
    "submitted": "Date Submitted", "action": "Action", "acted": "Action Date", "tier": "Access Request Tier (Initial)",
}  # fmt: skip
_PUBLISHED_ORDER = (
    "Institution Name", "Date Submitted", "Federal Deposit Insurance", "Action", "Action Date",
    "Access Request Tier (Initial)", "City", "State", "Reserve Bank District",
)  # fmt: skip
_DAY = "%m/%d/%Y"


class UsFed:
    """Reads either list of the account access database (CSV), told apart by its columns.

    The lists give no identifier. A holder is its name and the date its access took effect; namesakes of the same date
    (four banks are called CITIZENS BANK) are rows of one entity, kept apart by city and state. One that asks is its
    name, each request a row.
    """

    source = Source(
        name="us-fed-account-holders-history",
        title_zh="美联储账户持有与申请机构名单",
        title_en="Federal Reserve master account and services database",
        operator="Board of Governors of the Federal Reserve System",
        address="https://www.federalreserve.gov/paymentsystems/master-account-and-services-database-existing-access.htm",
        legal_basis="Published under 12 U.S.C. 248c; work of the United States government.",
        licence="Public domain.",
        fresh_for=timedelta(days=120),
        authoritative_for=("master_accounts", "account_requests"),
    )
    version = "1"
    sections = (ACCOUNTS, REQUESTS)

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Read ``path``; see ``FileAdapter.stage``."""
        with unpacked(path, suffixes=(".csv",)) as plain:
            header = read_header(plain, Dialect())
        if "Date Access Effective" in header:
            return self._holders(path, connection)
        if "Date Submitted" in header:
            return self._requestors(path, connection)
        raise BadInput(
            f"{path.name} is neither list: it has columns {', '.join(header)[:200] or 'none'}.",
            hint="Holders have a column Date Access Effective, requestors a column Date Submitted.",
        )

    def _holders(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        with csv_records(path, connection, _HOLDERS) as records:
            records.set_aside(_no_name(), _no_date("effective"))
            effective = iso_sql("effective", _DAY)
            records.section(
                ACCOUNTS,
                entity=COMPOSITE_SQL.format(f"name, {effective}"),
                key=COMPOSITE_SQL.format("city, state"),
                effective=date_sql("effective", _DAY),
                fields={"name": "name", "opened_on": effective, **_same("insurance", "city", "state", "district")},
            )
            return records.staged({"master_accounts": Coverage.WHOLE})

    def _requestors(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        with csv_records(path, connection, _REQUESTORS) as records:
            if not _misnamed(records):
                return self._requests(records)
        # The list of July 2025 has the columns in the published order under a header in another order.
        with csv_records(path, connection, _REQUESTORS, names=_PUBLISHED_ORDER) as records:
            if _misnamed(records):
                raise BadInput(
                    f"{path.name}: most values under Date Submitted are no dates.",
                    hint="The header does not fit the columns; nothing was read from it.",
                )
            return self._requests(records)

    def _requests(self, records: CsvRecords) -> Staged:
        records.set_aside(_no_name(), _no_date("submitted"))
        submitted = iso_sql("submitted", _DAY)
        records.section(
            REQUESTS,
            entity="name",
            key=COMPOSITE_SQL.format(f"{submitted}, city, state"),
            effective=date_sql("acted", _DAY),
            fields={
                "submitted_on": submitted,
                "action_on": iso_sql("acted", _DAY),
                **_same("name", "insurance", "action", "tier", "city", "state", "district"),
            },
        )
        return records.staged({"account_requests": Coverage.WHOLE})


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _no_name() -> str:
    return "CASE WHEN name IS NULL THEN 'no name' END"


def _no_date(column: str) -> str:
    return (
        f"CASE WHEN {date_sql(column, _DAY)} IS NULL "
        f"THEN 'not a date (month/day/year): ' || coalesce({column}, 'none') END"
    )


def _misnamed(records: CsvRecords) -> bool:
    dates = date_sql("submitted", _DAY)
    share = records.connection.execute(f"SELECT avg(({dates} IS NOT NULL)::INTEGER) FROM {records.table}").fetchall()
    return bool((share[0][0] or 0) < 0.5 and len(records.header) == len(_PUBLISHED_ORDER))
