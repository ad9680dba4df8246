"""How a certificate that holds is told to a person: what was erased, why and when, and, to its holder, whose it was.

The rule of this module: it is called only with what has been verified.
"""

from __future__ import annotations

from duecare.cli.output import plain, say
from duecare.evidence.certificate import Certificate

_REASONS = {
    "withdrawal": ("撤回同意", "consent was withdrawn"),
    "purpose_ended": ("处理目的已实现或无法实现", "the purpose has ended"),
    "schedule": ("保存期限届满", "its time was up"),
    "request": ("个人请求删除", "the person asked for it"),
}


def say_certificate(found: Certificate, *, zh: bool) -> None:
    """Print what ``found`` certifies."""
    body = found.body
    meant = {opening.commitment: opening.value for opening in found.holder}
    pick = 0 if zh else 1
    rows = [
        (("删除证明", "Certificate"), body["certificate"]),
        (("个人信息主体", "Whose data"), meant.get(body["subject"], body["subject"])),
        (("处理目的", "Purpose"), body["purpose"]),
        (("依据", "Reason"), f"{body['article']} · {_REASONS[body['reason']][pick]}"),
        (("删除时间", "Erased at"), body["erased_at"]),
        *((("已删除", "Erased"), _field(field, meant)) for field in body["fields"]),
        (("已销毁密钥", "Keys destroyed"), str(len(body["keys"]))),
        *((("已清除位置", "Removed from"), f"{place['place']} · {place['removed']}") for place in body["places"]),
    ]
    for names, value in rows:
        say(f"  {names[pick]}: {plain(shown(value))}")
    say()


def _field(field: dict[str, str], meant: dict[str, str]) -> str:
    name, commitment = field["field"], field["commitment"]
    return f"{name}: {meant[commitment]}" if commitment in meant else name


def shown(text: str) -> str:
    """``text`` without what a terminal would obey."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)
