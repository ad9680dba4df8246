"""Notices of the German commercial registers (Registerbekanntmachungen): a feed of dated events.

The rule of this module: a notice is an addition. That a company has no notice in a file says nothing about it.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from duckdb import DuckDBPyConnection

from duecare.registers.adapter import COMPOSITE_SQL, Coverage, Staged
from duecare.registers.delimited import csv_records
from duecare.registers.sections import Category, Section
from duecare.registers.sources import Source
from duecare.registers.staging import date_sql

NOTICES = Section(
    "notices", "登记公告", "register notices", ("type", "name", "seat", "published_on"),
    Category.REGISTRATION, date_field="published_on", sensitive_words=(("type",), ("Löschung",)),
)  # fmt: skip
TEXTS = Section(
    "notice_texts", "公告全文", "texts of notices", ("text", "published_on"),
    Category.REGISTRATION, date_field="published_on",
)  # fmt: skip
BASIC = Section("basic", "基本信息", "basic facts", ("name", "seat", "court", "number", "state"), keyed=False)

_COLUMNS = {
    "day": "date", "id": "id", "type": "type", "state": "state", "court": "amtsgericht",
    "former": "former_amtsgericht", "number": "registernummer", "name": "company_name", "seat": "company_seat",
    "details": "details",
}  # fmt: skip
_NUMBER = "(HRA|HRB|GnR|GsR|PR|VR) [0-9]+( [A-ZÄÖÜ]{1,4})?"


class DeNotices:
    """Reads notices of a day (CSV with ``details``) or of many days (without).

    A company is ``DE Chemnitz HRA 9941``: court, register and number, and the former court where there is one
    (``DE Tostedt (Altgericht Buxtehude) HRB 121249``: courts that took over a register kept its numbers). Read from
    its end, such a text gives back all of its parts, so that no two companies share one.
    """

    source = Source(
        name="de-registerbekanntmachungen",
        title_zh="德国商业登记公告",
        title_en="German register notices",
        operator="Registergerichte der Länder",
        address="https://www.handelsregister.de/rp_web/xhtml/bekanntmachungen.xhtml",
        legal_basis="Statutory publication under § 10 HGB.",
        licence="MIT for the collection; the portal claims rights in its compilation.",
        fresh_for=timedelta(days=3),
        authoritative_for=("notices",),
    )
    version = "1"
    sections = (NOTICES, TEXTS, BASIC)

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Read ``path``; see ``FileAdapter.stage``."""
        with csv_records(path, connection, _COLUMNS, optional=("details",)) as records:
            day = date_sql("day", "%Y-%m-%d")
            records.set_aside(
                f"CASE WHEN {day} IS NULL THEN 'not a date (such as 2026-08-03): ' || coalesce(day, 'none') END",
                "CASE WHEN number IS NULL THEN 'no register number: the notice names no company on the register' END",
                f"CASE WHEN NOT regexp_full_match(number, '{_NUMBER}') "
                "THEN 'not a register number (such as HRB 9941): ' || number END",
                "CASE WHEN court IS NULL OR contains(court, '(Altgericht') THEN 'no court that can be read' END",
                "CASE WHEN type IS NULL THEN 'no kind of notice' END",
            )
            court = "regexp_replace(court, '^Amtsgericht ', '')"
            entity = f"concat_ws(' ', 'DE', {court}, '(Altgericht ' || former || ')', number)"
            # Notices before autumn 2024 have no id of their own.
            unnumbered = COMPOSITE_SQL.format("day, type")
            records.section(
                NOTICES, entity=entity, key=f"coalesce(id, {unnumbered})", effective=day,
                fields={"type": "type", "name": "name", "seat": "seat", "published_on": "day"},
            )  # fmt: skip
            records.section(
                BASIC, entity="entity",
                fields={"name": "name", "seat": "seat", "court": "court", "number": "number", "state": "state"},
                source=f"SELECT *, {entity} AS entity FROM ({records.good()}) QUALIFY row_number() OVER (PARTITION BY "
                       "entity ORDER BY day DESC, length(id) DESC NULLS LAST, id DESC, name, seat, state, type) = 1",
            )  # fmt: skip
            coverage = {"notices": Coverage.ADDITIONS, "basic": Coverage.LISTED}
            if "details" in records.header:
                records.section(
                    TEXTS, entity=entity, key=f"coalesce(id, {COMPOSITE_SQL.format('day, type, md5(details)')})",
                    effective=day, fields={"text": "details", "published_on": "day"}, where="details IS NOT NULL",
                )  # fmt: skip
                coverage["notice_texts"] = Coverage.ADDITIONS
            return records.staged(coverage, may_be_empty=True)
