"""How the text in a proof that holds is told to a person: what the alert says, in Chinese and in English.

The rule of this module: it is called only with what has been verified.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from duecare.cli.certified import shown
from duecare.cli.output import plain, say
from duecare.clock import BEIJING
from duecare.errors import EvidenceBroken
from duecare.evidence.proof import Proof
from duecare.radar.contents import parse_text
from duecare.radar.models import Alert
from duecare.radar.reader import Lexicon, Reader
from duecare.radar.wording import as_json, letter, row


def say_content(found: Proof, *, zh: bool) -> None:
    """Print what the alert says whose text is in ``found``; nothing where there is no text."""
    if found.content is None:
        return
    alert = _alert(found)
    if alert is None:
        say(f"  {plain(shown(found.content.text))}\n")
        return
    for language in ("zh", "en") if zh else ("en", "zh"):
        reader = Reader(language, BEIJING)
        say(f"  [bold]{reader.say('监控动态', 'Alert')} {alert.id}[/]")
        for line in letter(alert, reader, Lexicon()).text.splitlines():
            say(f"    {plain(shown(line))}".rstrip())
        say()


def content_json(found: Proof) -> dict[str, Any] | None:
    """The text in ``found``, and the alert for programs where it is that of one; none where there is no text."""
    if found.content is None:
        return None
    alert = _alert(found)
    told = as_json(alert, row(alert, Reader("zh", BEIJING), Lexicon())) if alert else None
    return {"text": found.content.text, "alert": told}


def _alert(found: Proof) -> Alert | None:
    """The alert whose text is in ``found``, raised when its entry says; none where the text is of something else."""
    if found.content is None:
        return None
    try:
        alert = parse_text(found.content.text)
    except EvidenceBroken:
        return None
    entry = found.entry
    alert.created_at = datetime.fromisoformat(entry["body"].get("raised_at", entry["at"]))
    return alert
