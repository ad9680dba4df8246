"""Differences between two versions of a notice, for people: by term and by paragraph, as data and as text.

The rule of this module: nothing that differs is left out, and what is shown as unchanged is the same to the letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

Kind = Literal["added", "removed", "changed"]

ALIKE = 0.4
"""Two paragraphs that share less than this (0 to 1) are not one that was changed, but one removed and one added."""

_WORD = re.compile(r"[A-Za-z0-9]+|\s+|.", re.DOTALL)  # a Chinese character is a word of its own


@dataclass(frozen=True)
class Piece:
    """A stretch of a paragraph: ``same``, ``removed`` or ``added``."""

    kind: Literal["same", "removed", "added"]
    text: str


@dataclass(frozen=True)
class TermChange:
    """A term that differs. ``gone`` and ``new`` are the values that it lost and gained, in both languages."""

    term: str
    kind: Kind
    zh: str
    en: str
    before: Any
    after: Any
    gone: tuple[tuple[str, str], ...]
    new: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ParagraphChange:
    """A paragraph that differs; ``before`` or ``after`` is empty where it was added or removed."""

    kind: Kind
    before: str
    after: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class Difference:
    """All that differs between two versions; ``zh`` and ``en`` are the changed paragraphs of the texts in each."""

    terms: tuple[TermChange, ...]
    zh: tuple[ParagraphChange, ...]
    en: tuple[ParagraphChange, ...]

    def __bool__(self) -> bool:
        return bool(self.terms or self.zh or self.en)

    def as_json(self) -> dict[str, Any]:
        """For ``--json`` and for pages."""
        return {
            "terms": [
                {
                    "term": each.term, "kind": each.kind, "zh": each.zh, "en": each.en,
                    "before": each.before, "after": each.after,
                    "gone": [{"zh": zh, "en": en} for zh, en in each.gone],
                    "new": [{"zh": zh, "en": en} for zh, en in each.new],
                }
                for each in self.terms
            ],
            "zh": [_paragraph_json(each) for each in self.zh],
            "en": [_paragraph_json(each) for each in self.en],
        }  # fmt: skip

    def text(self, language: str = "zh") -> str:
        """For people, in ``language`` (zh or en): a line begins with ``+`` (new), ``-`` (gone) or ``~`` (changed).

        In a changed line, ``[-…-]`` is gone and ``{+…+}`` is new.
        """
        zh = language == "zh"
        lines = [_term_text(each, zh=zh) for each in self.terms]
        lines += [_paragraph_text(each) for each in (self.zh if zh else self.en)]
        if not lines:
            return "两个版本没有差别。" if zh else "The two versions do not differ."
        return "\n".join(lines)


def terms(
    before: Mapping[str, Any], after: Mapping[str, Any], words: Mapping[str, tuple[str, str]]
) -> tuple[TermChange, ...]:
    """The terms that differ, in the order of their names; ``words`` names terms and values for people."""

    def word(value: object) -> tuple[str, str]:
        return words.get(str(value), (str(value), str(value)))

    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if name in before and name in after and _values(old) == _values(new):
            continue
        kind: Kind = "changed" if name in before and name in after else "added" if name in after else "removed"
        gone = tuple(word(each) for each in _values(old) if each not in _values(new))
        came = tuple(word(each) for each in _values(new) if each not in _values(old))
        zh, en = word(name)
        found.append(TermChange(name, kind, zh, en, old, new, gone, came))
    return tuple(found)


def paragraphs(before: str, after: str) -> tuple[ParagraphChange, ...]:
    """The paragraphs (between empty lines) that differ, in the order in which they are read."""
    old, new = _split(before), _split(after)
    found: list[ParagraphChange] = []
    for tag, start, end, to_start, to_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            found += _pair(old[start:end], new[to_start:to_end])
    return tuple(found)


def _pair(old: list[str], new: list[str]) -> list[ParagraphChange]:
    """Paragraphs in the place of others: each new one is a change of the first old one left that it resembles."""
    found: list[ParagraphChange] = []
    left = list(old)
    for after in new:
        like = next((before for before in left if _alike(before, after)), None)
        if like is None:
            found.append(ParagraphChange("added", "", after, (Piece("added", after),)))
            continue
        skipped = left[: left.index(like)]
        found += [ParagraphChange("removed", each, "", (Piece("removed", each),)) for each in skipped]
        left = left[len(skipped) + 1 :]
        found.append(ParagraphChange("changed", like, after, _pieces(like, after)))
    return found + [ParagraphChange("removed", each, "", (Piece("removed", each),)) for each in left]


def _alike(before: str, after: str) -> bool:
    return SequenceMatcher(None, _WORD.findall(before), _WORD.findall(after), autojunk=False).ratio() >= ALIKE


def _pieces(before: str, after: str) -> tuple[Piece, ...]:
    old, new = _WORD.findall(before), _WORD.findall(after)
    found = []
    for tag, start, end, to_start, to_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            found.append(Piece("same", "".join(old[start:end])))
            continue
        if end > start:
            found.append(Piece("removed", "".join(old[start:end])))
        if to_end > to_start:
            found.append(Piece("added", "".join(new[to_start:to_end])))
    return tuple(found)


def _split(body: str) -> list[str]:
    return [each.strip() for each in re.split(r"\n\s*\n", body.strip()) if each.strip()]


def _values(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _paragraph_json(each: ParagraphChange) -> dict[str, Any]:
    pieces = [{"kind": piece.kind, "text": piece.text} for piece in each.pieces]
    return {"kind": each.kind, "before": each.before, "after": each.after, "pieces": pieces}


def _term_text(each: TermChange, *, zh: bool) -> str:
    at = 0 if zh else 1
    parts = [f"-{value[at]}" for value in each.gone] + [f"+{value[at]}" for value in each.new]
    if not parts:
        parts = ["次序有变"] if zh else ["in another order"]
    mark = {"added": "+", "removed": "-", "changed": "~"}[each.kind]
    return f"{mark} {each.zh if zh else each.en}: {' '.join(parts)}"


def _paragraph_text(each: ParagraphChange) -> str:
    if each.kind != "changed":
        return f"{'+' if each.kind == 'added' else '-'} {each.after or each.before}"
    form = {"same": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}
    return "~ " + "".join(form[piece.kind].format(piece.text) for piece in each.pieces)
