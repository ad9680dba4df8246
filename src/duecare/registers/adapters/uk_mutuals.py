"""The register of UK mutual societies, with the numbers Companies House gives them, as dated copies of the whole list.

The rule of this module: a society keeps its register number; the Companies House numbers are rows of their own,
because some societies have two.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from duckdb import DuckDBPyConnection

from duecare.registers.adapter import Coverage, Staged
from duecare.registers.delimited import csv_records
from duecare.registers.sections import Section
from duecare.registers.sources import Source

BASIC = Section("basic", "基本信息", "basic facts", ("name", "code"), keyed=False)
NUMBERS = Section("company_numbers", "公司登记号", "Companies House numbers", ("number",))


class UkMutuals:
    """Reads a copy of the register (CSV: mutual_id, company_id, name; identifiers after org-id.guide)."""

    source = Source(
        name="uk-mutuals-register-history",
        title_zh="英国互助组织登记册",
        title_en="UK Mutuals Register",
        operator="Financial Conduct Authority",
        address="https://mutuals.fca.org.uk/",
        legal_basis="Public register under the Co-operative and Community Benefit Societies Act 2014 and its kin.",
        licence="ODbL 1.0 for the collection of dated copies.",
        fresh_for=timedelta(days=120),
        authoritative_for=("basic",),
    )
    version = "1"
    sections = (BASIC, NUMBERS)

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Read ``path``; see ``FileAdapter.stage``."""
        columns = {"mutual": "mutual_id", "company": "company_id", "name": "name"}
        with csv_records(path, connection, columns) as records:
            records.set_aside(
                "CASE WHEN mutual IS NULL OR NOT regexp_full_match(mutual, 'GB-MPR-[0-9]+[A-Z]*') "
                "THEN 'not a mutuals register number (such as GB-MPR-10002R): ' || coalesce(mutual, 'none') END",
                "CASE WHEN name IS NULL THEN 'no name' END",
                "CASE WHEN NOT regexp_full_match(company, 'GB-COH-[0-9A-Z]{8}') "
                "THEN 'not a company number (such as GB-COH-IP10002R): ' || company END",
            )
            code = "replace(mutual, 'GB-MPR-', '')"
            number = "replace(company, 'GB-COH-', '')"
            records.section(BASIC, entity="mutual", fields={"name": "name", "code": code})
            records.section(
                NUMBERS, entity="mutual", key=number, fields={"number": number}, where="company IS NOT NULL"
            )
            return records.staged({"basic": Coverage.WHOLE, "company_numbers": Coverage.WHOLE})
