"""For whom a text is written, and the names it may use: languages, clocks, titles of sources and sections.

The rule of this module: a moment is shown on the reader's own clock, and the clock is named beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from duecare.registers.sections import CATALOGUE, Section
from duecare.store.home import Home


@dataclass(frozen=True)
class Reader:
    """For whom it is written: ``language`` is zh or en, ``zone`` where their clock stands."""

    language: str
    zone: ZoneInfo

    def say(self, zh: str, en: str) -> str:
        """Whichever they read."""
        return zh if self.language == "zh" else en

    def moment(self, at: datetime) -> str:
        """The minute on their clock. Midnight UTC stands for a file that names a day only, and is shown as that day."""
        if (at.hour, at.minute, at.second, at.microsecond) == (0, 0, 0, 0):
            return f"{at:%Y-%m-%d}"
        return f"{at.astimezone(self.zone):%Y-%m-%d %H:%M}"

    @property
    def clock(self) -> str:
        """What their clock is called."""
        if self.zone.key == "Asia/Shanghai":
            return self.say("北京时间", "Beijing time")
        return self.zone.key


@dataclass(frozen=True)
class Lexicon:
    """What sources and their sections are called, and where our own pages are (``public_url``, may be empty)."""

    public_url: str = ""
    titles: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    sections: Mapping[str, Mapping[str, Section]] = field(default_factory=dict)

    @classmethod
    def of(cls, home: Home) -> Lexicon:
        """The words of every source known to the home."""
        from duecare.registers.catalogue import all_adapters

        known = all_adapters(home)
        return cls(
            home.settings.public_url.rstrip("/"),
            {name: (one.source.title_zh, one.source.title_en) for name, one in known.items()},
            {name: {section.name: section for section in one.sections} for name, one in known.items()},
        )

    def source(self, name: str, reader: Reader) -> str:
        """The title of a source; its name where it is not installed."""
        return reader.say(*self.titles.get(name, (name, name)))

    def section(self, source: str, name: str, reader: Reader) -> str:
        """What a section is called."""
        found = self.sections.get(source, {}).get(name) or CATALOGUE.get(name)
        return reader.say(found.zh, found.en) if found else name.replace("_", " ")

    def link(self, path: str) -> str:
        """The address of a page of ours; empty where we have none to the outside."""
        return f"{self.public_url}{path}" if self.public_url else ""
