"""What is seen in a park in the years of the case, weighed against each line of what must hold.

The rule of this module: a check is a comparison of what was observed with the judgment's figures, never a constant; and
it knows nothing of which park it is about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from duecare.cases.court import Check
from duecare.cases.guo_v_safari_park import world
from duecare.cases.guo_v_safari_park.observed import Years
from duecare.systems.passes.wire import Answer

HELD_THEN_TOO = {
    "agreed": "Fingerprints that were announced and agreed to were lawful then as well, and that was held."
}
"""The checks that hold without the rules too, each with the reason: the control by which the other park is seen to
run."""

_HOLDING = "guo_v_safari_park."
_BASICS = frozenset({"name", "id_number", "phone"})
_WINDOW = frozenset({"photo", "entry_code"})


def weigh(said: Mapping[str, Any], seen: Years) -> tuple[Check, ...]:
    """The checks, in the order of the requirements."""
    return (
        _agreed(said, seen),
        _separate(seen),
        _implied(seen),
        _alternative(seen),
        _photo(seen),
        _offer(seen),
        _binds(seen),
        _accepts(seen),
        _keeps(seen),
        _enters(said, seen),
        _refund(said, seen),
        _purpose_ended(seen),
        _copies(seen),
        _withdrawal(seen),
        _schedule(said, seen),
        _certificates(seen),
        _page(seen),
    )


def counter_proof(theirs: Sequence[Check]) -> Check:
    """Whether each check, of the park without rules, fails; but for those that held then too."""
    broken = [check.id for check in theirs if not check.holds]
    kept = [check.id for check in theirs if check.holds]
    return Check(
        "counter_proof",
        "Without the rules, the same code shows the breach in every other check: each can fail.",
        "Faces forced on everybody, the decliner refused, the photo used for recognition, the fingerprints kept.",
        f"Without rules {len(broken)} of {len(theirs)} fail ({', '.join(broken)}); held then too: {', '.join(kept)}.",
        bool(theirs) and set(kept) == set(HELD_THEN_TOO),
    )


def _agreed(said: Mapping[str, Any], seen: Years) -> Check:
    expected, sold = said["entries"], seen.purchase.couples.his
    opened = [each for each in seen.entries if each.opened]
    days, people = len({each.day for each in opened}), len({each.holder for each in opened})
    return Check(
        "agreed",
        "Fingerprints that were announced and agreed to are lawful: the pass is sold, and opens the gate as agreed.",
        "A pass for two for 1,360 yuan; five entries by two holders on four days, by card and fingerprint.",
        f"Sold for {sold.price} yuan until {sold.last}; {len(opened)} entries by {people} holders on {days} "
        "days, asked of the centre over HTTP.",
        (sold.price, sold.last) == (Decimal(said["purchase"]["price"]), said["retention"]["expires"])
        and (len(opened), people, days) == (expected["number"], expected["persons"], expected["on_days"]),
    )


def _separate(seen: Years) -> Check:
    bought = seen.purchase
    return Check(
        "separate",
        "Biometrics are a special category: each needs a separate, explicit consent.",
        "Fingerprints were taken with the purchase, in one step with the photo.",
        f"{sum(bought.consents)} of {len(bought.consents)} fingerprints have a consent of their own. Bundled with the "
        f"photo: {_named(bought.bundled)}.",
        bought.consents == [True] * 4 * world.TOGETHER and _by(bought.bundled, "bundled"),
    )


def _implied(seen: Years) -> Check:
    bought = seen.purchase
    return Check(
        "implied",
        "A consent to biometrics is never implied: not by another consent, and not by silence.",
        "Faces were taken as photos for the pass, and meant for recognition; the message asked nobody.",
        f"A fingerprint on the contract alone: {_named(bought.implied)}. A face by silence: {_named(bought.unsaid)}.",
        _by(bought.implied, "no_grant") and _by(bought.unsaid, "uninformed"),
    )


def _alternative(seen: Years) -> Check:
    prices, way = dict(seen.purchase.ways), world.ID_CARD_WAY
    return Check(
        "alternative",
        "A way in without biometrics, of equal standing, always exists.",
        "Card plus ID card was offered only by telephone, and later.",
        f"On sale: {', '.join(f'{name} {price}' for name, price in seen.purchase.ways)}. To sell fingerprints alone: "
        f"{_named(seen.purchase.only_biometric)}.",
        way in prices and prices[way] <= min(prices.values()) and _by(seen.purchase.only_biometric, "only_biometric"),
    )


def _photo(seen: Years) -> Check:
    opened, served = seen.purchase.photo
    return Check(
        "photo",
        "A photo for one purpose cannot feed recognition for another.",
        "Photos were taken 'for the pass' and meant for recognition.",
        f"Made to serve faces: {_named(served)}. Opened for them: {_named(opened)}.",
        _by(opened, "other_purpose") and _by(served, "other_purpose"),
    )


def _offer(seen: Years) -> Check:
    mine = [each["text"] for each in seen.told if each["to"] == world.buyer(0, "").phone]
    offers = [text for text in mine if "新的要约" in text]
    forced = [text for text in mine if "无法" in text or "不能入园" in text]
    return Check(
        "offer",
        "A changed method is a new version of the notice, and the message about it says that it is an offer.",
        "Messages of 12 July and 17 October 2019: faces replace fingerprints, and who has none cannot enter.",
        f"Version {seen.summer.version}; told {len(offers)} times that it is an offer, {len(forced)} times that he "
        "cannot enter.",
        (seen.summer.version, len(offers), len(forced)) == (2, 2, 0),
    )


def _binds(seen: Years) -> Check:
    face = seen.visit.face
    he, accepting, silent = seen.visit.binding
    return Check(
        "binds",
        "It binds only those who accept it.",
        "Everybody was to enter by face.",
        f"Who declined is bound by version {he}, who accepted by {accepting}, who did not answer by {silent}. A gate "
        f"that asks the one who declined for a face {_said(face)}.",
        (he, accepting, silent) == (1, 2, 1) and not face.open and _has(face, "unilateral_change"),
    )


def _accepts(seen: Years) -> Check:
    before, face = seen.summer.before_consent, seen.summer.with_face
    return Check(
        "accepts",
        "Who accepts the notice enters by face only after a separate, explicit consent to it.",
        "Faces taken as photos for the pass were meant for recognition.",
        f"After accepting the notice alone, the gate {_said(before)}; after a consent of its own "
        f"({'separate' if seen.summer.separate else 'bundled'}), it {_said(face)}.",
        not before.open and _has(before, "no_biometrics_without_grant") and seen.summer.separate and face.open,
    )


def _keeps(seen: Years) -> Check:
    agreed, instead = seen.summer.as_agreed, seen.visit.silent
    return Check(
        "keeps",
        "Who does not answer keeps what was agreed, and where that ends enters in the way of equal standing.",
        "From 7 October on no fingerprint opened a gate, and nothing but a face was to.",
        f"After the message the gate {_said(agreed)} for their fingerprint; when fingerprint entry had ended, it "
        f"{_said(instead)} for card and ID card.",
        agreed.open and instead.open,
    )


def _enters(said: Mapping[str, Any], seen: Years) -> Check:
    return Check(
        "enters",
        "The holder who declines enters with card plus ID card.",
        f"On {said['visit']['on']} he was told that without a face he could not enter.",
        f"On {said['visit']['on']} the gate {_said(seen.visit.id_card)} for card and ID card.",
        seen.visit.id_card.open,
    )


def _refund(said: Mapping[str, Any], seen: Years) -> Check:
    due, quote, paid = said["refund"], seen.visit.quote, seen.visit.paid
    expected = (Decimal(due["amount"]), due["days_left"], due["days"])
    shown = [(each.amount, each.days_left, each.days) for each in (quote, paid) if each is not None]
    return Check(
        "refund",
        "Who declines, where the agreed way ends, is refunded pro rata if they leave; nothing is owed to who accepted.",
        "678 yuan of contract loss were awarded, and 360 of travel.",
        f"Due to him: {quote.amount} yuan for {quote.days_left} of {quote.days} days. To the couple that left: "
        + (f"{paid.amount} paid, and the day after the gate {_said(seen.visit.shut)}" if paid else "nothing was paid")
        + f". To the couple that accepted: {seen.visit.not_owed or 'was paid too'}",
        shown == [expected, expected]
        and [each.id for each in seen.visit.shut.words] == ["gate.refunded"]
        and bool(seen.visit.not_owed),
    )


def _purpose_ended(seen: Years) -> Check:
    gone = [reason for purpose, reason in seen.after.erasures if purpose == "fingerprint_entry"]
    return Check(
        "purpose_ended",
        "When a purpose ends, what is held for it alone is erased: fingerprint entry stopped, so the fingerprints go.",
        "Fingerprint gates stopped on 7 October 2019; the fingerprints were kept.",
        f"Fingerprints held of anybody: {seen.autumn.left}. Of his were erased: {len(gone)} ({', '.join(gone)}). To "
        f"open it: {seen.autumn.fingerprint or 'it opens'}",
        not seen.autumn.left and gone == ["purpose_ended"] and _erased(seen.autumn.fingerprint),
    )


def _copies(seen: Years) -> Check:
    before, after = seen.autumn.readable
    return Check(
        "copies",
        "Templates, copies and backups are erased with it.",
        "Nobody could say what copies there were.",
        f"Files in which his fingerprint could be read the day before: {before} (the copy he had asked for); in the "
        f"home and its backup afterwards: {after}. The backup, put back: {seen.autumn.revived or 'opens it'}",
        before == 1 and not after and _erased(seen.autumn.revived),
    )


def _withdrawal(seen: Years) -> Check:
    return Check(
        "withdrawal",
        "A consent is withdrawn in one step, in effect at once; what was held for it alone is erased.",
        "The deletion of his photo and face had to be sued for.",
        f"The face of one who had accepted, withdrawn: {seen.after.refused or 'done'}. To open it: "
        f"{seen.after.withdrawn or 'it opens'} The gate {_said(seen.after.instead)} for card and ID card.",
        not seen.after.refused and _erased(seen.after.withdrawn) and seen.after.instead.open,
    )


def _schedule(said: Mapping[str, Any], seen: Years) -> Check:
    names = (said["retention"]["biometrics_until"], "a day later", said["retention"]["basics_until"], "a day later")
    nothing = frozenset[str]()
    due = [
        (_BASICS | _WINDOW, _BASICS | _WINDOW | {"face_template"}),
        (_BASICS, _BASICS),
        (_BASICS, _BASICS),
        (nothing, nothing),
    ]
    shown = [f"{day}: {_listed(he)} / {_listed(she)}" for day, (he, she) in zip(names, seen.after.held, strict=True)]
    return Check(
        "schedule",
        "Expiry runs the retention schedule by itself: after three months the biometrics go, after six years the rest.",
        "The privacy rule promised both; deletion had to be sued for.",
        f"Held of him, and of one who had accepted faces: {'; '.join(shown)}.",
        seen.after.held == due,
    )


def _certificates(seen: Years) -> Check:
    his = {f"he.{purpose}" for purpose in ("card_entry", "fingerprint_entry", "pass_contract", "pass_photo")}
    genuine = {name for name, holds in seen.certificates.items() if holds}
    forged = {True: "genuine", False: "refused", None: "not there"}[seen.forged]
    return Check(
        "certificates",
        "Erasure yields a certificate countersigned by an independent witness that anyone can verify offline.",
        "The court had to order deletion, and nobody could check it.",
        f"Verified with the two public keys, after the operator's home and its backups were deleted: {len(genuine)} of "
        f"{len(seen.certificates)} are genuine ({', '.join(sorted(genuine)) or 'there are none'}); with another date "
        f"in it, one is {forged}.",
        genuine == set(seen.certificates) == his | {"accepting.face_entry"} and seen.forged is False,
    )


def _page(seen: Years) -> Check:
    page = seen.visit.page
    by_gate = [each for each in page["openings"] if each["by"] == "service:gate-east" and each["why"]]
    fields = {name for each in by_gate for name in each["fields"]}
    held = [each for each in page["held"] if each["state"] == "held"]
    return Check(
        "page",
        "The holder sees what is held, for what, until when, and who opened it and why.",
        "He learnt of the faces from a text message.",
        f"On the day of the visit: {len(held)} fields held, each until a day; {len(by_gate)} openings by the gate "
        f"({', '.join(sorted(fields))}), {len(page['visits'])} visits, {len(page['messages'])} messages, "
        f"{len(page['erasures'])} erasures.",
        {each["field"] for each in held} == _BASICS | _WINDOW
        and all(each["until"] and each["purpose"] for each in held)
        and fields == {"fingerprint_template", "entry_code"}
        and (len(page["visits"]), len(page["messages"]), len(page["erasures"])) == (4, 3, 1),
    )


def _by(why: str, policy: str) -> bool:
    return f"{_HOLDING}{policy}" in why


def _has(answer: Answer, policy: str) -> bool:
    return any(word.id == f"{_HOLDING}{policy}" for word in answer.words)


def _erased(why: str) -> bool:
    return " was erased on " in why


def _said(answer: Answer) -> str:
    return "opened" if answer.open else f"stayed shut ({', '.join(word.id for word in answer.words)})"


def _named(why: str) -> str:
    """The policies that refused, by name; or that nothing did."""
    names = [each.strip("[](),.;") for each in why.split() if _HOLDING in each]
    if not why:
        return "was allowed"
    return f"refused by {', '.join(dict.fromkeys(names))}" if names else f"refused: {why}"


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
