"""Small made-up files for every file adapter, and ways to change them that a reader must or must not notice.

A new adapter adds a line to ``SAMPLES`` and its files under ``tests/data/<source>/``.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from duecare.registers.adapter import FileAdapter, adapter
from duecare.registers.adapters.csv_mapping import CsvMapping

FOLDER = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Sample:
    """A file of ``source``, the sections it speaks for, and a record that must be refused."""

    source: str
    file: str
    covers: frozenset[str]
    bad: str | dict[str, object]
    reason: str
    form: str = "csv"

    @property
    def path(self) -> Path:
        return FOLDER / self.source / self.file

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def adapter(self) -> FileAdapter:
        if self.source == "mapped":
            return CsvMapping(FOLDER / "mapped" / "mapping.toml")
        found = adapter(self.source)
        assert isinstance(found, FileAdapter)
        return found

    def shuffled(self, seed: int) -> str:
        """The same records in another order."""
        mix = random.Random(seed).shuffle
        if self.form in ("csv", "lines"):
            first, *rest = self.text.splitlines(keepends=True)
            if self.form == "lines":
                rest.insert(0, first)
                first = ""
            mix(rest)
            return first + "".join(rest)
        content = json.loads(self.text)
        if self.form == "array":
            mix(content["records"])
        else:
            members = list(content.items())
            mix(members)
            content = dict(members)
        return json.dumps(content)

    def with_columns_moved(self) -> str:
        """The same table with its columns in reverse."""
        out = io.StringIO()
        delimiter = ";" if self.source == "mapped" else ","
        writer = csv.writer(out, lineterminator="\n", delimiter=delimiter)
        writer.writerows(reversed(row) for row in csv.reader(io.StringIO(self.text), delimiter=delimiter))
        return out.getvalue()

    def with_bad(self) -> tuple[str, int]:
        """The file with the bad record as its second one, and the line on which that stands."""
        if self.form in ("csv", "lines"):
            lines = self.text.splitlines(keepends=True)
            place = 2 if self.form == "csv" else 1
            lines.insert(place, str(self.bad) + "\n")
            return "".join(lines), place + 1
        content = json.loads(self.text)
        marker = "  THE BAD ONE"
        if self.form == "array":
            content["records"].insert(1, marker)
        else:
            content = {"first": next(iter(content.values())), marker: marker} | content
        lines = json.dumps(content, indent=2).splitlines()
        place = next(n for n, line in enumerate(lines) if marker in line)
        bad = json.dumps(self.bad)
        lines[place] = (bad[1:-1] if self.form == "members" else bad) + ","
        return "\n".join(lines), place + 1


def _sample(
    source: str, file: str, covers: str, bad: str | dict[str, object], reason: str, form: str = "csv"
) -> Sample:
    return Sample(source, file, frozenset(covers.split()), bad, reason, form)


_COMPANY = "basic activities incorporation address_care previous_names accounts confirmation_statement charges"
_LEI = "basic addresses lei_registration"
_BAD_LEI = {"LEI": {"$": "52990000EXAMPLE00109"}, "Entity": {"LegalName": {"$": "Mistyped"}}}

SAMPLES = [
    _sample(
        "cn-enterprise-registration-2002-2003", "2002.csv", "basic",
        "错码公司,913101061234567893,2002-01-01,N/A,N/A,N/A,N/A,上海,闵行,路", "wrong check character",
    ),
    _sample("uk-mutuals-register-history", "2023-04-24.csv", "basic company_numbers", "MPR-9,,No Prefix", "GB-MPR"),
    _sample(
        "uk-licensed-sponsors-history", "2026-04-05-v.json", "basic sponsor_licences",
        {"vague": [{"type": 99, "rating": 1}]}, "does not have", "members",
    ),
    _sample(
        "uk-companies-house-sample", "BasicCompanyData-2026-02-01.csv", _COMPANY, "SHORT,12345", "number of columns",
    ),
    _sample("uk-companies-house-sample", "reduced.csv", "basic activities", "X,12,,,,,,,,,,,,", "not a company number"),
    _sample("us-sec-issuers-history", "2022-01-08.csv", "basic listings", "12x,T,Name,NYSE", "not a CIK"),
    _sample(
        "us-sp500-constituents-history", "2024-01-01.csv", "basic", ",No Symbol,X,Y,Z,2020-01-01,1,1900", "no Symbol",
    ),
    _sample(
        "us-fed-account-holders-history", "holders.csv", "master_accounts",
        "BANK,31/31/1990,FDIC,SALEM,OR,Boston", "not a date",
    ),
    _sample(
        "us-fed-account-holders-history", "requestors.csv", "account_requests",
        "BANK,1/1/2024,FDIC,Pending,,Tier 1,SALEM", "number of columns",
    ),
    _sample(
        "de-registerbekanntmachungen", "2026-08-03.csv", "notices notice_texts basic",
        "2026-08-03,99,Sonstige,Berlin,Amtsgericht Berlin,,,,Ohne Nummer,Berlin,Text,2026-08-04", "register number",
    ),
    _sample(
        "de-registerbekanntmachungen", "many-days.csv", "notices basic",
        "03.08.2026,99,Sonstige,Berlin,Amtsgericht Berlin,,HRB,HRB 5,X GmbH,Berlin", "not a date",
    ),
    _sample(
        "gleif-lei", "golden-copy.csv", _LEI, "52990000EXAMPLE00108,only", "number of columns",
    ),
    _sample("gleif-lei", "golden-copy.json", _LEI, _BAD_LEI, "wrong check digits", "array"),
    _sample(
        "opensanctions-ftm-sample", "entities.ftm.jsonl", "company sanctions ownership directorship addresses",
        '{"id": "s-9", "schema": "Sanction", "properties": {}}', "without entity", "lines",
    ),
    _sample("mapped", "list.csv", "basic notes", "Nobody;x2345678;a;05/06/2020;more", "not a company number"),
]  # fmt: skip


def damaged(whole: bytes, form: str) -> dict[str, bytes]:
    """Files that were cut short or are something else, by what befell them."""
    cut: dict[str, Callable[[], bytes]] = {
        "nothing": lambda: b"",
        "another kind": lambda: b"a,b\n1,2\n" if form != "csv" else b'{"records": []}',
        "not text": lambda: bytes(range(256)) * 8,
    }
    if form == "csv":
        cut["inside a quoted value"] = lambda: whole.rstrip(b"\n") + b'\n"begun and'
        cut["inside a record"] = lambda: whole.rstrip(b"\n") + b"\nbegun"
    else:
        cut["inside a record"] = lambda: whole[: len(whole) - 12]
        cut["in the middle"] = lambda: whole[: len(whole) // 2 + 1]
    return {name: make() for name, make in cut.items()}
