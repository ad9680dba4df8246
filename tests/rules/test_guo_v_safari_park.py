"""The holding of case 2 as policy: what each policy allows and forbids, action by action."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from duecare.rules.decision import Decision
from duecare.rules.engine import Engine, Request

ENGINE = Engine.load()
ACTIVITIES = ("collect", "store", "use", "refine", "transmit", "provide", "disclose", "delete")
BASES = ("consent", "contract", "statutory", "vital", "public", "lawful_disclosure")
PLAIN: dict[str, dict[str, Any]] = {
    "process": {
        "activity": "use", "listed": True, "within": True, "granted": True, "ended": False, "special": False,
        "separate": True,
    },
    "declare": {"required": False, "proven": True, "special": False, "mixed": False, "basis": "consent"},
    "grant": {"special": False, "bundled": False, "informed": True, "affirmed": True, "basis": "consent"},
    "keep": {"due": False, "ended": False, "held": False},
    "offer": {"biometric": False, "alternative": False},
    "enter": {"biometric": False, "agreed": True, "granted": False},
}  # fmt: skip
"""For each action a request that is allowed; the tables below say what differs from it."""

RESOURCES = dict.fromkeys(("declare", "process", "grant", "keep"), "Purpose") | dict.fromkeys(
    ("offer", "enter"), "Method"
)


def ask(action: str, **circumstances: Any) -> Request:
    context = {**PLAIN[action], **circumstances}
    return Request(action, "Service", "passes", RESOURCES[action], "face_entry", context)


def decide(action: str, **circumstances: Any) -> Decision:
    return ENGINE.decide(ask(action, **circumstances))


ALLOWED = [
    ("process", "agreed", {}),
    ("process", "agreed", {"special": True}),
    ("process", "agreed", {"separate": False}),
    ("process", "agreed", {"activity": "delete", "ended": True}),
    ("grant", "grant", {}),
    ("grant", "grant", {"special": True}),
    ("grant", "grant", {"bundled": True}),
    ("keep", "keep", {}),
    ("keep", "legal_hold", {"due": True, "held": True}),
    ("keep", "legal_hold", {"ended": True, "held": True}),
    ("offer", "offer", {}),
    ("offer", "offer", {"biometric": True, "alternative": True}),
    ("enter", "enter", {}),
    ("enter", "enter", {"biometric": True, "granted": True}),
]
FORBIDDEN = [
    ("declare", "sensitive_necessity", {"special": True, "proven": False}),
    ("declare", "mixed", {"special": True, "mixed": True}),
    ("declare", "sensitive_by_contract", {"special": True, "basis": "contract"}),
    ("process", "no_grant", {"granted": False}),
    ("process", "no_grant", {"granted": False, "special": True, "separate": False}),
    ("process", "ended", {"granted": False, "ended": True}),
    ("process", "ended", {"ended": True}),
    ("process", "other_purpose", {"within": False}),
    ("process", "other_purpose", {"listed": False}),
    ("process", "separate_consent", {"special": True, "separate": False}),
    ("grant", "uninformed", {"informed": False}),
    ("grant", "uninformed", {"affirmed": False}),
    ("grant", "bundled", {"special": True, "bundled": True}),
    ("keep", "kept_too_long", {"due": True}),
    ("keep", "kept_too_long", {"ended": True}),
    ("offer", "only_biometric", {"biometric": True}),
    ("enter", "unilateral_change", {"agreed": False}),
    ("enter", "unilateral_change", {"agreed": False, "biometric": True, "granted": True}),
    ("enter", "no_biometrics_without_grant", {"biometric": True}),
]


@pytest.mark.parametrize(("action", "policy", "circumstances"), ALLOWED)
def test_allowed(action: str, policy: str, circumstances: dict[str, Any]) -> None:
    """What the holding leaves free is allowed, by the policy that says so."""
    decision = decide(action, **circumstances)
    assert decision.allowed
    assert f"guo_v_safari_park.{policy}" in [reason.id for reason in decision.reasons]


@pytest.mark.parametrize(("action", "policy", "circumstances"), FORBIDDEN)
def test_forbidden(action: str, policy: str, circumstances: dict[str, Any]) -> None:
    """What the holding rules out is denied by the one policy that concerns it, which says what would allow it."""
    decision = decide(action, **circumstances)
    assert not decision.allowed
    assert [reason.id for reason in decision.reasons] == [f"guo_v_safari_park.{policy}"]
    reason = decision.reasons[0]
    assert all((reason.case, reason.article, reason.zh, reason.en, reason.remedy_zh, reason.remedy_en))


def test_every_policy_is_exercised() -> None:
    """The two tables above leave out no policy of the case."""
    tried = {f"guo_v_safari_park.{policy}" for _, policy, _ in ALLOWED + FORBIDDEN}
    ours = (policy.reason.id for policy in ENGINE.policies)
    assert tried == {name for name in ours if name.startswith("guo_v_safari_park.")}


def test_the_message_of_17_october_2019() -> None:
    """Faces asked of a holder who agreed to fingerprints, and never to faces, are denied twice over."""
    decision = decide("enter", biometric=True, agreed=False, granted=False)
    names = [reason.id.removeprefix("guo_v_safari_park.") for reason in decision.reasons]
    assert names == ["unilateral_change", "no_biometrics_without_grant"]


READINGS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "process": lambda given: (
        given["granted"]
        and (not given["ended"] or given["activity"] == "delete")
        and given["within"]
        and given["listed"]
        and (not given["special"] or given["separate"])
    ),
    "grant": lambda given: given["informed"] and given["affirmed"] and not (given["special"] and given["bundled"]),
    "keep": lambda given: given["held"] or not (given["due"] or given["ended"]),
    "offer": lambda given: not given["biometric"] or given["alternative"],
    "enter": lambda given: given["agreed"] and (not given["biometric"] or given["granted"]),
}
"""The holding once more, in Python, for comparison."""


@pytest.mark.parametrize(
    ("action", "number"), [("process", 512), ("grant", 96), ("keep", 8), ("offer", 4), ("enter", 8)]
)
def test_every_combination(action: str, number: int) -> None:
    """In all circumstances there can be, the policies decide as the holding reads, and say why."""
    words = {"activity": ACTIVITIES, "basis": BASES}
    values = [words.get(name, (True, False)) for name in PLAIN[action]]
    given = [dict(zip(PLAIN[action], combination, strict=True)) for combination in product(*values)]
    decisions = ENGINE.decide_each([ask(action, **each) for each in given])
    assert len(given) == number
    assert [decision.allowed for decision in decisions] == [READINGS[action](each) for each in given]
    assert all(decision.reasons for decision in decisions)
