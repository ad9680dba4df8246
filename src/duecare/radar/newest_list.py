"""What can be looked up where a source publishes lists and no pages, when somebody objects to a fact of it.

    the newest list of the source, from other bytes than showed the fact first     says it still, or says it no more
    else another source that has the very section and key of the company           says the same, or something else
    else nothing can be looked up: an operator asks who runs the source, or reads its next list

The rule of this module: a list does not confirm itself. Where there is nothing to compare with, that is said, and who
must act.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from duecare.radar.contradictions import Claim, Finding, Point, also_said
from duecare.radar.models import NoticeOfError
from duecare.radar.verify import Look
from duecare.registers.catalogue import title_of
from duecare.registers.facts import newest_version
from duecare.registers.field_words import field_word
from duecare.registers.tables import COULD_DENY, WHOLE, Tables, known_sources
from duecare.store.home import Home

NOTHING_TO_COMPARE = "operator"
"""The point of a look that found nothing to compare with."""


def look_in_lists(home: Home, notice: NoticeOfError, claims: Sequence[Claim]) -> list[Look]:
    """One look for each of ``claims``, which are what the notice is about."""
    with home.database.session() as session:
        own = Tables(home, notice.source, session)
        others = [Tables(home, name, session) for name in known_sources(session) if name != notice.source]
    return [_newest(home, own, notice, claim) or _others(home, others, notice, claim) or _nothing() for claim in claims]


def _newest(home: Home, tables: Tables, notice: NoticeOfError, claim: Claim) -> Look | None:
    """What the newest read of the section says, where it is from other bytes than the read that showed the fact."""
    first = newest_version(tables, claim.section, notice.entity, claim.key, shown=True)
    read = (
        home.lake.connection.cursor()
        .execute(
            f"""SELECT snapshot, observed_at FROM {tables.scan("reads")}
            WHERE section = ? AND entity IN (?, '{WHOLE}') AND {COULD_DENY}
            ORDER BY observed_at DESC, seq DESC LIMIT 1""",
            [claim.section, notice.entity],
        )
        .fetchone()
    )
    if read is None or (first is not None and (read[0] == first.snapshot or read[1] <= first.first_observed)):
        return None
    snapshot, day = str(read[0] or ""), f"{read[1]:%Y-%m-%d}"
    if claim.value is None:
        zh, en = f"最新名单（{day}）不再如此显示。", f"The newest list, of {day}, no longer says it."
        return Look(Finding("contradicted", (Point("newest_list_differs", zh, en),)), notice.source, snapshot)
    zh, en = f"最新名单（{day}）仍如此显示。", f"The newest list, of {day}, still says it."
    return Look(Finding("verified", (), (Point("newest_list", zh, en),)), notice.source, snapshot)


def _others(home: Home, others: Sequence[Tables], notice: NoticeOfError, claim: Claim) -> Look | None:
    """What another source says of the same; one that differs weighs more than one that agrees."""
    agreeing: Look | None = None
    for tables in others:
        newest = newest_version(tables, claim.section, notice.entity, claim.key)
        if newest is None or newest.value is None or claim.value is None:
            continue
        said, snapshot = json.loads(newest.value), newest.snapshot
        shared = {name for name, value in claim.value.items() if value and said.get(name)}
        differs = sorted(name for name in shared if said[name] != claim.value[name])
        if differs:
            title_zh, title_en = title_of(home, tables.source)
            fields_zh, fields_en = (
                [field_word(claim.section, name, language) for name in differs] for language in ("zh", "en")
            )
            zh = f"数据来源《{title_zh}》所载不同：{'、'.join(fields_zh)}。"
            en = f"The source {title_en} says otherwise: {', '.join(fields_en)}."
            return Look(Finding("contradicted", (Point("other_source_differs", zh, en),)), tables.source, snapshot)
        if shared and agreeing is None:
            point = also_said(*title_of(home, tables.source))
            agreeing = Look(Finding("verified", (), (point,)), tables.source, snapshot)
    return agreeing


def _nothing() -> Look:
    zh = "该来源只发布名单，没有更新的名单，也没有其他来源可供核对：请值班员向来源的主管单位核实，或读取其下一份名单。"
    en = (
        "The source publishes lists only, and there is no newer one and no other source to compare with: an operator "
        "asks who runs the source, or reads its next list."
    )
    point = Point(NOTHING_TO_COMPARE, zh, en)
    return Look(Finding("unavailable", (point,)))
