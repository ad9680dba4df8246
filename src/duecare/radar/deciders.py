"""Who decides, and why: kept with every decision.

The rule of this module: nothing is decided without a name and a reason.
"""

from __future__ import annotations

from duecare.errors import BadInput

LONGEST_NAME = 200
"""In characters: what the database's columns take."""


def must_be_named(by: str, reason: str) -> None:
    """Raises ``BadInput`` where who decides or the reason is missing, or the name is longer than any."""
    for name, given in (("by", by), ("reason", reason)):
        if not given.strip():
            raise BadInput(
                f"{name} is empty.",
                hint="Say who decides and why; both are kept in the public log for ever: name no other person.",
            )
    if len(by) > LONGEST_NAME:
        raise BadInput(
            f"by has {len(by)} characters.", hint=f"Give a name of {LONGEST_NAME} at most; the reason may be longer."
        )
