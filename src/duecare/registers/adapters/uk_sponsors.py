"""UK licensed sponsors of workers, as dated copies of a list that writes routes and ratings as numbers.

The numbers are given out anew whenever the publisher rebuilds the list (``data/metadata.json`` of the collection says
which stands for what at the time), so the same sponsor's licence is (8, 1) in April and (5, 1) in June. What we keep
are the words. The copies do not say which table they follow, and a stored copy must read the same years later; so
the table is told from the contents: every known table is tried, and the one under which the whole copy is the most
likely register is taken (a Creative Worker cannot hold a Worker licence; Skilled Worker is by far the commonest).

The rule of this module: a change of coding yields the same words, and a copy that fits no table is refused whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from duckdb import DuckDBPyConnection

from duecare.errors import BadInput
from duecare.registers.adapter import Coverage, Staged
from duecare.registers.documents import JsonRecords, Shape, json_records
from duecare.registers.sections import Category, Section
from duecare.registers.sources import Source
from duecare.registers.staging import literal

BASIC = Section("basic", "基本信息", "basic facts", ("name",), keyed=False)
LICENCES = Section("sponsor_licences", "担保许可", "sponsor licences", ("route", "rating"), Category.OPERATION)

_GBM = "Global Business Mobility: "
_ROUTES: dict[str, tuple[str, float]] = {
    # Route: the kind of licence it takes, and how often it is seen (of 2,400 sponsors with V, 2026).
    "Skilled Worker": ("Worker", 2321),
    _GBM + "Senior or Specialist Worker": ("Worker", 264),
    "Creative Worker": ("Temporary Worker", 22),
    "Religious Worker": ("Temporary Worker", 16),
    "Tier 2 Ministers of Religion": ("Worker", 16),
    _GBM + "Graduate Trainee": ("Temporary Worker", 12),
    "Charity Worker": ("Temporary Worker", 11),
    _GBM + "UK Expansion Worker": ("Worker", 8),
    "International Sportsperson": ("Worker", 7),
    _GBM + "Service Supplier": ("Temporary Worker", 5),
    "Scale-up": ("Worker", 5),
    "Government Authorised Exchange": ("Temporary Worker", 1),
    "International Agreement": ("Temporary Worker", 0.5),
    "Seasonal Worker": ("Temporary Worker", 0.1),
    _GBM + "Secondment Worker": ("Temporary Worker", 0.1),
    "Intra-company Routes": ("Worker", 0.1),
    "Intra Company Transfers (ICT)": ("Worker", 0.1),
}
_A, _B, _SME, _PREMIUM = "A rating", "B rating", "A (SME+)", "A (Premium)"
_PROVISIONAL = "Worker (UK Expansion Worker: Provisional)"
_IMPOSSIBLE = math.log(1e-6)


@dataclass(frozen=True)
class Coding:
    """A table of the publisher: what its numbers stand for, from 1 on. ``since`` is when it was first seen."""

    since: str
    routes: tuple[str, ...]
    ratings: tuple[str, ...]


_APRIL = (
    "Skilled Worker", _GBM + "UK Expansion Worker", "Tier 2 Ministers of Religion", "Charity Worker",
    "Religious Worker", "Creative Worker", _GBM + "Graduate Trainee", _GBM + "Senior or Specialist Worker",
    "International Agreement", "Scale-up", "International Sportsperson", "Government Authorised Exchange",
)  # fmt: skip
_APRIL_END = (_GBM + "Secondment Worker", "Intra Company Transfers (ICT)", "Intra-company Routes")
_APRIL_RATINGS = (
    f"Worker ({_A})", _PROVISIONAL, f"Temporary Worker ({_A})", f"Worker ({_B})", f"Temporary Worker ({_B})",
    f"Temporary Worker ({_SME})", f"Worker ({_SME})", f"Worker ({_PREMIUM})", f"Temporary Worker ({_PREMIUM})",
)  # fmt: skip
CODINGS = (
    Coding("2026-04-05", (*_APRIL, "Seasonal Worker", _GBM + "Service Supplier", *_APRIL_END), _APRIL_RATINGS),
    Coding("2026-04-30", (*_APRIL, _GBM + "Service Supplier", "Seasonal Worker", *_APRIL_END), _APRIL_RATINGS),
    Coding(
        "2026-06-01",
        ("Skilled Worker", "Tier 2 Ministers of Religion", _GBM + "UK Expansion Worker", "Creative Worker",
         _GBM + "Senior or Specialist Worker", "International Agreement", "Scale-up", _GBM + "Graduate Trainee",
         "Charity Worker", "International Sportsperson", "Religious Worker", "Government Authorised Exchange",
         _GBM + "Service Supplier", "Seasonal Worker", _GBM + "Secondment Worker", "Intra-company Routes",
         "Intra Company Transfers (ICT)"),
        (f"Worker ({_A})", f"Temporary Worker ({_A})", _PROVISIONAL, f"Worker ({_B})", f"Temporary Worker ({_B})",
         f"Worker ({_SME})", f"Temporary Worker ({_SME})", f"Worker ({_PREMIUM})", f"Temporary Worker ({_PREMIUM})"),
    ),
)  # fmt: skip


class UkSponsors:
    """Reads a copy of the list (one JSON object: normalised name → list of ``{"type": 1, "rating": 1}``).

    The list gives no identifier: the normalised name is the sponsor. A copy is whole for the letter it covers.
    """

    source = Source(
        name="uk-licensed-sponsors-history",
        title_zh="英国工作签证担保机构登记册",
        title_en="UK register of licensed sponsors: workers",
        operator="UK Visas and Immigration (as collected by 1289dhrupal/uk-sponsor-list)",
        address="https://www.gov.uk/government/publications/register-of-licensed-sponsors-workers",
        legal_basis="Public register kept by the Home Office.",
        licence="Open Government Licence v3.0 for the register; none stated for the collection.",
        fresh_for=timedelta(days=7),
        authoritative_for=("sponsor_licences",),
    )
    version = "1"
    sections = (BASIC, LICENCES)

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Read ``path``; see ``FileAdapter.stage``."""
        columns = {"name": "$.key", "licences": "$.value"}
        with json_records(path, connection, columns, shape=Shape.MEMBERS) as records:
            coding = coding_of(records)
            routes, ratings = _words(coding.routes), _words(coding.ratings)
            listed = "TRY_CAST(TRY_CAST(licences AS JSON) AS STRUCT(type INTEGER, rating INTEGER)[])"
            known = (
                f"len(list_filter({listed}, lambda x: x IS NULL OR {routes}[x.type] IS NULL "
                f"OR {ratings}[x.rating] IS NULL)) = 0"
            )
            records.set_aside(
                "CASE WHEN name IS NULL THEN 'no name' END",
                f"CASE WHEN coalesce(len({listed}), 0) = 0 THEN 'no list of licences: ' || coalesce(licences, 'none') "
                f"WHEN NOT {known} THEN 'a number that the coding of {coding.since} does not have: ' || licences END",
            )
            records.section(BASIC, entity="name", fields={"name": "name"})
            # Sponsors of one normalised name are one here; where they differ in rating, all ratings are given.
            records.section(
                LICENCES, entity="name", key="route", fields={"route": "route", "rating": "rating"},
                source="SELECT min(record) AS record, name, route, string_agg(DISTINCT rating, '; ' ORDER BY rating) "
                       f"AS rating FROM (SELECT record, name, {routes}[licence.type] AS route, "
                       f"{ratings}[licence.rating] AS rating FROM (SELECT record, name, unnest({listed}) AS licence "
                       f"FROM ({records.good()}))) "
                       "GROUP BY name, route",
            )  # fmt: skip
            return records.staged({"basic": Coverage.WHOLE, "sponsor_licences": Coverage.WHOLE})


