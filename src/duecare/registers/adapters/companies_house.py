"""Companies House BasicCompanyData: the free monthly file of live UK companies, whole or reduced, plain or zipped.

The rule of this module: a section holds only columns that every form of the file with that section has. A reduced
file leaves whole sections unread; it never makes a field look emptied.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from duckdb import DuckDBPyConnection

from duecare.identifiers import Kind, compact_sql, fault_sql
from duecare.registers.adapter import COMPOSITE_SQL, Coverage, Staged
from duecare.registers.delimited import CsvRecords, csv_records
from duecare.registers.sections import Category, RiskLevel, Section
from duecare.registers.sources import Source
from duecare.registers.staging import date_sql, iso_sql

BASIC = Section(
    "basic", "基本信息", "basic facts", ("name", "code", "type", "status", "address"),
    keyed=False,
    sensitive_words=(("status",), ("Liquidation", "Administrat", "ADMINISTRAT", "Strike off", "Receiver", "RECEIVER",
                                "Voluntary Arrangement", "VOLUNTARY ARRANGEMENT", "Dissolved")),
)  # fmt: skip
ACTIVITIES = Section("activities", "行业分类", "activities", ("code", "description"))
INCORPORATION = Section(
    "incorporation", "设立与解散", "incorporation", ("established_on", "dissolved_on", "country_of_origin"),
    keyed=False, date_field="established_on",
)  # fmt: skip
CARE = Section("address_care", "地址附注", "care of and PO box", ("care_of", "po_box"), keyed=False)
PREVIOUS_NAMES = Section("previous_names", "曾用名", "previous names", ("name", "until"), date_field="until")
ACCOUNTS = Section(
    "accounts", "账目申报", "accounts", ("category", "last_made_up_to", "next_due_on", "reference_day"),
    Category.OPERATION, keyed=False,
)  # fmt: skip
CONFIRMATION = Section(
    "confirmation_statement", "确认声明", "confirmation statement", ("last_made_up_to", "next_due_on"),
    Category.OPERATION, keyed=False,
)  # fmt: skip
CHARGES = Section(
    "charges", "抵押登记", "charges", ("total", "outstanding", "partly_satisfied", "satisfied"),
    Category.RISK, RiskLevel.WARNING, keyed=False,
)  # fmt: skip

_CORE = {
    "name": "CompanyName", "number": "CompanyNumber", "line1": "RegAddress.AddressLine1",
    "line2": "RegAddress.AddressLine2", "town": "RegAddress.PostTown", "county": "RegAddress.County",
    "country": "RegAddress.Country", "postcode": "RegAddress.PostCode", "type": "CompanyCategory",
    "status": "CompanyStatus", "sic1": "SICCode.SicText_1", "sic2": "SICCode.SicText_2", "sic3": "SICCode.SicText_3",
    "sic4": "SICCode.SicText_4",
}  # fmt: skip
_FULL = {
    "care_of": "RegAddress.CareOf", "po_box": "RegAddress.POBox", "origin": "CountryOfOrigin",
    "dissolved": "DissolutionDate", "established": "IncorporationDate", "ref_day": "Accounts.AccountRefDay",
    "ref_month": "Accounts.AccountRefMonth", "accounts_due": "Accounts.NextDueDate",
    "accounts_made": "Accounts.LastMadeUpDate", "accounts_category": "Accounts.AccountCategory",
    "charges": "Mortgages.NumMortCharges", "outstanding": "Mortgages.NumMortOutstanding",
    "partly": "Mortgages.NumMortPartSatisfied", "satisfied": "Mortgages.NumMortSatisfied",
    "confirmation_due": "ConfStmtNextDueDate", "confirmation_made": "ConfStmtLastMadeUpDate",
} | {f"previous{n}": f"PreviousName_{n}.CompanyName" for n in range(1, 11)} | {
    f"until{n}": f"PreviousName_{n}.CONDATE" for n in range(1, 11)
}  # fmt: skip
_PARTS = {
    INCORPORATION: ("origin", "dissolved", "established"),
    CARE: ("care_of", "po_box"),
    PREVIOUS_NAMES: tuple(f"previous{n}" for n in range(1, 11)) + tuple(f"until{n}" for n in range(1, 11)),
    ACCOUNTS: ("ref_day", "ref_month", "accounts_due", "accounts_made", "accounts_category"),
    CONFIRMATION: ("confirmation_due", "confirmation_made"),
    CHARGES: ("charges", "outstanding", "partly", "satisfied"),
}
_DAY = "%d/%m/%Y"


class CompaniesHouse:
    """Reads BasicCompanyData in its published form of 55 columns, or a file with a part of the columns.

    The single file is the whole list of live companies. A part of it (``…-part1_7.csv``, told by its name or the name
    inside the zip) speaks only for the companies it lists.
    """

    source = Source(
        name="uk-companies-house-sample",
        title_zh="英国公司注册处公司基本数据",
        title_en="Companies House BasicCompanyData",
        operator="Companies House",
        address="https://download.companieshouse.gov.uk/en_output.html",
        legal_basis="Public register under the Companies Act 2006, sections 1080 and 1085.",
        licence="Free data product of Companies House, no restriction on use.",
        fresh_for=timedelta(days=45),
        authoritative_for=("basic", "activities", "incorporation", "previous_names", "accounts", "charges"),
    )
    version = "1"
    sections = (BASIC, ACTIVITIES, INCORPORATION, CARE, PREVIOUS_NAMES, ACCOUNTS, CONFIRMATION, CHARGES)

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Read ``path``; see ``FileAdapter.stage``."""
        derived = {"number": compact_sql(Kind.UK_COMPANY, "number")}
        with csv_records(path, connection, _CORE | _FULL, optional=tuple(_FULL), derived=derived) as records:
            records.set_aside(fault_sql(Kind.UK_COMPANY, "number"), "CASE WHEN name IS NULL THEN 'no name' END")
            self._core(records)
            covered = [BASIC, ACTIVITIES]
            covered += [
                section for section, needed in _PARTS.items() if all(_FULL[name] in records.header for name in needed)
            ]
            for section in covered[2:]:
                _FULL_SECTIONS[section.name](records)
            part = any(re.search(r"part\d+_\d+", name) for name in (path.name, records.plain.member))
            extent = Coverage.LISTED if part else Coverage.WHOLE
            return records.staged({section.name: extent for section in covered})

    def _core(self, records: CsvRecords) -> None:
        address = "concat_ws(', ', line1, line2, town, county, country, postcode)"
        records.section(
            BASIC, entity="number",
            fields={"name": "name", "code": "number", "type": "type", "status": "status",
                    "address": f"nullif({address}, '')"},
        )  # fmt: skip
        # A company with no activity given is written as one whose code is None Supplied.
        records.section(
            ACTIVITIES, entity="number", key="split_part(sic, ' - ', 1)",
            fields={"code": "split_part(sic, ' - ', 1)",
                    "description": "CASE WHEN contains(sic, ' - ') THEN substr(sic, instr(sic, ' - ') + 3) END"},
            source=f"SELECT DISTINCT record, number, unnest([sic1, sic2, sic3, sic4]) AS sic "
                   f"FROM ({records.good()})",
            where="sic IS NOT NULL AND sic <> 'None Supplied'",
        )  # fmt: skip


