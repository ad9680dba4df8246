"""Judgement: whether a change in a given situation may be told, asked of the rules once for each distinct situation.

The rule of this module: no other file of the radar decides what may be told. It all comes from the holding of case 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from duecare.rules.decision import Decision
from duecare.rules.engine import Engine, Request


@dataclass(frozen=True)
class Situation:
    """Everything about a change that the holding asks for; many changes share one.

    ``kind``: event, first_observation, correction or lapse. ``moved``: source, parser or scope. ``baseline``: within,
    out_of_line, released or rejected. ``verification``: none, verified, contradicted or unavailable. ``dated``: whether
    the register gives a date of its own.
    """

    kind: str
    moved: str
    sensitive: bool
    late: bool
    dated: bool
    disputed: bool = False
    baseline: str = "within"
    verification: str = "none"

    @cached_property
    def at_best(self) -> Situation:
        """The same change if the operator released it, the source confirmed it and nobody objected any more."""
        baseline = "released" if self.baseline == "out_of_line" else self.baseline
        return replace(self, baseline=baseline, verification="verified", disputed=False)


@dataclass(frozen=True)
class Verdict:
    """What becomes of a change. ``state``: passed, verifying, held, or refused (it will never be told).

    ``reasons`` are the policies that decided, ready for JSON, each with its sentence in Chinese and English.
    """

    state: str
    reasons: list[dict[str, Any]]


class Judge:
    """Asks the rules and remembers the answers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._known: dict[Situation, Decision] = {}

    def decide(self, situation: Situation) -> Decision:
        """Whether a change in this situation may be told, and which policies say so."""
        if situation not in self._known:
            self._known[situation] = self.engine.decide(
                Request(
                    action="alert",
                    principal_type="Service",
                    principal_id="radar",
                    resource_type="Change",
                    resource_id=situation.kind,
                    context=asdict(situation),
                )
            )
        return self._known[situation]

    def reasons(self, situation: Situation) -> list[dict[str, Any]]:
        """The policies that decide in this situation, ready for JSON."""
        return [asdict(reason) for reason in self.decide(situation).reasons]

    def verdict(self, situation: Situation) -> Verdict:
        """Sort a change: what could be told once released, verified or undisputed waits for that; the rest never is."""
        if self.decide(situation).allowed:
            return Verdict("passed", self.reasons(situation))
        if not self.decide(situation.at_best).allowed:
            return Verdict("refused", self.reasons(situation))
        state = "held" if situation.baseline == "out_of_line" else "verifying"
        return Verdict(state, self.reasons(situation))
