"""What the rules answer: allowed or not, and the policies that decided, in words.

The rule of this module: there is no answer without a reason, not even the answer that nothing permits it.
"""

from __future__ import annotations

from dataclasses import dataclass

from duecare.errors import Forbidden


@dataclass(frozen=True)
class Reason:
    """A policy that decided. ``effect`` is permit or forbid; ``zh`` and ``en`` are its sentence, the remedies say what
    would allow the act. All are text, empty where the policy does not say."""

    id: str
    case: str
    article: str
    zh: str
    en: str
    effect: str
    remedy_zh: str = ""
    remedy_en: str = ""

    def sentence(self, language: str = "zh") -> str:
        """The sentence and its remedy in ``language`` (zh or en), with the policy's id."""
        words, remedy = (self.zh, self.remedy_zh) if language == "zh" else (self.en, self.remedy_en)
        lead = " 何时可以: " if language == "zh" else " What would allow it: "
        return f"{words}{lead + remedy if remedy else ''} [{self.id}]"


NOT_PERMITTED = Reason(
    id="rules.not_permitted",
    case="",
    article="",
    zh="没有任何裁判要旨允许这一行为。",
    en="No holding permits this.",
    effect="forbid",
    remedy_zh="在 cases/ 中写明允许它的裁判要旨。",
    remedy_en="A holding in cases/ that permits it.",
)
"""The reason where no policy applies at all."""


@dataclass(frozen=True)
class Decision:
    """The answer to a request. ``reasons`` are the policies that determined it, in the order of their files."""

    allowed: bool
    reasons: tuple[Reason, ...]

    def sentences(self, language: str = "zh") -> tuple[str, ...]:
        """One sentence for each reason."""
        return tuple(reason.sentence(language) for reason in self.reasons)

    def require(self, language: str | None = None) -> None:
        """Raise ``Forbidden`` unless allowed, with the sentences in ``language``; in both where none is named."""
        if not self.allowed:
            named = ", ".join(reason.id for reason in self.reasons)
            languages = (language,) if language else ("zh", "en")
            said = tuple(reason.sentence(each) for reason in self.reasons for each in languages)
            raise Forbidden(f"The rules do not allow this ({named}).", reasons=said)
