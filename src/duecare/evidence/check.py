"""What a verification found: one answer in words for each question asked.

The rule of this module: an answer says what it means to the reader, in Chinese and English, not only that it is so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One question and its answer. ``name`` is stable, for programs; ``detail`` is the figure or reason behind it."""

    name: str
    holds: bool
    meaning_zh: str
    meaning_en: str
    detail: str = ""

    def as_json(self) -> dict[str, str | bool]:
        """The check as JSON values."""
        return {
            "name": self.name,
            "holds": self.holds,
            "meaning_zh": self.meaning_zh,
            "meaning_en": self.meaning_en,
            "detail": self.detail,
        }


_WORDS: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "form": (
        ("文件完整, 逐字节符合格式", "The file is whole and exactly in its form."),
        (
            "文件不完整或被改动过, 不能作为证明",
            "The file is not whole, or was changed after it was written. It proves nothing.",
        ),
    ),
    "signature": (
        ("签名真实: 日志持有者签署过这一状态", "Genuine: the keeper of the log signed this state of it."),
        (
            "签名不符: 不是该日志持有者签署的, 或签署后被改动",
            "Not genuine: the keeper of this log did not sign it, or it was changed afterwards.",
        ),
    ),
    "inclusion": (
        ("记录在册: 这一条确在日志之中, 一字未改", "Recorded: this entry is in the log, word for word."),
        (
            "不在册: 日志中没有这样一条, 或内容、位置被改动",
            "Not recorded: the log holds no such entry there, or its words or place were changed.",
        ),
    ),
    "cosignature": (
        (
            "见证真实: 独立见证方见过并会签了这一状态",
            "Witnessed: the independent witness saw this state of the log and cosigned it.",
        ),
        (
            "无有效见证: 缺少独立见证方的会签, 或会签不符",
            "Not witnessed: the independent witness did not cosign this state, or its key is missing.",
        ),
    ),
    "witness": (
        (
            "见证方在线核对: 独立见证方所见不多于此, 也无不同",
            "Asked: the independent witness has seen no more of the log than this, and no other one.",
        ),
        (
            "见证方未能认可: 见证方见过更长或不同的日志, 或未能作答",
            "Not confirmed: the witness has seen a longer log or another one, or did not answer.",
        ),
    ),
    "receipt": (
        (
            "凭证相符: 凭证所写正是作出同意时入册的内容",
            "True copy: the receipt says what was recorded when consent was given.",
        ),
        (
            "凭证不符: 凭证所写与作出同意时入册的内容不同",
            "No true copy: the receipt does not say what was recorded when consent was given.",
        ),
    ),
    "ended": (
        ("同意已结束: 结束一事也已入册", "Ended: that this consent ended is recorded too."),
        ("结束未获证明: 所附记录不能证明这一同意已结束", "Not ended by this: the entry does not record its end."),
    ),
    "openings": (
        (
            "承诺相符: 所附内容正是记录中以承诺代替的内容",
            "Opened: what is attached is what the commitments in the entry stand for.",
        ),
        (
            "承诺不符: 所附内容不是记录中的承诺所代表的内容",
            "Not opened: what is attached is not what a commitment in the entry stands for.",
        ),
    ),
    "content": (
        (
            "内容属实: 所附正文正是这一条记录所承诺的, 一字未改",
            "True content: the text is one of those that the entry commits to, word for word.",
        ),
        (
            "内容不实: 这一条记录并未承诺所附正文, 或正文、位置被改动",
            "Not the content: the entry commits to no such text there, or its words or place were changed.",
        ),
    ),
    "alerts": (
        (
            "数据库中的每一条监控动态都与入册时一致",
            "Every alert in the database is what was logged when it was raised.",
        ),
        (
            "数据库中的监控动态与入册时不同: 有改动、增加或缺失",
            "The alerts in the database are not those that were logged: changed, added or missing.",
        ),
    ),
    "growth": (
        (
            "只增不改: 较早的日志原样保留在现在的日志里",
            "Only grown: the earlier log stands unchanged in the later one.",
        ),
        (
            "日志被改写过: 较早的内容与现在的不一致",
            "Rewritten: what the log said earlier is not what it says now.",
        ),
    ),
    "entries": (
        ("每一条记录都与其哈希相符", "Every entry matches its hash."),
        ("有记录与其哈希不符, 或缺失", "An entry does not match its hash, or is missing."),
    ),
    "tiles": (
        ("每一层哈希都由下一层得出", "Every hash follows from those below it."),
        ("有哈希不能由下一层得出, 或缺失", "A hash does not follow from those below it, or is missing."),
    ),
    "root": (
        ("全部记录重新推算出签署的根哈希", "All entries together give the root hash that was signed."),
        (
            "全部记录推算不出签署的根哈希",
            "The entries together do not give the root hash that was signed.",
        ),
    ),
}


def answer(name: str, holds: bool, detail: object = "") -> Check:
    """The check called ``name`` with its words for ``holds``."""
    zh, en = _WORDS[name][0 if holds else 1]
    return Check(name, holds, zh, en, str(detail))


def all_hold(checks: Iterable[Check]) -> bool:
    """Whether there is at least one check and every one holds: nothing checked is nothing proved."""
    found = list(checks)
    return bool(found) and all(check.holds for check in found)
