"""The page of truth, printed for a person: all of it in Chinese, or all of it in English.

The rule of this module: what is not there is said in words, never by an empty table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from duecare.cli.output import console, moment, plain, say, table

_STATES = {"held": ("持有", "held"), "kept": ("依法留存", "kept by law"), "erased": ("已删除", "erased")}
_REASONS = {
    "withdrawal": ("本人撤回同意", "consent withdrawn"),
    "purpose_ended": ("处理目的已不存在", "the purpose has ended"),
    "schedule": ("保存期限已满", "its time was over"),
    "request": ("本人要求删除", "asked for"),
}
_KINDS = {
    "find": ("凭出示的号码查找", "looked up by a number that was shown"),
    "bulk": ("批量处理", "with others"),
    "export": ("本人副本", "a copy for the person"),
}
_MESSAGES = {
    "due": ("待发送", "to be sent"),
    "sending": ("发送中", "being sent"),
    "sent": ("已发送", "sent"),
    "given_up": ("未能送达", "given up"),
}
_CONFLICTS = {
    "unknown_card": ("卡号不在册", "the card was not known"),
    "card_lost": ("已挂失的卡开了闸", "a card that was reported lost opened the gate"),
    "not_valid": ("年卡当时无效", "the pass was not valid"),
    "decided_twice": ("闸机与中心结果不同", "gate and centre decided otherwise"),
    "used_twice": ("重复使用", "it was used twice"),
}
_ANSWERS = {"declined": ("已拒绝", "declined"), "none": ("未答复", "not answered")}


def say_truth(shown: Mapping[str, Any], pick: int) -> None:
    """Print the page; ``pick`` 0: in Chinese, 1: in English."""
    _say_pass(shown, pick)
    fields = {each["field"]: _word(each, pick) if "zh" in each else each["field"] for each in shown["held"]}
    purposes = {each["name"]: _word(each, pick) for each in shown["purposes"]}
    _rows(
        (("持有什么", "What is held"), ("没有持有任何信息。", "Nothing is held.")),
        (("信息", "what"), ("目的", "for what"), ("", ""), ("自", "since"), ("至", "until")),
        [
            (
                fields[each["field"]], purposes[each["purpose"]], _STATES[each["state"]][pick], moment(each["since"]),
                str(each["until"] or "") if each["state"] != "erased" else moment(each["erased_at"]),
            )
            for each in shown["held"]
        ],
        pick,
    )  # fmt: skip
    _rows(
        (("谁打开过", "Who opened it"), ("没有人打开过。", "Nobody has opened anything.")),
        (("何时", "when"), ("何人", "who"), ("为何", "why"), ("打开了什么", "what")),
        [
            (
                moment(each["at"]), each["by"], _why(each, pick),
                ("、", ", ")[pick].join(fields.get(name, name) for name in each["fields"]),
            )
            for each in shown["openings"]
        ],
        pick,
    )  # fmt: skip
    _rows(
        (("磁盘上的本人副本", "Copies of it on our disk"), ("没有副本。", "There are none.")),
        (("自", "since"), ("至", "until"), ("目的", "for what")),
        [
            (
                moment(each["made_at"]), moment(each["expires_at"]),
                ("、", ", ")[pick].join(purposes[name] for name in each["purposes"]),
            )
            for each in shown["copies"]
        ],
        pick,
    )  # fmt: skip
    _say_visits(shown, pick)
    _say_erasures(shown["erasures"], purposes, pick)


def _say_pass(shown: Mapping[str, Any], pick: int) -> None:
    held = shown["pass"]
    if not held:
        say(("没有年卡。", "There is no pass.")[pick])
        return
    days = f"{held['first']} – {held['last']}"
    say(f"[bold]{_word(held['product'], pick)}[/]  {days}  {_word(held['agreed_way'], pick)}")
    if held["ended_on"]:
        say((f"已于 {held['ended_on']} 终止", f"ended on {held['ended_on']}")[pick])
    notice = shown["notice"]
    if notice["binding"] is None:
        return
    said = (f"告知书第 {notice['binding']} 版有效", f"bound by version {notice['binding']} of the notice")[pick]
    if "answer" in notice:
        newest, answer = notice["newest"], _ANSWERS[notice["answer"]][pick]
        said += (f"; 第 {newest} 版{answer}, 不受其约束", f"; version {newest}, {answer}, does not bind")[pick]
    say(said)
    _say_refund(held["refund"], pick)


def _say_refund(refund: Mapping[str, Any], pick: int) -> None:
    if refund["owed"]:
        due = refund["amount"]
        say((f"今天退卡应退 {due} 元", f"{due} yuan are due if the pass is given back today")[pick])
    if (paid := refund["paid"]) is not None:
        amount, price, left, days, on = (paid[name] for name in ("amount", "price", "days_left", "days", "on"))
        many, why = paid["persons"], plain(paid["reason"])
        whom = ("", "") if many == 1 else (f" ({many} 人合计)", f" to {many} together")
        zh = f"已于 {on} 退款 {amount} 元{whom[0]}: 所付 {price} 元, 共 {days} 天, 剩余 {left} 天; 事由: {why}"
        en = f"{amount} yuan were paid back on {on}{whom[1]}: of {days} days for {price} yuan, {left} were left; {why}"
        say((zh, en)[pick])


def _say_visits(shown: Mapping[str, Any], pick: int) -> None:
    from duecare.systems.passes.methods import METHODS

    _rows(
        (("入园记录", "Visits"), ("没有入园记录。", "There were none.")),
        (("何时", "when"), ("闸机", "gate"), ("方式", "way in")),
        [(moment(each["at"]), each["gate"], _word(vars(METHODS[each["way"]]), pick)) for each in shown["visits"]],
        pick,
    )
    _rows(
        (("留待人工核对", "Flagged for a person to look at"), ("没有。", "Nothing was.")),
        (("何时", "when"), ("闸机", "gate"), ("缘由", "why"), ("结果", "what was found")),
        [
            (moment(each["at"]), each["gate"], _CONFLICTS[each["kind"]][pick], each["note"])
            for each in shown["conflicts"]
        ],
        pick,
    )
    _rows(
        (("消息", "Messages"), ("没有消息。", "There were none.")),
        (("何时", "when"), ("", ""), ("内容", "what it says")),
        [(moment(each["at"]), _MESSAGES[each["state"]][pick], _word(each, pick)) for each in shown["messages"]],
        pick,
    )


def _say_erasures(erasures: Sequence[Mapping[str, Any]], purposes: Mapping[str, str], pick: int) -> None:
    say(f"\n[bold]{('删除', 'Erased')[pick]}[/]")
    if not erasures:
        say(("没有删除过。", "Nothing was erased.")[pick])
    for each in erasures:
        reason = _REASONS[each["reason"]][pick]
        sign, state = (
            ("[green]✓[/]", ("有删除证明", "certified")[pick])
            if each["certificate"]
            else ("…", ("删除证明尚未出具", "not certified yet")[pick])
        )
        say(
            f"{sign} {purposes[each['purpose']]} · {reason} · {moment(each['erased_at'])} · {state}  "
            f"[dim]{each['id']}[/]"
        )


def _rows(
    words: tuple[tuple[str, str], tuple[str, str]],
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Sequence[str]],
    pick: int,
) -> None:
    """A heading, and a table under it; without rows, a sentence in its place."""
    heading, nothing = words
    say(f"\n[bold]{heading[pick]}[/]")
    if not rows:
        say(nothing[pick])
        return
    made = table(*(column[pick] for column in columns))
    for row in rows:
        made.add_row(*(plain(cell) for cell in row))
    console.print(made)


def _why(opening: Mapping[str, Any], pick: int) -> str:
    """Why, in one language where it was given in both."""
    given = str(opening["why"]).split(" / ")
    if opening["kind"] in _KINDS and not opening["why"]:
        return _KINDS[opening["kind"]][pick]
    return given[pick] if len(given) == 2 else str(opening["why"])


def _word(each: Mapping[str, str], pick: int) -> str:
    return each[("zh", "en")[pick]]
