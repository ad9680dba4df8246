"""What the two parks of the replay show, weighed against each line of what must hold.

The rule of this module: a check is a comparison of what was observed with the judgment's figures, never a constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from duecare.cases.court import Check
from duecare.systems.passes.refunds import Refund
from duecare.systems.passes.sales import Buyer, Sold
from duecare.systems.passes.wire import Answer

_HOLDING = "guo_v_safari_park."
_BASICS = {"name", "id_number", "phone"}


@dataclass(frozen=True)
class Findings:
    """What was observed in the park that keeps the rules. Texts say why something was refused, empty: it was done.

    ``entries``: day, holder, whether the gate opened. ``photo``: the attempts to use the photo for faces. ``told``:
    messages as the gateway got them. ``certificates``: purpose → whether it verified without the operator.
    """

    sold: Sold
    leaving: Sold
    buyers: tuple[Buyer, ...]
    ways: Sequence[tuple[str, Decimal]]
    separate: bool
    bundled: str
    only_biometric: str
    implied: str
    photo: tuple[str, ...]
    entries: Sequence[tuple[date, int, bool]] = ()
    fingerprint: str = ""
    revived: str = ""
    binding: int | None = None
    told: Sequence[Mapping[str, Any]] = ()
    face: Answer | None = None
    id_card: Answer | None = None
    quote: Refund | None = None
    paid: Refund | None = None
    before_due: set[str] = field(default_factory=set)
    after_due: set[str] = field(default_factory=set)
    before_end: set[str] = field(default_factory=set)
    page: Mapping[str, Any] = field(default_factory=dict)
    certificates: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Breach:
    """What was observed in the park without rules: whether the photo served recognition, what the gate said to the
    holder with card and ID card, whether the fingerprint still opened when its time was over, and why nothing went."""

    photo_served: bool
    gate: Answer
    fingerprint_kept: bool
    schedule: str


def weigh(said: Mapping[str, Any], ours: Findings, theirs: Breach) -> tuple[Check, ...]:
    """The checks, in the order of the requirements."""
    return (
        _agreed(said, ours),
        _separate(ours),
        _alternative(ours),
        _photo(ours),
        _offer(said, ours),
        _enters(said, ours),
        _refund(said, ours),
        _purpose_ended(ours),
        _copies(ours),
        _schedule(said, ours),
        _certificates(ours),
        _page(ours),
        _counter_proof(theirs),
    )


def _agreed(said: Mapping[str, Any], ours: Findings) -> Check:
    expected = said["entries"]
    opened = [(day, holder) for day, holder, open_ in ours.entries if open_]
    price_is = ours.sold.price == Decimal(said["purchase"]["price"])
    expires = ours.sold.last == said["retention"]["expires"]
    days, people = len({day for day, _ in opened}), len({holder for _, holder in opened})
    return Check(
        "agreed",
        "Fingerprints that were announced and agreed to are lawful: the pass is sold, and opens the gate as agreed.",
        "A pass for two for 1,360 yuan; five entries by two holders on four days, by card and fingerprint.",
        f"Sold for {ours.sold.price} yuan until {ours.sold.last}; {len(opened)} entries by {people} holders on {days} "
        "days, asked of the centre over HTTP.",
        price_is and expires and (len(opened), people, days) == (expected["number"], expected["persons"], 4),
    )


def _separate(ours: Findings) -> Check:
    return Check(
        "separate",
        "Biometrics need a separate, explicit consent, never implied by another one.",
        "Fingerprints were taken with the purchase; the photo for the pass was meant to become a face.",
        f"Each fingerprint has a consent of its own: {'yes' if ours.separate else 'no'}. Bundled with the photo: "
        f"{_named(ours.bundled)}. On the contract alone: {_named(ours.implied)}.",
        ours.separate and _by(ours.bundled, "bundled") and _by(ours.implied, "no_grant"),
    )


def _alternative(ours: Findings) -> Check:
    prices = dict(ours.ways)
    equal = "card_id_card" in prices and prices["card_id_card"] <= min(prices.values())
    return Check(
        "alternative",
        "A way in without biometrics, of equal standing, always exists.",
        "Card plus ID card was offered only by telephone, and later.",
        f"On sale: {', '.join(f'{name} {price}' for name, price in ours.ways)}. To sell fingerprints alone: "
        f"{_named(ours.only_biometric)}.",
        equal and _by(ours.only_biometric, "only_biometric"),
    )


def _photo(ours: Findings) -> Check:
    return Check(
        "photo",
        "A photo for one purpose cannot feed recognition for another.",
        "Photos were taken 'for the pass' and meant for recognition.",
        f"Opened for face entry: {_named(ours.photo[0])}. Made to serve it: {_named(ours.photo[1])}.",
        all(_HOLDING in each for each in ours.photo),
    )


def _offer(said: Mapping[str, Any], ours: Findings) -> Check:
    number = ours.buyers[0].phone
    mine = [each for each in ours.told if each["to"] == number]
    offers = [each for each in mine if "新的要约" in each["text"]]
    forced = [each for each in mine if "无法" in each["text"] or "不能入园" in each["text"]]
    face = ours.face
    refused = face is not None and not face.open and any(_HOLDING in each.id for each in face.words)
    return Check(
        "offer",
        "A changed method is a new version of the notice that binds only those who accept it.",
        "Messages of 12 July and 17 October 2019: faces replace fingerprints, and who has none cannot enter.",
        f"Told {len(offers)} times that it is an offer, and never that he cannot enter; after declining he is bound by "
        f"version {ours.binding}. A gate that asks for his face: "
        f"{', '.join(each.id for each in face.words) if face else 'was not asked'}.",
        len(offers) == 2 and not forced and ours.binding == 1 and refused,
    )


def _enters(said: Mapping[str, Any], ours: Findings) -> Check:
    opened = ours.id_card is not None and ours.id_card.open
    return Check(
        "enters",
        "The holder who declines enters with card plus ID card.",
        f"On {said['visit']['on']} he was told that without a face he could not enter.",
        f"On {said['visit']['on']} the gate {'opened' if opened else 'stayed closed'} for card and ID card.",
        opened,
    )


def _refund(said: Mapping[str, Any], ours: Findings) -> Check:
    due = said["refund"]
    expected = (Decimal(due["amount"]), due["days_left"], due["days"])
    shown = [(each.amount, each.days_left, each.days) for each in (ours.quote, ours.paid) if each is not None]
    return Check(
        "refund",
        "Those who keep what they agreed to, where it ends, may be refunded pro rata.",
        "678 yuan of contract loss were awarded, and 360 of travel.",
        "; ".join(f"{amount} yuan for {left} of {days} days" for amount, left, days in shown)
        + " (due to him; paid to two others who left).",
        shown == [expected, expected],
    )


def _purpose_ended(ours: Findings) -> Check:
    gone = [each for each in ours.page["erasures"] if each["purpose"] == "fingerprint_entry"]
    return Check(
        "purpose_ended",
        "When a purpose ends, what is held for it alone is erased: fingerprint entry stopped, so the fingerprints go.",
        "Fingerprint gates stopped on 7 October 2019; the fingerprints were kept.",
        f"Erased: {len(gone)} ({', '.join(each['reason'] for each in gone)}). To open it: {ours.fingerprint}",
        [each["reason"] for each in gone] == ["purpose_ended"] and "erased" in ours.fingerprint.lower(),
    )


def _copies(ours: Findings) -> Check:
    return Check(
        "copies",
        "Copies and backups are reached too.",
        "Nobody could say what copies there were.",
        f"The backup of the day before, put back: {ours.revived or 'opens the fingerprint'}",
        "erased" in ours.revived.lower(),
    )


def _schedule(said: Mapping[str, Any], ours: Findings) -> Check:
    kept = said["retention"]
    return Check(
        "schedule",
        "Expiry runs the retention schedule by itself: after three months the biometrics go, after six years the rest.",
        "The privacy rule promised both; deletion had to be sued for.",
        f"Held on {kept['biometrics_until']}: {_listed(ours.before_due)}; a day later: {_listed(ours.after_due)}; on "
        f"{kept['basics_until']}: {_listed(ours.before_end)}; a day later: "
        f"{_listed({each['field'] for each in ours.page['held'] if each['state'] == 'held'})}.",
        ours.before_due == {*_BASICS, "photo", "entry_code"}
        and ours.after_due == ours.before_end == _BASICS
        and not any(each["state"] == "held" for each in ours.page["held"]),
    )


def _certificates(ours: Findings) -> Check:
    expected = {"card_entry", "fingerprint_entry", "pass_contract", "pass_photo"}
    shown = ", ".join(f"{name} {'genuine' if holds else 'fails'}" for name, holds in sorted(ours.certificates.items()))
    return Check(
        "certificates",
        "Erasure yields a certificate countersigned by an independent witness that anyone can verify offline.",
        "The court had to order deletion, and nobody could check it.",
        f"Verified with the two public keys, after the operator's database was deleted: {shown or 'none'}.",
        {name for name, holds in ours.certificates.items() if holds} == expected == set(ours.certificates),
    )


def _page(ours: Findings) -> Check:
    by_gate = [each for each in ours.page["openings"] if each["by"] == "service:gate-east" and each["why"]]
    fields = {name for each in by_gate for name in each["fields"]}
    return Check(
        "page",
        "The holder sees what is held, for what, until when, and who opened it and why.",
        "He learnt of the faces from a text message.",
        f"{len(by_gate)} openings by the gate are on his page ({', '.join(sorted(fields))}), with "
        f"{len(ours.page['erasures'])} erasures and {len(ours.page['messages'])} messages.",
        fields == {"fingerprint_template", "entry_code"} and len(ours.page["erasures"]) == 4,
    )


def _counter_proof(theirs: Breach) -> Check:
    breach = theirs.photo_served and not theirs.gate.open and theirs.fingerprint_kept
    return Check(
        "counter_proof",
        "Without the rules, the same code shows the breach: the checks can fail.",
        "Faces forced on everybody, the decliner refused, the photo used for recognition, the fingerprints kept.",
        f"Photo used for faces: {'yes' if theirs.photo_served else 'no'}; card and ID card at the gate: "
        f"{'opens' if theirs.gate.open else 'refused'}; fingerprint after its time: "
        f"{'still opens' if theirs.fingerprint_kept else 'gone'}.",
        breach,
    )


def _by(why: str, policy: str) -> bool:
    return f"{_HOLDING}{policy}" in why


def _named(why: str) -> str:
    """The policies that refused, by name; or that nothing did."""
    names = [each.strip("[](),.;") for each in why.split() if _HOLDING in each]
    if not why:
        return "was allowed"
    return f"refused by {', '.join(dict.fromkeys(names))}" if names else f"refused: {why}"


def _listed(fields: set[str]) -> str:
    return ", ".join(sorted(fields)) or "nothing"
