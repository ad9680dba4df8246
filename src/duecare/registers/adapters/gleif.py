"""GLEIF golden copy of legal entity identifiers, level 1 (who is who), after LEI-CDF 3.1, as CSV or JSON.

An LEI has two states that must not be confused. The *entity* is ACTIVE or INACTIVE. Its *registration* is ISSUED while
somebody keeps the record fresh, and LAPSED when nobody paid for renewal: that says the record is stale, and nothing
about the entity. ANNULLED and DUPLICATE say that the LEI should not have been issued: the source corrects itself.

The rule of this module: only the entity's own status can say that an entity has ended.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from duckdb import DuckDBPyConnection

from duecare.identifiers import Kind, compact_sql, fault_sql
from duecare.registers.adapter import Coverage, Staged
from duecare.registers.delimited import csv_records
from duecare.registers.documents import Shape, json_records
from duecare.registers.files import unpacked
from duecare.registers.sections import Category, Section
from duecare.registers.sources import Source
from duecare.registers.staging import Records

BASIC = Section(
    "basic", "基本信息", "basic facts",
    ("name", "code", "language", "jurisdiction", "type", "legal_form", "authority", "number", "established_on",
     "status", "ended_on", "end_reason"),
    keyed=False, sensitive_words=(("status",), ("INACTIVE",)),
)  # fmt: skip
ADDRESSES = Section(
    "addresses", "地址", "addresses", ("kind", "lines", "city", "region", "country", "postcode"),
)  # fmt: skip
REGISTRATION = Section(
    "lei_registration", "LEI 登记状态", "LEI registration",
    ("status", "registered_on", "updated_on", "renewal_on", "managing_lou", "corroboration"),
    Category.OPERATION, keyed=False, date_field="updated_on",
)  # fmt: skip

_ADDRESS = {
    "line": "FirstAddressLine", "line1": "AdditionalAddressLine.1", "line2": "AdditionalAddressLine.2",
    "line3": "AdditionalAddressLine.3", "city": "City", "region": "Region", "country": "Country",
    "postcode": "PostalCode",
}  # fmt: skip
_ENTITY = {
    "name": "LegalName", "language": "LegalName.xmllang", "jurisdiction": "LegalJurisdiction",
    "category": "EntityCategory", "form": "LegalForm.EntityLegalFormCode", "other_form": "LegalForm.OtherLegalForm",
    "authority": "RegistrationAuthority.RegistrationAuthorityID",
    "number": "RegistrationAuthority.RegistrationAuthorityEntityID", "created": "EntityCreationDate",
    "status": "EntityStatus", "ended": "EntityExpirationDate", "end_reason": "EntityExpirationReason",
}  # fmt: skip
_REGISTRATION = {
    "registered": "InitialRegistrationDate", "updated": "LastUpdateDate", "registration": "RegistrationStatus",
    "renewal": "NextRenewalDate", "lou": "ManagingLOU", "corroboration": "ValidationSources",
}  # fmt: skip
_COLUMNS = (
    {"lei": "LEI"}
    | {name: f"Entity.{column}" for name, column in _ENTITY.items()}
    | {f"legal_{name}": f"Entity.LegalAddress.{column}" for name, column in _ADDRESS.items()}
    | {f"hq_{name}": f"Entity.HeadquartersAddress.{column}" for name, column in _ADDRESS.items()}
    | {name: f"Registration.{column}" for name, column in _REGISTRATION.items()}
)
_REQUIRED = ("lei", "name", "status", "registration", "updated", "legal_country")
_OPTIONAL = (*(name for name in _COLUMNS if name not in _REQUIRED), "deleted")


class Gleif:
    """Reads a golden copy of level 1 (LEI-CDF 3.1): CSV, or JSON of the form ``{"records": [{"LEI": {"$": …}}]}``.

    A golden copy is whole. A delta file (told by its column ``DeletedAt``) speaks only for the LEIs it lists; the
    ones it withdraws are corrections.
    """

    source = Source(
        name="gleif-lei",
        title_zh="全球法人识别编码（LEI）",
        title_en="Global Legal Entity Identifier index",
        operator="Global Legal Entity Identifier Foundation",
        address="https://www.gleif.org/en/lei-data/gleif-golden-copy/download-the-golden-copy",
        legal_basis="Published for public use under the charter of the Global LEI System.",
        licence="CC0 1.0",
        fresh_for=timedelta(days=3),
        authoritative_for=("lei_registration",),
    )
    version = "1"
    sections = (BASIC, ADDRESSES, REGISTRATION)

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Read ``path``; see ``FileAdapter.stage``."""
        derived = {"lei": compact_sql(Kind.LEI, "lei")}
        with unpacked(path, suffixes=(".csv", ".json")) as plain, plain.path.open("rb") as file:
            is_json = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")
        if is_json:
            paths = {name: _json_path(column) for name, column in _COLUMNS.items()} | {"deleted": '$.DeletedAt."$"'}
            with json_records(path, connection, paths, shape=Shape.ARRAY, derived=derived) as records:
                return self._sections(records, Coverage.WHOLE)
        columns = _COLUMNS | {"deleted": "DeletedAt"}
        with csv_records(path, connection, columns, optional=_OPTIONAL, derived=derived) as records:
            delta = "DeletedAt" in records.header
            return self._sections(records, Coverage.LISTED if delta else Coverage.WHOLE)

    def _sections(self, records: Records, coverage: Coverage) -> Staged:
        records.set_aside(
            fault_sql(Kind.LEI, "lei"),
            "CASE WHEN name IS NULL THEN 'no name' END",
            "CASE WHEN registration IS NULL THEN 'no registration status' END",
            "CASE WHEN status NOT IN ('ACTIVE', 'INACTIVE', 'NULL') THEN 'not an entity status: ' || status END",
        )
        withdrawn = "(registration IN ('ANNULLED', 'DUPLICATE') OR deleted IS NOT NULL)"
        records.section(
            BASIC, entity="lei", correction=withdrawn,
            fields={
                "name": "name", "code": "lei", "language": "language", "jurisdiction": "jurisdiction",
                "type": "category", "legal_form": "coalesce(nullif(form, '8888'), other_form, form)",
                "authority": "authority", "number": "number", "established_on": _day("created"),
                "status": "nullif(status, 'NULL')", "ended_on": _day("ended"), "end_reason": "end_reason",
            },
        )  # fmt: skip
        self._addresses(records)
        records.section(
            REGISTRATION, entity="lei", correction=withdrawn, effective=f"TRY_CAST({_day('updated')} AS DATE)",
            fields={
                "status": "registration", "registered_on": _day("registered"), "updated_on": _day("updated"),
                "renewal_on": _day("renewal"), "managing_lou": "lou", "corroboration": "corroboration",
            },
        )  # fmt: skip
        return records.staged({section.name: coverage for section in self.sections})

    def _addresses(self, records: Records) -> None:
        def half(kind: str, prefix: str) -> str:
            lines = ", ".join(f"{prefix}_{line}" for line in ("line", "line1", "line2", "line3"))
            rest = ", ".join(f"{prefix}_{name} AS {name}" for name in ("city", "region", "country", "postcode"))
            return (
                f"SELECT record, lei, '{kind}' AS kind, nullif(concat_ws(', ', {lines}), '') AS lines, {rest} "
                f"FROM ({records.good()}) WHERE coalesce({lines}, {prefix}_city, {prefix}_country) IS NOT NULL"
            )

        records.section(
            ADDRESSES, entity="lei", key="kind", fields={name: name for name in ADDRESSES.fields},
            source=f"{half('legal', 'legal')} UNION ALL {half('headquarters', 'hq')}",
        )  # fmt: skip


def _json_path(column: str) -> str:
    """``Entity.LegalAddress.AdditionalAddressLine.1`` → ``$.Entity.LegalAddress.AdditionalAddressLine[0]."$"``."""
    if column.endswith(".xmllang"):
        return "$." + column.removesuffix(".xmllang") + '."@xml:lang"'
    stem, _, last = column.rpartition(".")
    if last.isdigit():
        return f'$.{stem}[{int(last) - 1}]."$"'
    return f'$.{column}."$"'


def _day(column: str) -> str:
    """The date part as the issuer wrote it: which zone the moment is written in is no change."""
    return f"left({column}, 10)"
