"""Mainland registrations of 2002 and 2003: one state of each company, by year of registration.

The rule of this module: a company is known by a code that checks out. The unified code where there is one; where the
list still has the fifteen-digit registration number of before 2015 (工商注册号, GS 15-2006), that one, which has a
check digit too. Older thirteen-digit numbers have none and are set aside.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from duckdb import DuckDBPyConnection

from duecare.identifiers import Kind, compact_sql, fault_sql
from duecare.registers.adapter import Coverage, Staged
from duecare.registers.delimited import Dialect, csv_records
from duecare.registers.sections import CATALOGUE
from duecare.registers.sources import Source
from duecare.registers.staging import iso_sql

_COLUMNS = {
    "name": "企业名称", "code": "统一社会信用代码", "established": "注册日期", "type": "企业类型",
    "representative": "法人代表", "capital": "注册资金", "scope": "经营范围", "address": "注册地址",
}  # fmt: skip


class CnRegistrations:
    """Reads a year of registrations (CSV, usually gzip; ``N/A`` marks what is missing).

    Each file speaks only for the companies it lists: those of other years are in other files.
    """

    source = Source(
        name="cn-enterprise-registration-2002-2003",
        title_zh="中国大陆企业注册信息（2002、2003年）",
        title_en="Mainland China enterprise registrations of 2002 and 2003",
        operator="国家市场监督管理总局 (as collected by Liu Wen / imhuster)",
        address="https://github.com/imhuster/Enterprise-Registration-Data-of-Chinese-Mainland",
        legal_basis="企业信息公示暂行条例: registration facts are published to the public.",
        licence="CC BY-NC-SA 4.0",
        fresh_for=timedelta(days=365),
    )
    version = "1"
    sections = (CATALOGUE["basic"],)

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Read ``path``; see ``FileAdapter.stage``."""
        derived = {"code": compact_sql(Kind.USCC, "code")}
        dialect = Dialect(missing=frozenset({"N/A"}))
        with csv_records(path, connection, _COLUMNS, derived=derived, dialect=dialect) as records:
            columns = ", ".join(("name", "code", "representative", "scope", "address"))
            records.set_aside(
                f"CASE WHEN contains(concat({columns}), chr(65533)) "
                "THEN 'the text was damaged before it was published (characters are lost)' END",
                "CASE WHEN regexp_full_match(code, '[0-9]{15}') "
                f"THEN {fault_sql(Kind.CN_REGISTRATION, 'code')} "
                f"ELSE {fault_sql(Kind.USCC, 'code')} END",
                "CASE WHEN name IS NULL THEN 'no name' END",
            )
            given = {
                "name": "name", "code": "code", "type": "type", "legal_representative": "representative",
                "registered_capital": "capital", "established_on": iso_sql("established", "%Y-%m-%d"),
                "address": "address", "scope": "scope",
            }  # fmt: skip
            basic = CATALOGUE["basic"]
            records.section(basic, entity="code", fields={field: given.get(field, "NULL") for field in basic.fields})
            return records.staged({"basic": Coverage.LISTED})
