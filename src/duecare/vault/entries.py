"""What the entries of evidence of the vault say, and in what words it refuses.

The rule of this module: an entry names nobody. A subject stands in it as their commitment, many as one digest over
theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

from duecare.errors import BadInput, NotGranted
from duecare.evidence.commitment import commit
from duecare.rules.decision import Decision

_LONGEST = 200


def committed(subject: str, salt: str) -> str:
    """The commitment of a subject; ``salt`` is 64 hex digits."""
    return commit(subject, bytes.fromhex(salt)).text


def digest(commitments: Iterable[str]) -> str:
    """What stands for many: SHA-256 (hex) over the commitments, sorted, each with a newline."""
    return sha256("".join(f"{each}\n" for each in sorted(commitments)).encode()).hexdigest()


def about(commitments: Sequence[str]) -> dict[str, Any]:
    """What an entry says of the subjects of a batch: how many there are, and their digest."""
    return {"subjects": len(commitments), "subjects_sha256": digest(commitments)}


def reasons(decisions: Iterable[Decision]) -> list[str]:
    """The ids of the policies that allowed it, each once."""
    return list(dict.fromkeys(reason.id for each in decisions if each.allowed for reason in each.reasons))


def not_granted(purpose: str, decision: Decision, language: str) -> NotGranted:
    """The refusal of the rules, in ``language``."""
    named = ", ".join(reason.id for reason in decision.reasons)
    return NotGranted(f"The rules do not allow this for {purpose} ({named}).", reasons=decision.sentences(language))


def one_line(**given: str) -> None:
    """Raise ``BadInput`` for a text that is empty, too long, or more than one line."""
    for name, text in given.items():
        if not text.strip() or len(text) > _LONGEST or any(character < " " for character in text):
            raise BadInput(f"{name} is {text!r}.", hint=f"Say it in one line of at most {_LONGEST} characters.")
