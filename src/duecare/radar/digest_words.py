"""What a digest says: the line of sum, the counts, a row for each item.

The rule of this module: "today" is said only where no item is known to be older.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from duecare.radar.channels.channel import Letter
from duecare.radar.models import Alert, Digest
from duecare.radar.reader import Reader
from duecare.radar.wording import Rows, count_words, render
from duecare.registers.sections import Category


@dataclass(frozen=True)
class Sum:
    """What a digest amounts to. ``since``: the day of the oldest item, where "today" would not be true."""

    companies: int
    changes: int
    categories: dict[str, int]
    since: date | None = None

    def as_json(self) -> dict[str, Any]:
        """As kept with the digest."""
        return {**self.__dict__, "since": self.since.isoformat() if self.since else None}


@dataclass(frozen=True)
class Written:
    """A digest in words: its sum, subject, text and HTML."""

    headline: Sum
    subject: str
    text: str
    html: str


def write(day: date, since: date | None, alerts: Sequence[Alert], rows: Rows, reader: Reader) -> Written:
    """What the digest of ``day`` says of ``alerts``. ``since``: where not all of them are today's."""
    total = _sum(alerts, since)
    line = headline(total, reader)
    shown = [rows.row(alert, reader) for alert in alerts]
    given = {
        "headline": line,
        "counts": count_words(total.categories, reader),
        "note": reader.say(
            f"监控日报 {day}。“发生了”指我们看到来源所载有了变化；"
            "事情何时发生，以每条的登记日期为准，来源没有给出的写作“日期不详”。",
            f"Daily digest of {day}. We count what we saw differ; only the register's date says when a thing happened.",
        ),
    }
    return Written(
        total,
        reader.say(f"监控日报 {day}：{line}", f"Daily digest {day}: {line}"),
        render("txt", reader, rows=shown, **given),
        render("html", reader, rows=shown, **given),
    )


def letter_of(digest: Digest, forms: Sequence[tuple[str, dict[str, Any]]], reader: Reader) -> Letter:
    """The letter of ``digest``. ``forms``: each alert in it as marked text and as data."""
    counts = " · ".join(f"{word} {number}" for word, number in count_words(digest.counts["categories"], reader))
    return Letter(
        subject=digest.subject,
        text=digest.body_text,
        html=digest.body_html,
        short=f"{digest.subject}。{counts}。" if reader.language == "zh" else f"{digest.subject}. {counts}.",
        markdown="\n\n".join([f"**{digest.subject}**\n{counts}", *(marked for marked, _ in forms)]),
        data={
            "type": "digest.created",
            "timestamp": digest.created_at.isoformat(),
            "data": {
                "day": digest.day.isoformat(),
                "zone": digest.zone,
                "counts": digest.counts,
                "alerts": [data for _, data in forms],
            },
        },
    )


def headline(total: Sum, reader: Reader) -> str:
    """The line of sum: 今天共 N 家企业发生了 M 条变更."""
    when = reader.say("今天", "Today")
    if total.since is not None:
        when = reader.say(f"自 {total.since} 以来", f"Since {total.since},")
    changes = f"{total.changes} change{'' if total.changes == 1 else 's'}"
    return reader.say(
        f"{when}共 {total.companies} 家企业发生了 {total.changes} 条变更",
        f"{when} {total.companies} of your companies had {changes}",
    )


def _sum(alerts: Sequence[Alert], since: date | None) -> Sum:
    categories = Counter(alert.category for alert in alerts)
    return Sum(
        companies=len({alert.entity for alert in alerts}),
        changes=len(alerts),
        categories={category.value: categories[category.value] for category in Category},
        since=since,
    )