def _incorporation(records: CsvRecords) -> None:
    records.section(
        INCORPORATION, entity="number", effective=date_sql("established", _DAY),
        fields={"established_on": iso_sql("established", _DAY), "dissolved_on": iso_sql("dissolved", _DAY),
                "country_of_origin": "origin"},
    )  # fmt: skip


def _care(records: CsvRecords) -> None:
    records.section(
        CARE, entity="number", fields={"care_of": "care_of", "po_box": "po_box"},
        where="care_of IS NOT NULL OR po_box IS NOT NULL",
    )  # fmt: skip


def _previous_names(records: CsvRecords) -> None:
    pairs = ", ".join(f"{{'name': previous{n}, 'until': until{n}}}" for n in range(1, 11))
    records.section(
        PREVIOUS_NAMES, entity="number", key=COMPOSITE_SQL.format("until, name"), effective="until::DATE",
        fields={"name": "name", "until": "until"},
        source=f"SELECT DISTINCT record, number, past.name AS name, {iso_sql('past.until', _DAY)} AS until FROM "
               f"(SELECT record, number, unnest([{pairs}]) AS past FROM ({records.good()}))",
        where="name IS NOT NULL",
    )  # fmt: skip


def _accounts(records: CsvRecords) -> None:
    records.section(
        ACCOUNTS, entity="number",
        fields={
            "category": "accounts_category", "last_made_up_to": iso_sql("accounts_made", _DAY),
            "next_due_on": iso_sql("accounts_due", _DAY),
            "reference_day": "CASE WHEN ref_day IS NOT NULL THEN lpad(coalesce(ref_month, '?'), 2, '0') "
                             "|| '-' || lpad(ref_day, 2, '0') END",
        },
    )  # fmt: skip


def _confirmation(records: CsvRecords) -> None:
    records.section(
        CONFIRMATION, entity="number",
        fields={"last_made_up_to": iso_sql("confirmation_made", _DAY),
                "next_due_on": iso_sql("confirmation_due", _DAY)},
    )  # fmt: skip


def _charges(records: CsvRecords) -> None:
    records.section(
        CHARGES, entity="number", where="charges IS NOT NULL AND charges <> '0'",
        fields={"total": "charges", "outstanding": "outstanding", "partly_satisfied": "partly",
                "satisfied": "satisfied"},
    )  # fmt: skip


_FULL_SECTIONS = {
    "incorporation": _incorporation,
    "address_care": _care,
    "previous_names": _previous_names,
    "accounts": _accounts,
    "confirmation_statement": _confirmation,
    "charges": _charges,
}