def coding_of(records: JsonRecords) -> Coding:
    """The coding under which the copy is the most likely register. Raises ``BadInput`` where it fits none, or where
    two fit about as well and would give it different words."""
    counts: list[tuple[int | None, int | None, int]] = records.connection.execute(
        "SELECT licence.type, licence.rating, count(*) FROM (SELECT unnest(TRY_CAST(TRY_CAST(licences AS JSON) "
        f"AS STRUCT(type INTEGER, rating INTEGER)[])) AS licence FROM ({records.good()})) GROUP BY ALL"
    ).fetchall()
    total = sum(count for _, _, count in counts)
    scored = sorted(((_likelihood(coding, counts), coding) for coding in CODINGS), key=lambda each: -each[0])
    best, coding = scored[0]
    misfits = sum(count for kind, rating, count in counts if not _fits(_pair(coding, kind, rating)))
    if total and misfits > max(1, total // 100):
        raise BadInput(
            f"{records.plain.title}: {misfits} of {total} licences make no sense under any known coding.",
            hint="The publisher has numbered its words anew: add the new table to CODINGS in uk_sponsors.py.",
        )
    for other_score, other in scored[1:]:
        same = all(_pair(other, kind, rating) == _pair(coding, kind, rating) for kind, rating, _ in counts)
        if not same and best - other_score < math.log(10):
            raise BadInput(
                f"{records.plain.title} reads as well under the coding of {other.since} as of {coding.since}.",
                hint="It is too short to tell them apart; nothing was read from it.",
            )
    return coding


def _likelihood(coding: Coding, counts: list[tuple[int | None, int | None, int]]) -> float:
    whole = sum(seen for _, seen in _ROUTES.values())
    score = 0.0
    for kind, rating, count in counts:
        pair = _pair(coding, kind, rating)
        score += count * (math.log(_ROUTES[pair[0]][1] / whole) if pair and _fits(pair) else _IMPOSSIBLE)
    return score


def _fits(pair: tuple[str, str] | None) -> bool:
    if pair is None:
        return False
    route, rating = pair
    if rating == _PROVISIONAL:
        return route == _GBM + "UK Expansion Worker"
    return rating.startswith(_ROUTES[route][0])


def _pair(coding: Coding, kind: int | None, rating: int | None) -> tuple[str, str] | None:
    if kind is None or rating is None or not (0 < kind <= len(coding.routes) and 0 < rating <= len(coding.ratings)):
        return None
    return coding.routes[kind - 1], coding.ratings[rating - 1]


def _words(words: tuple[str, ...]) -> str:
    return f"[{', '.join(literal(word) for word in words)}]"
