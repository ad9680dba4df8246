"""Every error that duecare raises on purpose.

    DuecareError
    ├── UseError                 what was asked for cannot be done; nothing was changed (exit code 2)
    │   ├── UnknownName          a source, company, batch or case that is not here
    │   ├── NeverHeld            personal data that was never sealed here
    │   └── BadInput             a file, a code, a date or a setting that cannot be read
    ├── Forbidden                a rule denies it; carries the reasons
    │   └── NotGranted           personal data is here, but not for this purpose: no grant of the person stands for it
    ├── Transient                may succeed later: try again
    │   ├── SourceUnavailable    the source is down, too slow, or asks us to wait
    │   ├── ChannelUnavailable   a channel could not take the message now
    │   └── WitnessUnavailable   a witness is down or too slow; the log goes on without it
    ├── Terminal                 will not succeed by trying again
    │   ├── SourceForbids        robots.txt or the source's policy does not allow the request
    │   ├── ChannelRefused       the channel will never take this message
    │   ├── EvidenceBroken       a signature, hash or proof does not hold
    │   │   └── WitnessBroken    a witness answered with what is no answer: nothing is said of the log
    │   ├── Erased               personal data was here and is gone: its key was destroyed, and nothing brings it back
    │   └── KeyLost              a key that should be here is missing or damaged: put keys/ back from its copy
    └── Busy                     another process is writing to this home

The rule of this module: an error says what was given, what is wrong with it, and what would be right. *Transient* and
*terminal* decide whether anything is tried again.
"""

from __future__ import annotations

from datetime import datetime


class DuecareError(Exception):
    """Root of the tree. ``message`` says what is wrong; ``hint`` says what would be right or what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UseError(DuecareError):
    """What was asked for cannot be done; nothing was changed."""


class UnknownName(UseError):
    """A name that is not known here. Lists the known names, nearest first; ``known`` none: they are listed to nobody,
    such as people. ``hint`` where they are too many."""

    def __init__(self, what: str, given: str, known: list[str] | None, *, hint: str = "") -> None:
        from difflib import get_close_matches

        listed, known = known is not None, known or []
        near = get_close_matches(given, known, n=3, cutoff=0.6)
        if near:
            hint = f"Did you mean {' or '.join(near)}?"
        elif known:
            hint = f"Known: {', '.join(known[:12])}{' …' if len(known) > 12 else ''}."
        else:
            hint = hint or ("None is known yet." if listed else "Look whether it is written as it was given out.")
        super().__init__(f"There is no {what} {given!r}.", hint=hint)
        self.what, self.given, self.known = what, given, known


class NeverHeld(UseError):
    """Personal data of this kind was never sealed for this person."""


class BadInput(UseError):
    """A file, code, date or setting that cannot be read."""


class Forbidden(DuecareError):
    """A rule denies it. ``reasons`` are sentences, one for each policy that decided."""

    def __init__(self, message: str, *, reasons: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reasons = reasons

    def __str__(self) -> str:
        return " ".join(part for part in (self.message, *self.reasons, self.hint) if part).strip()


class NotGranted(Forbidden):
    """No grant of the person stands for this purpose, or what was asked for is not held for it."""


class Transient(DuecareError):
    """May succeed later. ``retry_after`` is in seconds, where the other side named it."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class SourceUnavailable(Transient):
    """The source is down, too slow, or asks us to wait."""


class ChannelUnavailable(Transient):
    """A channel could not take the message now."""


class WitnessUnavailable(Transient):
    """A witness is down or too slow to cosign now; what is in the log stays there."""


class Terminal(DuecareError):
    """Will not succeed by trying again."""


class SourceForbids(Terminal):
    """robots.txt or the source's declared policy does not allow the request."""


class ChannelRefused(Terminal):
    """The channel will never take this message."""


class EvidenceBroken(Terminal):
    """A signature, a hash or a proof does not hold."""


class WitnessBroken(EvidenceBroken):
    """A witness answered with what is no answer of a witness. It says nothing of the log."""


class Erased(Terminal):
    """It was held and was erased. ``at`` says when (aware, UTC), ``erasure`` by which erasure, where that is known."""

    def __init__(self, message: str, *, hint: str = "", erasure: str = "", at: datetime | None = None) -> None:
        super().__init__(message, hint=hint)
        self.erasure, self.at = erasure, at


class KeyLost(Terminal):
    """A key of the vault is missing or damaged. Nothing is lost that its copy does not bring back."""


class Busy(DuecareError):
    """Another process is writing to this home."""
