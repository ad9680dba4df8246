"""FollowTheMoney entities, one JSON object a line, as OpenSanctions and others publish them.

A property holds a list whose order means nothing: values are put in one order, so that a list in another order is no
change. Things that happen to a company (sanctions, ownership, posts) are rows of the company, keyed by their own id.

The rule of this module: of people, only the ids that companies refer to are kept.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from duckdb import DuckDBPyConnection

from duecare.registers.adapter import Coverage, Staged
from duecare.registers.documents import JsonRecords, Shape, json_records, list_sql
from duecare.registers.sections import Category, RiskLevel, Section
from duecare.registers.sources import Source

COMPANY = Section(
    "company", "企业信息", "company",
    ("name", "names", "aliases", "type", "jurisdiction", "country", "legal_form", "registration_number", "tax_number",
     "lei", "established_on", "dissolved_on", "status", "topics", "address", "website"),
    keyed=False, sensitive_words=(("topics",), ("sanction", "debarment", "crime")),
)  # fmt: skip
SANCTIONS = Section(
    "sanctions", "制裁信息", "sanctions",
    ("authority", "program", "reason", "provisions", "country", "number", "status", "listed_on", "starts_on", "ends_on",
     "link"),
    Category.RISK, RiskLevel.HIGH, date_field="starts_on", sensitive=True,
)  # fmt: skip
OWNERSHIP = Section(
    "ownership", "股权信息", "ownership",
    ("owner", "role", "percentage", "shares", "starts_on", "ends_on"), date_field="starts_on",
)  # fmt: skip
DIRECTORSHIP = Section(
    "directorship", "任职信息", "posts",
    ("director", "role", "summary", "starts_on", "ends_on"), date_field="starts_on",
)  # fmt: skip
ADDRESSES = Section(
    "addresses", "地址", "addresses", ("full", "street", "city", "region", "country", "postcode", "post_box"),
)  # fmt: skip

_ORGANISATIONS = "('Company', 'Organization', 'LegalEntity', 'PublicBody')"
_PROPERTIES: dict[Section, dict[str, str]] = {
    COMPANY: {
        "names": "name", "aliases": "alias", "jurisdiction": "jurisdiction", "country": "country",
        "legal_form": "legalForm", "registration_number": "registrationNumber", "tax_number": "taxNumber",
        "lei": "leiCode", "established_on": "incorporationDate", "dissolved_on": "dissolutionDate",
        "status": "status", "topics": "topics", "address": "address", "website": "website",
    },
    SANCTIONS: {
        "authority": "authority", "program": "program", "reason": "reason", "provisions": "provisions",
        "country": "country", "number": "authorityId", "status": "status", "listed_on": "listingDate",
        "starts_on": "startDate", "ends_on": "endDate", "link": "sourceUrl",
    },
    OWNERSHIP: {
        "owner": "owner", "role": "role", "percentage": "percentage", "shares": "sharesCount",
        "starts_on": "startDate", "ends_on": "endDate",
    },
    DIRECTORSHIP: {
        "director": "director", "role": "role", "summary": "summary", "starts_on": "startDate", "ends_on": "endDate",
    },
    ADDRESSES: {
        "full": "full", "street": "street", "city": "city", "region": "region", "country": "country",
        "postcode": "postalCode", "post_box": "postOfficeBox",
    },
}  # fmt: skip
_LINKS = ("entity", "asset", "organization", "addressEntity")
_READ = tuple(dict.fromkeys([name for each in _PROPERTIES.values() for name in each.values()] + list(_LINKS)))


class FollowTheMoney:
    """Reads a whole data set of FollowTheMoney entities (JSON lines). The entity is the FollowTheMoney id.

    Read are companies, organisations, sanctions, ownership, directorship and addresses; entities of other schemas
    (persons, passports, vessels) are passed over.
    """

    source = Source(
        name="opensanctions-ftm-sample",
        title_zh="OpenSanctions 制裁与关联数据",
        title_en="OpenSanctions entities (FollowTheMoney)",
        operator="OpenSanctions Datenbanken GmbH",
        address="https://www.opensanctions.org/datasets/",
        legal_basis="Sanctions lists are published official acts, collected for screening.",
        licence="CC BY-NC 4.0",
        fresh_for=timedelta(days=2),
    )
    version = "1"
    sections = (COMPANY, SANCTIONS, OWNERSHIP, DIRECTORSHIP, ADDRESSES)

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Read ``path``; see ``FileAdapter.stage``."""
        columns = {"id": "$.id", "caption": "$.caption", "schema": "$.schema"}
        columns |= {f"p_{name}": f"$.properties.{name}" for name in _READ}
        with json_records(path, connection, columns, shape=Shape.LINES) as records:
            records.set_aside(
                "CASE WHEN id IS NULL THEN 'no id' END", "CASE WHEN schema IS NULL THEN 'no schema' END",
                _link_fault("Sanction", "entity"), _link_fault("Ownership", "asset"),
                _link_fault("Directorship", "organization"),
            )  # fmt: skip
            # The caption is one of the names, chosen by the publisher's software; the first in order is as readable
            # and changes only when the names do.
            fields = _fields(COMPANY) | {"name": f"coalesce(list_min({_ids('p_name')}), caption)", "type": "schema"}
            records.section(COMPANY, entity="id", fields=fields, where=f"schema IN {_ORGANISATIONS}")
            _linked(records, SANCTIONS, "Sanction", "entity")
            _linked(records, OWNERSHIP, "Ownership", "asset")
            _linked(records, DIRECTORSHIP, "Directorship", "organization")
            # An address belongs to those that refer to it; one that nobody here refers to stands for itself.
            records.section(
                ADDRESSES, entity="coalesce(resident, id)", key="id", fields=_fields(ADDRESSES),
                source=f"SELECT a.*, c.resident FROM (SELECT * FROM ({records.good()}) WHERE schema = 'Address') a "
                       "LEFT JOIN (SELECT DISTINCT id AS resident, "
                       f"unnest({_ids('p_addressEntity')}) AS place FROM ({records.good()}) "
                       f"WHERE schema IN {_ORGANISATIONS}) c ON c.place = a.id",
            )  # fmt: skip
            return records.staged({section.name: Coverage.WHOLE for section in self.sections})


def _linked(records: JsonRecords, section: Section, schema: str, link: str) -> None:
    start = "p_startDate" if section is not SANCTIONS else "coalesce(p_listingDate, p_startDate)"
    records.section(
        section, entity="subject", key="id", fields=_fields(section),
        effective=f"TRY_CAST(list_min({_ids(start)}) AS DATE)",
        source=f"SELECT *, unnest(list_distinct({_ids('p_' + link)})) AS subject FROM ({records.good()}) "
               f"WHERE schema = '{schema}'",
    )  # fmt: skip


def _fields(section: Section) -> dict[str, str]:
    return {field: list_sql(f"p_{name}") for field, name in _PROPERTIES[section].items()}


def _ids(column: str) -> str:
    return f"TRY_CAST(TRY_CAST({column} AS JSON) AS VARCHAR[])"


def _link_fault(schema: str, link: str) -> str:
    return (
        f"CASE WHEN schema = '{schema}' AND coalesce(len({_ids('p_' + link)}), 0) = 0 "
        f"THEN '{schema} without {link}: nothing says whom it is about' END"
    )
